"""Copies a side of a contraction as tile registers want it: blocks of 64 bytes of depths, groups of them that are multiplied together.

    rows      packed[slot][tile][block][part][row][depth]
    columns   packed[slot][panel][block][part][vector][depth / group][column][depth % group]

A block is cut from one loop of the reduction; behind that loop's last depth are zeros. A unit is a group of depths of one row or
column, 32 bits: two bf16, four bytes. A block of 16 x 16 units is read along whichever direction its elements are neighbours,
and transposed in registers where that is not the direction wanted. Floats that do not fit 16 bits may be copied as the sum of two that do (`parts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, vector
from xdsl.dialects.builtin import BFloat16Type, DenseArrayBase, IntegerType, i32, i64
from xdsl.ir import Attribute, SSAValue

from .contraction_plan import Panel
from .loop_writer import Address, LoopWriter, bytes_of, number_attr
from .packing import Convert, Packing, transposed

UNITS = 16
"""Units of a block, rows of a tile, columns of a vector."""


@dataclass(frozen=True)
class TilePacking(Packing):
    """``blocked``: number of the reduction loop that blocks are cut from. ``of_rows``: the form of the rows' side. ``raw``: elements
    are copied as they are, else converted first.
    """

    blocked: int = 0
    of_rows: bool = False
    raw: bool = True
    parts: int = 1

    @property
    def form(self) -> str:
        return f"blocks {self.blocked} {self.parts}"

    @property
    def group(self) -> int:
        """Depths in a unit."""
        return 4 // bytes_of(self.element)

    @property
    def depth(self) -> int:
        """Depths in a block."""
        return UNITS * self.group

    @property
    def sizes(self) -> list[int]:
        """Steps of each reduction loop: blocks of the one they are cut from."""
        return [-(-d.size // self.depth) if i == self.blocked else d.size for i, d in enumerate(self.reduction)]

    @property
    def steps(self) -> int:
        return prod(self.sizes) * self.depth * self.parts

    def step_strides(self, width: int) -> list[int]:
        sizes = self.sizes
        return [width * self.depth * self.parts * prod(sizes[i + 1 :]) for i in range(len(sizes))]

    def write_panel(
        self, w: LoopWriter, target: SSAValue, convert: Convert, panel: Panel, source: Address, packed: Address
    ) -> None:
        _BlockWriter(w, self, target, convert, panel).write(source, packed)


class _BlockWriter:
    """Writes the blocks of one panel."""

    def __init__(self, w: LoopWriter, pack: TilePacking, target: SSAValue, convert: Convert, panel: Panel) -> None:
        self.w, self.pack, self.convert = w, pack, convert
        self.target = w.bits(target)
        self.source = w.bits(pack.source) if pack.raw else pack.source
        self.bits = IntegerType(8 * bytes_of(pack.element))
        self.width = panel.vectors * pack.lanes
        self.valid = self.width - pack.lanes + panel.tail
        self.along = pack.reduction[pack.blocked]
        self.column, self.step = pack.columns.strides[1], self.along.strides[1]
        self.strides = pack.step_strides(self.width)

    def write(self, source: Address, packed: Address) -> None:
        others = [i for i in range(len(self.pack.reduction)) if i != self.pack.blocked]
        self._loops(others, source, packed)

    def _loops(self, dims: Sequence[int], source: Address, packed: Address) -> None:
        w, depth, stride = self.w, self.pack.depth, self.strides[self.pack.blocked]
        if dims:
            dim = self.pack.reduction[dims[0]]
            with w.loop(0, dim.size) as loop:
                there = w.advance(packed, loop.counter, self.strides[dims[0]])
                self._loops(dims[1:], w.advance(source, loop.counter, dim.strides[1]), there)
            return
        full, rest = divmod(self.along.size, depth)
        if full:
            with w.tasks(full, False) as block:
                self._columns(w.advance(source, block, depth * self.step), w.advance(packed, block, stride), depth)
        if rest:
            self._columns(source + full * depth * self.step, packed + full * stride, rest)

    def _columns(self, source: Address, packed: Address, depths: int) -> None:
        """All columns (or rows) of a block, 16 at a time."""
        w, full = self.w, self.valid // UNITS
        size = UNITS * self.pack.depth
        if full:
            with w.tasks(full, False) as group:
                self._block(w.advance(source, group, UNITS * self.column), w.advance(packed, group, size), UNITS, depths)
        if self.valid % UNITS:
            self._block(source + full * UNITS * self.column, packed + full * size, self.valid % UNITS, depths)

    def _block(self, source: Address, packed: Address, count: int, depths: int) -> None:
        """``count`` columns of ``depths`` steps; what they do not fill holds zeros."""
        along_depth = self.step == 1 and (depths == self.pack.depth or self.along.size >= self.pack.depth)
        along_columns = self.column == 1 and (count == UNITS or self.pack.columns.size >= UNITS)
        if along_depth:
            lines = [self._by_depth(source + c * self.column, depths) for c in range(count)]
        elif along_columns:
            lines = [self._by_columns(source, u, count, depths) for u in range(UNITS)]
        else:
            self._one_by_one(source, packed, count, depths)
            return
        zero = self.w.splat(number_attr(0, i32), UNITS)
        for part in range(self.pack.parts):
            rows = [line[part] for line in lines] + [zero] * (UNITS - len(lines))
            rows = rows if along_depth == self.pack.of_rows else transposed(self.w, rows)
            stored = count if self.pack.of_rows else UNITS
            for i, row in enumerate(rows[:stored]):
                at = packed + part * self.width * self.pack.depth + i * self.pack.depth
                self.w.store_vector(self._cast(row, self.bits, self.pack.depth), self.target, at)

    # -- whole vectors, as 16 units for each part ----------------------------------------------------

    def _by_depth(self, source: Address, depths: int) -> list[SSAValue]:
        """The units of one column."""
        depth = self.pack.depth
        back = depth - depths  # the last whole vector, moved to the front
        pieces = [self._read(source + (first - back)) for first in range(0, depth, UNITS)] if not self.pack.raw else []
        if self.pack.raw:
            values = [self.w.load_vector(self.source, source + -back, depth)]
        else:
            values = [self._joined([piece[part] for piece in pieces]) for part in range(self.pack.parts)]
        return [self._cast(self._shifted(v, back), i32, UNITS) for v in values]

    def _by_columns(self, source: Address, unit: int, count: int, depths: int) -> list[SSAValue]:
        """One unit of each of 16 columns."""
        back = UNITS - count
        steps = [unit * self.pack.group + g for g in range(self.pack.group)]
        zero = [self.w.splat(number_attr(0, self.bits), UNITS)] * self.pack.parts
        read = [self._read(source + (k * self.step - back)) if k < depths else zero for k in steps]
        return [self._woven([self._shifted(r[part], back) for r in read]) for part in range(self.pack.parts)]

    def _read(self, at: Address) -> list[SSAValue]:
        """16 neighbouring elements as bits, for each part."""
        value = self.w.load_vector(self.source, at, UNITS)
        if self.pack.raw:
            return [value]
        return [self._as_bits(part) for part in self._parts(self.convert(value))]

    def _parts(self, value: SSAValue) -> list[SSAValue]:
        """A value as the sum of so many 16-bit floats, the largest first: each is what is left of it, rounded."""
        w = self.w
        half = BFloat16Type()
        if _like(value, half) == value.type:
            return [value]
        out: list[SSAValue] = []
        for part in range(self.pack.parts):
            out.append(w.value(arith.TruncFOp.create(operands=(value,), result_types=(_like(value, half),))))
            if part + 1 < self.pack.parts:
                wide = w.value(arith.ExtFOp.create(operands=(out[-1],), result_types=(value.type,)))
                value = w.binary(arith.SubfOp, value, wide)
        return out

    def _as_bits(self, value: SSAValue) -> SSAValue:
        return self.w.value(arith.BitcastOp.create(operands=(value,), result_types=(_like(value, self.bits),)))

    def _joined(self, pieces: list[SSAValue]) -> SSAValue:
        """Vectors one behind the other."""
        while len(pieces) > 1:
            size = pieces[0].type.get_shape()[0]  # type: ignore[union-attr]  # a vector
            pieces = [self._shuffled(a, b, list(range(2 * size))) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        return pieces[0]

    def _woven(self, lanes: list[SSAValue]) -> SSAValue:
        """The vectors' elements in turn, as units."""
        while len(lanes) > 1:
            pairs = zip(lanes[::2], lanes[1::2], strict=True)
            mask = [e for i in range(UNITS) for e in (i, UNITS + i)]
            joined = [self._shuffled(a, b, mask) for a, b in pairs]
            width = 2 * lanes[0].type.element_type.bitwidth  # type: ignore[union-attr]  # a vector
            lanes = [self._cast(v, IntegerType(width), UNITS) for v in joined]
        return lanes[0]

    def _shifted(self, value: SSAValue, back: int) -> SSAValue:
        """Lanes moved to the front, zeros behind them."""
        if not back:
            return value
        kind = value.type
        lanes = kind.get_shape()[0]  # type: ignore[union-attr]  # a vector
        zero = self.w.splat(number_attr(0, kind.element_type), lanes)  # type: ignore[union-attr]
        return self._shuffled(value, zero, [i + back for i in range(lanes)])

    def _shuffled(self, a: SSAValue, b: SSAValue, mask: list[int]) -> SSAValue:
        kind = self.w.vector_type(a.type.element_type, len(mask))  # type: ignore[union-attr]  # a vector
        places = {"mask": DenseArrayBase.from_list(i64, mask)}
        return self.w.value(vector.ShuffleOp.create(operands=(a, b), result_types=(kind,), properties=places))

    def _cast(self, value: SSAValue, element: Attribute, lanes: int) -> SSAValue:
        kind = self.w.vector_type(element, lanes)
        return value if value.type == kind else self.w.value(vector.BitcastOp.create(operands=(value,), result_types=(kind,)))

    # -- element by element --------------------------------------------------------------------------

    def _one_by_one(self, source: Address, packed: Address, count: int, depths: int) -> None:
        w, depth, group = self.w, self.pack.depth, self.pack.group
        zero = w.splat(number_attr(0, self.bits), depth)
        by_part = self.width * depth
        if count < UNITS or depths < depth:
            for part in range(self.pack.parts):
                with w.loop(0, count if self.pack.of_rows else UNITS) as loop:
                    w.store_vector(zero, self.target, w.advance(packed + part * by_part, loop.counter, depth))

        def copy(from_: Address, to: Address) -> None:
            value = w.load(self.source, from_)
            parts = [value] if self.pack.raw else [self._as_bits(part) for part in self._parts(self.convert(value))]
            for number, part in enumerate(parts):
                w.store(part, self.target, to + number * by_part)

        def over(sizes: Sequence[tuple[int, int, int]], from_: Address, to: Address) -> None:
            if not sizes:
                copy(from_, to)
                return
            size, first, second = sizes[0]
            with w.loop(0, size) as loop:
                over(sizes[1:], w.advance(from_, loop.counter, first), w.advance(to, loop.counter, second))

        if self.pack.of_rows:
            over(((count, self.column, depth), (depths, self.step, 1)), source, packed)
            return
        units, rest = divmod(depths, group)
        column = (count, self.column, group)
        if units:
            over(((units, group * self.step, depth), column, (group, self.step, 1)), source, packed)
        if rest:
            over((column, (rest, self.step, 1)), source + units * group * self.step, packed + units * depth)


def _like(value: SSAValue, element: Attribute) -> Attribute:
    """The element type, as a vector where the value is one."""
    shape = getattr(value.type, "shape", None)
    return element if shape is None else type(value.type)(element, shape)  # type: ignore[call-arg]  # a vector type
