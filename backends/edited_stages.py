"""Edited stages: a dump whose files were changed by hand, taken up again by the next run of the same program.

A dump notes in ``stages.json`` which graph it is of and what every file held. With LAMINA_OVERRIDE a program that is compiled
looks whether it was dumped there: from the last of its files that changed since, the rest of the pipeline goes on.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dialects import flags
from ..dialects.errors import FileError, PassError, TextError
from ..dialects.graph import Graph
from .cache import key_of, source_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdsl.dialects.builtin import ModuleOp
    from xdsl.ir import Attribute

    from ..passes.base import Pipeline
    from .dump import Dump

RECORD = "stages.json"
"""What a dump notes of its files."""
VERSION = 1


def program_key(graph: Graph) -> str:
    """What a graph is called in the record of its dump: the lines it comes from do not matter."""
    return key_of("graph", graph.inputs, graph.steps, graph.outputs)


def digest_of(data: bytes) -> str:
    """What a file held."""
    return hashlib.sha256(data).hexdigest()[:32]


def signature_of(module: ModuleOp) -> str:
    """The types @main takes and gives, its working memory apart: what an edit has to keep."""
    from xdsl.dialects.builtin import MemRefType

    from ..passes.program import main_block

    block = main_block(module)
    taken = [str(arg.type) for arg in block.args]
    if block.args and isinstance(block.args[-1].type, MemRefType):
        taken = taken[:-1]  # the arena
    last = block.last_op
    given = [str(v.type) for v in last.operands] if last is not None else []
    return f"({', '.join(taken)}) -> ({', '.join(given)})"


@dataclass(frozen=True)
class Stage:
    """A file of a dump. after: how many passes of the pipeline lead to it. signature: of its @main; "" for a source, which is text."""

    file: str
    after: int
    digest: str
    signature: str

    @property
    def is_source(self) -> bool:
        """C or CUDA C++: what the pipeline ends in."""
        return not self.signature


@dataclass(frozen=True)
class Edited:
    """A stage that was changed after it had been dumped. compiler: the `source_version` that dumped it."""

    path: Path
    stage: Stage
    text: str
    compiler: str

    @property
    def digest(self) -> str:
        """What tells this edit from others, in a program's key."""
        return digest_of(self.text.encode())

    def module(self) -> ModuleOp:
        """The module its text says. TextError where it cannot be read, does not hold, or takes and gives other things than the stage it was."""
        from ..dialects.text import read

        module = read(self.text, str(self.path))
        found = signature_of(module)
        if found != self.stage.signature:
            facts = [("now", found, str(self.path)), ("was", self.stage.signature, "when it was dumped")]
            raise TextError("an edited stage must take and give what it did", facts, help="edit what is between; change inputs and results in the script")
        return module

    def rest(self, pipeline: Pipeline) -> Pipeline:
        """What is left of the pipeline behind this stage."""
        from ..passes.base import Pipeline

        return Pipeline(pipeline.passes[self.stage.after :])


def edited(graph: Graph, pipeline: Pipeline) -> Edited | None:
    """The last stage of a graph that was edited in the folder of LAMINA_OVERRIDE; None where none was, or the graph was not dumped there.

    PassError where it was dumped from another pipeline, or is a source that another lamina dumped; FileError for what cannot be read.
    """
    return edits_in(flags.override.value).of(graph, pipeline) if flags.override.value else None


_edits: dict[str, Edits] = {}


def edits_in(path: str) -> Edits:
    """What was edited in a folder, read once. FileError where it holds no dump."""
    if path not in _edits:
        _edits[path] = Edits(Path(path))
    return _edits[path]


@atexit.register
def _report() -> None:
    for each in _edits.values():
        each.report()


def begun(
    graph: Graph, pipeline: Pipeline, edit: Edited | None, dump: Dump | None, attributes: Mapping[str, Attribute] | None = None
) -> tuple[ModuleOp, Pipeline]:
    """The module a program begins with and the passes before it: the recorded graph, or an edited stage.

    dump: gets this module, and by what it is found again. attributes: of the recorded module.
    """
    from ..lowering.capture import capture

    if edit is not None and not edit.stage.is_source:
        module, rest, after = edit.module(), edit.rest(pipeline), edit.stage.after
    else:
        module, rest, after = capture(graph), pipeline, 0
        module.attributes.update(attributes or {})
    if dump is not None:
        stage = pipeline.passes[after - 1].name if after else "captured"
        dump.start(module, stage, program=program_key(graph), pipeline=str(pipeline), before=after)
    return module, rest


class Edits:
    """The edited stages of a dump of one program, or of a whole run."""

    def __init__(self, root: Path) -> None:
        records = sorted([*root.glob(RECORD), *root.glob(f"*/{RECORD}"), *root.glob(f"*/*/{RECORD}")])
        if not records:
            raise FileError(f"{root} holds no dump", help="make one with --dump, edit a file of it, and give the folder to --override")
        self.programs: dict[str, list[tuple[str, Edited]]] = {}
        self.used: set[Path] = set()
        for record in records:
            program, pipeline, compiler, stages = _read_record(record)
            changed = [e for s in stages if (e := _changed(record.parent / s.file, s, compiler)) is not None]
            if changed:
                self.programs.setdefault(program, []).append((pipeline, changed[-1]))
                for other in changed[:-1]:
                    print(f"override: {other.path} was edited, too, but the program goes on from {changed[-1].path}, behind it", file=sys.stderr)
        if not self.programs:
            print(f"override: no file of {root} was edited", file=sys.stderr)

    def of(self, graph: Graph, pipeline: Pipeline) -> Edited | None:
        """The edit of a graph's program."""
        found = self.programs.get(program_key(graph), [])
        for made_by, edit in found:
            if made_by == str(pipeline):
                if edit.stage.is_source and edit.compiler != source_version():
                    raise PassError(  # it is called with the memory that this lamina's own source needs
                        "an edited source belongs to the lamina that dumped it",
                        [("source", str(edit.path), "")],
                        help="dump again, and make the change there; edited .mlir stages go with any version that reads them",
                    )
                if edit.path not in self.used:
                    print(f"override: {graph.origins[0] if graph.origins else 'a program'} goes on from {edit.path}", file=sys.stderr)
                self.used.add(edit.path)
                return edit
        if found:
            facts = [("now", str(pipeline), "this run"), ("then", found[0][0], str(found[0][1].path))]
            raise PassError("the edited stage was dumped from another pipeline", facts, help="use the options of the run that made the dump, or dump again")
        return None

    def report(self) -> None:
        """What was edited for nothing."""
        for each in self.programs.values():
            for _, edit in each:
                if edit.path not in self.used:
                    print(f"override: {edit.path} was edited, but this run compiled no such program", file=sys.stderr)


def _read_record(path: Path) -> tuple[str, str, str, list[Stage]]:
    """Program, pipeline, compiler and files of a dump."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["version"] != VERSION:
            raise ValueError(f"version {record['version']}")
        return str(record["program"]), str(record["pipeline"]), str(record["compiler"]), [Stage(**stage) for stage in record["stages"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"cannot read {path}: {error}", help="dump the program again with this version of lamina") from None


def _changed(path: Path, stage: Stage, compiler: str) -> Edited | None:
    """A file, if it is not what was dumped. What was removed was not edited."""
    try:
        data = path.read_bytes()
        return None if digest_of(data) == stage.digest else Edited(path, stage, data.decode("utf-8"), compiler)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}", help="IR and sources are UTF-8 text") from None


__all__ = ["RECORD", "VERSION", "Edited", "Edits", "Stage", "digest_of", "begun", "edited", "edits_in", "program_key", "signature_of"]
