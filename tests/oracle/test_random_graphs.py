"""Random programs with gradients through every tensor-level pass, compared with the oracle after each."""

from __future__ import annotations

import random

import numpy as np
import pytest
from graphs import Recorder
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.backends.check import Checker, compare
from lamina.backends.oracle import evaluate
from lamina.backends.oracle_graph import evaluate_graph
from lamina.backends.pipelines import TENSORS
from lamina.backends.replay import known_passes
from lamina.dialects.graph import Graph
from lamina.dialects.text import parse, print_module
from lamina.dialects.types import float64, int64
from lamina.lowering.capture import capture
from lamina.passes.base import Pipeline

UNARY = ("tanh", "sin", "neg", "abs", "relu", "sigmoid", "exp", "softsign", "silu", "gelu")
BINARY = ("add", "sub", "mul", "maximum", "minimum")


def random_graph(seed: int, steps: int) -> Graph:
    """Outputs: a loss, its gradients by both inputs, and one value on the way."""
    draw = random.Random(seed)
    shape = tuple(draw.choice((1, 2, 3)) for _ in range(draw.choice((1, 2, 3))))
    r = Recorder()
    x, w, cotangent = r.input(shape, float64), r.input(shape, float64), r.input((), float64)
    pool = [x, w]
    for _ in range(steps):
        pool.append(_step(r, draw, pool))
    last = pool[-1]
    rank = len(r.types[last][0])
    loss = r("reshape", r("sum", r("tanh", last), attrs=(tuple(range(rank)),)), attrs=((),))
    first = r("autodiff.grad", loss, cotangent, x, w)
    return r.graph(loss, first, first + 1, draw.choice(pool))


def _step(r: Recorder, draw: random.Random, pool: list[int]) -> int:
    x = draw.choice(pool[-4:])
    shape = r.types[x][0]
    rank = len(shape)
    axes = tuple(a for a in range(rank) if draw.random() < 0.5)
    kind = draw.choice(
        (
            "unary",
            "unary",
            "binary",
            "binary",
            "fold",
            "permute",
            "reshape",
            "pad",
            "slice",
            "constant",
            "select",
            "cast",
            "flip",
        )
    )
    if kind == "unary":
        return r(draw.choice(UNARY), x)
    if kind == "binary":
        same = [v for v in pool if r.types[v] == r.types[x]]
        return r(draw.choice(BINARY), x, draw.choice(same))
    if kind == "constant":
        c = r.full(shape, draw.choice((0.0, 1.0, -1.0, 2.0, 0.5)), float64)
        return (
            r(draw.choice(("add", "mul", "sub", "div")), x, c)
            if draw.random() < 0.8
            else r("select", r("greater", x, c), c, x)
        )
    if kind == "fold":
        folded = r(draw.choice(("sum", "max", "min", "mean")), x, attrs=(axes,))
        return r("expand", folded, attrs=(shape,)) if draw.random() < 0.7 else folded
    if kind == "permute":
        return r("permute", x, attrs=(tuple(draw.sample(range(rank), rank)),))
    if kind == "reshape":
        return (
            r("reshape", x, attrs=(draw.choice(((int(np.prod(shape)),), (1, *shape), (*shape, 1))),))
            if rank < 4
            else r("neg", x)
        )
    if kind == "pad":
        return r(
            "pad",
            x,
            attrs=(
                (draw.choice((0, 1)),) * rank,
                (draw.choice((0, 1)),) * rank,
                (draw.choice((0, 1)),) * rank,
                0.0,
            ),
        )
    if kind == "slice":
        start = tuple(draw.randrange(d) for d in shape)
        return r(
            "slice", x, attrs=(start, tuple(d - a for d, a in zip(shape, start, strict=True)), (1,) * rank)
        )
    if kind == "select":
        same = [v for v in pool if r.types[v] == r.types[x]]
        y = draw.choice(same)
        return r("select", r("less", x, y), x, y)
    if kind == "flip":
        return r("flip", x, attrs=(axes,))
    whole = r("cast", r("floor", x), attrs=(int64,))
    return r("add", x, r("cast", whole, attrs=(float64,)))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 14))
def test_every_tensor_pass_keeps_random_programs(seed: int, steps: int) -> None:
    graph = random_graph(seed, steps)
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(rng.standard_normal(shape)) for shape, _ in graph.inputs]
    module = capture(graph)
    Pipeline.parse(",".join(TENSORS), known_passes(), "captured").run(
        module, Checker(module, arrays, level=2).after
    )
    for step in Pipeline.parse("simplify,cse,dce,constants", known_passes()).passes:
        step.run(module)
        assert step.run(module) == 0, f"{step.name} did not reach a fixed point"
    again = parse(print_module(module))
    for want, have in zip(evaluate(module, arrays), evaluate(again, arrays), strict=True):
        assert compare(want, have).largest == 0


@pytest.mark.parametrize("seed", range(30))
def test_the_oracle_of_graphs_is_that_of_modules(seed: int) -> None:
    graph = random_graph(seed, 12)
    arrays = [np.random.default_rng(seed).standard_normal(shape) for shape, _ in graph.inputs]
    for want, have in zip(evaluate(capture(graph), arrays), evaluate_graph(graph, arrays), strict=True):
        assert np.asarray(want).tobytes() == np.asarray(have).tobytes()
