"""Random programs over the book: elementwise ops, views, folds, products and placements on small shapes."""

from __future__ import annotations

import random

from lamina.dialects.graph import Graph
from lamina.dialects.types import float32, int64

from graphs import Recorder

UNARY = ("neg", "exp", "relu", "tanh", "abs", "sigmoid")
BINARY = ("add", "sub", "mul", "maximum", "div")


class Program:
    """Grows a graph step by step; every value is float32."""

    def __init__(self, seed: int, steps: int = 14) -> None:
        self.random = random.Random(seed)
        self.recorder = Recorder()
        shapes = [self._shape() for _ in range(3)]
        self.values = [self.recorder.input(s) for s in shapes]
        self.index = self.recorder.input((self.random.randint(1, 4),), int64)
        moves = (
            self.unary, self.binary, self.binary, self.broadcast, self.fold, self.normalise, self.view,
            self.place, self.product, self.take, self.pool,
        )  # fmt: skip
        for _ in range(steps):
            self.random.choice(moves)(self.random.choice(self.values[-6:]))

    def graph(self) -> Graph:
        """The program; its outputs are some of its values, the last one among them."""
        made = [v for v in self.values if v >= len(self.recorder.inputs)] or self.values
        chosen = sorted({*self.random.sample(made, min(3, len(made))), made[-1]})
        return self.recorder.graph(*chosen)

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.random.choice((1, 2, 3, 4)) for _ in range(self.random.randint(1, 4)))

    def shape(self, x: int) -> tuple[int, ...]:
        return self.recorder.types[x][0]

    def add(self, op: str, *operands: int, attrs: tuple = ()) -> int:
        if len(self.recorder.types) and all(n > 0 for o in operands for n in self.shape(o)):
            self.values.append(self.recorder(op, *operands, attrs=attrs))
        return self.values[-1]

    def unary(self, x: int) -> None:
        self.add(self.random.choice(UNARY), x)

    def binary(self, x: int) -> None:
        others = [v for v in self.values if self.shape(v) == self.shape(x)]
        self.add(self.random.choice(BINARY), x, self.random.choice(others))

    def broadcast(self, x: int) -> None:
        to = tuple(self.random.choice((2, 3)) if n == 1 else n for n in self.shape(x))
        self.add("expand", x, attrs=(to,))

    def fold(self, x: int) -> None:
        rank = len(self.shape(x))
        axes = tuple(sorted(self.random.sample(range(rank), self.random.randint(1, rank)))) if rank else ()
        self.add(self.random.choice(("sum", "max", "min")), x, attrs=(axes,))

    def normalise(self, x: int) -> None:
        """A fold, then something with it at every place it was made of: rows."""
        rank = len(self.shape(x))
        axes = (rank - 1,) if rank else ()
        m = self.add("max", x, attrs=(axes,))
        if self.recorder.types[m][0] != tuple(1 if k in axes else n for k, n in enumerate(self.shape(x))):
            return
        self.add("exp", self.add("sub", x, self.add("expand", m, attrs=(self.shape(x),))))

    def view(self, x: int) -> None:
        shape, r = self.shape(x), self.random
        rank = len(shape)
        kind = r.choice(("permute", "flip", "slice", "merge", "split", "window"))
        if kind == "permute":
            self.add("permute", x, attrs=(tuple(r.sample(range(rank), rank)),))
        elif kind == "flip" and rank:
            self.add("flip", x, attrs=((r.randrange(rank),),))
        elif kind == "slice":
            start = tuple(r.randint(0, n - 1) for n in shape)
            step = tuple(r.randint(1, 2) for _ in shape)
            reach = [(n - a - 1) // k + 1 for n, a, k in zip(shape, start, step, strict=True)]
            size = tuple(r.randint(1, n) for n in reach)
            self.add("slice", x, attrs=(start, size, step))
        elif kind == "merge" and rank > 1:
            k = r.randrange(rank - 1)
            self.add("reshape", x, attrs=(shape[:k] + (shape[k] * shape[k + 1],) + shape[k + 2 :],))
        elif kind == "split" and rank:
            k = r.randrange(rank)
            parts = (2, shape[k] // 2) if shape[k] % 2 == 0 else (1, shape[k])
            self.add("reshape", x, attrs=(shape[:k] + parts + shape[k + 1 :],))
        elif kind == "window" and rank and rank < 4:
            u = r.randint(1, shape[-1])
            self.add("window", x, attrs=((u,), (r.randint(1, 2),), (1,)))

    def pool(self, x: int) -> None:
        shape, r = self.shape(x), self.random
        if not shape or len(shape) > 4:
            return
        u, stride = r.randint(1, shape[-1]), r.randint(1, 3)
        w = self.add("window", x, attrs=((u,), (stride,), (1,)))
        if r.random() < 0.5:
            self.add("max", w, attrs=((len(shape),),))
        self.add("unwindow", self.add("tanh", w), attrs=(shape[-1:], (u,), (stride,), (1,)))

    def place(self, x: int) -> None:
        shape, r = self.shape(x), self.random
        kind = r.choice(("pad", "pad", "concat", "update"))
        if kind == "pad":
            low, high = (tuple(r.randint(-(n > 2), 2) for n in shape) for _ in range(2))
            interior = tuple(r.randint(0, 1) for _ in shape)
            self.add("pad", x, attrs=(low, high, interior, float(r.randint(-1, 1))))
        elif kind == "concat" and shape:
            self.add("concat", x, x, attrs=(r.randrange(len(shape)),))
        elif kind == "update":
            start, half = (0,) * len(shape), tuple((n + 1) // 2 for n in shape)
            y = self.add("slice", x, attrs=(start, half, (1,) * len(shape)))
            step = tuple(r.randint(1, 2) if n > 2 else 1 for n in shape)
            self.add("update", x, self.add("neg", y), attrs=(start, step))

    def product(self, x: int) -> None:
        if len(self.shape(x)) < 2:
            return
        *outer, m, k = self.shape(x)
        other = self.add("permute", x, attrs=((*range(len(outer)), len(outer) + 1, len(outer)),))
        y = self.add("matmul", x, other)
        if self.random.random() < 0.5:
            self.add("relu", self.add("mul", y, y))

    def take(self, x: int) -> None:
        if self.shape(x):
            axis = self.random.randrange(len(self.shape(x)))
            self.add("take", x, self.index, attrs=(axis,))
