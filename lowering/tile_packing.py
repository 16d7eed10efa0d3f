"""Copies a side of a contraction whose depths are multiplied in groups, words of 32 bits: two numbers of 16 bits, four bytes.

    for tile registers   rows      packed[slot][tile][block][part][row][depth]
                         columns   packed[slot][panel][block][part][vector][word][column][depth % group]
    for vectors          rows      packed[slot][row][other loops][depth]
                         columns   packed[slot][panel][word][column][depth % group]

Words are cut from one loop of the reduction; behind that loop's last depth are zeros: to the end of the last block where its size is known at the
call only, when what a block has of depths and columns is read under masks. A block of 16 x 16 words (as many as a vector has) is
read along whichever direction its elements are neighbours, and transposed in registers where that is not the direction wanted. Floats
that do not fit 16 bits may be copied as the sum of two that do (`parts`); bytes may get the other sign (`biased`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, math, vector
from xdsl.dialects.builtin import BFloat16Type, DenseArrayBase, IntegerAttr, IntegerType, f32, i1, i32, i64
from xdsl.ir import Attribute, SSAValue

from ..dialects.sizes import Size, same
from .contraction_covers import Panel
from .loop_writer import Address, LoopWriter, bytes_of, number_attr
from .packing import Convert, Packing, transposed

Count = int | SSAValue
"""Of lanes or of steps; a value where it is known at the call only."""

UNITS = 16
"""Words of a block, rows of a tile, columns of a vector."""

HALF_BOUND = (2.0 - 2.0**-8) * 2.0**127
"""The least number that rounds to infinity as bf16."""

FAST_NONE = {"fastmath": arith.FastMathFlagsAttr("none")}
LESS = {"predicate": IntegerAttr(4, i64), **FAST_NONE}


@dataclass(frozen=True)
class TilePacking(Packing):
    """``blocked``: number of the reduction loop that words are cut from. ``of_rows``: the form of the rows' side. ``raw``: elements
    are copied as they are, else converted first. ``in_blocks``: the form for tile registers. ``words``: of each side of a block. ``least``: words that
    a row has, and multiples of which it fills, where it is not in blocks.
    """

    blocked: int = 0
    of_rows: bool = False
    raw: bool = True
    parts: int = 1
    biased: bool = False
    in_blocks: bool = True
    words: int = UNITS
    least: int = 1

    @property
    def form(self) -> str:
        return f"{'blocks' if self.in_blocks else 'words'} {self.blocked} {self.parts}"

    @property
    def group(self) -> int:
        """Depths in a word."""
        return 4 // bytes_of(self.element)

    @property
    def depth(self) -> int:
        """Depths in a block."""
        return self.words * self.group

    @property
    def sizes(self) -> list[int]:
        """Steps of each reduction loop in the copy: blocks or words of the one they are cut from, of rows as many as vectors are stored."""
        along = self.reduction[self.blocked].size
        steps = -(-along // self.depth) * (1 if self.in_blocks else self.words) if self.in_blocks or isinstance(along, Size) else -(-along // self.group)
        steps = row_words(along, self.group, self.words, self.least) if self.of_rows and not self.in_blocks else steps
        return [steps if i == self.blocked else d.size for i, d in enumerate(self.reduction)]

    @property
    def steps(self) -> int:
        return prod(self.sizes) * (self.depth if self.in_blocks else self.group) * self.parts

    @property
    def row_stride(self) -> int:
        return 1 if self.in_blocks else self.steps

    def step_strides(self, width: int) -> list[int]:
        sizes, step = self.sizes, (self.depth if self.in_blocks else self.group) * self.parts
        if self.in_blocks or not self.of_rows:
            return [width * step * prod(sizes[i + 1 :]) for i in range(len(sizes))]
        inner = sizes.pop(self.blocked)  # a row's words are neighbours, whatever loop they are cut from
        others = [step * inner * prod(sizes[i + 1 :]) for i in range(len(sizes))]
        return [*others[: self.blocked], step, *others[self.blocked :]]

    def write_panel(
        self, w: LoopWriter, target: SSAValue, convert: Convert, panel: Panel, source: Address, packed: Address, number: SSAValue
    ) -> None:
        _BlockWriter(w, self, target, convert, panel, self.filled(w, panel, number)).write(source, packed)


def row_words(depths: int | Size, group: int, words: int, least: int = 1) -> int:
    """Words of a row in the copy: whole vectors of so many ``words``, and behind them one of a power of two (and at least so many) that
    holds the rest, or a whole one where that is known at the call only."""
    if isinstance(depths, Size):
        return -(-depths // (group * words)) * words
    full, rest = divmod(-(-depths // group), words)
    return full * words + (max(least, 1 << (rest - 1).bit_length()) if rest else 0)


class _BlockWriter:
    """Writes the blocks of one panel. ``filled``: lanes of its last vector that are columns."""

    def __init__(self, w: LoopWriter, pack: TilePacking, target: SSAValue, convert: Convert, panel: Panel, filled: Count) -> None:
        self.w, self.pack, self.convert, self.panel = w, pack, convert, panel
        self.target = w.bits(target)
        self.source = w.bits(pack.source) if pack.raw else pack.source
        self.bits = IntegerType(8 * bytes_of(pack.element))
        self.width = panel.vectors * pack.lanes
        self.filled, self.valid = filled, self.width - pack.lanes + panel.tail
        self.along = pack.reduction[pack.blocked]
        self.column, self.step = pack.columns.strides[1], self.along.strides[1]
        self.strides = pack.step_strides(panel.near * pack.lanes)
        self.words = pack.words
        # Elements of the copy from one block to the next along the depths, to the next columns, and from one vector of a block to the next.
        along = self.strides[pack.blocked]
        self.next_block = along if pack.in_blocks else self.words * along
        if pack.in_blocks:
            self.next_columns, self.next_line = self.words * pack.depth, pack.depth
        else:
            self.next_columns = self.words * (pack.steps if pack.of_rows else pack.group)
            self.next_line = pack.steps if pack.of_rows else along

    def write(self, source: Address, packed: Address) -> None:
        others = [i for i in range(len(self.pack.reduction)) if i != self.pack.blocked]
        self._loops(others, source, packed)

    def _loops(self, dims: Sequence[int], source: Address, packed: Address) -> None:
        w, depth, stride = self.w, self.pack.depth, self.next_block
        if dims:
            dim = self.pack.reduction[dims[0]]
            with w.loop(0, dim.size) as loop:
                there = w.advance(packed, loop.counter, self.strides[dims[0]])
                self._loops(dims[1:], w.advance(source, loop.counter, dim.strides[1]), there)
            return
        full, rest = divmod(self.along.size, depth)
        if not same(full, 0):
            with w.tasks(full, False) as block:
                self._columns(w.advance(source, block, depth * self.step), w.advance(packed, block, stride), depth)
        if isinstance(rest, Size):
            with w.loop(full, -(-self.along.size // depth)) as block:
                self._columns(w.advance(source, block.counter, depth * self.step), w.advance(packed, block.counter, stride), w.index(rest))
        elif rest:
            self._columns(source + full * depth * self.step, packed + full * stride, rest)

    def _columns(self, source: Address, packed: Address, depths: Count) -> None:
        """All columns (or rows) of a block, as many at a time as a vector has words."""
        w, many, size, run = self.w, self.words, self.next_columns, self.panel.run
        between = run * (self.pack.lanes * self.pack.steps - size)  # what lies between the runs, beside their vectors
        if isinstance(self.filled, SSAValue):
            self._block(source, packed, self.filled, depths)
            return
        full, rest = divmod(self.valid, many)
        if full:
            with w.tasks(full, False) as group:
                there = w.advance(packed, group, size)
                there = w.advance(there, w.divided(group, run), between) if run else there
                self._block(w.advance(source, group, many * self.column), there, many, depths)
        if rest:
            there = packed + (full * size + (full // run * between if run else 0))
            self._block(source + full * many * self.column, there, rest, depths)

    def _stored(self, count: int, depths: Count) -> int:
        """Vectors of a block that are stored: of all columns where those are a vector's."""
        if self.pack.of_rows:
            return count
        return self.words if self.pack.in_blocks or isinstance(depths, SSAValue) else -(-depths // self.pack.group)

    def _block(self, source: Address, packed: Address, count: Count, depths: Count) -> None:
        """``count`` columns of ``depths`` steps; what they do not fill holds zeros, or in lanes of columns known at the call only, what nobody asks for."""
        masked = isinstance(depths, SSAValue)
        along_depth = same(self.step, 1) and (masked or depths == self.pack.depth or self.along.size >= self.pack.depth)
        back = self._back(count) if same(self.column, 1) else None
        if along_depth:
            lines = [self._by_depth(place, depths) for place in self._places(source, count)]
        elif back is not None:
            self.lanes = count
            lines = [self._by_columns(source, u, count, back, depths) for u in range(self.words)]
        else:
            self._one_by_one(source, packed, count, depths)
            return
        zero = self.w.splat(number_attr(0, i32), self.words)
        for part in range(self.pack.parts):
            rows = [line[part] for line in lines] + [zero] * (self.words - len(lines))
            rows = rows if along_depth == self.pack.of_rows else transposed(self.w, rows)
            for i, row in enumerate(rows[: self._stored(count, depths)]):
                row = self._other_sign(row) if self.pack.biased else row
                at = packed + part * self.width * self.pack.depth + i * self.next_line
                self.w.store_vector(self._cut(self._cast(row, self.bits, self.pack.depth), self._line(depths)), self.target, at)

    def _places(self, source: Address, count: Count) -> list[Address]:
        """Of a block's columns; where their number is known at the call only, of the last one for those behind it."""
        if not isinstance(count, SSAValue):
            return [source + c * self.column for c in range(count)]
        w, last = self.w, self.w.plus(count, -1)
        return [w.advance(source, w.binary(arith.MinSIOp, w.index(c), last), self.column) for c in range(self.words)]

    def _line(self, depths: Count) -> int:
        """Elements of a vector that is stored: all of them, but at the end of a row."""
        pack = self.pack
        if isinstance(depths, SSAValue) or pack.in_blocks or not pack.of_rows:
            return pack.depth
        return row_words(depths, pack.group, pack.words, pack.least) * pack.group

    def _cut(self, value: SSAValue, lanes: int) -> SSAValue:
        return value if lanes == self.pack.depth else self._shuffled(value, value, list(range(lanes)))

    def _other_sign(self, value: SSAValue) -> SSAValue:
        """Bytes with 128 added, as words or one by one."""
        if isinstance(value.type, IntegerType):
            return self.w.binary(arith.XOrIOp, value, self.w.scalar(-128, value.type))
        return self.w.binary(arith.XOrIOp, value, self.w.splat(number_attr(-0x7F7F7F80, i32), self.words))

    def _back(self, count: Count) -> int | None:
        """How many columns before the first of a block that has fewer than a vector its vector begins; None where all of them reach beyond
        the matrix. What is read behind a block of rows is not stored. Where columns end is known at the call only: no more than there are are read.
        """
        if isinstance(count, SSAValue) or isinstance(self.pack.columns.size, Size):
            return 0
        back, first = self.words - count, self.panel.start * self.pack.lanes + self.valid // self.words * self.words
        last = first + (self.panel.count - 1) * self.width
        if not back or (self.pack.of_rows and last + self.words <= self.pack.columns.size):
            return 0
        return back if first >= back else None

    # -- whole vectors, as words for each part -------------------------------------------------------

    def _by_depth(self, source: Address, depths: Count) -> list[SSAValue]:
        """The words of one column."""
        depth = self.pack.depth
        back = 0 if isinstance(depths, SSAValue) else depth - depths  # the last whole vector, moved to the front
        if self.pack.raw:
            values = [self._loaded(source + -back, depth, depths)]
        else:
            pieces = [self._read(source + (first - back), self._beyond(depths, first)) for first in range(0, depth, self.words)]
            values = [self._joined([piece[part] for piece in pieces]) for part in range(self.pack.parts)]
        return [self._cast(self._shifted(v, back), i32, self.words) for v in values]

    def _by_columns(self, source: Address, unit: int, count: Count, back: int, depths: Count) -> list[SSAValue]:
        """One word of each of a vector's columns, read from ``back`` columns before."""
        steps = [unit * self.pack.group + g for g in range(self.pack.group)]
        zero = [self.w.splat(number_attr(0, self.bits), self.words)] * self.pack.parts
        masked = isinstance(depths, SSAValue)
        lanes = count if isinstance(count, SSAValue) else count + back
        read = [self._read(source + (k * self.step - back), self._present(lanes, k, depths)) if masked or k < depths else zero for k in steps]
        return [self._woven([self._shifted(r[part], back) for r in read]) for part in range(self.pack.parts)]

    def _present(self, count: Count, k: int, depths: Count) -> Count:
        """How many of a vector's columns there are at step ``k`` of a block; all of them also where what is read behind the last one is there."""
        w = self.w
        if not isinstance(depths, SSAValue):
            return w.index(count) if isinstance(self.pack.columns.size, Size) and not isinstance(count, SSAValue) and count < self.words else count
        most = count if isinstance(count, SSAValue) else w.index(count)
        return w.binary(arith.MinSIOp, most, w.times(self._beyond(depths, k), self.words))

    def _beyond(self, count: Count, first: int) -> Count:
        """How many of ``count`` there are from ``first`` on."""
        if not isinstance(count, SSAValue):
            return count - first
        return self.w.binary(arith.MaxSIOp, self.w.plus(count, -first), self.w.index(0))

    def _loaded(self, at: Address, lanes: int, count: Count) -> SSAValue:
        """So many neighbouring elements; zeros behind the first ``count`` where that is known at the call only."""
        if isinstance(count, SSAValue):
            return self.w.load_part(self.source, at, lanes, count, 0)
        return self.w.load_vector(self.source, at, lanes)

    def _read(self, at: Address, count: Count) -> list[SSAValue]:
        """As many neighbouring elements as a block has words, for each part."""
        value = self._loaded(at, self.words, count)
        if self.pack.raw:
            return [value]
        return [self._as_bits(part) for part in self._parts(self.convert(value))]

    def _parts(self, value: SSAValue) -> list[SSAValue]:
        """A value as the sum of so many 16-bit floats, the largest first: each is what is left of it, rounded.

        What no such float is near enough to (infinities, what is not a number) is its last part, with its sign alone as the first: of the
        products that are added none is infinity times zero then, or one infinity less another, unless the product is.
        """
        w = self.w
        half = BFloat16Type()
        if _like(value, half) == value.type or _like(value, self.bits) == value.type:
            return [value]
        out: list[SSAValue] = []
        for part in range(self.pack.parts):
            held = self._bounded(value) if part + 1 < self.pack.parts else value
            out.append(w.value(arith.TruncFOp.create(operands=(held,), result_types=(_like(value, half),))))
            if part + 1 < self.pack.parts:
                wide = w.value(arith.ExtFOp.create(operands=(out[-1],), result_types=(value.type,)))
                value = w.binary(arith.SubfOp, value, wide)
        return out

    def _bounded(self, value: SSAValue) -> SSAValue:
        """The value where a 16-bit float is near it, else 1 with its sign."""
        w = self.w
        lanes = getattr(value.type, "get_shape", lambda: (0,))()[0]

        def number(x: float) -> SSAValue:
            return w.splat(number_attr(x, f32), lanes) if lanes else w.scalar(x, f32)

        size = w.value(math.AbsFOp.create(operands=(value,), result_types=(value.type,), properties=FAST_NONE))
        near = w.value(arith.CmpfOp.create(operands=(size, number(HALF_BOUND)), result_types=(_like(value, i1),), properties=LESS))
        sign = w.value(math.CopySignOp.create(operands=(number(1.0), value), result_types=(value.type,), properties=FAST_NONE))
        return w.value(arith.SelectOp.create(operands=(near, value, sign), result_types=(value.type,)))

    def _as_bits(self, value: SSAValue) -> SSAValue:
        if value.type == _like(value, self.bits):
            return value
        return self.w.value(arith.BitcastOp.create(operands=(value,), result_types=(_like(value, self.bits),)))

    def _joined(self, pieces: list[SSAValue]) -> SSAValue:
        """Vectors one behind the other."""
        while len(pieces) > 1:
            size = pieces[0].type.get_shape()[0]  # type: ignore[union-attr]  # a vector
            pieces = [self._shuffled(a, b, list(range(2 * size))) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        return pieces[0]

    def _woven(self, lanes: list[SSAValue]) -> SSAValue:
        """The vectors' elements in turn, as words."""
        while len(lanes) > 1:
            pairs = zip(lanes[::2], lanes[1::2], strict=True)
            mask = [e for i in range(self.words) for e in (i, self.words + i)]
            joined = [self._shuffled(a, b, mask) for a, b in pairs]
            width = 2 * lanes[0].type.element_type.bitwidth  # type: ignore[union-attr]  # a vector
            lanes = [self._cast(v, IntegerType(width), self.words) for v in joined]
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

    def _one_by_one(self, source: Address, packed: Address, count: Count, depths: Count) -> None:
        w, depth, group, line = self.w, self.pack.depth, self.pack.group, self.next_line
        zero = w.splat(number_attr(0, self.bits), self._line(depths))
        by_part = self.width * depth
        if isinstance(count, SSAValue) or isinstance(depths, SSAValue) or count < self.words or depths < depth:
            for part in range(self.pack.parts):
                with w.loop(0, self._stored(count, depths)) as loop:
                    w.store_vector(zero, self.target, w.advance(packed + part * by_part, loop.counter, line))

        def copy(from_: Address, to: Address) -> None:
            value = w.load(self.source, from_)
            parts = [value] if self.pack.raw else [self._as_bits(part) for part in self._parts(self.convert(value))]
            for number, part in enumerate(map(self._other_sign, parts) if self.pack.biased else parts):
                w.store(part, self.target, to + number * by_part)

        def over(sizes: Sequence[tuple[Count, int, int]], from_: Address, to: Address) -> None:
            if not sizes:
                copy(from_, to)
                return
            size, first, second = sizes[0]
            with w.loop(0, size) as loop:
                over(sizes[1:], w.advance(from_, loop.counter, first), w.advance(to, loop.counter, second))

        if self.pack.of_rows:
            over(((count, self.column, line), (depths, self.step, 1)), source, packed)
            return
        known = not isinstance(depths, SSAValue)
        units, rest = divmod(depths, group) if known else (w.divided(depths, group), w.remainder(depths, group))
        column = (count, self.column, group)
        if not known or units:
            over(((units, group * self.step, line), column, (group, self.step, 1)), source, packed)
        if not known or rest:
            over((column, (rest, self.step, 1)), w.advance(source, units, group * self.step), w.advance(packed, units, line))


def _like(value: SSAValue, element: Attribute) -> Attribute:
    """The element type, as a vector where the value is one."""
    shape = getattr(value.type, "shape", None)
    return element if shape is None else type(value.type)(element, shape)  # type: ignore[call-arg]  # a vector type
