"""C toolchain: which compiler there is, which flags it gets, and one call that turns C text into a shared library."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..dialects.errors import BackendError
from ..dialects.target import native_target

# No contraction and no fast math: a fused multiply-add is written where it is meant, NaN and infinity are values.
# Vectorising plain lane loops needs -ftree-vectorize before gcc 12.
BASE_FLAGS = (
    "-std=c11", "-ftree-vectorize", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
    "-fno-strict-aliasing",
)  # fmt: skip

MISSING = "no C compiler found (cc, gcc, clang, ziglang)"
INSTALL = "install gcc or clang, or `pip install ziglang`"


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command's words, and what identifies it in cache keys."""

    command: tuple[str, ...]
    identity: str

    @property
    def level(self) -> str:
        """How hard it works on generated code. The loops come scheduled, unrolled and vectorised: what gcc does beyond -O1 took a
        third of its time and made no program faster; clang vectorises the lane loops of helpers from -O2 on."""
        return "-O2" if "clang" in self.identity else "-O1"

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags for code that runs on this machine only. gcc clears the upper halves of vector registers before it calls or returns
        to code that knows of none (libm, Python itself) among its expensive optimizations only: a `tanh` of libm takes 10 ns with
        them cleared and 260 ns without. Which bits of an integer are known it asks a tenth of its time, counters of loops and regions of
        register allocation a sixth, and nothing comes of these here."""
        native = "-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64", "riscv64") else "-march=native"
        wide = ("-mprefer-vector-width=512",) if native_target().vector_bytes == 64 else ()
        cleared = () if "clang" in self.identity else ("-fexpensive-optimizations", "-fno-tree-bit-ccp", "-fno-tree-loop-ivcanon", "-fira-region=one")
        return (self.level, *cleared, *BASE_FLAGS, native, *wide)


def _identity(command: tuple[str, ...]) -> str | None:
    """First line of --version with the machine and what programs for it are made for, or None if the command does not run."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    named = done.stdout.splitlines()[0] if done.stdout else command[0]
    return f"{named} {platform.machine()} {_processor()} {native_target().name}"


@lru_cache(maxsize=1)
def _processor() -> str:
    """A short hash of what the processor offers: -march=native code must not move to a lesser one."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        kept = [line for line in text.splitlines() if line.startswith(("flags", "Features", "model name", "isa"))]
        described = "\n".join(sorted(set(kept)))
    except OSError:
        described = platform.processor()
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def _candidates() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    chosen = os.environ.get("LAMINA_CC", "").strip()
    if chosen:
        return [tuple(shlex.split(chosen))]
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            found.append((path,))
    if importlib.util.find_spec("ziglang") is not None:
        found.append((sys.executable, "-m", "ziglang", "cc"))
    return found


def installed_compiler() -> Compiler | None:
    """The first of LAMINA_CC, cc, gcc, clang and ``python -m ziglang cc`` that runs; None if there is none.

    BackendError if LAMINA_CC is set and does not run.
    """
    for command in _candidates():
        identity = _identity(command)
        if identity is not None:
            return Compiler(command, identity)
        if os.environ.get("LAMINA_CC"):
            raise BackendError(
                f"LAMINA_CC does not run: {shlex.join(command)}", help="name a C compiler that runs, or unset LAMINA_CC"
            )
    return None


@lru_cache(maxsize=1)
def find_compiler() -> Compiler | None:
    """The compiler for programs of this process; None, and a warning the first time, if they will run without one."""
    compiler = installed_compiler()
    if compiler is None:
        warnings.warn(f"{MISSING}: programs run on the numpy oracle, correct but slow\nhelp: {INSTALL}", RuntimeWarning, stacklevel=2)
    return compiler


def run_compiler(compiler: Compiler, arguments: list[str], source: Path, keep: bool = True) -> None:
    """Run the compiler. BackendError with the command, its first complaint and where the C text was kept."""
    command = [*compiler.command, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BackendError(f"the C compiler cannot be started: {error}", help="set LAMINA_CC to one that runs") from error
    if done.returncode == 0 and ("-o" not in arguments or os.path.exists(arguments[arguments.index("-o") + 1])):
        return
    if done.returncode == 0:
        raise BackendError(
            "the C compiler reported success and wrote nothing",
            [("command", shlex.join(command), ""), ("source", str(_keep(source) if keep else source), "")],
            help="set LAMINA_CC to another compiler, or LAMINA_DEVICE=numpy to run without one",
        )
    complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    kept = _keep(source) if keep else source
    raise BackendError(
        f"the C compiler failed with exit code {done.returncode}: {complaints[0] if complaints else 'no message'}",
        [("command", shlex.join(command), ""), ("source", str(kept), "")],
        help="LAMINA_DEVICE=numpy runs the same program without it; LAMINA_CC chooses another compiler",
    )


def _keep(source: Path) -> Path:
    """Copy a source that failed to where it survives the build folder."""
    folder = Path(tempfile.mkdtemp(prefix="lamina-failed-"))
    return Path(shutil.copy(source, folder / source.name))


def build_shared(compiler: Compiler, source: Path, output: Path, extra: tuple[str, ...] = ()) -> None:
    """Compile one C file to a shared library for this machine. BackendError if the compiler refuses, or makes nothing."""
    run_compiler(compiler, [*compiler.flags, *_SHARED, *extra, "-o", str(output), str(source), *_LIBRARIES], source)
    _made(compiler, source, output)


def build_object(compiler: Compiler, source: Path, output: Path) -> None:
    """Compile one C file to an object file for a shared library; like `build_shared`."""
    run_compiler(compiler, [*compiler.flags, "-fPIC", "-c", "-o", str(output), str(source)], source)
    _made(compiler, source, output)


def link_shared(compiler: Compiler, objects: Sequence[Path], output: Path) -> None:
    """Link object files to a shared library. BackendError if the linker refuses."""
    run_compiler(compiler, [*_SHARED, "-o", str(output), *map(str, objects), *_LIBRARIES], objects[0])
    _made(compiler, objects[0], output)


_SHARED = ("-fPIC", "-shared")
_LIBRARIES = () if sys.platform == "win32" else ("-lm",)


def _made(compiler: Compiler, source: Path, output: Path) -> None:
    if not output.exists():
        raise BackendError(
            f"the C compiler reported success and wrote no {'library' if output.suffix != '.o' else 'object file'}",
            [("compiler", shlex.join(compiler.command), ""), ("source", str(_keep(source)), "")],
            help="set LAMINA_CC to another compiler, or LAMINA_DEVICE=numpy to run without one",
        )
