"""The register tile: accumulators over the reduction, then the epilogue on them, then the stores.

A tile is ``rows x vectors`` accumulators. Row ``r`` of every access lies at a constant distance from the
tile's place; vector ``j`` at ``j * lanes`` steps along the vector dim. What cannot be moved as whole vectors
(a partly filled last vector, a vector dim that is not contiguous) goes through a small buffer on the stack. Where it is known at the
call only how far a vector is filled, its first lanes move under a mask.

A long epilogue is a loop over the accumulators, put on the stack for it: spelled out for each of them it would be most of
what a C compiler has to read, and a store and a load are little beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from xdsl.dialects import arith, vector
from xdsl.dialects.builtin import BFloat16Type, Float16Type, Float32Type, Float64Type, IntegerType, VectorType
from xdsl.dialects.linalg.ops import IndexOp
from xdsl.ir import Attribute, Operation, SSAValue

from ..dialects.sizes import Size, estimate, same
from .contraction_bounds import Bounds
from .contraction_match import Access, Contraction, Factor, Stage
from .contraction_cost import LINE_BYTES
from .contraction_problem import Dim
from .contraction_tail import load_tail, moves_in_pieces, store_tail
from .loop_writer import Address, LoopWriter, bytes_of, number_attr

UNROLLED_EXTENT = 4
UNROLLED_OPS = 96
UNROLLED_EPILOGUE = 120  # ops of an epilogue over all its accumulators that are still spelled out
HALVES = (BFloat16Type, Float16Type)


@dataclass(frozen=True)
class Memory:
    """One access as the tile uses it: flat memory (None: it is a position) and the stride of the vector dim."""

    buffer: SSAValue | None
    vector_stride: int


@dataclass(frozen=True)
class Shape:
    """Rows as a box of loop dims, and the vectors of a panel; ``tail``: valid lanes of the last vector.

    ``columns`` is the access the panel is read from: where it lies, or its packed copy; ``scalars`` that of the rows. ``filled``: how many
    lanes of every vector are valid, where that is known at the call only.
    """

    rows: tuple[Dim, ...]
    vectors: int
    lanes: int
    tail: int
    columns: int = 1
    scalars: int = 0
    ahead: int = 0
    """Elements of a packed panel that are fetched before they are needed."""
    fetched: int = 1
    pace: int = 0
    """The access that every step fetches something of that is wanted later, and so many elements: the panel behind, or the next rows."""

    filled: SSAValue | None = None
    places: tuple[int, ...] = ()
    """Where the vectors of a packed panel lie, counted from the first; (): side by side."""
    asked: tuple[tuple[int, bool], ...] = ()
    turns: int = 0
    """Accesses of whose lines in a tile the steps of its reduction ask for one each, and whether they are written; steps for each row."""

    def offsets(self, access: int) -> list[int]:
        """Distance of each row from the tile's place."""
        ranges = [range(d.size) for d in self.rows]
        steps = [d.strides[access] for d in self.rows]
        return [sum(i * s for i, s in zip(index, steps, strict=True)) for index in product(*ranges)]

    def valid(self, j: int) -> int | SSAValue:
        """Valid lanes of vector ``j``."""
        if self.filled is not None:
            return self.filled
        return self.tail if j == self.vectors - 1 else self.lanes

    def is_whole(self, j: int) -> bool:
        """Whether all lanes of vector ``j`` are valid."""
        return self.filled is None and self.valid(j) == self.lanes


