"""The report of the GPU check: sections of tables, as Markdown and JSON; what is there so far is on disk at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
MOST_WASTED, RESTART_SECONDS = 100.0, 8.0
"""Seconds that what crashes or hangs on one target may waste, so that a short visit is left to another; and of beginning a process again."""


class DeviceLost(Exception):
    """A kernel has failed: whatever this process asks of the device from here on fails, too. What failed is in the section."""


@dataclass
class Table:
    """Cells are text or numbers."""

    head: list[str]
    rows: list[list[Any]] = field(default_factory=list)

    def text(self) -> str:
        """As Markdown."""
        return "\n".join([_cells(self.head), "|" + " --- |" * len(self.head), *(_cells(row) for row in self.rows)])


@dataclass
class Section:
    """One part of the check. status: "done", "skipped" or "stopped" (it ended before its end); why says why.

    failures: what is wrong. file: where the section is kept after every row, so that what was measured outlives what fails next.
    at: number, name and kind of the item under way; first: of the first one that no earlier process of the section came to; lost: the process
    ended because the device was, and what is wrong with the item is said. wasted: per kind, the seconds its items took along with their process.
    """

    name: str
    title: str
    status: str = "stopped"
    why: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    at: list[Any] | None = None
    first: int = 0
    lost: bool = False
    wasted: dict[str, float] = field(default_factory=dict)
    file: Path | None = None

    def table(self, *head: str) -> Table:
        """A new table, or the last one where an earlier process began it."""
        if not self.tables or self.tables[-1].head != list(head):
            self.tables.append(Table(list(head)))
        return self.tables[-1]

    def note(self, text: str) -> None:
        """One more note, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.keep()

    def each(
        self, items: Iterable[tuple[str, T]], is_lost: Callable[[T], bool] = lambda item: False, kind: Callable[[T], str] = lambda item: ""
    ) -> Iterator[T]:
        """What the section goes through, with names: where one takes the process along, another process begins behind it.

        is_lost(item): asked where an item failed; DeviceLost if nothing more can be done in this process. kind(item): what else is left out
        when items of it have wasted too much; "" is not.
        """
        for number, (name, item) in enumerate(items):
            if number < self.first:
                continue
            if (of := kind(item)) and self.wasted.get(of, 0.0) > MOST_WASTED:
                self.note(f"{of}: nothing more of it was tried, its items had wasted {self.wasted[of]:.0f} s")
                continue
            self.at, known = [number, name, of], len(self.failures)
            self.keep()
            yield item
            if len(self.failures) > known and is_lost(item):
                self.lost = True
                self.keep()
                raise DeviceLost(name)
        self.at = None

    def row(self, *cells: Any) -> None:
        """One more row of the last table."""
        self.tables[-1].rows.append(list(cells))
        self.keep()

    def place(self, cells: Sequence[Any]) -> None:
        """A row of the last table, in the place of the one with the same first cell if there is one: more is known of it."""
        rows = self.tables[-1].rows
        known = next((k for k, row in enumerate(rows) if row[0] == cells[0]), len(rows))
        rows[known:known + 1] = [list(cells)]
        self.keep()

    def fail(self, program: str, what: str) -> None:
        self.failures.append(f"{program}: {what}")
        self.keep()

    def skip(self, why: str) -> None:
        self.status, self.why = "skipped", why

    def keep(self) -> None:
        """Write the section to its file."""
        if self.file is not None:
            write_whole(self.file, json.dumps(self.as_json()))

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dicts."""
        data = asdict(self)
        del data["file"]
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> Section:
        """The section `as_json` describes."""
        return Section(**{**data, "tables": [Table(**table) for table in data["tables"]]})

    def text(self) -> str:
        """The section as Markdown."""
        lines = [f"## {self.title}", ""]
        if self.status != "done":
            lines += [f"{self.status.capitalize()}: {self.why}", ""]
        lines += [line for note in self.notes for line in (f"- {note}",)] + [""] * bool(self.notes)
        for table in self.tables:
            lines += [table.text(), ""]
        return "\n".join([*lines, *(f"- FAILED {failure}" for failure in self.failures), *[""] * bool(self.failures)])


def _cells(cells: Sequence[Any]) -> str:
    texts = [f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells]
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"


class Report:
    """All sections so far. path: the Markdown file; the same as data is beside it. summed_up: what they say together, the first lines."""

    def __init__(self, path: Path, summed_up: Callable[[Sequence[Section]], str] = lambda sections: "") -> None:
        self.path, self.summed_up = path, summed_up
        self.sections: list[Section] = []

    def add(self, section: Section) -> None:
        """One more section; the files are written again."""
        self.sections.append(section)
        write_whole(self.path, self.text())
        write_whole(self.path.with_suffix(".json"), json.dumps([s.as_json() for s in self.sections], indent=1) + "\n")

    def earlier(self) -> dict[str, Section]:
        """The sections of a report that was written here before, by name."""
        file = self.path.with_suffix(".json")
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        return {s["name"]: Section.from_json(s) for s in found}

    @property
    def failures(self) -> list[str]:
        """What is wrong, sections that ended early included."""
        found = []
        for section in self.sections:
            found += [f"{section.title}: {failure}" for failure in section.failures]
            if section.status == "stopped":
                found.append(f"{section.title}: stopped, {section.why}")
        return found

    def wasted(self, kind: str) -> float:
        """Seconds that items of a kind have wasted in all sections."""
        return sum(s.wasted.get(kind, 0.0) for s in self.sections)

    def text(self) -> str:
        """The whole report as Markdown."""
        verdict = [f"- {failure}" for failure in self.failures] or ["Everything that could be done here agrees."]
        skipped = [f"- not done: {s.title} ({s.why})" for s in self.sections if s.status == "skipped"]
        result = ["## Result", "", *verdict, *[""] * bool(skipped), *skipped, ""]
        return "\n".join(["# lamina on NVIDIA GPUs", "", self.summed_up(self.sections), *result, *(s.text() for s in self.sections)]) + "\n"


def write_whole(path: Path, text: str) -> None:
    """The file appears with its whole contents, or stays what it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
