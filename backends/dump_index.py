"""The index of a dump folder: which programs a run compiled, from which of the user's lines, and how large they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..dialects.errors import FileError
from ..dialects.graph import Graph
from ..dialects.types import Type, show_type

_SHOWN = 3  # arrays or lines named before "and n more"


class Row(NamedTuple):
    """One program of the run."""

    folder: str
    lines: str
    steps: int
    inputs: str
    outputs: str
    c_bytes: int
    arena_bytes: int


class DumpIndex:
    """Programs of one run in one folder: ``program-000``, ``program-001``, … and ``index.md`` that lists them."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.rows: list[Row] = []

    def next_folder(self) -> Path:
        """Where the next program's stages go."""
        return self.folder / f"program-{len(self.rows):03d}"

    def add(self, graph: Graph, c_bytes: int, arena_bytes: int) -> None:
        """Enter the program that was dumped into `next_folder` and rewrite ``index.md``. FileError if it cannot be written."""
        outputs = [graph.types[i] for i in graph.outputs]
        inputs, given = _types(graph.inputs), _types(outputs)
        name = self.next_folder().name
        self.rows.append(Row(name, lines_of(graph), len(graph.steps), inputs, given, c_bytes, arena_bytes))
        path = self.folder / "index.md"
        try:
            path.write_text(self.text(), encoding="utf-8")
        except OSError as error:
            raise FileError(f"cannot write {path}: {error.strerror}", help="choose another folder for --dump") from error

    def text(self) -> str:
        """The index as Markdown."""
        lines = ["# Programs of this run, in the order they were compiled", ""]
        lines += ["| program | from | recorded ops | inputs | outputs | C bytes | arena bytes |", "|---|---|--:|---|---|--:|--:|"]
        for r in self.rows:
            program = f"[{r.folder}]({r.folder}/index.md)"
            lines.append(f"| {program} | {r.lines} | {r.steps} | {r.inputs} | {r.outputs} | {r.c_bytes} | {r.arena_bytes} |")
        return "\n".join(lines) + "\n"


_indices: dict[str, DumpIndex] = {}


def index_of(folder: str) -> DumpIndex:
    """The index of a folder in this run: programs for all devices are in one."""
    return _indices.setdefault(folder, DumpIndex(folder))


def lines_of(graph: Graph) -> str:
    """The user's lines a graph was recorded from: ``train.py:12-40, model.py:3``."""
    found: dict[str, list[int]] = {}
    counts: Counter[str] = Counter()
    for origin in graph.origins:
        file, _, line = origin.rpartition(":")
        if line.isdigit():
            found.setdefault(file, []).append(int(line))
            counts[file] += 1
    parts = []
    for file, lines in sorted(found.items(), key=lambda item: (-counts[item[0]], item[0])):
        first, last = min(lines), max(lines)
        parts.append(f"{file}:{first}" if first == last else f"{file}:{first}-{last}")
    return _some(parts)


def _types(types: Iterable[Type]) -> str:
    """Types with repetitions counted: ``float32[32], 2 x float32[]``."""
    counts = Counter(show_type(t) for t in types)
    return _some([name if n == 1 else f"{n} x {name}" for name, n in counts.items()])


def _some(parts: list[str]) -> str:
    more = len(parts) - _SHOWN
    return ", ".join(parts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
