"""Kernels compiled once for all programs that hold them: objects in the disk cache, found again by the kernels' text.

A program that differs from one seen before in a layer compiles that layer. Kernels nobody has compiled are put together in
units; a unit is one entry of the cache, and every kernel has a note that names its unit. The first units are compiled while Python
lowers the other kernels, the rest is shared out by size among units that are compiled side by side.
Before that, kernels are known by what they are to be lowered from: notes with their text (`Texts`), so that only the others are lowered.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from ..dialects.errors import BackendError
from ..lowering.known_kernels import Printed
from ..lowering.loops_to_c import Source, symbol_variables
from ..lowering.source_units import Units
from .cache import cache_folder, discard, key_of, lookup, note, noted, source_version, store
from .toolchain import Compiler, build_object, link_shared


class Texts:
    """Texts of kernels in the disk cache, those of this version of the compiler."""

    def get(self, key: str) -> str | None:
        """The text under a key."""
        return noted(key_of("text", source_version(), key))

    def put(self, key: str, text: str) -> None:
        """Keep a text."""
        note(key_of("text", source_version(), key), text)


_LOOP_WORK = 800
"""What a loop costs the C compiler besides its text, in bytes of straight code."""

Found = tuple[str, Path, list[str]]
"""Key of a unit, its object file, the kernels in it: some may be no kernels of the program, others come to it later."""


class Building:
    """A program's kernels on their way to a library, in a ``with`` block.

    processors: units to compile side by side; one of the processors is Python's as long as kernels come. least: bytes of C a unit should
    have to be worth a compiler process. symbols: sizes the program gets to know at the call.
    """

    def __init__(self, compiler: Compiler, processors: int, least: int, symbols: int = 0) -> None:
        self.compiler = compiler
        self.units = Units(symbol_variables(symbols))
        self._processors, self._least = max(1, processors), least
        self._waiting: dict[str, None] = {}  # kernels in no unit yet
        self._taken: set[str] = set()  # kernels of units
        self._found: list[Found] = []
        self._works: list[Future[Path]] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="lamina-units-")
        self._threads = ThreadPoolExecutor(self._processors)
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._folder.cleanup()

    @property
    def has_begun(self) -> bool:
        """Whether some of the kernels are in units already."""
        return bool(self._taken)

    def add(self, own: str, printed: Printed, called: Collection[str]) -> None:
        """One more kernel, see `Units.add`; those there are may go to the compiler."""
        name = self.units.add(own, printed, called)
        if name not in self._taken:
            self._waiting[name] = None
        if sum(not work.done() for work in self._works) < self._processors - 1 and self._size(self._waiting) >= self._least:
            self._find()
            group: list[str] = []
            while self._waiting and self._size(group) < self._least:
                group.append(next(iter(self._waiting)))
                del self._waiting[group[-1]]
            self._compile(group)

    def finish(self, source: Source, library: Path) -> tuple[int, int]:
        """The program as a shared library. Returns how many kernels it has, and how many of them were found in the cache.

        BackendError if the compiler refuses.
        """
        folder = Path(self._folder.name)
        main = folder / "main.c"
        main.write_text(self.units.main(source), encoding="utf-8")
        self._find()
        entry = self._threads.submit(build_object, self.compiler, main, main.with_suffix(".o"))  # first, or it would be alone at the end
        self._compile_waiting(main.stat().st_size)
        gc.collect(0)  # while the C compiler works: the IR is behind us, and all of it is young
        entry.result()
        try:
            self._link(main.with_suffix(".o"), library)
        except BackendError:
            if not self._found:
                raise
            for key, _, kernels in self._found:  # one of them may be what the linker cannot read: all of them anew
                discard(key)
                self._waiting |= dict.fromkeys(self._own(kernels))
            self._found = []
            self._compile_waiting()
            self._link(main.with_suffix(".o"), library)
        return len(self.units.kernels), sum(len(self._own(kernels)) for _, _, kernels in self._found)

    def _own(self, kernels: Sequence[str]) -> list[str]:
        return [name for name in kernels if name in self.units.kernels]

    def _size(self, names: Collection[str]) -> int:
        return sum(len(self.units.kernels[name].text) for name in names)

    def _find(self) -> None:
        """Takes units of the cache that give kernels which wait, none of them twice (the linker would refuse)."""
        for name in list(self._waiting):
            key = noted(_kernel_key(self.compiler, name)) if name in self._waiting else None
            unit = lookup(key) if key is not None else None
            if key is None or unit is None:
                continue
            kernels, called, doors = unit[1]["kernels"], unit[1]["called"], unit[1]["doors"]
            fits = all(k in self.units.kernels for k in called) and self.units.doors.issuperset(doors)
            if name in kernels and self._taken.isdisjoint(kernels) and fits:
                self._taken.update(kernels)
                self._found.append((key, unit[0] / "unit.o", kernels))
                for each in kernels:
                    self._waiting.pop(each, None)

    def _compile_waiting(self, begun: int = 0) -> None:
        """Kernels that wait, in groups that take about equally long. begun: bytes the compiler was just given besides."""
        count = max(1, min(self._processors, self._size(self._waiting) // self._least))
        works = {name: _work(self.units.kernels[name].text) for name in self._waiting}
        loads, groups = [begun, *[0] * (count - 1)], [[] for _ in range(count)]  # type: ignore[var-annotated]  # of names
        for name in sorted(self._waiting, key=lambda n: (-works[n], n)):
            smallest = loads.index(min(loads))
            loads[smallest] += works[name]
            groups[smallest].append(name)
        self._waiting.clear()
        for group in groups:
            if group:
                self._compile(sorted(group))

    def _compile(self, names: list[str]) -> None:
        """Hands these kernels to the compiler."""
        if names:
            self._taken.update(names)
            scratch = Path(self._folder.name) / f"unit-{len(self._works)}"
            self._works.append(self._threads.submit(_compile, self.compiler, names, self.units.of(names), self.units.called(names), self.units.doors_of(names), scratch))

    def _link(self, main: Path, library: Path) -> None:
        made = [work.result() for work in self._works]
        link_shared(self.compiler, [main, *made, *(path for _, path, _ in self._found)], library)


def _work(text: str) -> int:
    """How long a kernel takes the C compiler, in bytes of straight code."""
    return len(text) + _LOOP_WORK * text.count("for (")


def _compile(compiler: Compiler, names: list[str], text: str, called: set[str], doors: set[str], scratch: Path) -> Path:
    """The object file of these kernels: in the cache, or in the scratch folder without one."""

    def make(folder: Path) -> dict[str, Any]:
        source = scratch.with_suffix(".c")
        source.write_text(text, encoding="utf-8")
        build_object(compiler, source, folder / "unit.o")
        return {"kernels": names, "called": sorted(called), "doors": sorted(doors)}

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
