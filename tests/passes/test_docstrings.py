"""The before/after text in the docstring of a pass is what the pass does."""

from __future__ import annotations

import re

import pytest
from graphs import Recorder
from lamina.dialects.book import OPS
from lamina.dialects.ops import BookOp, attrs_of, stanza_of
from lamina.dialects.types import float32
from lamina.lowering.capture import capture
from lamina.passes.autodiff import Differentiate
from lamina.passes.base import Pass
from lamina.passes.constants import FoldConstants
from lamina.passes.cse import ComputeOnce
from lamina.passes.dce import RemoveDead
from lamina.passes.narrow import Narrow
from lamina.passes.open_composites import OpenComposites
from lamina.passes.program import main_block
from lamina.passes.simplify import Simplify
from lamina.passes.sink_unwindow import SinkUnwindow
from xdsl.dialects.builtin import ModuleOp

PASSES = (Differentiate, Simplify, FoldConstants, ComputeOnce, RemoveDead, OpenComposites, Narrow, SinkUnwindow)
LINE = re.compile(r"^%(?P<result>\w+) = (?P<op>[\w.]+) ?(?P<operands>[%\w, ]*?) ?(?:\{(?P<attrs>.*)\})?$")

Line = tuple[str, tuple[str, ...], tuple[object, ...]]


def blocks(doc: str) -> tuple[list[str], list[str]]:
    """The lines after `before` and after `after`."""
    found: dict[str, list[str]] = {"before": [], "after": []}
    current = None
    for raw in doc.splitlines():
        word = raw.strip().split(" ")[0] if raw.strip() else ""
        if word in found:
            current, raw = word, raw.strip()[len(word) :]
        if not raw.strip():
            current = None if found["after"] else current
        elif current is not None and raw.strip().startswith("%"):
            found[current].append(raw.strip())
    return found["before"], found["after"]


def attributes(op: str, text: str | None) -> tuple[object, ...]:
    """Attribute values in the stanza's order; a dtype that is not written is float32."""
    if op.startswith("autodiff."):
        return ()
    given = {k: v for k, v in re.findall(r"(\w+) = (\[[^\]]*\]|[^,]+)", text or "")}
    return tuple(_value(given.get(p.name), p.kind) for p in OPS[op.split(".")[1]].attributes)


def _value(text: str | None, kind: str) -> object:
    if kind == "dtype":
        return float32
    assert text is not None
    if text.startswith("["):
        return tuple(int(part) for part in text.strip("[]").split(",") if part.strip())
    return float(text) if "." in text else int(text)


def read(lines: list[str]) -> list[Line]:
    """Lines with values renamed in order of appearance, so that names do not matter."""
    names: dict[str, str] = {}
    out = []
    for line in lines:
        match = LINE.match(line)
        assert match, line
        operands = tuple(
            names.setdefault(n.strip(), n.strip()) for n in match["operands"].split(",") if n.strip()
        )
        out.append((match["op"], operands, attributes(match["op"], match["attrs"])))
        names["%" + match["result"]] = f"#{len(out)}"
    return out


def build(lines: list[str], shapes: dict[str, tuple[int, ...]]) -> tuple[ModuleOp, list[str]]:
    """A module that returns what the last line gives; free names are inputs (float32[4] or `shapes`)."""
    program = read(lines)
    free = list(dict.fromkeys(o for _, operands, _ in program for o in operands if not o.startswith("#")))
    r = Recorder()
    ids = {name: r.input(shapes.get(name, (4,))) for name in free}
    for i, (op, operands, attrs) in enumerate(program, 1):
        name = op if op.startswith("autodiff.") else op.split(".")[1]
        ids[f"#{i}"] = r(name, *(ids[o] for o in operands), attrs=attrs)
    return capture(r.graph(ids[f"#{len(program)}"])), free


def show(module: ModuleOp, free: list[str]) -> list[Line]:
    """The ops of a module in the form of `read`."""
    block = main_block(module)
    names = dict(zip(block.args, free, strict=True))
    out = []
    for op in block.ops:
        if isinstance(op, BookOp):
            stanza = stanza_of(op)
            out.append(
                (f"{stanza.dialect}.{stanza.name}", tuple(names[v] for v in op.operands), attrs_of(op))
            )
            names[op.results[0]] = f"#{len(out)}"
    return out


@pytest.mark.parametrize("cls", PASSES, ids=lambda cls: cls.name)
def test_docstring_is_what_it_does(cls: type[Pass]) -> None:
    before, after = blocks(cls.__doc__ or "")
    assert before and after, f"{cls.__name__} shows no before and after"
    shapes = {
        "%" + n: tuple(map(int, s.split(",")))
        for n, s in re.findall(r"%(\w+) is \[([\d, ]+)\]", cls.__doc__ or "")
    }
    module, free = build(before, shapes)
    changes = cls().run(module)
    assert changes
    assert show(module, free) == read(after)
