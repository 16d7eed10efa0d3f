"""Graphs for tests: a small recorder over the book, a training step of the digits CNN, what the frontend has computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from lamina.backends import driver
from lamina.dialects import flags
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import DType, Type, float32, float64, int64
from lamina.pyfront import recorder


class Recorder:
    """Records steps as the frontend does; values are ids. Inputs first."""

    def __init__(self) -> None:
        self.inputs: list[Type] = []
        self.names: list[str | None] = []
        self.steps: list[Step] = []
        self.origins: list[str] = []
        self.types: list[Type] = []

    def input(self, shape: tuple[int, ...], dtype: DType = float32, name: str | None = None) -> int:
        """A program input; returns its id."""
        assert not self.steps, "inputs come first"
        self.inputs.append((shape, dtype))
        self.types.append((shape, dtype))
        self.names.append(name)
        return len(self.types) - 1

    def __call__(self, op: str, *operands: int, attrs: tuple = (), origin: str | None = None) -> int:
        """One step; the id of its first result (others follow)."""
        if op == "autodiff.grad":
            (loss, _), (seed, _) = self.types[operands[0]], self.types[operands[1]]
            several = seed[: len(seed) - len(loss)]
            types = [((*several, *shape), dtype) for shape, dtype in (self.types[i] for i in operands[2:])]
        elif op == "autodiff.saved":
            types = [self.types[operands[1]]]
        else:
            types = list(OPS[op].infer(tuple(self.types[i] for i in operands), tuple(attrs)))
        self.steps.append(Step(op, tuple(attrs), tuple(operands)))
        self.origins.append(origin or f"model.py:{len(self.steps)}")
        self.types.extend(types)
        return len(self.types) - len(types)

    def full(self, shape: tuple[int, ...], value: float, dtype: DType = float32) -> int:
        """A constant."""
        return self("full", attrs=(shape, value, dtype))

    def graph(self, *outputs: int) -> Graph:
        """The recorded graph."""
        return Graph(
            tuple(self.inputs),
            tuple(self.steps),
            outputs,
            tuple(self.origins),
            tuple(self.names),
            tuple(self.types),
        )


def inputs_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Normal numbers; digits 0 to 9 for integers."""
    rng = np.random.default_rng(seed)
    return [
        np.asarray(rng.standard_normal(shape) if t.is_floating_point else rng.integers(0, 10, shape)).astype(
            t.numpy
        )
        for shape, t in graph.inputs
    ]


def cnn_step(
    batch: int = 64, channels: tuple[int, ...] = (1, 16, 32, 64), hidden: int = 128, side: int = 28
) -> Graph:
    """Forward, backward and Adam of the CNN: conv-batchnorm-relu-pool blocks, dropout, two linear layers."""
    r = Recorder()
    x = r.input((batch, channels[0], side, side), name="x")
    target = r.input((batch,), int64, "target")
    mask = r.input((batch, hidden), name="mask")
    seed = r.input((), name="seed")
    size1, root, share = (r.input((), float64, name) for name in ("step_size", "root", "share"))
    shapes: list[tuple[str, tuple[int, ...]]] = []
    blocks = list(zip(channels, channels[1:], strict=False))
    for i, (c, o) in enumerate(blocks):
        shapes += [
            (f"conv{i}.weight", (o, c, 3, 3)),
            (f"conv{i}.bias", (o,)),
            (f"bn{i}.weight", (o,)),
            (f"bn{i}.bias", (o,)),
        ]
    flat = channels[-1] * (side >> len(blocks)) ** 2
    shapes += [
        ("fc1.weight", (hidden, flat)),
        ("fc1.bias", (hidden,)),
        ("fc2.weight", (10, hidden)),
        ("fc2.bias", (10,)),
    ]
    p = {name: r.input(shape, name=name) for name, shape in shapes}
    m = {name: r.input(shape, name=f"{name}.m") for name, shape in shapes}
    v = {name: r.input(shape, name=f"{name}.v") for name, shape in shapes}
    for i, (c, o) in enumerate(blocks):
        x = _block(r, x, p, i, c, o, batch)
    x = r("linear", r("reshape", x, attrs=((batch, flat),)), p["fc1.weight"], p["fc1.bias"])
    x = r("mul", r("relu", x), mask)
    loss = r("cross_entropy", r("linear", x, p["fc2.weight"], p["fc2.bias"]), target)
    first = r("autodiff.grad", loss, seed, *p.values())
    outputs = [loss]
    for k, name in enumerate(p):
        step = r(
            "adam", p[name], first + k, m[name], v[name], size1, root, share, attrs=(0.999, 1e-8, 0.0, False)
        )
        outputs += [step, step + 1, step + 2]
    return r.graph(*outputs)


def _block(r: Recorder, x: int, p: dict[str, int], i: int, c: int, o: int, batch: int) -> int:
    side = r.types[x][0][-1]
    zero = (0, 0, 0, 0)
    padded = r("pad", x, attrs=((0, 0, 1, 1), (0, 0, 1, 1), zero, 0.0))
    grouped = r("reshape", padded, attrs=((batch, 1, c, side + 2, side + 2),))
    kernel = r("reshape", p[f"conv{i}.weight"], attrs=((1, o, c, 3, 3),))
    y = r("reshape", r("conv", grouped, kernel, attrs=((1, 1), (1, 1))), attrs=((batch, o, side, side),))
    bias = r(
        "expand", r("reshape", p[f"conv{i}.bias"], attrs=((1, o, 1, 1),)), attrs=((batch, o, side, side),)
    )
    y = r("add", y, bias)
    y = r("batch_norm", y, p[f"bn{i}.weight"], p[f"bn{i}.bias"], attrs=(1e-5,))
    return r("max_pool", r("relu", y), attrs=((2, 2), (2, 2), (1, 1)))


@contextlib.contextmanager
def graphs_of(found: list[Graph]) -> Iterator[None]:
    """Notes what is computed, on the oracle."""
    before = recorder.state.run

    def run(graph: Graph, arrays: list[Any], *rest: Any, **options: Any) -> list[Any]:
        found.append(graph)
        return driver.run(graph, arrays, *rest, **options)

    recorder.state.run = run
    try:
        with flags.device("numpy"):
            yield
    finally:
        recorder.state.run = before
