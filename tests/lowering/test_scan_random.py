"""Scans with bodies drawn at random: whatever they carry, stack and pass on, every stage computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from lamina.backends.check import Checker
from lamina.backends.pipelines import standard_pipeline
from lamina.dialects.book import OPS
from lamina.dialects.book.scan import GraphBuilder, Value
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import float32, int64
from lamina.lowering.capture import capture

SHAPE = (2, 3)
UNARY, BINARY = ("tanh", "neg", "sin"), ("add", "mul", "sub", "maximum")


def body(draw: st.DrawFn, carried: int, scanned: int, whole: int, depth: int) -> Graph:
    """Values of one shape, some of them flat on the way; what is yielded may be anything, arguments and repeats included."""
    build = GraphBuilder(OPS, [(SHAPE, float32)] * (carried + scanned + whole))
    values: list[Value] = list(build.values)
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(("unary", "binary", "binary", "reshape", "product", "constant", "sum", "scan")))
        a, b = (values[draw(st.integers(0, len(values) - 1))] for _ in range(2))
        if kind == "unary":
            made = build(draw(st.sampled_from(UNARY)), (a,), ())
        elif kind == "binary":
            made = build(draw(st.sampled_from(BINARY)), (a, b), ())
        elif kind == "reshape":
            made = build("reshape", build("reshape", (a,), ((6,),)), (SHAPE,))
        elif kind == "product":
            made = build("matmul", (a, build("matmul", (build("permute", (a,), ((1, 0),))[0], b), ())[0]), ())
        elif kind == "constant":
            made = build("full", (), (SHAPE, 0.5, float32))
        elif kind == "sum":
            made = build("expand", build("sum", (a,), ((1,),)), (SHAPE,))
        elif depth == 0:
            made = build("cumsum", (a,), (1,))
        else:
            stacked = build("expand", build("reshape", (b,), ((1, *SHAPE),)), ((2, *SHAPE),))[0]
            inner = body(draw, 1, 1, 1, depth - 1)
            made = build("scan", (a, stacked, b), (inner, 1, 1, 2, draw(st.booleans())))[:1]
        values.append(made[0])
    count = carried + draw(st.integers(0, 3))
    return build.graph([values[draw(st.integers(0, len(values) - 1))].id for _ in range(count)])


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """One scan with everything it gives as outputs, some read again, and sometimes its gradients."""
    carried, scanned, whole = draw(st.integers(0, 3)), draw(st.integers(0, 2)), draw(st.integers(0, 2))
    scanned = scanned or (0 if carried + whole else 1)
    steps = draw(st.integers(1, 3))
    types = [(SHAPE, float32)] * carried + [((steps, *SHAPE), float32)] * scanned + [(SHAPE, float32)] * whole
    build = GraphBuilder(OPS, types)
    attrs = (body(draw, carried, scanned, whole, 1), carried, scanned, steps, draw(st.booleans()))
    results = build("scan", build.values, attrs)
    if not results:
        results = build("neg", build.values[:1], ())
    more = build("tanh", results[-1:], ()) if draw(st.booleans()) else ()
    outputs = [r.id for r in (*results, *more)]
    steps_made, all_types = list(build.steps), list(build.types)
    if draw(st.booleans()):
        ones = build("full", (), (build.type(results[0])[0], 1.0, float32))
        steps_made, all_types = list(build.steps), list(build.types)
        wrt = tuple(range(len(types)))
        outputs += range(len(all_types), len(all_types) + len(wrt))
        steps_made.append(Step("autodiff.grad", (), (results[0].id, ones[0].id, *wrt)))
        all_types += types
    return Graph(tuple(types), tuple(steps_made), tuple(outputs), ("s.py:1",) * len(steps_made), (None,) * len(types), tuple(all_types))


def agree(graph: Graph) -> None:
    module = capture(graph)
    arrays = [np.asarray(np.random.default_rng(i).standard_normal(s) * 0.5, t.numpy) for i, (s, t) in enumerate(graph.inputs)]
    standard_pipeline("avx512").run(module, Checker(module, arrays, level=2).after)


@seed(4)
@settings(max_examples=6, deadline=None, database=None)
@given(programs())
def test_a_few(graph: Graph) -> None:
    agree(graph)


@pytest.mark.slow
@seed(5)
@settings(max_examples=150, deadline=None, database=None)
@given(programs())
def test_many(graph: Graph) -> None:
    agree(graph)


def test_values_change_places_and_counters_are_carried() -> None:
    """(a, b, n) -> (b, a, n + 1): neither may overwrite the other; integers are carried without a derivative."""
    build = GraphBuilder(OPS, [(SHAPE, float32), (SHAPE, float32), ((), int64)])
    a, b, n = build.values
    (one,) = build("full", (), ((), 1, int64))
    (more,) = build("add", (n, one), ())
    (scaled,) = build("mul", (a, build("expand", build("reshape", build("cast", (n,), (float32,)), ((1, 1),)), (SHAPE,))[0]), ())
    step = build.graph([b.id, a.id, more.id, scaled.id])
    types = [(SHAPE, float32), (SHAPE, float32), ((), int64)]
    outer = GraphBuilder(OPS, types)
    results = outer("scan", outer.values, (step, 3, 0, 5, False))
    seeds = outer("full", (), ((5, *SHAPE), 1.0, float32))
    grad = Step("autodiff.grad", (), (results[3].id, seeds[0].id, 0, 1))
    count = len(outer.types)
    outputs = (*(r.id for r in results), count, count + 1)
    graph = Graph(tuple(types), (*outer.steps, grad), outputs, ("",) * 3, (None,) * 3, (*outer.types, types[0], types[1]))
    agree(graph)
