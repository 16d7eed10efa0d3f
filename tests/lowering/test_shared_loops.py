"""Loops whose steps work row by row: threads share the rows, whatever is carried, stacked and read by all; other loops stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from lamina.backends import driver
from lamina.backends.check import Checker
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.backends.pipelines import standard_pipeline
from lamina.dialects import target
from lamina.dialects.book import OPS
from lamina.dialects.book.scan import GraphBuilder, Value
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import float32
from lamina.lowering import shared_loops
from lamina.lowering.capture import capture
from lamina.lowering.memref_layout import bytes_of
from xdsl.dialects import func, memref, scf
from xdsl.dialects.builtin import ModuleOp

ROWS, COLUMNS, STEPS = 8, 16, 3
SHAPE = (ROWS, COLUMNS)


def sharing(monkeypatch: pytest.MonkeyPatch) -> str:
    """A target for which the smallest loop is worth sharing, two rows at a time."""
    monkeypatch.setattr(shared_loops, "LEAST_ROWS", 2)
    monkeypatch.setattr(shared_loops, "LEAST_PART_BYTES", 1)
    monkeypatch.setattr(shared_loops, "AGAIN", 100.0)
    monkeypatch.setitem(target.TARGETS, "sharing", replace(target.AVX2, name="sharing", parallel_work=16, tasks=4))
    return "sharing"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> str:
    return sharing(monkeypatch)


Body = Callable[[GraphBuilder, Value, Value, Value], tuple[Value, ...]]


def looping(body: Body, grad: bool = False, reverse: bool = False) -> Graph:
    """A scan of h, x per step, and w for all steps; body gives the next h, and what is stacked of the step."""
    types = [(SHAPE, float32), ((STEPS, *SHAPE), float32), ((COLUMNS, COLUMNS), float32)]
    inner = GraphBuilder(OPS, [types[0], (SHAPE, float32), types[2]])
    step = inner.graph([v.id for v in body(inner, *inner.values)])
    outer = GraphBuilder(OPS, types)
    results = outer("scan", outer.values, (step, 1, 1, STEPS, reverse))
    outputs = [r.id for r in results]
    steps, every = list(outer.steps), list(outer.types)
    if grad:
        (ones,) = outer("full", (), (outer.type(results[0])[0], 1.0, float32))
        steps, every = list(outer.steps), list(outer.types)
        outputs += range(len(every), len(every) + 3)
        steps.append(Step("autodiff.grad", (), (results[0].id, ones.id, 0, 1, 2)))
        every += types
    return Graph(tuple(types), tuple(steps), tuple(outputs), ("s.py:1",) * len(steps), (None,) * 3, tuple(every))


def arrays_for(graph: Graph) -> list[np.ndarray]:
    return [np.random.default_rng(i).standard_normal(s).astype(t.numpy) * np.float32(0.5) for i, (s, t) in enumerate(graph.inputs)]


def shared_functions(module: ModuleOp) -> list[func.FuncOp]:
    """Functions of parts that go through a loop each."""
    return [
        f
        for f in module.ops
        if isinstance(f, func.FuncOp)
        and any(isinstance(op, scf.ParallelOp) and any(isinstance(inner, func.CallOp) for inner in op.walk()) for op in f.walk())
    ]


def product(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
    (a,) = b("matmul", (h, w), ())
    (a,) = b("add", (a, x), ())
    (h,) = b("tanh", (a,), ())
    return h, a


def along_rows(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
    (a,) = b("sum", (h,), ((1,),))
    (a,) = b("expand", (a,), (SHAPE,))
    (h,) = b("mul", (h, x), ())
    (h,) = b("add", (h, a), ())
    return h, h


def across_rows(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
    (a,) = b("sum", (h,), ((0,),))
    (a,) = b("expand", (a,), (SHAPE,))
    (h,) = b("add", (a, x), ())
    return (h,)


def turned_rows(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
    (h,) = b("flip", (h,), ((0,),))
    (h,) = b("mul", (h, x), ())
    return (h,)


def numbered_rows(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
    (n,) = b("iota", (), (SHAPE, 0, float32))
    (h,) = b("mul", (h, n), ())
    return (h,)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("body", "grad", "shared"), [
    (product, False, 1), (product, True, 2), (along_rows, False, 1), (along_rows, True, 2), (across_rows, False, 0), (turned_rows, False, 0),
    (numbered_rows, False, 0),
])  # fmt: skip
def test_rows_that_are_apart_are_shared(machine, body, grad, shared, reverse):
    graph = looping(body, grad, reverse)
    module = driver.loops_of(graph, target=machine)
    assert len(shared_functions(module)) == shared
    arrays = arrays_for(graph)
    for got, want in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_short_loops_are_not(machine, monkeypatch):
    monkeypatch.setattr(shared_loops, "LEAST_ROWS", ROWS)
    assert not shared_functions(driver.loops_of(looping(product), target=machine)), "register tiles would run empty"
    monkeypatch.setattr(shared_loops, "LEAST_ROWS", 2)
    monkeypatch.setattr(shared_loops, "AGAIN", 0.0)
    assert not shared_functions(driver.loops_of(looping(product), target=machine)), "every part reads the weights again"
    assert shared_functions(driver.loops_of(looping(along_rows), target=machine)), "here there are none"


def products(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
    """Values between the products of one step, some of which are over before others begin."""
    for _ in range(4):
        (h,) = b("tanh", b("matmul", (h, w), ()), ())
    return (h,)


def test_values_of_one_step_share_no_memory(machine):
    """One thread may be at the beginning of a step while another one is at its end."""
    module = driver.loops_of(looping(products), target=machine)
    (function,) = shared_functions(module)
    main = next(f for f in module.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")
    (call,) = (op for op in main.walk() if isinstance(op, func.CallOp) and op.callee.string_value() == function.sym_name.data)
    views = [v.owner for v in call.operands if isinstance(v.owner, memref.ViewOp)]
    places = sorted((v.byte_shift.owner.value.value.data, bytes_of(v.results[0].type)) for v in views)
    assert len(places) >= 4 and all(at + size <= after for (at, size), (after, _) in zip(places, places[1:], strict=False)), places


@st.composite
def bodies(draw: st.DrawFn) -> Graph:
    """Steps of anything that may be done with rows, and with what lies across them."""

    def body(b: GraphBuilder, h: Value, x: Value, w: Value) -> tuple[Value, ...]:
        values = [h, x]
        for _ in range(draw(st.integers(1, 5))):
            kind = draw(st.sampled_from(("tanh", "neg", "add", "mul", "product", "sum 1", "sum 0", "flip 1", "flip 0", "flat", "part")))
            a, c = (values[draw(st.integers(0, len(values) - 1))] for _ in range(2))
            if kind in ("tanh", "neg"):
                (made,) = b(kind, (a,), ())
            elif kind in ("add", "mul"):
                (made,) = b(kind, (a, c), ())
            elif kind == "product":
                (made,) = b("matmul", (a, w), ())
            elif kind.startswith("sum"):
                (made,) = b("expand", b("sum", (a,), ((int(kind[-1]),),)), (SHAPE,))
            elif kind.startswith("flip"):
                (made,) = b("flip", (a,), ((int(kind[-1]),),))
            elif kind == "flat":
                (made,) = b("reshape", b("tanh", b("reshape", (a,), ((ROWS * COLUMNS,),)), ()), (SHAPE,))
            else:
                (first,) = b("slice", (a,), ((0, 0), (ROWS, 1), (1, 1)))
                (rest,) = b("slice", (c,), ((0, 1), (ROWS, COLUMNS - 1), (1, 1)))
                (made,) = b("concat", (rest, first), (1,))
            values.append(made)
        return tuple(values[draw(st.integers(0, len(values) - 1))] for _ in range(draw(st.integers(1, 3))))

    return looping(body, draw(st.booleans()), draw(st.booleans()))


def agree(graph: Graph) -> None:
    with pytest.MonkeyPatch.context() as patch:
        name = sharing(patch)
        module = capture(graph)
        standard_pipeline(name).run(module, Checker(module, arrays_for(graph), level=2).after)


@seed(1)
@settings(max_examples=4, deadline=None, database=None)
@given(bodies())
def test_a_few(graph: Graph) -> None:
    agree(graph)


@pytest.mark.slow
@seed(2)
@settings(max_examples=150, deadline=None, database=None)
@given(bodies())
def test_many(graph: Graph) -> None:
    agree(graph)
