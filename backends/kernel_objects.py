"""Kernels compiled once for all programs that hold them: objects in the disk cache, found again by the kernels' text.

A program that differs from one seen before in a layer compiles that layer. Kernels nobody has compiled are shared out by
size among units that are compiled side by side; a unit is one entry of the cache, and every kernel has a note that names its unit.
Before that, kernels are known by what they are to be lowered from: notes with their text (`Texts`), so that only the others are lowered.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..dialects.errors import BackendError
from ..lowering.loops_to_c import Source
from ..lowering.source_units import Units
from .cache import cache_folder, discard, key_of, lookup, note, noted, source_version, store
from .toolchain import Compiler, build_object, link_shared


def build_units(compiler: Compiler, source: Source, library: Path, processors: int, least: int) -> tuple[int, int]:
    """The program as a shared library. Returns how many kernels it has, and how many of them were found in the cache.

    processors: units to compile side by side. least: bytes of C a unit should have to be worth a compiler process.
    BackendError if the compiler refuses.
    """
    units = Units(source)
    objects = _found(compiler, units)
    try:
        _build(compiler, units, objects, library, processors, least)
    except BackendError:
        if not objects:
            raise
        for key, _, _ in objects:  # one of them may be what the linker cannot read: everything anew
            discard(key)
        objects = []
        _build(compiler, units, objects, library, processors, least)
    return len(units.kernels), sum(len(kernels) for _, _, kernels in objects)


class Texts:
    """Texts of kernels in the disk cache, those of this version of the compiler."""

    def get(self, key: str) -> str | None:
        """The text under a key."""
        return noted(key_of("text", source_version(), key))

    def put(self, key: str, text: str) -> None:
        """Keep a text."""
        note(key_of("text", source_version(), key), text)


Found = tuple[str, Path, list[str]]
"""Key of a unit, its object file, the kernels in it."""


def _found(compiler: Compiler, units: Units) -> list[Found]:
    """Units of the cache that give kernels of this program, none of them twice (the linker would refuse)."""
    taken: set[str] = set()
    found: list[Found] = []
    for name in units.kernels:
        key = None if name in taken else noted(_kernel_key(compiler, name))
        unit = lookup(key) if key is not None else None
        if key is None or unit is None:
            continue
        kernels, called = unit[1]["kernels"], unit[1]["called"]
        if name in kernels and taken.isdisjoint(kernels) and all(k in units.kernels for k in called):
            taken.update(kernels)
            found.append((key, unit[0] / "unit.o", [k for k in kernels if k in units.kernels]))
    return found


def _build(compiler: Compiler, units: Units, objects: list[Found], library: Path, processors: int, least: int) -> None:
    present = {name for _, _, kernels in objects for name in kernels}
    missing = [name for name in units.kernels if name not in present]
    size = sum(len(units.kernels[name]) for name in missing)
    groups = _shared_out(units, missing, max(1, min(processors, size // least)))
    with tempfile.TemporaryDirectory(prefix="lamina-units-") as folder:
        main = Path(folder) / "main.c"
        main.write_text(units.main(), encoding="utf-8")
        with ThreadPoolExecutor(max(1, processors)) as threads:
            works = [threads.submit(_compile, compiler, units, group, Path(folder) / f"unit-{i}") for i, group in enumerate(groups)]
            works.append(threads.submit(build_object, compiler, main, main.with_suffix(".o")))
            gc.collect(0)  # while the C compiler works: the IR is behind us, and all of it is young
            made = [work.result() for work in works[:-1]]
            works[-1].result()
        link_shared(compiler, [main.with_suffix(".o"), *made, *(path for _, path, _ in objects)], library)


def _shared_out(units: Units, names: Sequence[str], count: int) -> list[list[str]]:
    """Kernels in ``count`` groups of about equal size, none of them empty."""
    loads, groups = [0] * count, [[] for _ in range(count)]  # type: ignore[var-annotated]  # of names
    for name in sorted(names, key=lambda n: (-len(units.kernels[n]), n)):
        smallest = loads.index(min(loads))
        loads[smallest] += len(units.kernels[name])
        groups[smallest].append(name)
    return [sorted(group) for group in groups if group]


def _compile(compiler: Compiler, units: Units, names: list[str], scratch: Path) -> Path:
    """The object file of these kernels: in the cache, or in the scratch folder without one."""

    def make(folder: Path) -> dict[str, Any]:
        source = scratch.with_suffix(".c")
        source.write_text(units.of(names), encoding="utf-8")
        build_object(compiler, source, folder / "unit.o")
        return {"kernels": names, "called": sorted(units.called(names))}

    if cache_folder() is None:
        scratch.mkdir()
        make(scratch)
        return scratch / "unit.o"
    key = key_of("unit", *_made_by(compiler), names)
    folder, _ = store(key, make)
    for name in names:
        note(_kernel_key(compiler, name), key)
    return folder / "unit.o"


def _kernel_key(compiler: Compiler, name: str) -> str:
    return key_of("kernel", *_made_by(compiler), name)


def _made_by(compiler: Compiler) -> tuple[object, ...]:
    """What decides the code of a kernel besides its text: helpers come from the sources of this version."""
    return source_version(), compiler.identity, compiler.flags
