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
