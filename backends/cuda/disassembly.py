"""Machine instructions of a cubin, by nvdisasm where there is one, against what its PTX asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from ...dialects.errors import BackendError

_PLACES = ("/usr/local/cuda/bin/nvdisasm",)
_OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z]\w*)")
_SECTION = re.compile(r"\.text\.(\w+):")
_ACCESS = re.compile(r"\*/\s+(?:@!?\w+\s+)?(LDG|STG)([\w.]*)")
_KERNEL = re.compile(r"\n\s*\.section\s+\.text\.")
_LABEL = re.compile(r"\s*(\.L_x_\d+):")
_LINE = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;")
_BRANCH = re.compile(r"\bBRA\b.*`\((\.L_x_\d+)\)")
_WIDTHS = ("8", "U8", "S8", "U16", "S16", "64", "128")
BECOMES = {
    r"wgmma\.mma_async\S+\.f32\.": "HGMMA", r"wgmma\.mma_async\S+\.s32\.": "IGMMA",
    r"cp\.async\.bulk\.tensor\.\dd\.shared": "UTMALDG", r"cp\.async\.bulk\.tensor\.\dd\.global": "UTMASTG",
    r"mma\.sync\S+\.f32\.": "HMMA", r"mma\.sync\S+\.s32\.": "IMMA", r"ldmatrix": "LDSM", r"stmatrix": "STSM", r"cp\.async\.cg": "LDGSTS",
}  # fmt: skip
"""PTX instructions, and the machine's that must be there where they are."""


def tool() -> str | None:
    """nvdisasm: on the path, CUDA's, or the one of pip's nvidia-cuda-nvdisasm."""
    found = shutil.which("nvdisasm")
    spec = find_spec("nvidia")
    beside = [str(p) for root in (spec.submodule_search_locations or () if spec else ()) for p in Path(root).glob("*/bin/nvdisasm")]
    return found or next((p for p in (*_PLACES, *beside) if Path(p).is_file()), None)


def opcodes(cubin: bytes) -> Counter[str]:
    """How often each machine instruction stands in a cubin. BackendError without nvdisasm, or when it fails."""
    return Counter(_OPCODE.findall(text(cubin)))


def accesses(cubin: bytes) -> dict[str, Counter[str]]:
    """Per kernel the widths of its loads from and stores to global memory ("LDG.128")."""
    found: dict[str, Counter[str]] = {}
    kernel = ""
    for line in text(cubin).splitlines():
        if match := _SECTION.match(line.strip()):
            kernel = match[1]
            found[kernel] = Counter()
        if match := _ACCESS.search(line):
            width = next((part for part in match[2].split(".") if part in _WIDTHS), "32")
            found[kernel][f"{match[1]}.{width}"] += 1
    return found


def loops(cubin: bytes, of: str) -> dict[str, list[list[str]]]:
    """Per kernel its loops that have an opcode ("HGMMA"), the smallest of those that share instructions: these, in order. A wait that goes on
    behind the kernel's end and comes back is no loop.
    """
    found: dict[str, list[list[str]]] = {}
    for part in _KERNEL.split(text(cubin))[1:]:
        labels: dict[str, int] = {}
        lines: list[str] = []
        for line in part.splitlines():
            if match := _LABEL.match(line):
                labels[match[1]] = len(lines)
            elif match := _LINE.match(line):
                lines.append(match[1])
        ends = [(k, match[1]) for k, line in enumerate(lines) if (match := _BRANCH.search(line))]
        spans = [(labels[label], k + 1) for k, label in ends if labels.get(label, k + 1) <= k]
        asked = [(a, b) for a, b in spans if any(_bare(line).startswith(of) for line in lines[a:b])]
        least: list[tuple[int, int]] = []
        for a, b in sorted(asked, key=lambda span: span[1] - span[0]):
            if all(b <= c or d <= a for c, d in least):
                least.append((a, b))
        found[part.split(",", 1)[0].strip()] = [[_bare(line) for line in lines[a:b]] for a, b in least]
    return found


def _bare(line: str) -> str:
    """An instruction without its predicate."""
    return line.split(" ", 1)[-1].strip() if line.startswith("@") else line


def text(cubin: bytes) -> str:
    """The machine code of all kernels. BackendError without nvdisasm, or when it fails."""
    command = tool()
    if command is None:
        raise BackendError("there is no nvdisasm", help="pip install nvidia-cuda-nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([command, "-c", file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError("nvdisasm refuses a cubin", [("log", "\n" + done.stderr[:2000], "")])
    return done.stdout


def missing(ptx: str, found: Counter[str]) -> list[str]:
    """The machine instructions that the PTX asks for and that are not there."""
    return [opcode for pattern, opcode in BECOMES.items() if re.search(pattern, ptx) and not found[opcode]]
