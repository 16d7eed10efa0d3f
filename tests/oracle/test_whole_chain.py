"""A small program with gradients per kind of op, compared after every pass of the standard pipeline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graphs import Recorder

from lamina.backends.check import Checker
from lamina.backends.pipelines import standard_pipeline
from lamina.dialects.types import float32, int64
from lamina.lowering.capture import capture

Tail = Callable[[Recorder, int, int, int], int]
"""Records ops on y = x @ w [n, m], given also w and an int64 index of 4 rows; returns a value."""


def softmax(r: Recorder, y: int, w: int, index: int) -> int:
    return r("log_softmax", y, attrs=((1,),))


def layer_norm(r: Recorder, y: int, w: int, index: int) -> int:
    m = r.types[y][0][1]
    v = r("reshape", r("sum", w, attrs=((0,),)), attrs=((m,),))
    return r("layer_norm", y, v, v, attrs=(1, 1e-5))


def take(r: Recorder, y: int, w: int, index: int) -> int:
    return r("take", y, index, attrs=(0,))


def gather(r: Recorder, y: int, w: int, index: int) -> int:
    positive = r("greater", y, r.full(r.types[y][0], 0.0))
    return r("gather", y, r("cast", positive, attrs=(int64,)), attrs=(1,))


def argmax(r: Recorder, y: int, w: int, index: int) -> int:
    where = r("expand", r("argmax", y, attrs=(1,)), attrs=(r.types[y][0],))
    return r("add", y, r("cast", where, attrs=(float32,)))


def concat(r: Recorder, y: int, w: int, index: int) -> int:
    return r("concat", y, r("neg", y), attrs=(0,))


def update(r: Recorder, y: int, w: int, index: int) -> int:
    n, m = r.types[y][0]
    corner = r("slice", r("exp", y), attrs=((0, 0), (1, 1), (1, 1)))
    return r("update", y, corner, attrs=((n - 1, m - 1), (1, 1)))


def cumsum(r: Recorder, y: int, w: int, index: int) -> int:
    return r("cumsum", y, attrs=(0,))


def sort(r: Recorder, y: int, w: int, index: int) -> int:
    return r("sort", y, attrs=(1, True))


def prod(r: Recorder, y: int, w: int, index: int) -> int:
    return r("prod", y, attrs=((1,),))


def max_pool(r: Recorder, y: int, w: int, index: int) -> int:
    padded = r("pad", y, attrs=((1, 1), (1, 1), (0, 0), 0.0))
    return r("max_pool", padded, attrs=((2, 2), (1, 1), (1, 1)))


def strided_conv(r: Recorder, y: int, w: int, index: int) -> int:
    n, m = r.types[y][0]
    around = (0, 0, 0, 1, 1)
    image = r("pad", r("reshape", y, attrs=((1, 1, 1, n, m),)), attrs=(around, around, (0,) * 5, 0.0))
    kernel = r("reshape", r("slice", w, attrs=((0, 0), (2, 2), (1, 1))), attrs=((1, 1, 1, 2, 2),))
    return r("conv", image, kernel, attrs=((2, 2), (1, 1)))


TAILS = (
    softmax, layer_norm, take, gather, argmax, concat, update, cumsum, sort, prod, max_pool, strided_conv,
)  # fmt: skip


@pytest.mark.parametrize("tail", TAILS, ids=lambda tail: tail.__name__)
def test_every_stage_computes_the_same(tail: Tail) -> None:
    r = Recorder()
    x, w, seed, index = r.input((5, 3)), r.input((3, 4)), r.input(()), r.input((4,), int64)
    y = r("tanh", tail(r, r("matmul", x, w), w, index))
    loss = r("reshape", r("sum", y, attrs=(tuple(range(len(r.types[y][0]))),)), attrs=((),))
    first = r("autodiff.grad", loss, seed, x, w)
    graph = r.graph(loss, first, first + 1, y)
    rng = np.random.default_rng(7)
    arrays = [np.asarray(rng.standard_normal(shape), np.float32) for shape, _ in graph.inputs[:3]]
    module = capture(graph)
    standard_pipeline().run(module, Checker(module, [*arrays, np.array([4, 0, 4, 2])], level=2).after)
