"""Pass, Pipeline: order, options, reasons, and the adaptor for xDSL's drivers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from lamina.dialects.errors import PassError
from lamina.passes.base import Changes, Pass, Pipeline, module_pass
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.utils.arg_spec import parse_spec


@dataclass(frozen=True)
class Note(Pass):
    """Write a note on the module."""

    name = "note"
    takes = ("captured", "primitive")

    text: str = "hello"
    sizes: tuple[int, ...] = ()

    def run(self, module: ModuleOp) -> int:
        module.attributes["note"] = StringAttr(self.text)
        return Changes(1, ("note x1",))


@dataclass(frozen=True)
class Open(Pass):
    """Go one level down."""

    name = "open"
    takes = "captured"
    gives = "primitive"

    def run(self, module: ModuleOp) -> int:
        return 0


KNOWN = {"note": Note, "open": Open}


def test_runs_in_order_and_reports() -> None:
    module = ModuleOp([])
    seen = []
    history = Pipeline([Note(), Open()], "captured").run(
        module, lambda ran, _: seen.append((ran.index, ran.step.name))
    )
    assert seen == [(1, "note"), (2, "open")]
    assert [ran.changes for ran in history] == [1, 0]
    assert history[0].changes.details == ("note x1",)


def test_a_wrong_order_is_refused_when_built() -> None:
    with pytest.raises(PassError, match="open cannot run here"):
        Pipeline([Open(), Open(because="twice")], "captured")
    with pytest.raises(PassError, match="open cannot run here"):
        Pipeline([Open()], "primitive")
    assert Pipeline([Note(), Open(), Note(because="the opened ops bring new text")], "captured").gives == (
        "primitive",
    )


def test_a_pass_listed_twice_needs_a_reason() -> None:
    with pytest.raises(PassError, match="note is listed twice"):
        Pipeline([Note(), Open(), Note()], "captured")


def test_text_form_round_trips() -> None:
    text = 'note{text="a b" sizes=1,2},open,note{because="again"}'
    pipeline = Pipeline.parse(text, KNOWN)
    assert pipeline.passes[0] == Note(text="a b", sizes=(1, 2))
    assert Pipeline.parse(str(pipeline), KNOWN).passes == pipeline.passes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "no pass called 'nope'"),
        ("note{txt=1}", "txt"),
        ("note{text=1}", "Incompatible"),
        ("note{", "cannot read"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(PassError, match=message):
        Pipeline.parse(text, KNOWN)


def test_until_a_level() -> None:
    pipeline = Pipeline([Note(), Open(), Note(because="x")], "captured")
    assert len(pipeline.until("captured").passes) == 1
    assert len(pipeline.until("primitive").passes) == 3
    with pytest.raises(PassError, match="never reaches the level 'loops'"):
        pipeline.until("loops")


def test_module_pass_for_xdsl() -> None:
    adapted = module_pass(Note)
    module = ModuleOp([])
    adapted.from_pass_spec(parse_spec('note{text="there"}')).apply(Context(), module)
    assert module.attributes["note"] == StringAttr("there")
