"""The oracle of graphs gives what the oracle of their captured modules gives, to the bit, and needs no xDSL."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from graphs import Recorder, cnn_step, inputs_for
from lamina.backends.oracle import evaluate
from lamina.backends.oracle_graph import evaluate_graph
from lamina.dialects.errors import DTypeError, ShapeError
from lamina.dialects.graph import Graph
from lamina.dialects.types import float16, float32
from lamina.lowering.capture import capture


def agree(graph: Graph, arrays: list[np.ndarray]) -> None:
    want = evaluate(capture(graph), arrays)
    got = evaluate_graph(graph, arrays)
    assert [a.tobytes() for a in map(np.asarray, got)] == [a.tobytes() for a in map(np.asarray, want)]
    assert [(a.shape, a.dtype) for a in got] == [(a.shape, a.dtype) for a in want]


def test_a_training_step():
    graph = cnn_step(2, (1, 4, 8), 8, 12)
    agree(graph, inputs_for(graph))


def second_gradient() -> Graph:
    """d(sum(dx ** 2))/dx, where dx is a gradient and one factor of the loss was kept from an earlier run."""
    r = Recorder()
    x, kept, one = r.input((3, 4)), r.input((3, 4)), r.input(())
    known = r("autodiff.saved", r("tanh", x), kept)
    loss = r("reshape", r("sum", r("softmax", r("mul", known, x), attrs=((1,),)), attrs=((0, 1),)), attrs=((),))
    dx = r("autodiff.grad", r("reshape", r("sum", r("mul", known, known), attrs=((0, 1),)), attrs=((),)), one, x)
    again = r("add", loss, r("reshape", r("sum", r("mul", dx, dx), attrs=((0, 1),)), attrs=((),)))
    return r.graph(again, r("autodiff.grad", again, one, x))


def seeds() -> Graph:
    """Rows of a Jacobian, and a gradient nothing depends on."""
    r = Recorder()
    x, other, rows = r.input((4,), float16), r.input((2,), float16), r.input((3, 4), float16)
    y = r("sin", x)
    first = r("autodiff.grad", y, rows, x, other)
    return r.graph(first, first + 1, y)


def scan() -> Graph:
    """A running sum of sines, its last value differentiated."""
    inner = Recorder()
    carried, slice_ = inner.input((3,)), inner.input((3,))
    total = inner("add", carried, inner("sin", slice_))
    body = inner.graph(total, total)
    r = Recorder()
    start, xs, seed = r.input((3,)), r.input((5, 3)), r.input((3,))
    last = r("scan", start, xs, attrs=(body, 1, 1, 5, False))
    return r.graph(last, last + 1, r("autodiff.grad", last, seed, xs))


@pytest.mark.parametrize("make", [second_gradient, seeds, scan])
def test_steps_that_are_not_plain_ops(make):
    graph = make()
    draw = np.random.default_rng(0)
    agree(graph, [draw.standard_normal(shape).astype(dtype.numpy) for shape, dtype in graph.inputs])


def test_arrays_that_do_not_fit_are_refused():
    r = Recorder()
    graph = r.graph(r("tanh", r.input((2,), float32)))
    for arrays, error in (([], ShapeError), ([np.zeros(3, np.float32)], ShapeError), ([np.zeros(2)], DTypeError)):
        with pytest.raises(error):
            evaluate_graph(graph, arrays)


CODE = """
import sys, lamina as torch
w = torch.ones(3, requires_grad=True)
(w * w).sum().backward()
print(w.grad.tolist(), "xdsl" in sys.modules)
"""


@pytest.mark.slow
def test_a_first_small_step_needs_no_xdsl(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split("\n")[0] == "[2.0, 2.0, 2.0] False", done.stderr
