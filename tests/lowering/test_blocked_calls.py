"""Chains of kernels in blocks: attention forward and backward without its large buffers, equal numbers, nothing else touched."""

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
from lamina.lowering.capture import capture

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

from backend_graphs import Recorder, arrays_for  # noqa: E402

SHAPE = (2, 2, 32, 8)
SCORES = 4 * 2 * 2 * 32 * 32  # bytes of all scores


def attention(gradient: bool, masked: bool = False) -> Graph:
    r = Recorder()
    q, k, v = (r.input(*SHAPE) for _ in range(3))
    mask, seed = (r.input(32, 32) if masked else None), (r.input() if gradient else None)
    scores = r.op("matmul", q, r.op("permute", k, attrs=((0, 1, 3, 2),)))
    if mask is not None:
        wide = r.op("expand", r.op("reshape", mask, attrs=((1, 1, 32, 32),)), attrs=((2, 2, 32, 32),))
        scores = r.op("add", scores, wide)
    y = r.op("matmul", r.op("softmax", scores, attrs=((3,),)), v)
    if seed is None:
        return r.done(y)
    loss = r.op("reshape", r.op("sum", r.op("mul", y, y), attrs=((0, 1, 2, 3),)), attrs=((),))
    first = r.op("autodiff.grad", loss, seed, q, k, v)
    return r.done(first, first + 1, first + 2)


def lowered(monkeypatch: pytest.MonkeyPatch, graph: Graph, **sizes: int):
    """The loops module for a machine with caches of these sizes."""
    name = "tiny" + "".join(f"{k}{v}" for k, v in sorted(sizes.items()))
    monkeypatch.setitem(target.TARGETS, name, replace(target.AVX2, name=name, **sizes))
    return driver.loops_of(graph, target=name)


def calls(module: object) -> list[str]:
    main = next(f for f in module.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")  # type: ignore[attr-defined]
    return [op.callee.string_value() for op in main.walk() if isinstance(op, func.CallOp)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("l2", [SCORES, SCORES // 4], ids=["one matrix", "rows"])
def test_attention_forward(monkeypatch, masked, l2):
    graph = attention(False, masked)
    arrays = arrays_for(graph)
    module = lowered(monkeypatch, graph, l2_bytes=l2, l3_bytes=1 << 20, parallel_work=1 << 10)
    assert len(calls(module)) == 1
    np.testing.assert_allclose(execute(module, arrays)[0], evaluate(capture(graph), arrays)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("l3", [SCORES, 64 * SCORES], ids=["weights made again", "weights kept"])
def test_attention_backward(monkeypatch, l3):
    graph = attention(True)
    arrays = arrays_for(graph)
    module = lowered(monkeypatch, graph, l2_bytes=SCORES, l3_bytes=l3)
    inside = {r.type.get_shape() for f in module.ops for op in f.walk() if op.name == "memref.view" for r in op.results}
    whole = (2 * 2 * 32 * 32,) in inside
    assert whole == (l3 > SCORES), "the weights are a buffer only where they are kept from forward to backward"
    for a, b in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_small_buffers_and_shared_weights_stay(monkeypatch):
    assert len(calls(lowered(monkeypatch, attention(False), l2_bytes=4 * SCORES))) == 3
    r = Recorder()
    x, w, u = r.input(64, 64), r.input(64, 64), r.input(64, 64)  # a classifier: every block of rows would read all weights
    logits = r.op("softmax", r.op("matmul", x, w), attrs=((1,),))
    module = lowered(monkeypatch, r.done(r.op("matmul", logits, u)), l2_bytes=1 << 14)
    assert len(calls(module)) == 3
