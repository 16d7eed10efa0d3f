"""Kernels of a program compiled side by side, each once: equal kernels of any programs are one, found again in the disk cache by their text.

A unit is a file of CUDA C++ with some kernels behind the program's prelude, and the cubin NVRTC makes of it; NVRTC calls run in threads of
their own. Kernels are called by the hash of their text there, so a program's names for them stand beside its modules.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...dialects import flags
from ...lowering.cuda_source import CudaSource
from ..cache import key_of, lookup, note, noted, source_version, store
from . import nvrtc

MODULES = "modules.json"
TURNS = 8
"""Units each processor compiles, one after the other."""
LEAST = 16_000
"""Bytes of CUDA C++ a unit should have: NVRTC reads the prelude once more for each."""

_COMMENT = re.compile(r"^ */\* .* \*/\n", re.MULTILINE)


@dataclass(frozen=True)
class Module:
    """What the driver loads. kernels: a program's name for a kernel -> its name here."""

    cubin: bytes
    kernels: Mapping[str, str]


def build_units(source: CudaSource, folder: Path, arch: str) -> None:
    """A program's kernels in a folder, for an architecture as NVRTC calls it: the source, PTX to read, modules."""
    texts: dict[str, str] = {}
    names = {own: _named(own, text, texts) for own, text in source.functions}
    version = source_version(), nvrtc.version(), arch
    found = _found(texts, version)
    groups = _groups({name: text for name, text in texts.items() if name not in found})
    head = f"{source.device}\n\n{source.portable}\n\n"
    with ThreadPoolExecutor(flags.available_processors()) as threads:
        for group, unit in zip(groups, threads.map(lambda group: _compiled(head, group, texts, arch, version), groups), strict=True):
            found |= dict.fromkeys(group, unit)
    (folder / "program.cu").write_text(source.text, encoding="utf-8")
    units = list(dict.fromkeys(found[name] for name in names.values()))
    (folder / "program.ptx").write_text("\n".join((unit / "unit.ptx").read_text(encoding="utf-8") for unit in units), encoding="utf-8")
    write_modules(folder, [Module((unit / "unit.cubin").read_bytes(), {own: n for own, n in names.items() if found[n] == unit}) for unit in units])


def write_modules(folder: Path, modules: Sequence[Module]) -> None:
    """Modules as files of a folder."""
    for k, module in enumerate(modules):
        (folder / f"module{k}.cubin").write_bytes(module.cubin)
    (folder / MODULES).write_text(json.dumps([dict(module.kernels) for module in modules]), encoding="utf-8")


def read_modules(folder: Path) -> list[Module]:
    """The modules `write_modules` wrote."""
    kernels = json.loads((folder / MODULES).read_text(encoding="utf-8"))
    return [Module((folder / f"module{k}.cubin").read_bytes(), names) for k, names in enumerate(kernels)]


def _named(own: str, text: str, texts: dict[str, str]) -> str:
    """The name of a kernel, by its text without comments; its text under that name is noted."""
    symbol = re.compile(rf"\b{re.escape(own)}(?![0-9A-Za-z])")
    plain = symbol.sub("lamina", _COMMENT.sub("", text))
    name = f"lamina_{hashlib.sha256(plain.encode()).hexdigest()[:24]}"
    texts[name] = symbol.sub(name, _COMMENT.sub("", text))
    return name


def _found(names: Collection[str], version: tuple[Any, ...]) -> dict[str, Path]:
    """Kernels some program had before, and the units they are in."""
    found: dict[str, Path] = {}
    for name in names:
        unit = noted(key_of("gpu kernel", version, name))
        entry = lookup(unit) if unit is not None else None
        if entry is not None:
            found[name] = entry[0]
    return found


def _groups(texts: Mapping[str, str]) -> list[list[str]]:
    """Kernels in groups of about equal size, several per processor, if they are worth it: how long one takes its size does not say."""
    count = min(len(texts), TURNS * flags.available_processors(), max(1, sum(map(len, texts.values())) // LEAST))
    loads, groups = [0] * count, [[] for _ in range(count)]  # type: ignore[var-annotated]  # of names
    for name in sorted(texts, key=lambda n: (-len(texts[n]), n)):
        smallest = loads.index(min(loads))
        loads[smallest] += len(texts[name])
        groups[smallest].append(name)
    return groups


def _compiled(head: str, group: Sequence[str], texts: Mapping[str, str], arch: str, version: tuple[Any, ...]) -> Path:
    """The folder of a new unit with some kernels."""
    text = head + "\n\n".join(texts[name] for name in group) + "\n"

    def make(folder: Path) -> dict[str, Any]:
        made = nvrtc.compile_cuda(text, arch, name="unit.cu")
        (folder / "unit.cu").write_text(text, encoding="utf-8")
        (folder / "unit.ptx").write_text(made.ptx, encoding="utf-8")
        (folder / "unit.cubin").write_bytes(made.cubin)
        return {"kernels": list(group)}

    key = key_of("gpu unit", version, text)
    folder, _ = store(key, make)
    for name in group:
        note(key_of("gpu kernel", version, name), key)
    return folder
