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

from xdsl.dialects import arith
from xdsl.dialects.builtin import VectorType, f32
from xdsl.ir import SSAValue

from ..dialects.book.fourier import places, table_length
from .butterflies import Butterflies, Number
from .loop_builder import INDEX, NO_OVERFLOW, vector_of
from .memory_plan import aligned
from .memref_layout import element_bytes

if TYPE_CHECKING:
    from .irregular import _Kernel


def transform(kernel: _Kernel) -> None:
    """The kernel of `dft_parts`."""
    shape = kernel.inputs[0].get_shape()[:-1]
    axis = kernel.axis
    _Transform(kernel, _product(shape[:axis]), shape[axis], _product(shape[axis + 1 :]), _number(kernel, "sign") > 0).write()


def of_real(kernel: _Kernel) -> None:
    """The kernel of `real_dft`: a transform of neighbours as complex numbers, then what makes of it that of real ones."""
    *outer, n = kernel.inputs[0].get_shape()
    _OfReal(kernel, _product(outer), n // 2, 1, False).write()


def to_real(kernel: _Kernel) -> None:
    """The kernel of `dft_to_real`: the same backwards."""
    *outer, m, _ = kernel.inputs[0].get_shape()
    _ToReal(kernel, _product(outer), m - 1, 1, True).write()


def _product(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


def _number(kernel: _Kernel, name: str) -> float:
    return kernel.op.attributes.get(name, kernel.op.properties.get(name)).value.data


@dataclass(frozen=True, slots=True)
class _Stage:
    """One stage: r points, m transforms left, s of results so far; where its roots are."""

    r: int
    m: int
    s: int
    roots: int


@dataclass(frozen=True, slots=True)
class _Scratch:
    re: SSAValue
    im: SSAValue


class _Transform:
    """Transforms of n complex numbers. before, after: whether a pass of its own reads x, writes y."""

    before = after = False

    def __init__(self, kernel: _Kernel, outer: int, n: int, inner: int, exchanged: bool) -> None:
        self.kernel, self.b, self.f = kernel, kernel.b, Butterflies(kernel.b)
        self.outer, self.n, self.inner, self.exchanged = outer, n, inner, exchanged
        self.element = f32 if element_bytes(kernel.element(0)) < 4 else kernel.element(0)
        self.lanes = kernel.target.lanes(element_bytes(self.element))
        self.columns = self.fitting(inner) if inner > 1 else 1
        self.start: SSAValue | None = None  # of the row in x, and in y
        self.to: SSAValue | None = None
        self.scale = float(_number(kernel, "scale"))

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
        for r, m, roots in places(self.n):
            stages.append(_Stage(r, m, s, roots))
            s *= r
        held = aligned(self.n * self.columns * element_bytes(self.element))
        arrays = 2 * min(2, len(stages) - 1 + self.before + self.after)
        if arrays:
            kernel.claim(arrays * held * kernel.target.tasks)
        blocks = -(-self.inner // self.columns)
        with kernel.rows(self.outer * blocks, 8 * self.n * self.columns * len(stages)) as row:
            base = b.index(0) if kernel.task is None else b.scaled(kernel.task, arrays * held)
            parts = [kernel.view(self.element, b.plus(base, k * held), self.n * self.columns) for k in range(arrays)]
            scratch = [_Scratch(*parts[k : k + 2]) for k in range(0, arrays, 2)]
            o, block = b.divided(row, blocks) if blocks > 1 else (row, b.index(0))
            column = b.minimum(b.scaled(block, self.columns), b.index(self.inner - self.columns)) if blocks > 1 else block
            self._start(o, column)
            turn = 0
            if self.before:
                self.prepare(scratch[0])
            for i, stage in enumerate(stages):
                source = None if i == 0 and not self.before else scratch[turn % 2]
                turn += source is not None
                target = None if i == len(stages) - 1 and not self.after else scratch[turn % 2]
                (self._along_rows if stage.s == 1 else self._stage)(stage, source, target)
            if self.after:
                self.complete(scratch[turn % 2])

    def _start(self, o: SSAValue, column: SSAValue) -> None:
        rows = [t.get_shape() for t in (self.kernel.inputs[0], self.kernel.outputs[0])]
        lengths = [_product(shape) // self.outer for shape in rows]
        self.start, self.to = (self.b.add(self.b.scaled(o, length), self.b.scaled(column, 2)) for length in lengths)

    def prepare(self, target: _Scratch) -> None:
        """Reads x."""
        raise NotImplementedError

    def complete(self, source: _Scratch) -> None:
        """Writes y."""
        raise NotImplementedError

    @contextmanager
    def along(self, count: int, width: int) -> Iterator[SSAValue]:
        """Positions `width` apart that cover so many neighbours; the last one is moved back so that it fits."""
        if count == width:
            yield self.b.index(0)
            return
        with self.kernel.loop(0, count, width) as at:
            yield self.b.minimum(at, self.b.index(count - width)) if count % width else at

    # Stages

    def _along_rows(self, stage: _Stage, source: _Scratch | None, target: _Scratch | None) -> None:
        """The first stage of a row: lanes along p."""
        r, m = stage.r, stage.m
        width = self.fitting(m)
        with self.along(m, width) as p:
            points = [lambda k=k: self._point(stage, source, k, p, self.b.index(0), width) for k in range(r)]
            results: dict[int, Number] = {}
            self.f.transform(points, results.__setitem__)
            found = [results[j] for j in range(r)]
            if target is None:
                for j, y in enumerate(found):
                    self.finish(y, self.b.plus(self.to, 2 * j * self.inner), width)
                return
            for j in range(1, r) if m > 1 else ():
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
                    if target is None:
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
        if source is None:
            return self.read(self.kernel.x[0], self.b.add(self.start, self.b.scaled(position, 2 * self.inner)), width)
        at = self.b.add(self.b.scaled(position, stage.s), q)
        return self.load(source.re, at, width), self.load(source.im, at, width)

    def _place(self, position: int, q: SSAValue) -> SSAValue:
        """Where result position + q is in the memory of y; of columns, q counts them, too."""
        if self.columns == 1:
            return self.b.add(self.to, self.b.scaled(self.b.plus(q, position), 2 * self.inner))
        row = self.b.divided(q, self.columns)[0]
        return self.b.add(self.to, self.b.scaled(self.b.plus(row, position // self.columns), 2 * self.inner))

    # Memory

    def load(self, memory: SSAValue, at: SSAValue, width: int) -> SSAValue:
        """One number or several; narrow ones are computed with as float32."""
        value = self.kernel.load(memory, at, width)
        if memory.type.element_type == self.element:
            return value
        return self.b.emit(arith.ExtFOp, (value,), self.element if width == 1 else vector_of(self.element, width))

    def store(self, value: SSAValue, memory: SSAValue, at: SSAValue, width: int) -> None:
        """The inverse of load."""
        held = memory.type.element_type
        if held != self.element:
            value = self.b.emit(arith.TruncFOp, (value,), held if width == 1 else vector_of(held, width))
        self.kernel.store(value, memory, at, width)

    def read(self, memory: SSAValue, at: SSAValue, width: int) -> Number:
        """Complex numbers that lie side by side."""
        low, high = self.load(memory, at, width), self.load(memory, self.b.plus(at, width), width)
        if width > 1:
            low, high = self.b.parted((low, high))
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
        for j, value in enumerate(self.b.riffled(values)):
            self.store(value, memory, self.b.plus(at, j * width), width)


class _Real(_Transform):
    """n complex numbers z that are 2 n real ones: neighbours are real and imaginary part."""

    def roots(self, k: SSAValue, width: int) -> Number:
        """-i * exp(-pi i k / n) for `width` neighbouring k."""
        at = self.b.plus(k, table_length(self.n))
        return self.load(self.kernel.x[1], at, width), self.load(self.kernel.x[1], self.b.plus(at, self.n), width)

    def reversed(self, value: Number) -> Number:
        if not isinstance(value[0].type, VectorType):
            return value
        mask = range(value[0].type.get_shape()[0] - 1, -1, -1)
        return self.b.shuffled(value[0], mask), self.b.shuffled(value[1], mask)

    def mirrored(self, k: SSAValue, width: int) -> SSAValue:
        """Where the numbers n - k, for `width` neighbouring k, begin."""
        last = self.b.index(self.n - width + 1)
        return self.b.emit(arith.SubiOp, (last, k), INDEX, NO_OVERFLOW)

    def inside(self) -> Iterator[tuple[SSAValue, int]]:
        """k from 1 to n - 1, and lanes."""
        if self.n > 1:
            width = self.fitting(self.n - 1)
            with self.along(self.n - 1, width) as at:
                yield self.b.plus(at, 1), width

    def joined(self, a: Number, b: Number, w: Number) -> Number:
        """(a + conj(b)) + (a - conj(b)) * w."""
        f = self.f
        total, (x, y) = (f.add(a[0], b[0]), f.sub(a[1], b[1])), (f.sub(a[0], b[0]), f.add(a[1], b[1]))
        return f.fma(y, f.neg(w[1]), f.fma(x, w[0], total[0])), f.fma(y, w[0], f.fma(x, w[1], total[1]))


class _OfReal(_Real):
    """y[k] = ((z[k] + conj(z[n - k])) + (z[k] - conj(z[n - k])) * root(k)) / 2 of the transform z."""

    after = True

    def complete(self, source: _Scratch) -> None:
        """Writes y."""
        b, f = self.b, self.f
        x, y = self.load(source.re, b.index(0), 1), self.load(source.im, b.index(0), 1)
        zero = f.number(0.0, x)
        self.finish((f.add(x, y), zero), self.to, 1)
        self.finish((f.sub(x, y), zero), b.plus(self.to, 2 * self.n), 1)
        for k, width in self.inside():
            back = self.mirrored(k, width)
            here = self.load(source.re, k, width), self.load(source.im, k, width)
            there = self.reversed((self.load(source.re, back, width), self.load(source.im, back, width)))
            y = self.joined(here, there, self.roots(k, width))
            half = f.number(0.5, y[0])
            self.finish((f.mul(y[0], half), f.mul(y[1], half)), b.add(self.to, b.scaled(k, 2)), width)


class _ToReal(_Real):
    """The transform, by the other sign, of z[k] = (x[k] + conj(x[n - k])) + (x[k] - conj(x[n - k])) * conj(root(k))."""

    before = True

    def prepare(self, target: _Scratch) -> None:
        """Reads x, but for the imaginary parts of its first and last number; keeps z with its parts exchanged."""
        b, f = self.b, self.f
        first, last = self.load(self.kernel.x[0], self.start, 1), self.load(self.kernel.x[0], b.plus(self.start, 2 * self.n), 1)
        self.store(f.add(first, last), target.im, b.index(0), 1)
        self.store(f.sub(first, last), target.re, b.index(0), 1)
        for k, width in self.inside():
            (y, x), (v, u) = (
                self.read(self.kernel.x[0], b.add(self.start, b.scaled(at, 2)), width) for at in (k, self.mirrored(k, width))
            )
            w = self.roots(k, width)
            z = self.joined((x, y), self.reversed((u, v)), (w[0], f.neg(w[1])))
            self.store(z[1], target.re, k, width)
            self.store(z[0], target.im, k, width)
