"""Emits the scalar body of a stage at one point of its domain: as scalars, or as one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xdsl.dialects import arith, math, memref, vector
from xdsl.dialects.builtin import BoolAttr, Float32Type, Float64Type, IndexType, IntegerType, VectorType, i1
from xdsl.ir import Attribute, Block, Operation, SSAValue

from .loop_builder import LoopBuilder, vector_of
from .nest_interleaved import reads_whole, whole_writes
from .nest_plan import Flat, Loop
from .nest_stages import Buffer

_STREAMS = {"nontemporal": BoolAttr.from_bool(True)}

NOTHING: Mapping[Operation, Operation] = {}

TOGETHER = -1
"""The copy of a point whose lanes are the copies 0, 1, ... of others."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a body runs: constant offsets added to loop variables, and how many lanes along which loop, so many iterations of it apart.
    filled: how many of them count, where not all do."""

    width: int = 1
    vector: Loop | None = None
    offsets: dict[Loop, int] = field(default_factory=dict)
    copy: int = 0
    tile: Loop | None = None
    filled: SSAValue | None = None
    apart: int = 1

    def moved(self, offsets: dict[Loop, int]) -> Point:
        """The same point further along other loops."""
        return replace(self, offsets={**self.offsets, **offsets})


@dataclass(frozen=True, slots=True)
class Counting:
    """The index vector base, base + 1, ..., of the vector loop."""

    base: SSAValue


Lanes = list[SSAValue]
Value = SSAValue | Counting | Lanes


class BodyEmitter:
    """Loads, stores and body ops. variables: loop -> its SSA index; memory: buffer -> its 1-D memref."""

    def __init__(
        self, builder: LoopBuilder, memory: Callable[[Buffer], SSAValue], by_value: dict[SSAValue, Buffer]
    ) -> None:
        self.b = builder
        self.memory = memory
        self.by_value = by_value
        self.variables: dict[Loop, SSAValue | None] = {}
        self.written_here: set[Buffer] = set()
        self.leaf_level = 0
        self.leaf_number = 0

    # Addresses

    def address(self, flat: Flat, point: Point) -> SSAValue:
        """The linear index of the access at this point (of lane 0)."""
        constant = flat.offset + flat.beside * max(point.copy, 0)
        parts: list[tuple[int, SSAValue, int]] = []
        for loop, coefficient in flat.terms.items():
            constant += coefficient * point.offsets.get(loop, 0)
            variable = self.variables.get(loop)
            if variable is not None:
                parts.append((self.b.level[variable], variable, coefficient))
        if flat.lane and point.vector is not None:
            constant += flat.lane * point.offsets.get(point.vector, 0)
        total: SSAValue | None = None
        for _, variable, coefficient in sorted(parts, key=lambda p: p[0]):
            total = self.b.add(total, self.b.scaled(variable, coefficient))
        return self.b.plus(total, constant)

    @staticmethod
    def stride(flat: Flat, point: Point) -> int:
        """Distance in memory between neighbouring lanes."""
        if point.vector is None:
            return 0
        if point.copy == TOGETHER and flat.beside:
            return flat.beside
        return point.apart * flat.terms.get(point.vector, 0) or (flat.lane or 0)

    # Memory

    def load(self, flat: Flat, point: Point) -> SSAValue:
        """The element, or the vector of elements, of an access."""
        base, stride = self.memory(flat.buffer), self.stride(flat, point)
        at = self.address(flat, point)
        if point.width == 1 or stride == 0:
            return self.load_at(flat.buffer, base, at, 1)
        if stride == 1:
            if flat.ahead:
                self.b.prefetch(base, self.b.plus(at, flat.ahead))
            return self.load_at(flat.buffer, base, at, point.width, point.filled)
        if stride == -1:
            first = self.b.plus(at, 1 - point.width)
            loaded = self.load_at(flat.buffer, base, first, point.width)
            return self.b.shuffled(loaded, range(point.width - 1, -1, -1))
        if point.copy != TOGETHER and reads_whole(flat, point.vector):
            place = flat.offset % stride
            first = self.address(Flat(flat.buffer, flat.offset - place, flat.terms), point)
            side = [self.load_at(flat.buffer, base, self.b.plus(first, k * point.width), point.width) for k in range(stride)]
            return self.b.parted(side)[place]
        if point.tile is not None and flat.terms.get(point.tile) == 1 and self._turns(flat.buffer):
            return self._turned(flat, point, stride)
        lanes = [self.load_at(flat.buffer, base, self.b.plus(at, i * stride), 1) for i in range(point.width)]
        return self.b.from_lanes(lanes)

    @staticmethod
    def _turns(buffer: Buffer) -> bool:
        return not buffer.written and buffer.element != i1

    def _turned(self, flat: Flat, point: Point, stride: int) -> SSAValue:
        """One of `width` neighbours along the tile loop: their operands are loaded as rows and transposed."""
        first = self.address(flat, point.moved({point.tile: 0}))
        base = self.memory(flat.buffer)
        rows = [
            self.load_at(flat.buffer, base, self.b.plus(first, i * stride), point.width)
            for i in range(point.width)
        ]
        return self.b.transposed(rows)[point.offsets[point.tile]]

    def load_at(self, buffer: Buffer, base: SSAValue, at: SSAValue, width: int, filled: SSAValue | None = None) -> SSAValue:
        """A load, shared and hoisted as far as writes to the buffer allow. filled: lanes that are loaded, the others hold one."""
        cls = memref.LoadOp if width == 1 else vector.LoadOp
        result = buffer.element if width == 1 else vector_of(buffer.element, width)
        operands = (base, at)
        if filled is not None:
            cls, operands = vector.MaskedLoadOp, (base, at, self.b.mask(filled, width), self.b.ones(result))
        if buffer in self.written_here:
            op = cls.create(operands=operands, result_types=[result])
            self.b.do(op)
            return op.results[0]
        if buffer.written:
            return self.b.emit(cls, operands, result, floor=self.leaf_level, once=self.leaf_number)
        return self.b.emit(cls, operands, result)

    def store(self, flat: Flat, point: Point, value: Value) -> None:
        """Writes the element, or all lanes, of an access."""
        base, stride = self.memory(flat.buffer), self.stride(flat, point)
        at = self.address(flat, point)
        if point.width == 1:
            assert isinstance(value, SSAValue)
            self.b.do(memref.StoreOp.create(operands=[value, base, at]))
            return
        wide = self.wide(value, point)
        if point.filled is not None:
            self.b.do(vector.MaskedStoreOp.create(operands=[base, at, self.b.mask(point.filled, point.width), wide]))
            return
        if stride == 1:
            properties = _STREAMS if flat.streams else {}
            if flat.ahead:
                self.b.prefetch(base, self.b.plus(at, flat.ahead), written=True)
            self.b.do(vector.StoreOp.create(operands=[wide, base, at], properties=properties))
            return
        for i in range(point.width):
            lane = self.b.extract(wide, i)
            self.b.do(memref.StoreOp.create(operands=[lane, base, self.b.plus(at, i * stride)]))

    def store_all(self, stores: Sequence[tuple[Flat, Value]], point: Point) -> None:
        """Writes what a point made; what fills neighbouring elements together, as whole vectors."""
        loop = point.vector if point.width > 1 and point.copy != TOGETHER else None
        groups = [] if loop is None else whole_writes([flat for flat, _ in stores], loop)
        together = {k for group in groups for k in group}
        for k, (flat, value) in enumerate(stores):
            if k not in together:
                self.store(flat, point, value)
        for group in groups:
            flat = stores[group[0]][0]
            base, at = self.memory(flat.buffer), self.address(flat, point)
            for k, value in enumerate(self.b.riffled([self.wide(stores[member][1], point) for member in group])):
                self.b.do(vector.StoreOp.create(operands=[value, base, self.b.plus(at, k * point.width)]))

    def ask(self, flat: Flat, point: Point) -> None:
        """Has the memory of a later write brought near."""
        self.b.prefetch(self.memory(flat.buffer), self.address(flat, point), written=True)

    # Bodies

    def wide(self, value: Value, point: Point) -> SSAValue:
        """The value as a vector of the point's width."""
        if isinstance(value, SSAValue):
            return value if isinstance(value.type, VectorType) else self.b.broadcast(value, point.width)
        return self.b.from_lanes(self.lanes(value, point))

    def lanes(self, value: Value, point: Point) -> Lanes:
        """The value as one scalar per lane."""
        if isinstance(value, list):
            return value
        if isinstance(value, Counting):
            return [self.b.plus(value.base, i) for i in range(point.width)]
        if isinstance(value.type, VectorType):
            return [self.b.extract(value, i) for i in range(point.width)]
        return [value] * point.width

    def run(
        self, block: Block, loops: Sequence[Loop | SSAValue], args: Sequence[Value], point: Point, joined: Mapping[Operation, Operation] = NOTHING,
    ) -> list[Value]:  # fmt: skip
        """The yielded values of a body at this point. loops: of the body's domain, or the index along each. joined: additions of products
        that are rounded once, and those products."""
        env: dict[SSAValue, Value] = dict(zip(block.args, args, strict=True))
        products = set(joined.values())
        for op in block.ops:
            name = op.name
            if name == "linalg.yield":
                return [self._operand(env, o) for o in op.operands]
            if name == "arith.constant":
                env[op.results[0]] = self.b.constant(op.properties["value"], op.results[0].type)
            elif name == "linalg.index":
                env[op.results[0]] = self._index(loops[op.properties["dim"].value.data], point)
            elif name == "memref.load":
                env[op.results[0]] = self._gather(op, env, point)
            elif op in joined:
                product = joined[op]
                total = next(o for o in op.operands if o is not product.results[0])
                operands = [self._operand(env, o) for o in (*product.operands, total)]
                env[op.results[0]] = self._elementwise(math.FmaOp, op, operands, point)
            elif op not in products:
                operands = [self._operand(env, o) for o in op.operands]
                env[op.results[0]] = self._elementwise(type(op), op, operands, point)
        raise AssertionError("a linalg.generic body ends in linalg.yield")

    def _operand(self, env: dict[SSAValue, Value], operand: SSAValue) -> Value:
        found = env.get(operand)
        if found is None:
            constant = operand.owner
            assert isinstance(constant, arith.ConstantOp)
            found = env[operand] = self.b.constant(constant.properties["value"], operand.type)
        return found

    def _index(self, loop: Loop | SSAValue, point: Point) -> Value:
        if isinstance(loop, SSAValue):
            return loop
        here = self.b.plus(self.variables.get(loop), point.offsets.get(loop, 0))
        if loop is not point.vector or point.width == 1:
            return here
        return Counting(here) if point.apart == 1 else [self.b.plus(here, k * point.apart) for k in range(point.width)]

    def _elementwise(self, kind: type[Operation], op: Operation, operands: Sequence[Value], point: Point) -> Value:
        result = op.results[0].type
        if all(isinstance(o, SSAValue) and not isinstance(o.type, VectorType) for o in operands):
            scalars = [o for o in operands if isinstance(o, SSAValue)]
            return self.b.emit(kind, scalars, result, op.properties)
        if isinstance(op, arith.IndexCastOp) and isinstance(operands[0], Counting):
            return self._count_as(operands[0], result, point)
        by_lane = isinstance(result, IndexType) or any(not isinstance(o, SSAValue) for o in operands)
        if by_lane:
            columns = [self.lanes(o, point) for o in operands]
            lanes = [self.b.emit(kind, row, result, op.properties) for row in zip(*columns, strict=True)]
            return lanes if isinstance(result, IndexType) else self.b.from_lanes(lanes)
        vectors = [self.wide(o, point) for o in operands]
        return self.b.emit(kind, vectors, vector_of(result, point.width), op.properties)

    def _count_as(self, counting: Counting, element: Attribute, point: Point) -> SSAValue:
        """base + (0, 1, 2, ...) as integers."""
        assert isinstance(element, IntegerType)
        base = self.b.emit(arith.IndexCastOp, (counting.base,), element)
        steps = self.b.counting_vector(element, point.width)
        return self.b.integer_add(self.b.broadcast(base, point.width), steps)

    def _gather(self, op: Operation, env: dict[SSAValue, Value], point: Point) -> Value:
        """buffer[indices] with computed indices."""
        buffer = self.by_value[op.operands[0]]
        base = self.memory(buffer)
        indices = [self._operand(env, o) for o in op.operands[1:]]
        plain = [isinstance(i, SSAValue) for i in indices]
        if all(plain):
            return self.load_at(buffer, base, self._position(indices, buffer), 1)
        if isinstance(indices[-1], Counting) and all(plain[:-1]) and buffer.strides[-1] == 1:
            at = self._position([*indices[:-1], indices[-1].base], buffer)
            return self.load_at(buffer, base, at, point.width)
        columns = [self.lanes(i, point) for i in indices]
        rows = zip(*columns, strict=True)
        return self.b.from_lanes([self.load_at(buffer, base, self._position(row, buffer), 1) for row in rows])

    def _position(self, indices: Sequence[Value], buffer: Buffer) -> SSAValue:
        total: SSAValue | None = None
        for index, stride in zip(indices, buffer.strides, strict=True):
            assert isinstance(index, SSAValue)
            total = self.b.add(total, self.b.scaled(index, stride))
        return self.b.plus(total, 0)


def sums_of_products(block: Block, combiners: Sequence[str | None]) -> dict[Operation, Operation]:
    """Additions of a product of two operands to what a fold has so far; and the products. They are multiply-adds here as in a contraction."""
    found: dict[Operation, Operation] = {}
    for value, combiner in zip(block.last_op.operands, combiners, strict=True):
        if combiner != "arith.addf":
            continue
        for operand in value.owner.operands:
            product = operand.owner
            if not isinstance(product, arith.MulfOp) or len(list(operand.uses)) != 1 or not isinstance(operand.type, Float32Type | Float64Type):
                continue
            a, b = (_as_read(o) for o in product.operands)
            if a is not b and isinstance(a.owner, Block) and isinstance(b.owner, Block):
                found[value.owner] = product
    return found


def _as_read(value: SSAValue) -> SSAValue:
    """A value before it was made wider."""
    return value.owner.operands[0] if isinstance(value.owner, arith.ExtFOp) else value