def line_step(buffer: SSAValue, shape: Shape) -> int:
    """Elements from one line that a tile's row touches to the next: of whole vectors."""
    return max(shape.lanes, LINE_BYTES // bytes_of(buffer.type.element_type))  # type: ignore[union-attr]  # flat memory


def lines_of(buffer: SSAValue, shape: Shape) -> int:
    """Lines of a buffer that a tile's row touches."""
    return -(-shape.vectors * shape.lanes // line_step(buffer, shape))


Place = list[Address]
Copy = Callable[[Address, Address], None]  # (in the staging buffer, in memory)
Finish = Callable[[list[SSAValue], Place, Shape], None]


def accumulator_type(contraction: Contraction) -> Attribute:
    """The type sums are held in: 16-bit floats are summed in f32."""
    return Float32Type() if isinstance(contraction.sum_type, HALVES) else contraction.sum_type


def _overlaps(rows: Sequence[int], dim: Dim) -> bool:
    """Whether steps along a dim read scalars of each other's rows (a window's): a C compiler would keep them in registers
    that the sums need.
    """
    return len({row + k * dim.strides[0] for row in rows for k in range(dim.size)}) < len(rows) * dim.size


class Tile:
    """Writes tiles of one contraction."""

    asks = True
    """Whether steps of its reductions can ask for memory."""

    def __init__(self, writer: LoopWriter, contraction: Contraction, memory: Sequence[Memory]) -> None:
        self.writer = writer
        self.contraction = contraction
        self.memory = memory
        self.result_key = contraction.result.key()
        self.sum_type = accumulator_type(contraction)
        self.staging: dict[Attribute, SSAValue] = {}

    # -- the sum -----------------------------------------------------------------------------------

    def begin(self, shapes: Sequence[Shape]) -> None:
        """What a task does before tiles of these shapes."""

    def prepare(self, shape: Shape) -> None:
        """What comes before all tiles of a shape."""

    def finished(self, shape: Shape) -> Shape:
        """What of a tile gets its epilogue at once."""
        return shape

    def product(
        self, place: Place, shape: Shape, reduction: Sequence[Dim], bounds: Sequence[Bounds | None], finish: Finish, partial: int | None,
        fetched: Address | None,
    ) -> None:
        """A tile's sums and what becomes of them. partial: the access they are written to as they are. fetched: where a step's share
        of what is wanted later is fetched from, by tiles of vectors.
        """
        finish(self.sums(place, shape, reduction, bounds, fetched), place, shape)

    def sums(
        self, place: Place, shape: Shape, reduction: Sequence[Dim], bounds: Sequence[Bounds | None], fetched: Address | None, before: Sequence[SSAValue] = ()
    ) -> list[SSAValue]:
        """The accumulators, row by row. ``bounds``: of each loop of the reduction (None: all of it). fetched: where a step's share of what is wanted later is fetched from.
        before: the sums this goes on with.
        """
        rows, sums = shape.offsets(shape.scalars), list(before) or self.zeros(shape)
        ask = (lambda step: self._ask(place, shape, step)) if shape.asked else None
        return self._reduce(place[shape.scalars], place[shape.columns], fetched, shape, rows, list(reduction), list(bounds), sums, ask)

    def _ask(self, place: Place, shape: Shape, step: SSAValue) -> None:
        """A step asks for a line of each access that the epilogue touches: one row of them after the other."""
        w, rows = self.writer, next(d for d in shape.rows if d.size > 1)
        row = w.binary(arith.MinSIOp, w.divided(step, shape.turns), w.index(rows.size - 1))
        turn = w.remainder(step, shape.turns)
        for number, written in shape.asked:
            buffer = self.memory[number].buffer
            line = w.binary(arith.MinSIOp, turn, w.index(lines_of(buffer, shape) - 1))
            w.prefetch(buffer, w.advance(w.advance(place[number], row, rows.strides[number]), line, line_step(buffer, shape)), written)

    def zeros(self, shape: Shape) -> list[SSAValue]:
        """The accumulators of nothing."""
        zero = self.writer.splat(number_attr(0, self.sum_type), shape.lanes)
        return [zero] * (prod(d.size for d in shape.rows) * shape.vectors)

    def _reduce(
        self, a: Address, b: Address, fetched: Address | None, shape: Shape, rows: list[int], dims: list[Dim],
        bounds: list[Bounds | None], sums: list[SSAValue], ask: Callable[[SSAValue], None] | None = None,
    ) -> list[SSAValue]:  # fmt: skip
        if not dims:
            if fetched is not None:
                self.writer.prefetch(self.memory[shape.fetched].buffer, fetched)
            return self._step(a, b, shape, rows, sums)
        dim, rest = dims[0], dims[1:]
        known = not isinstance(dim.size, Size)
        pace = shape.pace * dim.strides[1] // (shape.vectors * shape.lanes)
        ops = len(rows) * (shape.vectors + 2) * dim.size
        if (
            known
            and bounds[0] is None
            and not rest
            and dim.size <= UNROLLED_EXTENT
            and ops <= UNROLLED_OPS * UNROLLED_EXTENT
            and not _overlaps(rows, dim)
        ):
            for k in range(dim.size):
                there = None if fetched is None else fetched + k * pace
                sums = self._reduce(a + k * dim.strides[0], b + k * dim.strides[1], there, shape, rows, [], [], sums)
            return sums
        low, high = bounds[0] or (0, dim.size)
        with self.writer.loop(low, high, sums) as loop:
            inner_a = self.writer.advance(a, loop.counter, dim.strides[0])
            inner_b = self.writer.advance(b, loop.counter, dim.strides[1])
            there = None if fetched is None else self.writer.advance(fetched, loop.counter, pace)
            if ask is not None:
                ask(loop.counter)
            loop.next = self._reduce(inner_a, inner_b, there, shape, rows, rest, bounds[1:], loop.inside)
        return loop.results

    def _step(
        self, a: Address, b: Address, shape: Shape, rows: list[int], sums: list[SSAValue]
    ) -> list[SSAValue]:
        """One step of the reduction: every row's scalar times every vector of the panel."""
        w, lanes = self.writer, shape.lanes
        memory = self.memory[shape.columns].buffer
        panel: list[SSAValue] = []
        cut = shape.filled if shape.columns == 1 else None  # a packed panel is whole
        for place in shape.places or range(0, shape.vectors * lanes, lanes):
            if shape.ahead and not place * bytes_of(self.sum_type) % LINE_BYTES:  # once per line
                w.prefetch(memory, b + (place + shape.ahead), near=True)
            column = w.load_vector(memory, b + place, lanes) if cut is None else w.load_part(memory, b + place, lanes, cut, 0)
            panel.append(self.converted(column, self.contraction.right) if shape.columns == 1 else column)
        out: list[SSAValue] = []
        for r, offset in enumerate(rows):
            scalar = w.load(self.memory[shape.scalars].buffer, a + offset)
            if not shape.scalars:
                scalar = self.converted(scalar, self.contraction.left)
            spread = w.broadcast(scalar, lanes)
            for j, column in enumerate(panel):
                out.append(self._multiply_add(spread, column, sums[r * shape.vectors + j]))
        return out

    def _multiply_add(self, a: SSAValue, b: SSAValue, total: SSAValue) -> SSAValue:
        w = self.writer
        if isinstance(self.sum_type, (Float32Type, Float64Type)):
            return w.value(vector.FMAOp.create(operands=(a, b, total), result_types=(total.type,)))
        return w.binary(arith.AddiOp, total, w.binary(arith.MuliOp, a, b))

    def converted(self, value: SSAValue, factor: Factor) -> SSAValue:
        """A factor's element after its casts,
        widened to the accumulator's type where the body multiplies 16-bit floats.
        """
        value = self.cast(value, factor.casts)
        element = value.type.element_type if isinstance(value.type, VectorType) else value.type
        if isinstance(element, HALVES):
            value = self.writer.value(arith.ExtFOp.create(operands=(value,), result_types=(self._like(value, self.sum_type),)))
        return value

    def cast(self, value: SSAValue, casts: Sequence[Operation]) -> SSAValue:
        """A value, or a vector of them, after these casts."""
        for cast in casts:
            value = self.writer.value(_again(cast, (value,), self._like(value, cast.results[0].type)))
        return value

    def _like(self, value: SSAValue, element: Attribute) -> Attribute:
        return self.writer.vector_type(element, value.type.get_shape()[0]) if isinstance(value.type, VectorType) else element

    def add(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """Sum of two accumulators."""
        kind = arith.AddfOp if isinstance(self.sum_type, (Float32Type, Float64Type)) else arith.AddiOp
        return self.writer.binary(kind, a, b)

    # -- the epilogue ------------------------------------------------------------------------------

    def finish(self, sums: list[SSAValue], place: Place, shape: Shape, accesses: Sequence[Access]) -> None:
        """Applies the epilogue to the sums and writes its outputs; ``accesses`` gives each its number."""
        numbers = {a.key(): i for i, a in enumerate(accesses)}
        looped = self.looped(shape, accesses)
        if looped:
            self._finish_in_loops(sums, place, shape, numbers, looped)
        reader = _Reader(self, place, shape, numbers)
        for j in range(looped, shape.vectors):
            self._finish_vectors(sums[j :: shape.vectors], reader, j)

    def looped(self, shape: Shape, accesses: Sequence[Access]) -> int:
        """How many of a panel's vectors, the first ones, the epilogue treats in a loop: those that are whole in memory."""
        length = sum(not isinstance(op, arith.ConstantOp) for s in self.contraction.stages for op in s.body.ops)
        whole = shape.vectors - (shape.tail != shape.lanes)
        if prod(d.size for d in shape.rows) * whole * length <= UNROLLED_EPILOGUE:
            return 0
        numbers = {a.key(): i for i, a in enumerate(accesses)}
        used = (*self._read(), *self.contraction.outputs)
        strides = [self.memory[numbers[a.key()]].vector_stride for a in used]
        return whole if all(same(s, 0) or same(s, 1) for s in strides) else 0

    def _read(self) -> list[Access]:
        """What the epilogue reads beside the sum."""
        made = {self.result_key, *(a.key() for s in self.contraction.stages for a in s.outputs)}
        return [a for s in self.contraction.stages for a in s.inputs if not isinstance(a, int) and a.key() not in made]

    def _finish_vectors(self, sums: list[SSAValue], reader: _Reader, j: int) -> None:
        """The epilogue on vector ``j`` of every row, spelled out."""
        stages, outputs = self.contraction.stages, self.contraction.outputs
        written: dict[tuple[object, ...], list[SSAValue]] = {a.key(): [] for a in outputs}
        for r, total in enumerate(sums):
            narrowed = self._narrowed(total, reader.shape.lanes)
            for key, value in self._evaluated(narrowed, stages, reader, r, j).items():
                if key in written:
                    written[key].append(value)
        for key, values in written.items():
            self._write(reader.numbers[key], values, reader.place, reader.shape, j)

    def _finish_in_loops(
        self, sums: list[SSAValue], place: Place, shape: Shape, numbers: dict[tuple[object, ...], int], whole: int
    ) -> None:
        """The epilogue on the first ``whole`` vectors of every row: loops over the vectors, then over the rows."""
        w, lanes = self.writer, shape.lanes
        rows = len(sums) // shape.vectors
        for r in range(rows):
            for j in range(whole):
                w.store_vector(sums[r * shape.vectors + j], self.held, Address(None, (r * whole + j) * lanes))
        one = Shape((), 1, lanes, lanes, shape.columns, shape.scalars, filled=shape.filled)
        steady = [a for a in self._read() if not any(shape.offsets(numbers[a.key()]))]

        def moved(places: Place, index: SSAValue, strides: Sequence[int]) -> Place:
            return [w.advance(a, index, s) for a, s in zip(places, strides, strict=True)]

        def over_rows(dims: Sequence[Dim], held: Address, there: Place, before: _Reader) -> None:
            if not dims:
                total = w.load_vector(self.held, held, lanes)
                self._finish_vectors([total], before.moved(there, steady), 0)
                return
            inside = prod(d.size for d in dims[1:]) * whole * lanes
            if dims[0].size == 1:
                over_rows(dims[1:], held, there, before)
                return
            with w.loop(0, dims[0].size) as loop:
                over_rows(dims[1:], w.advance(held, loop.counter, inside), moved(there, loop.counter, dims[0].strides), before)

        def over_vectors(held: Address, there: Place) -> None:
            reader = _Reader(self, there, one, numbers)
            for access in steady:  # what all rows share
                reader.read(access, 0, 0)
            over_rows(shape.rows, held, there, reader)

        if whole == 1:
            over_vectors(Address(), place)
            return
        with w.loop(0, whole) as loop:
            strides = [lanes * m.vector_stride for m in self.memory]
            over_vectors(w.advance(Address(), loop.counter, lanes), moved(place, loop.counter, strides))

    def _evaluated(
        self, total: SSAValue, stages: Sequence[Stage], reader: _Reader, r: int, j: int
    ) -> dict[tuple[object, ...], SSAValue]:
        values = [total]
        named = {self.result_key: total}
        for stage in stages:
            inputs = [values[i] if isinstance(i, int) else reader.read(i, r, j) for i in stage.inputs]
            results = self._body(stage, inputs, reader, r, j)
            values += results
            named.update((a.key(), v) for a, v in zip(stage.outputs, results, strict=True))
        return named

    def _body(self, stage: Stage, inputs: list[SSAValue], reader: _Reader, r: int, j: int) -> list[SSAValue]:
        """A scalar body on vectors."""
        w, lanes = self.writer, reader.shape.lanes
        known: dict[SSAValue, SSAValue] = dict(zip(stage.body.args, inputs, strict=False))

        def vector_of(value: SSAValue) -> SSAValue:
            if value not in known:
                owner = value.owner
                assert isinstance(owner, arith.ConstantOp)
                known[value] = w.splat(owner.value, lanes)
            return known[value]

        for op in stage.body.ops:
            if op is stage.body.last_op:
                return [vector_of(v) for v in op.operands]
            if isinstance(op, arith.IndexCastOp) and isinstance(asked := op.operands[0].owner, IndexOp):
                known[op.results[0]] = reader.position(stage.positions[asked.dim.value.data], op.results[0].type, r, j)
            elif not isinstance(op, (arith.ConstantOp, IndexOp)):
                operands = [vector_of(v) for v in op.operands]
                kind = w.vector_type(op.results[0].type, lanes)
                known[op.results[0]] = w.value(_again(op, operands, kind))
        raise AssertionError("a body ends in a yield")

    def write_sums(self, sums: list[SSAValue], number: int, place: Place, shape: Shape) -> None:
        """Stores the accumulators as they are."""
        for j in range(shape.vectors):
            self._write(number, sums[j :: shape.vectors], place, shape, j)

    def read_sums(self, number: int, place: Place, shape: Shape) -> list[SSAValue]:
        """Accumulators that were stored as they are, whole vectors."""
        w, buffer = self.writer, self.memory[number].buffer
        places = [place[number] + offset for offset in shape.offsets(number)]
        return [w.load_vector(buffer, at + j * shape.lanes, shape.lanes) for at in places for j in range(shape.vectors)]

    def _narrowed(self, total: SSAValue, lanes: int) -> SSAValue:
        """An accumulator in the type of the contraction's result."""
        wanted = self.contraction.result.element
        if wanted == self.sum_type:
            return total
        if isinstance(wanted, IntegerType):
            narrower = bytes_of(wanted) < bytes_of(self.sum_type)
            kind: type[Operation] = arith.TruncIOp if narrower else arith.ExtSIOp
        else:
            kind = arith.TruncFOp if bytes_of(wanted) < bytes_of(self.sum_type) else arith.ExtFOp
        target = self.writer.vector_type(wanted, lanes)
        return self.writer.value(kind.create(operands=(total,), result_types=(target,)))

    def _write(self, number: int, values: list[SSAValue], place: Place, shape: Shape, j: int) -> None:
        """Stores vector ``j`` of every row."""
        w, memory = self.writer, self.memory[number]
        at = place[number] + j * shape.lanes * memory.vector_stride
        element, valid = memory.buffer.type.element_type, shape.valid(j)  # type: ignore[union-attr]  # flat memory
        if self.moves_as_vector(number, shape, j):
            for value, offset in zip(values, shape.offsets(number), strict=True):
                if shape.is_whole(j):
                    w.store_vector(value, memory.buffer, at + offset)
                elif isinstance(valid, SSAValue):
                    w.store_part(value, memory.buffer, at + offset, valid)
                else:
                    store_tail(w, value, memory.buffer, at + offset, valid)
            return
        staged = self._staging(element)
        for r, value in enumerate(values):
            w.store_vector(value, staged, Address(None, r * shape.lanes))

        def copy(inside: Address, outside: Address) -> None:
            w.store(w.load(staged, inside), memory.buffer, outside)

        self._each(shape, number, at, valid, copy)

    def moves_as_vector(self, number: int, shape: Shape, j: int) -> bool:
        """Whether vector ``j`` of an access, or what is valid of it, is loaded and stored without a detour."""
        memory, valid = self.memory[number], shape.valid(j)
        if not same(memory.vector_stride, 1):
            return False
        return isinstance(valid, SSAValue) or valid == shape.lanes or moves_in_pieces(memory.buffer.type.element_type, valid)  # type: ignore[union-attr]  # flat memory

    def _each(self, shape: Shape, number: int, at: Address, valid: int | SSAValue, copy: Copy) -> None:
        """Calls ``copy(address in the staging buffer,
        address in memory)`` inside loops over rows and valid lanes.
        """
        loops: list[tuple[int | SSAValue, int, int]] = []
        inside = shape.lanes
        for dim in reversed(shape.rows):
            loops.insert(0, (dim.size, inside, dim.strides[number]))
            inside *= dim.size
        lane = (valid, 1, self.memory[number].vector_stride)
        nearest = min((abs(estimate(s)) for n, _, s in loops if n > 1), default=1 << 60)
        loops = [*loops, lane] if abs(estimate(lane[2])) <= nearest else [lane, *loops]

        def nest(rest: list[tuple[int | SSAValue, int, int]], a: Address, b: Address) -> None:
            if not rest:
                copy(a, b)
                return
            size, first, second = rest[0]
            if not isinstance(size, SSAValue) and size == 1:
                nest(rest[1:], a, b)
                return
            with self.writer.loop(0, size) as loop:
                i = loop.counter
                nest(rest[1:], self.writer.advance(a, i, first), self.writer.advance(b, i, second))

        nest(loops, Address(), at)

    def reserve(self, elements: Sequence[Attribute], count: int, held: int) -> None:
        """Allocates the staging buffers at the start of a task, and room for the accumulators that a loop reads."""
        if held:
            self.held = self.writer.buffer(self.sum_type, held)
        self.staging = {element: self.writer.buffer(element, count) for element in dict.fromkeys(elements)}

    def _staging(self, element: Attribute) -> SSAValue:
        return self.staging[element]


class _Reader:
    """Reads what the epilogue needs beside the sum, each vector once per tile."""

    def __init__(
        self, tile: Tile, place: Place, shape: Shape, numbers: dict[tuple[object, ...], int]
    ) -> None:
        self.tile = tile
        self.place = place
        self.shape = shape
        self.numbers = numbers
        self._seen: dict[tuple[int, int, int], SSAValue] = {}
        self._staged: dict[tuple[int, int], list[SSAValue]] = {}
        self._offsets: dict[int, list[int]] = {}

    def read(self, access: Access, r: int, j: int) -> SSAValue:
        """Vector ``j`` of row ``r``."""
        w, number = self.tile.writer, self.numbers[access.key()]
        memory, lanes = self.tile.memory[number], self.shape.lanes
        offsets = self._offsets.setdefault(number, self.shape.offsets(number))
        valid, stays = self.shape.valid(j), same(memory.vector_stride, 0)
        if not stays and not self.tile.moves_as_vector(number, self.shape, j):
            if (number, j) not in self._staged:
                self._staged[number, j] = self._gather(number, offsets, j)
            return self._staged[number, j][r if any(offsets) else 0]
        distance = offsets[r] + j * lanes * memory.vector_stride
        key = (number, distance, 0)
        if key not in self._seen:
            at = self.place[number] + distance
            if stays:
                self._seen[key] = w.broadcast(w.load(memory.buffer, at), lanes)
            elif self.shape.is_whole(j):
                self._seen[key] = w.load_vector(memory.buffer, at, lanes)
            elif isinstance(valid, SSAValue):
                self._seen[key] = w.load_part(memory.buffer, at, lanes, valid, 1)
            else:
                self._seen[key] = load_tail(w, memory.buffer, at, valid, lanes)
        return self._seen[key]

    def moved(self, place: Place, kept: Sequence[Access]) -> _Reader:
        """A reader elsewhere; ``kept`` accesses, read already, are the same there."""
        there = _Reader(self.tile, place, self.shape, self.numbers)
        numbers = {self.numbers[a.key()] for a in kept}
        there._seen = {key: value for key, value in self._seen.items() if key[0] in numbers}
        return there

    def position(self, access: Access, element: Attribute, r: int, j: int) -> SSAValue:
        """Vector ``j`` of row ``r`` of a position, as integers of a type."""
        w, number, lanes = self.tile.writer, self.numbers[access.key()], self.shape.lanes
        step = self.tile.memory[number].vector_stride
        at = w.at(self.place[number] + (self.shape.offsets(number)[r] + j * lanes * step))
        first = w.value(arith.IndexCastOp.create(operands=(at,), result_types=(element,)))
        spread = w.broadcast(first, lanes)
        return w.binary(arith.AddiOp, spread, w.counting(element, lanes, step)) if step else spread

    def _gather(self, number: int, offsets: list[int], j: int) -> list[SSAValue]:
        """Vectors put together element by element; lanes beyond the valid ones hold one."""
        tile, w, lanes = self.tile, self.tile.writer, self.shape.lanes
        memory = tile.memory[number]
        element = memory.buffer.type.element_type  # type: ignore[union-attr]  # flat memory
        staged = tile.staging[element]
        shape = self.shape if any(offsets) else Shape((), 1, lanes, lanes)
        count = len(offsets) if any(offsets) else 1
        if not self.shape.is_whole(j):
            one = w.splat(number_attr(1, element), lanes)
            for r in range(count):
                w.store_vector(one, staged, Address(None, r * lanes))

        def copy(inside: Address, outside: Address) -> None:
            w.store(w.load(memory.buffer, outside), staged, inside)

        at = self.place[number] + j * lanes * memory.vector_stride
        tile._each(shape, number, at, self.shape.valid(j), copy)
        return [w.load_vector(staged, Address(None, r * lanes), lanes) for r in range(count)]


def _again(op: Operation, operands: Sequence[SSAValue], kind: Attribute) -> Operation:
    """The same op on other operands."""
    return type(op).create(operands=operands, result_types=(kind,), properties=op.properties)
