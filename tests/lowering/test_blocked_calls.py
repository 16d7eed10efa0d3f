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
from lamina.dialects.types import float32, int32
from lamina.lowering.capture import capture

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

sys.path.insert(0, str(Path(__file__).parents[1]))

import lamina as torch  # noqa: E402
from backend_graphs import Recorder, arrays_for  # noqa: E402
from graphs import graphs_of  # noqa: E402

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


@pytest.mark.slow
def test_blocks_leave_a_product_its_columns(monkeypatch):
    """A convolution whose weights are made in the program, and a pool: of one channel of one image no register tile is filled."""
    r = Recorder()
    x, w = r.input(16, 1, 8, 9, 9), r.input(1, 32, 8, 3, 3)
    y = r.op("conv", x, r.op("sin", w), attrs=((1, 1), (1, 1)))
    y = r.op("max", r.op("reshape", y, attrs=((16, 32, 7, 7),)), attrs=((2, 3),))
    graph = r.done(y)
    arrays = arrays_for(graph)
    module = lowered(monkeypatch, graph, l2_bytes=1 << 15, parallel_work=1 << 10)
    plans = [f.attributes["lamina.plan"].data for f in module.ops if isinstance(f, func.FuncOp) and "lamina.plan" in f.attributes]
    assert plans and "plain" not in plans
    np.testing.assert_allclose(execute(module, arrays)[0], evaluate(capture(graph), arrays)[0], rtol=1e-5, atol=1e-5)


def masked_attention(length: int, keys: int, heads: int = 2, width: int = 8, layers: int = 1, shared: bool = False, kept: int | None = None) -> Graph:
    """Causal attention by positions, forward and backward; shared: queries, keys and values are one tensor. kept: heads of keys and values,
    each for some neighbouring ones of queries.
    """
    r = Recorder()
    q = r.input(1, heads, length, width)
    given = (q, q) if shared else (r.input(1, kept or heads, keys, width), r.input(1, kept or heads, keys, width))
    seed, y, k, v = r.input(), q, *given
    if kept is not None:
        many = (1, kept, heads // kept, keys, width)
        spread = [r.op("expand", r.op("reshape", x, attrs=((1, kept, 1, keys, width),)), attrs=(many,)) for x in given]
        k, v = (r.op("reshape", x, attrs=((1, heads, keys, width),)) for x in spread)
    sizes, whole = (length, keys), (1, heads, length, keys)
    row, column = (r.op("iota", attrs=(sizes, axis, int32)) for axis in (0, 1))
    hidden = r.op("logical_not", r.op("less_equal", column, row))
    wide = r.op("expand", r.op("reshape", hidden, attrs=((1, 1, *sizes),)), attrs=(whole,))
    for _ in range(layers):
        scores = r.op("matmul", r.op("sin", y), r.op("permute", k, attrs=((0, 1, 3, 2),)))
        scores = r.op("select", wide, r.op("full", attrs=(whole, float("-inf"), float32)), scores)
        y = r.op("matmul", r.op("softmax", scores, attrs=((3,),)), v)
    loss = r.op("reshape", r.op("sum", r.op("mul", y, y), attrs=((0, 1, 2, 3),)), attrs=((),))
    wrt = (q,) if shared else (q, *given)
    first = r.op("autodiff.grad", loss, seed, *wrt)
    return r.done(y, *range(first, first + len(wrt)))


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "one tensor"])
@pytest.mark.parametrize(("length", "keys"), [(48, 48), (64, 40), (45, 48)])
@pytest.mark.slow
def test_positions_and_sums_over_blocks(monkeypatch, length, keys, shared):
    """A mask made of positions counts from the block's first row; dK and dV add up; what follows a sum waits for it."""
    graph = masked_attention(length, length if shared else keys, shared=shared)
    arrays = arrays_for(graph)
    module = lowered(monkeypatch, graph, l2_bytes=1 << 13, l3_bytes=1 << 12)
    assert any(name == "lamina.serial" for f in module.ops for name in f.attributes), "nothing runs in blocks"
    for a, b in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_heads_that_share_keys(monkeypatch):
    graph = masked_attention(48, 40, heads=4, kept=2)
    arrays = arrays_for(graph)
    module = lowered(monkeypatch, graph, l2_bytes=1 << 13, l3_bytes=1 << 12)
    assert any(name == "lamina.serial" for f in module.ops for name in f.attributes), "nothing runs in blocks"
    for a, b in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_memory_grows_with_the_length(layers):
    """Scores of twice the length are four times as large: nothing of their size is in memory, forward or backward."""
    bytes_at = {}
    for length in (2048, 4096):
        module = driver.loops_of(masked_attention(length, length, layers=layers), target="avx2")
        bytes_at[length] = module.attributes["lamina.arena_bytes"].value.data
    assert bytes_at[4096] < 2.1 * bytes_at[2048]
    assert bytes_at[4096] < 4096 * 4096 * 4 // 2, "half of one head's scores"


@pytest.mark.slow
def test_no_matrix_of_grouped_queries_is_in_memory():
    """Sums over the heads that share keys stand between the kernels of their gradients."""
    found: list[Graph] = []
    q, k, v = (torch.zeros(1, heads, 1024, 64, requires_grad=True) for heads in (8, 2, 2))
    with graphs_of(found):
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        (y * y).mean().backward()
        assert float(q.grad.sum() + k.grad.sum() + v.grad.sum()) == 0
    module = driver.loops_of(max(found, key=lambda g: len(g.steps)), target="avx2")
    assert module.attributes["lamina.arena_bytes"].value.data < 8 * 1024 * 1024 * 4 // 2


def test_small_buffers_and_shared_weights_stay(monkeypatch):
    assert len(calls(lowered(monkeypatch, attention(False), l2_bytes=4 * SCORES))) == 3
    r = Recorder()
    x, w, u = r.input(64, 64), r.input(64, 64), r.input(64, 64)  # a classifier: every block of rows would read all weights
    logits = r.op("softmax", r.op("matmul", x, w), attrs=((1,),))
    module = lowered(monkeypatch, r.done(r.op("matmul", logits, u)), l2_bytes=1 << 14)
    assert len(calls(module)) == 3
