"""Blocks of attention under a mask of indices: no columns behind the last one that a block's rows see, and the same numbers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects import func

from lamina.backends import driver
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.dialects import target
from lamina.dialects.graph import Graph
from lamina.dialects.types import float32, int32
from lamina.lowering.capture import capture

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

from backend_graphs import Recorder, arrays_for  # noqa: E402

HEADS, WIDTH = 2, 8


def attention(length: int, keys: int, seen: str, shift: int = 0, gradient: bool = True) -> Graph:
    """Scores count where `column <seen> row + shift`; forward, and backward where it is asked for."""
    r = Recorder()
    q, k, v = r.input(1, HEADS, length, WIDTH), r.input(1, HEADS, keys, WIDTH), r.input(1, HEADS, keys, WIDTH)
    seed = r.input() if gradient else None
    sizes, whole = (length, keys), (1, HEADS, length, keys)
    row, column = (r.op("iota", attrs=(sizes, axis, int32)) for axis in (0, 1))
    number = r.op("full", attrs=(sizes, shift, int32))
    mask = r.op(seen, column, r.op("add", row, number))
    wide = r.op("expand", r.op("reshape", mask, attrs=((1, 1, *sizes),)), attrs=(whole,))
    scores = r.op("matmul", q, r.op("permute", k, attrs=((0, 1, 3, 2),)))
    scores = r.op("select", wide, scores, r.op("full", attrs=(whole, float("-inf"), float32)))
    y = r.op("matmul", r.op("softmax", scores, attrs=((3,),)), v)
    if seed is None:
        return r.done(y)
    loss = r.op("reshape", r.op("sum", r.op("mul", y, y), attrs=((0, 1, 2, 3),)), attrs=((),))
    first = r.op("autodiff.grad", loss, seed, q, k, v)
    return r.done(y, *range(first, first + 3))


def lowered(monkeypatch: pytest.MonkeyPatch, graph: Graph):
    monkeypatch.setitem(target.TARGETS, "tiny", replace(target.AVX2, name="tiny", l2_bytes=1 << 14, l3_bytes=1 << 30))
    return driver.loops_of(graph, target="tiny")


def columns(module: object, rows: tuple[int, ...]) -> set[int]:
    """The numbers of columns the matrices of blocks have."""
    serial = [f for f in module.ops if isinstance(f, func.FuncOp) and "lamina.serial" in f.attributes]  # type: ignore[attr-defined]
    shapes = {a.type.get_shape() for f in serial for a in f.body.block.args if len(a.type.get_shape()) == 4}
    return {s[3] for s in shapes if s[2] in rows and s[3] != WIDTH}


@pytest.mark.parametrize(("length", "keys", "seen", "shift", "wanted"), [
    (128, 128, "less_equal", 0, {32, 64, 96, 128}),
    (64, 64, "less", 1, {32, 64}),
    (64, 64, "less_equal", 3, {40, 64}),
    (64, 40, "less_equal", 0, {32, 40}),
    (67, 67, "less_equal", 0, {40, 67}),
    (64, 96, "less_equal", 32, {64, 96}),
    (64, 64, "greater_equal", 0, {64}),
    (64, 64, "less", -2, {64}),
    (64, 64, "not_equal", 0, {64}),
])  # fmt: skip
@pytest.mark.slow
def test_columns_a_mask_leaves_over(monkeypatch, length, keys, seen, shift, wanted):
    """Only masks that hide all columns behind one that moves with the row, and none whose first rows see nothing."""
    graph = attention(length, keys, seen, shift, gradient=length <= 67)
    module = lowered(monkeypatch, graph)
    assert columns(module, tuple(range(16, 65))) == wanted
    if shift == -2:
        return
    arrays = arrays_for(graph)
    for a, b in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_masked_weights_are_not_kept(monkeypatch):
    """What a mask hides is known where the scores are made: backward makes them again, and no matrix is in memory."""
    module = lowered(monkeypatch, attention(64, 64, "less_equal"))
    inside = {r.type.get_shape() for f in module.ops for op in f.walk() if op.name == "memref.view" for r in op.results}
    assert (HEADS * 64 * 64,) not in inside
    module = lowered(monkeypatch, attention(64, 64, "not_equal"))
    inside = {r.type.get_shape() for f in module.ops for op in f.walk() if op.name == "memref.view" for r in op.results}
    assert (HEADS * 64 * 64,) in inside


@pytest.mark.slow
def test_keys_as_many_as_they_are_wide(monkeypatch):
    """Directions of equal length are told apart."""
    monkeypatch.setattr(sys.modules[__name__], "WIDTH", 64)
    monkeypatch.setattr(sys.modules[__name__], "HEADS", 1)
    graph = attention(64, 64, "less_equal")
    arrays = arrays_for(graph)
    for a, b in zip(execute(lowered(monkeypatch, graph), arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
