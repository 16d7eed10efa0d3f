"""NVRTC: CUDA C++ to PTX and cubin, in this process, without a driver or a GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...dialects.errors import BackendError

FLAGS = ("--fmad=false", "--std=c++17", "--ptxas-options=-v", "--generate-line-info")
"""Multiply-adds are fused only where the IR says fma, as in generated C."""

INSTALL = "pip install lamina[cuda]"


@dataclass(frozen=True)
class Usage:
    """What ptxas says about one kernel: registers per thread, bytes of stack and of spills per thread."""

    kernel: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """PTX to read, cubin to load, and the compiler's report per kernel."""

    arch: str
    ptx: str
    cubin: bytes
    log: str
    usage: tuple[Usage, ...]


def available() -> bool:
    """Whether NVRTC can be called here."""
    try:
        _bindings().nvrtcVersion()
    except (BackendError, RuntimeError):
        return False
    return True


def version() -> str:
    """NVRTC's version, "13.0". BackendError without it."""
    nvrtc = _bindings()
    try:
        _, major, minor = nvrtc.nvrtcVersion()
    except RuntimeError as error:  # the bindings' way to say that the library is not there
        raise BackendError(f"NVRTC cannot be loaded: {error}", help=f"{INSTALL} brings it") from None
    return f"{major}.{minor}"


def _bindings() -> Any:
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise BackendError(f"CUDA kernels cannot be compiled: {error}", help=f"{INSTALL} brings NVRTC; no driver is needed") from None
    return nvrtc


def compile_cuda(text: str, arch: str, options: Sequence[str] = (), name: str = "program.cu") -> Compiled:
    """Compile CUDA C++ for an architecture (``sm_90a``).

    BackendError with the compiler's log when the text is no CUDA C++ or the architecture is not known to this NVRTC, and
    when cuda-python or NVRTC are not installed.
    """
    nvrtc = _bindings()
    try:
        program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(text.encode(), name.encode(), 0, [], []))
    except RuntimeError as error:  # the bindings' way to say that the library is not there
        raise BackendError(f"NVRTC cannot be loaded: {error}", help=f"{INSTALL} brings it") from None
    try:
        flags = [f"--gpu-architecture={arch}", *FLAGS, *options]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
        log = _text(nvrtc, program, "ProgramLog")
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise BackendError(f"NVRTC refuses {name} for {arch}", [("log", "\n" + log[:4000], "")])
        size = _checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program))
        cubin = bytearray(size)
        _checked(nvrtc, nvrtc.nvrtcGetCUBIN(program, cubin))
        return Compiled(arch, _text(nvrtc, program, "PTX"), bytes(cubin), log, tuple(read_usage(log)))
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _text(nvrtc: Any, program: Any, what: str) -> str:
    size = _checked(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program))
    buffer = bytearray(size)
    _checked(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.rstrip(b"\0").decode("utf-8", "replace")


def _checked(nvrtc: Any, answer: tuple[Any, ...]) -> Any:
    status, *values = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise BackendError(f"NVRTC answers {status.name}")
    return values[0] if values else None


_KERNEL = re.compile(r"Compiling entry function '([^']+)'|Function properties for '?(\w+)'?")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def read_usage(log: str) -> list[Usage]:
    """The kernels of a ``--ptxas-options=-v`` log, in its order."""
    found: list[Usage] = []
    kernel, stack = "", (0, 0, 0)
    for line in log.splitlines():
        if match := _KERNEL.search(line):
            kernel = match[1] or match[2]
        if match := _STACK.search(line):
            stack = (int(match[1]), int(match[2]), int(match[3]))
        if match := _USED.search(line):
            found.append(Usage(kernel, int(match[1]), *stack, int(match[2] or 0)))
            stack = (0, 0, 0)
    return found


_GROUP = 128
_GIVEN, _TAKEN = (re.compile(rf"setmaxnreg\.{which}\.sync\.aligned\.u32\s+(\d+)") for which in ("dec", "inc"))


def waiting_forever(compiled: Compiled) -> list[str]:
    """Kernels whose warpgroups take more registers than the block was launched with and one of them gives: `setmaxnreg` would wait for ever."""
    used, found = {u.kernel: u.registers for u in compiled.usage}, []
    for text in compiled.ptx.split(".visible .entry ")[1:]:
        name, taken, given = text.split("(", 1)[0], _TAKEN.findall(text), _GIVEN.findall(text)
        threads = re.search(r"\.maxntid\s+(\d+)", text)
        if taken and given and threads:
            groups = int(threads[1]) // _GROUP
            if int(given[0]) + (groups - 1) * max(map(int, taken)) > groups * used[name]:
                found.append(name)
    return found
