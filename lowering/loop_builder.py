"""Builds loops-level IR with every op as far out as its operands allow, and equal pure ops only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from xdsl.dialects import arith, memref, scf, vector
from xdsl.dialects.builtin import (
    AnyFloat,
    DenseArrayBase,
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IndexType,
    IntAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    VectorType,
    i1,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ..dialects.attributes import Numbers, SizesAttr, integers, segments
from ..dialects.kernel import PrefetchOp
from ..dialects.sizes import same
from .memref_layout import memref_type, span_of

INDEX = IndexType()


NO_OVERFLOW: dict[str, Attribute] = {"overflowFlags": arith.IntegerOverflowAttr("none")}


@cache
def vector_of(element: Attribute, lanes: int) -> VectorType:
    """vector<lanes x element>."""
    return VectorType(element, [lanes])


@cache
def index_attr(value: int) -> IntegerAttr:
    return IntegerAttr(IntAttr(value), INDEX)


class LoopBuilder:
    """A stack of open loop bodies. `emit` puts a pure op into the outermost one that sees its operands.

    Inner loops are attached to their parent when they are closed, so what is hoisted while they are open
    stands before them. Nothing but constants and casts goes above `base`, the level of the current thread
    body.
    """

    def __init__(self, entry: Block) -> None:
        self.blocks = [entry]
        self.base = 0
        self.level: dict[SSAValue, int] = {arg: 0 for arg in entry.args}
        self.known: dict[SSAValue, int] = {}
        self._made: list[dict[object, SSAValue]] = [{}]
        self._numbers = Numbers()
        self._fetched: set[tuple[SSAValue, SSAValue, bool]] = set()
        self._transposed: dict[tuple[SSAValue, ...], list[SSAValue]] = {}
        self._opened: list[tuple[type[Operation], tuple[SSAValue, ...], tuple[SSAValue, ...]]] = []

    @property
    def depth(self) -> int:
        return len(self.blocks) - 1

    # Ops

    def emit(
        self,
        cls: type[Operation],
        operands: Sequence[SSAValue],
        result: Attribute,
        properties: Mapping[str, Attribute] | None = None,
        floor: int | None = None,
        once: object = None,
        level: int | None = None,
    ) -> SSAValue:
        """A pure op of one result, reused when an equal one is visible.

        floor: do not go further out than this level. once: makes ops differ that are equal otherwise (loads).
        """
        properties = properties or {}
        number = self._numbers.of
        key: tuple[object, ...] = (cls, number(result), once, *map(id, operands))
        if properties:
            key = (*key, *properties, *map(number, properties.values()))
        known = self._made[-1].get(key)
        if known is not None:
            return known
        if level is None:
            level = self.base if floor is None or floor < self.base else floor
            of = self.level
            for operand in operands:
                level = max(level, of[operand])
        known = self._made[level].get(key)
        if known is not None:
            return known
        op = cls.create(operands=operands, result_types=[result], properties=properties)
        self.blocks[level].add_op(op)
        value = op.results[0]
        self.level[value] = level
        self._made[level][key] = value
        return value

    def do(self, op: Operation) -> None:
        """An op with effects, at the current place."""
        self.blocks[-1].add_op(op)
        for result in op.results:
            self.level[result] = self.depth

    def at(self, op: Operation, level: int) -> SSAValue:
        """An op of one result at a given level, never shared."""
        self.blocks[level].add_op(op)
        self.level[op.results[0]] = level
        return op.results[0]

    def constant(self, value: Attribute, type_: Attribute) -> SSAValue:
        """arith.constant at the top of the function."""
        return self.emit(arith.ConstantOp, (), type_, {"value": value}, level=0)

    def index(self, value: int) -> SSAValue:
        constant = self.constant(index_attr(value), INDEX)
        self.known[constant] = value
        return constant

    def splat(self, value: Attribute, type_: VectorType) -> SSAValue:
        """The constant vector of one value (a broadcast scalar: dense infinities do not parse back)."""
        return self.broadcast(self.constant(value, type_.element_type), type_.get_shape()[0])

    # Index arithmetic

    def add(self, a: SSAValue | None, b: SSAValue | None) -> SSAValue | None:
        """a + b; None stands for 0."""
        if a is None or b is None:
            return b if a is None else a
        if a in self.known:
            a, b = b, a
        if b in self.known:
            return self.plus(a, self.known[b])
        return self.emit(arith.AddiOp, (a, b), INDEX, NO_OVERFLOW)

    def scaled(self, value: SSAValue, factor: int) -> SSAValue:
        if same(factor, 1):
            return value
        if value in self.known:
            return self.index(self.known[value] * factor)
        return self.emit(arith.MuliOp, (value, self.index(factor)), INDEX, NO_OVERFLOW)

    def plus(self, value: SSAValue | None, constant: int) -> SSAValue:
        """value + constant as an index; None stands for 0."""
        if value is None or value in self.known:
            return self.index(constant + self.known.get(value, 0))
        return (
            value
            if same(constant, 0)
            else self.emit(arith.AddiOp, (value, self.index(constant)), INDEX, NO_OVERFLOW)
        )

    def minimum(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.emit(arith.MinSIOp, (a, b), INDEX)

    def maximum(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.emit(arith.MaxSIOp, (a, b), INDEX)

    def divided(self, value: SSAValue, divisor: int) -> tuple[SSAValue, SSAValue]:
        """Quotient and remainder of a non-negative index."""
        by = self.index(divisor)
        return self.emit(arith.DivUIOp, (value, by), INDEX), self.emit(arith.RemUIOp, (value, by), INDEX)

    # Memory

    def flat(self, buffer: SSAValue) -> SSAValue:
        """The buffer as a 1-D memref over all it spans, cast where the buffer was made."""
        held = buffer.type
        assert isinstance(held, MemRefType)
        length = span_of(held)
        wanted = memref_type((length,), held.element_type)
        if held == wanted:
            return buffer
        properties = {
            "static_offsets": _i64s(0),
            "static_sizes": _i64s(length),
            "static_strides": _i64s(1),
            "operandSegmentSizes": segments(1, 0, 0, 0),
        }
        return self.emit(memref.ReinterpretCastOp, (buffer,), wanted, properties, level=self.level[buffer])

    def prefetch(self, buffer: SSAValue, index: SSAValue, written: bool = False) -> None:
        """The line there will be wanted soon: said once, where the index is made."""
        level = max(self.base, self.level[index], self.level[buffer])
        if (buffer, index, written) not in self._fetched:
            self._fetched.add((buffer, index, written))
            self.blocks[level].add_op(PrefetchOp.of(buffer, index, written, near=not written))

    # Loops

    def open_for(
        self, low: SSAValue, high: SSAValue, step: int, carried: Sequence[SSAValue] = ()
    ) -> tuple[SSAValue, list[SSAValue]]:
        """Opens `for iv = low to high step`; returns iv and the carried values inside."""
        block = Block(arg_types=[INDEX, *(c.type for c in carried)])
        self._push(block, scf.ForOp, (low, high, self.index(step)), tuple(carried))
        return block.args[0], list(block.args[1:])

    def close_for(self, carried: Sequence[SSAValue] = ()) -> list[SSAValue]:
        """Closes the innermost loop; returns the carried values after it."""
        self.blocks[-1].add_op(scf.YieldOp(*carried))
        block, cls, bounds, initial = self._pop()
        loop = cls.create(
            operands=[*bounds, *initial], result_types=[c.type for c in initial], regions=[Region(block)]
        )
        self.do(loop)
        return list(loop.results)

    def open_parallel(self, tasks: int) -> SSAValue:
        """Opens the 1-D scf.parallel over `tasks` at the top of the function; returns the task's number."""
        block = Block(arg_types=[INDEX])
        self._push(block, scf.ParallelOp, (self.index(0), self.index(tasks), self.index(1)), ())
        self.base = self.depth
        return block.args[0]

    def close_parallel(self) -> None:
        self.blocks[-1].add_op(scf.ReduceOp())
        block, _, (low, high, step), _ = self._pop()
        self.base = 0
        self.do(scf.ParallelOp([low], [high], [step], Region(block)))

    def _push(
        self, block: Block, cls: type[Operation], bounds: tuple[SSAValue, ...], initial: tuple[SSAValue, ...]
    ) -> None:
        self._opened.append((cls, bounds, initial))
        self.blocks.append(block)
        self._made.append({})
        for arg in block.args:
            self.level[arg] = self.depth

    def _pop(self) -> tuple[Block, type[Operation], tuple[SSAValue, ...], tuple[SSAValue, ...]]:
        self._made.pop()
        return self.blocks.pop(), *self._opened.pop()

    # Vectors

    def broadcast(self, value: SSAValue, lanes: int) -> SSAValue:
        return self.emit(vector.BroadcastOp, (value,), vector_of(value.type, lanes))

    def mask(self, count: SSAValue, lanes: int) -> SSAValue:
        """The first lanes, so many."""
        return self.emit(vector.CreateMaskOp, (count,), vector_of(i1, lanes))

    def ones(self, type_: VectorType) -> SSAValue:
        """The constant vector of ones."""
        element = type_.element_type
        return self.splat(FloatAttr(1.0, element) if isinstance(element, AnyFloat) else IntegerAttr(1, element), type_)

    def extract(self, value: SSAValue, lane: int) -> SSAValue:
        held = value.type
        assert isinstance(held, VectorType)
        return self.emit(vector.ExtractOp, (value,), held.element_type, {"static_position": _i64s(lane)})

    def from_lanes(self, lanes: Sequence[SSAValue]) -> SSAValue:
        """The vector of these scalars."""
        held = vector_of(lanes[0].type, len(lanes))
        zero = (
            FloatAttr(0.0, held.element_type)
            if isinstance(held.element_type, AnyFloat)
            else IntegerAttr(0, held.element_type)
        )
        result = self.constant(DenseIntOrFPElementsAttr.from_list(held, [zero.value.data]), held)
        whole = tuple(
            lanes
        )  # chains are shared whole or not at all: the C emitter prints one as a vector literal
        for lane, value in enumerate(lanes):
            result = self.emit(
                vector.InsertOp, (value, result), held, {"static_position": _i64s(lane)}, once=whole
            )
        return result

    def counting_vector(self, element: IntegerType, lanes: int) -> SSAValue:
        """The constant vector 0, 1, 2, ..."""
        held = vector_of(element, lanes)
        return self.constant(DenseIntOrFPElementsAttr.from_list(held, list(range(lanes))), held)

    def integer_add(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.emit(arith.AddiOp, (a, b), a.type, NO_OVERFLOW)

    def shuffled(self, value: SSAValue, mask: Sequence[int], other: SSAValue | None = None) -> SSAValue:
        """Lanes of the value (and, counted on from there, of the other one) in a new order."""
        held = value.type
        assert isinstance(held, VectorType)
        result = vector_of(held.element_type, len(mask))
        return self.emit(vector.ShuffleOp, (value, other or value), result, {"mask": _i64s(*mask)})

    def riffled(self, values: Sequence[SSAValue]) -> list[SSAValue]:
        """The lanes of a power of two of vectors, first ones first, second ones next, ...: halves are riffled again and again."""
        values, width = list(values), values[0].type.get_shape()[0]
        low = [lane // 2 + width * (lane % 2) for lane in range(width)]
        high = [lane + width // 2 for lane in low]
        for _ in range(len(values).bit_length() - 1):
            half = len(values) // 2
            pairs = zip(values[:half], values[half:], strict=True)
            values = [self.shuffled(x, mask, y) for x, y in pairs for mask in (low, high)]
        return values

    def parted(self, values: Sequence[SSAValue]) -> list[SSAValue]:
        """The inverse of riffled."""
        values, width = list(values), values[0].type.get_shape()[0]
        for _ in range(len(values).bit_length() - 1):
            pairs = list(zip(values[::2], values[1::2], strict=True))
            values = [self.shuffled(x, range(k, 2 * width, 2), y) for k in (0, 1) for x, y in pairs]
        return values

    def transposed(self, rows: Sequence[SSAValue]) -> list[SSAValue]:
        """n vectors of n lanes, transposed by exchanging ever larger blocks (n a power of two)."""
        key = tuple(rows)
        if key not in self._transposed:
            self._transposed[key] = self._exchange_blocks(list(rows))
        return self._transposed[key]

    def _exchange_blocks(self, rows: list[SSAValue]) -> list[SSAValue]:
        n, block = len(rows), 1
        while block < n:
            keep = [lane if not lane & block else n + lane - block for lane in range(n)]
            give = [lane + block if not lane & block else n + lane for lane in range(n)]
            for i in range(n):
                if not i & block:
                    a, b = rows[i], rows[i + block]
                    rows[i], rows[i + block] = self.shuffled(a, keep, b), self.shuffled(a, give, b)
            block *= 2
        return rows


@cache
def _i64s(*values: int) -> DenseArrayBase | SizesAttr:
    return integers(values)
