"""Discrete Fourier transforms of rows or of columns, stage by stage, in an order that leaves results sorted.

A stage does r points at a time, m transforms apart (Stockham's order: Cochran and others, "What is the Fast Fourier Transform?", 1967):

    x[k, p, q]  ->  y[p, j, q] = root(j, p) * sum over k of x[k, p, q] * exp(-2 pi i j k / r)         k, j < r; p < m; q < s

s begins as 1 and grows by r; m ends as 1. Lanes run along q. Rows have one q only in their first stage: there they run along p, and
results are shuffled to where they belong. Columns begin with as many q as there are lanes. Between the first stage and the last one
real and imaginary parts lie in two arrays of the thread's own memory. The other sign is the same with parts exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdsl.dialects.builtin import VectorType
from xdsl.ir import SSAValue

from ..dialects.book.fourier import places
from .butterflies import Butterflies, Number
from .memory_plan import aligned
from .memref_layout import element_bytes

if TYPE_CHECKING:
    from .irregular import _Kernel


def transform(kernel: _Kernel) -> None:
    """The kernel of `dft_parts`."""
    shape = kernel.inputs[0].get_shape()[:-1]
    outer, inner = 1, 1
    for size in shape[: kernel.axis]:
        outer *= size
    for size in shape[kernel.axis + 1 :]:
        inner *= size
    _Transform(kernel, outer, shape[kernel.axis], inner).write()


@dataclass(frozen=True, slots=True)
class _Stage:
    """One stage: r points, m transforms left, s of results so far; where its roots are."""

    r: int
    m: int
    s: int
    roots: int
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class _Scratch:
    re: SSAValue
    im: SSAValue


class _Transform:
    def __init__(self, kernel: _Kernel, outer: int, n: int, inner: int) -> None:
        self.kernel, self.b, self.f = kernel, kernel.b, Butterflies(kernel.b)
        self.outer, self.n, self.inner = outer, n, inner
        self.element = kernel.element(0)
        self.lanes = kernel.target.lanes(element_bytes(self.element))
        self.columns = self.fitting(inner) if inner > 1 else 1
        self.start: SSAValue | None = None
        sign, scale = (kernel.op.attributes.get(k, kernel.op.properties.get(k)).value.data for k in ("sign", "scale"))
        self.exchanged, self.scale = sign > 0, float(scale)

    def fitting(self, count: int) -> int:
        """Lanes used along so many neighbours: all, or the largest power of two that fits."""
        lanes = self.lanes
        while lanes > count:
            lanes //= 2
        return lanes

    def write(self) -> None:
        """All transforms: one iteration does one row, or one vector of columns."""
        kernel, b = self.kernel, self.b
        stages, s = [], self.columns
        found = places(self.n)
        for i, (r, m, roots) in enumerate(found):
            stages.append(_Stage(r, m, s, roots, i == 0, i == len(found) - 1))
            s *= r
        held = aligned(self.n * self.columns * element_bytes(self.element))
        arrays = 2 * min(2, len(stages) - 1)
        if arrays:
            kernel.claim(arrays * held * kernel.target.tasks)
        blocks = -(-self.inner // self.columns)
        with kernel.rows(self.outer * blocks, 8 * self.n * self.columns * len(stages)) as row:
            base = b.index(0) if kernel.task is None else b.scaled(kernel.task, arrays * held)
            parts = [kernel.view(self.element, b.plus(base, k * held), self.n * self.columns) for k in range(arrays)]
            scratch = [_Scratch(*parts[k : k + 2]) for k in range(0, arrays, 2)]
            o, block = b.divided(row, blocks) if blocks > 1 else (row, b.index(0))
            column = b.minimum(b.scaled(block, self.columns), b.index(self.inner - self.columns)) if blocks > 1 else block
            self.start = b.scaled(b.add(b.scaled(o, self.n * self.inner), column), 2)
            for i, stage in enumerate(stages):
                source = scratch[(i - 1) % len(scratch)] if scratch else None
                target = scratch[i % len(scratch)] if scratch else None
                (self._along_rows if stage.s == 1 else self._stage)(stage, source, target)

    @contextmanager
    def along(self, count: int, width: int) -> Iterator[SSAValue]:
        """Positions `width` apart that cover so many neighbours; the last one is moved back so that it fits."""
        if count == width:
            yield self.b.index(0)
            return
        with self.kernel.loop(0, count, width) as at:
            yield self.b.minimum(at, self.b.index(count - width)) if count % width else at

    # Stages

    def _along_rows(self, stage: _Stage, _: _Scratch | None, target: _Scratch | None) -> None:
        """The first stage of a row: lanes along p."""
        r, m = stage.r, stage.m
        width = self.fitting(m)
        with self.along(m, width) as p:
            points = [
                lambda k=k: self.read(self.kernel.x[0], self.b.add(self.start, self.b.scaled(self.b.plus(p, k * m), 2 * self.inner)), width)
                for k in range(r)
            ]
            results: dict[int, Number] = {}
            self.f.transform(points, results.__setitem__)
            found = [results[j] for j in range(r)]
            if stage.last:
                for j, y in enumerate(found):
                    self.finish(y, self.b.plus(self.start, 2 * j * self.inner), width)
                return
            for j in range(1, r):
                at = self.b.plus(p, stage.roots + (j - 1) * m)
                w = self.load(self.kernel.x[1], at, width), self.load(self.kernel.x[1], self.b.plus(at, (r - 1) * m), width)
                found[j] = self.f.product(found[j], w)
            for memory, values in ((target.re, [y[0] for y in found]), (target.im, [y[1] for y in found])):
                self.spread(values, memory, self.b.scaled(p, r), width)

    def _stage(self, stage: _Stage, source: _Scratch | None, target: _Scratch | None) -> None:
        """Any other stage, and all of columns: lanes along q."""
        r, m, s = stage.r, stage.m, stage.s
        width = self.columns if self.columns > 1 else self.fitting(s)
        with self.along(m, 1) as p:
            roots = self._roots(stage, p)
            with self.along(s, width) as q:
                points = [lambda k=k: self._point(stage, source, k, p, q, width) for k in range(r)]

                def done(j: int, y: Number) -> None:
                    if j and roots:
                        y = self.f.product(y, self._wide(roots[j - 1], width))
                    if stage.last:
                        self.finish(y, self._place(j * s, q), width)
                        return
                    to = self.b.add(self.b.scaled(self.b.plus(self.b.scaled(p, r), j), s), q)
                    self.store(y[0], target.re, to, width)
                    self.store(y[1], target.im, to, width)

                self.f.transform(points, done)

    def _roots(self, stage: _Stage, p: SSAValue) -> list[Number]:
        if stage.m == 1:
            return []
        found = []
        for j in range(1, stage.r):
            at = self.b.plus(p, stage.roots + (j - 1) * stage.m)
            imaginary = self.b.plus(at, (stage.r - 1) * stage.m)
            found.append((self.load(self.kernel.x[1], at, 1), self.load(self.kernel.x[1], imaginary, 1)))
        return found

    def _wide(self, w: Number, width: int) -> Number:
        return w if width == 1 else (self.b.broadcast(w[0], width), self.b.broadcast(w[1], width))

    def _point(self, stage: _Stage, source: _Scratch | None, k: int, p: SSAValue, q: SSAValue, width: int) -> Number:
        position = self.b.plus(p, k * stage.m)
        if stage.first:
            return self.read(self.kernel.x[0], self.b.add(self.start, self.b.scaled(position, 2 * self.inner)), width)
        at = self.b.add(self.b.scaled(position, stage.s), q)
        return self.load(source.re, at, width), self.load(source.im, at, width)

    def _place(self, position: int, q: SSAValue) -> SSAValue:
        """Where result position + q is in the memory of x and y; of columns, q counts them, too."""
        if self.columns == 1:
            return self.b.add(self.start, self.b.scaled(self.b.plus(q, position), 2 * self.inner))
        row = self.b.divided(q, self.columns)[0]
        return self.b.add(self.start, self.b.scaled(self.b.plus(row, position // self.columns), 2 * self.inner))

    # Memory

    def load(self, memory: SSAValue, at: SSAValue, width: int) -> SSAValue:
        return self.kernel.load(memory, at, width)

    def store(self, value: SSAValue, memory: SSAValue, at: SSAValue, width: int) -> None:
        self.kernel.store(value, memory, at, width)

    def read(self, memory: SSAValue, at: SSAValue, width: int) -> Number:
        """Complex numbers that lie side by side."""
        low, high = self.load(memory, at, width), self.load(memory, self.b.plus(at, width), width)
        if width > 1:
            low, high = (self.b.shuffled(low, range(k, 2 * width, 2), high) for k in (0, 1))
        return (high, low) if self.exchanged else (low, high)

    def finish(self, y: Number, at: SSAValue, width: int) -> None:
        """Writes results side by side."""
        if self.scale != 1.0:
            scale = self.f.number(self.scale, y[0])
            y = self.f.mul(y[0], scale), self.f.mul(y[1], scale)
        self.spread([y[1], y[0]] if self.exchanged else list(y), self.kernel.y[0], at, width)

    def spread(self, values: Sequence[SSAValue], memory: SSAValue, at: SSAValue, width: int) -> None:
        """Writes lane i of value j to at + i * (number of values) + j."""
        count = len(values)
        if count & (count - 1) or not isinstance(values[0].type, VectorType):
            for j, value in enumerate(values):
                for i in range(width):
                    lane = value if width == 1 else self.b.extract(value, i)
                    self.store(lane, memory, self.b.plus(at, i * count + j), 1)
            return
        for j, value in enumerate(self.riffled(values, width)):
            self.store(value, memory, self.b.plus(at, j * width), width)

    def riffled(self, values: Sequence[SSAValue], width: int) -> list[SSAValue]:
        """The lanes of a power of two of vectors, first ones first, second ones next, ...: halves are riffled again and again."""
        low = [lane // 2 + width * (lane % 2) for lane in range(width)]
        high = [lane + width // 2 for lane in low]
        values, rounds = list(values), len(values).bit_length() - 1
        for _ in range(rounds):
            half = len(values) // 2
            pairs = zip(values[:half], values[half:], strict=True)
            values = [self.b.shuffled(x, mask, y) for x, y in pairs for mask in (low, high)]
        return values
