"""Dump: one numbered, re-parsable file per stage, and an index with the command that replays each step."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from xdsl.dialects.builtin import ModuleOp

from ..dialects.errors import FileError
from ..dialects.text import print_module
from ..passes.base import Ran
from .cache import source_version
from .edited_stages import RECORD, VERSION, Stage, digest_of, signature_of


class Row(NamedTuple):
    """A line of the index."""

    file: str
    made_by: str
    changes: str
    command: str
    details: tuple[str, ...]


class Dump:
    """Files of one program in a folder.

    ``000-captured.mlir``, then a file for every pass that changed something, then sources (`add`), then
    `index.md`, and `stages.json`, by which edited files are found again (edited_stages.py). Text depends on the program only, so two
    dumps of one program are equal byte for byte. FileError where the folder cannot be written.
    """

    def __init__(self, folder: str | Path, title: str = "program") -> None:
        self.folder = Path(folder)
        self.title = title
        self.rows: list[Row] = []
        self.last = ""
        self.program = self.pipeline = ""
        self.before = 0
        self.stages: list[Stage] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"cannot make the folder {folder}: {error.strerror}", help="choose another folder for --dump"
            ) from error

    def start(self, module: ModuleOp, stage: str = "captured", *, program: str = "", pipeline: str = "", before: int = 0) -> None:
        """Write the module as it enters the pipeline. stage: what it is called; program, pipeline: what its edited files are found again by;
        before: passes of that pipeline that are behind it."""
        self.program, self.pipeline, self.before = program, pipeline, before
        self.last = f"{len(self.rows):03d}-{stage}.mlir"
        self._write_stage(self.last, module, before)
        self.rows.append(Row(self.last, "the recorded program" if stage == "captured" else f"the edited stage `{stage}`", "", "", ()))

    def after(self, ran: Ran, module: ModuleOp) -> None:
        """Write the module after a pass that changed it (a callback for `Pipeline.run`)."""
        if not self.last:
            raise FileError("the dump was not started", help="call start(module) before the pipeline runs")
        if not ran.changes:
            self.rows.append(Row("", f"`{ran.step}`", "none", "", ()))
            return
        name = f"{sum(bool(row.file) for row in self.rows):03d}-{ran.step.name}.mlir"
        command = f"lamina opt {self.last} -p '{replace(ran.step, because='')}'"
        self._write_stage(name, module, self.before + ran.index)
        details = getattr(ran.changes, "details", ())
        self.rows.append(Row(name, f"`{ran.step}`", str(int(ran.changes)), command, details))
        self.last = name
        self.finish()  # a pass that fails later leaves a readable dump

    def add(self, name: str, text: str | bytes, made_by: str, command: str = "") -> Path:
        """Write a file that is not IR (C source, an arena map) under the next number; returns its path."""
        name = f"{sum(bool(row.file) for row in self.rows):03d}-{name}"
        self._write(name, text)
        self.rows.append(Row(name, made_by, "", command, ()))
        return self.folder / name

    def add_source(self, name: str, text: str, made_by: str, passes: int, replayed: bool = True) -> Path:
        """Write the source all passes of a pipeline lead to: it may be edited, as stages may. replayed: ``lamina opt --emit`` makes the same."""
        path = self.add(name, text, made_by, f"lamina opt {self.last} --emit {name.rpartition('.')[2]}" if replayed else "")
        self.stages.append(Stage(path.name, passes, digest_of(text.encode()), ""))
        return path

    def finish(self) -> Path:
        """Write `index.md`; returns its path."""
        lines = [f"# {self.title}, stage by stage", "", "Commands run in this folder.", ""]
        lines += ["| file | made by | changes | replay |", "|---|---|---|---|"]
        for row in self.rows:
            file = f"[{row.file}]({row.file})" if row.file else ""
            lines.append(
                f"| {file} | {row.made_by} | {row.changes} | {f'`{row.command}`' if row.command else ''} |"
            )
        for row in self.rows:
            if row.details:
                lines += ["", f"## {row.file}", "", *(f"- {line}" for line in row.details)]
        self._write("index.md", "\n".join(lines) + "\n")
        if self.program:
            stages = [asdict(s) for s in self.stages]
            record = {"version": VERSION, "compiler": source_version(), "program": self.program, "pipeline": self.pipeline, "stages": stages}
            self._write(RECORD, json.dumps(record, indent=1) + "\n")
        return self.folder / "index.md"

    def _write_stage(self, name: str, module: ModuleOp, after: int) -> None:
        text = print_module(module)
        self._write(name, text)
        if self.program:
            self.stages.append(Stage(name, after, digest_of(text.encode()), signature_of(module)))

    def _write(self, name: str, text: str | bytes) -> None:
        path = self.folder / name
        draft = path.with_name(f".{name}.{os.getpid()}")
        try:
            draft.write_bytes(text.encode("utf8") if isinstance(text, str) else text)
            os.replace(draft, path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise FileError(
                f"cannot write {path}: {error.strerror}", help="choose another folder for --dump"
            ) from error
