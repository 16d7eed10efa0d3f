"""Small graphs for backend tests, written down step by step."""

from __future__ import annotations

import numpy as np

from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import DType, float32


class Recorder:
    """Builds a Graph: inputs first, then ops."""

    def __init__(self) -> None:
        self.inputs, self.steps, self.types, self.names = [], [], [], []

    def input(self, *shape: int, dtype: DType = float32, name: str | None = None) -> int:
        self.inputs.append((shape, dtype))
        self.types.append((shape, dtype))
        self.names.append(name)
        return len(self.types) - 1

    def op(self, op: str, *operands: int, attrs: tuple = ()) -> int:
        self.steps.append(Step(op, attrs, operands))
        if op == "autodiff.grad":
            results = [self.types[o] for o in operands[2:]]
        else:
            results = OPS[op].infer(tuple(self.types[o] for o in operands), attrs)
        self.types += list(results)
        return len(self.types) - len(results)

    def done(self, *outputs: int) -> Graph:
        origins = tuple(f"model.py:{i + 1}" for i in range(len(self.steps)))
        return Graph(tuple(self.inputs), tuple(self.steps), outputs, origins, tuple(self.names), tuple(self.types))


def linear_relu(m: int = 32, k: int = 20, n: int = 48) -> Graph:
    """relu(x @ w + b)."""
    r = Recorder()
    x, w, b = r.input(m, k, name="x"), r.input(k, n, name="fc.weight"), r.input(n, name="fc.bias")
    wide = r.op("expand", r.op("reshape", b, attrs=((1, n),)), attrs=((m, n),))
    return r.done(r.op("relu", r.op("add", r.op("matmul", x, w), wide)))


def softmax(rows: int = 64, columns: int = 10) -> Graph:
    """softmax over the last dimension."""
    r = Recorder()
    return r.done(r.op("softmax", r.input(rows, columns, name="x"), attrs=((1,),)))


def sums() -> Graph:
    """Several folds of one array."""
    r = Recorder()
    x = r.input(37, 100, name="x")
    return r.done(r.op("sum", x, attrs=((0, 1),)), r.op("sum", x, attrs=((1,),)), r.op("max", x, attrs=((0,),)))


def convolution() -> Graph:
    """relu and max pooling of a padded 3x3 convolution."""
    r = Recorder()
    x, w = r.input(4, 3, 12, 12, name="x"), r.input(16, 3, 3, 3, name="conv.weight")
    padded = r.op("pad", x, attrs=((0, 0, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0), 0.0))
    grouped = r.op("reshape", padded, attrs=((4, 1, 3, 14, 14),))
    kernel = r.op("reshape", w, attrs=((1, 16, 3, 3, 3),))
    y = r.op("reshape", r.op("conv", grouped, kernel, attrs=((1, 1), (1, 1))), attrs=((4, 16, 12, 12),))
    return r.done(r.op("max_pool", r.op("relu", y), attrs=((2, 2), (2, 2), (1, 1))))


def gradient() -> Graph:
    """The loss sum(tanh(x @ w)) and its gradient to w."""
    r = Recorder()
    x, w, seed = r.input(32, 20, name="x"), r.input(20, 48, name="w"), r.input(name="seed")
    y = r.op("tanh", r.op("matmul", x, w))
    loss = r.op("reshape", r.op("sum", y, attrs=((0, 1),)), attrs=((),))
    return r.done(loss, r.op("autodiff.grad", loss, seed, w))


ALL = {f.__name__: f for f in (linear_relu, softmax, sums, convolution, gradient)}


def arrays_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Normal numbers for every input."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)).astype(dtype.numpy) for shape, dtype in graph.inputs]
