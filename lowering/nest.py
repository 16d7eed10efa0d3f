"""The nest scheduler: any buffered kernel function becomes fused, vectorised, threaded loops.

Stages are grouped (nest_fusion), given loops and homes (nest_plan), scheduled (nest_schedule) and emitted
here and in nest_fold (folds) and nest_body (bodies).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import MemRefType
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.kernel import BitsOp
from ..dialects.sizes import Size, any_symbolic, same, largest
from ..dialects.target import Target
from .loop_builder import LoopBuilder
from .memref_layout import memref_type
from .nest_body import TOGETHER, BodyEmitter, Point, Value, sums_of_products
from .nest_facts import note_facts
from .nest_fold import Fold, narrower
from .nest_moves import move_as_integers
from .nest_plan import Behind, Flat, GroupPlan, KernelPlan, LeafPlan, Loop, Row, StagePlan, plan_loops
from .nest_rewrites import rewrite_stages
from .nest_schedule import schedule
from .nest_stages import Buffer, Kernel, read_kernel
from .nest_turns import turn_operands

Piece = tuple[int, int, int, int, int, bool]
"""start, stop, step, vector width, copies side by side, whether the vector is masked."""


def nest_scratch_bytes(
    function: func.FuncOp, target: Target, scratch_from: int = 0, taken: Sequence[Operation] = ()
) -> int:
    """Bytes the scratch argument needs in all, the first `scratch_from` of which are somebody else's.

    taken: stages that another scheduler will have replaced by then.
    """
    kernel = _read(function, target, taken)
    if not any(buffer.is_temporary for buffer in kernel.buffers):
        return scratch_from  # only what it makes for itself is ever there
    total = schedule(plan_loops(kernel, scratch_from), target).scratch_bytes
    return total if total > _rounded(scratch_from) else scratch_from


def lower_nest(function: func.FuncOp, target: Target, scratch_from: int = 0) -> None:
    """Replaces the stages of a buffered kernel function by loops.

    Pieces that are loops already stay in place.
    """
    plan = schedule(plan_loops(_read(function, target), scratch_from), target)
    note_facts(plan.kernel)
    _Nest(plan).lower()


def _rounded(size: int) -> int:
    return -(-size // 64) * 64


def _read(function: func.FuncOp, target: Target, taken: Sequence[Operation] = ()) -> Kernel:
    kernel = read_kernel(function, taken)
    rewrite_stages(kernel, target)
    move_as_integers(kernel)
    turn_operands(kernel)
    return kernel


def pieces(size: int, width: int, copies: int, cut: bool = False) -> Iterator[Piece]:
    """Covers 0..size: blocks of `copies` vectors, vectors, narrower ones, then scalars. A size known at the call only is covered
    by all of these but the narrower ones, some of which may cover nothing; cut: by a masked vector in place of scalars.
    """
    at = 0
    if isinstance(size, Size):
        for step, lanes, beside in dict.fromkeys(((width * copies, width, copies), (width, width, 1), *(() if cut else ((1, 1, 1),)))):
            stop = size - size % step
            if not same(stop, at):
                yield at, stop, step, lanes, beside, False
            at = stop
        if cut and not same(at, size):
            yield at, size, width, width, 1, True
        return
    if copies > 1 and size >= width * copies:
        stop = size - size % (width * copies)
        yield at, stop, width * copies, width, copies, False
        at = stop
    if width > 1 and size - at >= width:
        stop = size - size % width
        yield at, stop, width, width, 1, False
        at = stop
    for narrow in narrower(size - at, width):
        stop = at + narrow if narrow > 1 else size
        yield at, stop, narrow, narrow, 1, False
        at = stop


@dataclass(frozen=True, slots=True)
class _Late:
    """The last leaf of the row before, which runs inside a busy one of this row. shared: the values of that row it takes."""

    leaf: LeafPlan
    busy: LeafPlan
    row: Loop
    number: SSAValue
    shared: dict[Buffer, dict[int, Value]]


class _Nest:
    def __init__(self, plan: KernelPlan) -> None:
        self.plan = plan
        self.function = plan.kernel.function
        old = self.function.body.block
        self.block = Block(arg_types=[a.type for a in old.args])
        for arg, new in zip(old.args, self.block.args, strict=True):
            new.name_hint = arg.name_hint
        self.b = LoopBuilder(self.block)
        self.homes: dict[Buffer, SSAValue] = {}
        self.rows: dict[Buffer, Row] = {}
        self.by_value = {buffer.value: buffer for buffer in reversed(plan.kernel.buffers)}
        self.body = BodyEmitter(self.b, self.memory, self.by_value)
        self.shared_values: dict[Buffer, dict[int, Value]] = {}
        self.ranges: dict[Loop, tuple[SSAValue, SSAValue]] = {}
        self.fixed: dict[Loop, SSAValue] = {}
        self.task: SSAValue | None = None
        self.apart = 1  # iterations between rows side by side
        self.late: _Late | None = None

    def lower(self) -> None:
        old = self.function.body.block
        others = self.plan.kernel.others
        for buffer in self.plan.kernel.buffers:
            self._settle(buffer)
        segments = sorted({*others, *(g.segment for g in self.plan.groups)})
        for segment in segments:
            for op in others.get(segment, ()):
                op.detach()
                self.b.do(op)
            for group in self.plan.groups:
                if group.segment == segment:
                    self._group(group)
        self.block.add_op(func.ReturnOp())
        for op in reversed(list(old.ops)):
            op.detach()
            op.erase()
        for arg, new in zip(old.args, self.block.args, strict=True):
            arg.replace_all_uses_with(new)
        region = self.function.body
        region.detach_block(old)
        region.add_block(self.block)

    # Memory

    def _settle(self, buffer: Buffer) -> None:
        """Arguments are their own home; buffers loops already use keep theirs.

        Temporaries in the arena get a view.
        """
        old = self.function.body.block.args
        if buffer.index < len(old):
            self.homes[buffer] = self._typed(buffer, self.b.flat(self.block.args[buffer.index]))
        elif buffer in self.plan.arena:
            self.homes[buffer] = self._view(buffer, self.b.index(self.plan.arena[buffer]), _elements(buffer))

    def _view(self, buffer: Buffer, offset: SSAValue, length: int) -> SSAValue:
        scratch = self.block.args[-1]
        op = memref.ViewOp(scratch, offset, [], memref_type((length,), buffer.element))
        return self.b.at(op, self.b.level[offset])

    def memory(self, buffer: Buffer) -> SSAValue:
        """The buffer as a 1-D memref."""
        home = self.homes.get(buffer)
        if home is None:
            home = self.homes[buffer] = (
                self._row(self.rows[buffer]) if buffer in self.rows else self._kept(buffer)
            )
        return home

    def _kept(self, buffer: Buffer) -> SSAValue:
        self.b.level.setdefault(buffer.value, 0)
        return self._typed(buffer, self.b.flat(buffer.value))

    def _typed(self, buffer: Buffer, held: SSAValue) -> SSAValue:
        """The memory with elements as the plan has them: those of 16-bit floats may be integers."""
        assert isinstance(held.type, MemRefType)
        if held.type.element_type == buffer.element:
            return held
        return self.b.emit(BitsOp, (held,), memref_type(held.type.get_shape(), buffer.element), level=self.b.level[held])

    def _row(self, row: Row) -> SSAValue:
        if row.at is None:
            op = memref.AllocaOp.get(row.buffer.element, shape=[largest(row.length)], alignment=64)
            return self.b.at(op, self.b.base)
        group = self.current
        offset = self.b.index(group.row_base + row.at)
        if self.task is not None:
            offset = self.b.add(self.b.scaled(self.task, group.row_bytes), offset)
        return self._view(row.buffer, offset, row.length)

    # Groups

    def _group(self, group: GroupPlan) -> None:
        self.current = group
        self.shared_values = {}
        self.rows = {row.buffer: row for row in group.rows}
        self.ranges, self.fixed, self.task = {}, {}, None
        if group.tasks > 1:
            self.task = self.b.open_parallel(group.tasks)
            self._chunk(group)
            self.b.close_parallel()
        else:
            self._shared(group, _outer(group))
        for buffer in self.rows:
            self.homes.pop(buffer, None)

    def _chunk(self, group: GroupPlan) -> None:
        """One task: its range of the split loops, then everything inside."""
        total = 1
        for loop in group.split:
            total *= loop.size
        rest = [x for x in _outer(group) if x not in group.split]
        if group.split == [group.vector] or group.split == [group.tied]:
            self.ranges[group.split[0]] = self._range(group.chunk, total)
            self._shared(group, rest)
            return
        if same(group.chunk, 1):
            self._digits(group.split, self.task)
            self._shared(group, rest)
            return
        low, high = self._range(group.chunk, total)
        variable, _ = self.b.open_for(low, high, 1)
        self._digits(group.split, variable)
        self._shared(group, rest)
        self.b.close_for()

    def _range(self, chunk: int, total: int) -> tuple[SSAValue, SSAValue]:
        low = self.b.scaled(self.task, chunk)
        high = self.b.plus(low, chunk)
        if any_symbolic((total, chunk)) or total % chunk:
            high = self.b.minimum(high, self.b.index(total))
        return low, high

    def _digits(self, loops: Sequence[Loop], number: SSAValue) -> None:
        """The variables of several loops run as one, from the number of the iteration."""
        for loop in reversed(loops[1:]):
            number, digit = self.b.divided(number, loop.size)
            self.body.variables[loop] = digit
        self.body.variables[loops[0]] = number

    def _shared(self, group: GroupPlan, rest: Sequence[Loop]) -> None:
        if rest:
            self.body.variables[rest[0]], _ = self.b.open_for(self.b.index(0), self.b.index(rest[0].size), 1)
            self._shared(group, rest[1:])
            self.b.close_for()
            return
        if group.beside > 1:
            self._side_by_side(group)
            return
        if group.behind is not None:
            self._one_behind(group, group.behind)
            return
        if group.vector is None:
            self._leaves(group.leaves, [Point()])
            return
        if group.slid is None:
            self._vectors(group, 1)
            return
        for start, stop, step in self._runs(group.slid.size, group.windows):
            low, high = self.b.index(start), self.b.index(stop)
            self.body.variables[group.slid], _ = self.b.open_for(low, high, step)
            self._vectors(group, step)
            self.b.close_for()

    @staticmethod
    def _runs(size: int, windows: int) -> Iterator[tuple[int, int, int]]:
        """Covers 0..size by so many windows at a time, and what is left by fewer."""
        left = size % windows
        whole = size - left
        yield 0, whole, windows
        if isinstance(size, Size):
            yield whole, size, 1
        elif left:
            yield whole, size, left

    def _vectors(self, group: GroupPlan, windows: int) -> None:
        for piece in pieces(group.vector.size, group.width, group.copies, group.cut):
            self._vector_piece(group, piece, windows)

    def _side_by_side(self, group: GroupPlan) -> None:
        """Several rows at a time, runs of them first; then those left over one by one."""
        row, start = group.shared[-1], 0
        for apart, beside in dict.fromkeys(((group.apart, group.beside), (1, group.beside), (1, 1))):
            stop = row.size - row.size % (apart * beside)
            if any_symbolic((start, stop)) or start < stop:
                low, high = self._clipped(row, start, stop)
                self.body.variables[row], _ = self.b.open_for(low, high, apart * beside)
                self.apart = apart
                self._run(group, row, beside)
                self.b.close_for()
            start = stop

    def _run(self, group: GroupPlan, row: Loop, beside: int) -> None:
        """Rows side by side, from the first to the last of a run."""
        points = [Point(offsets={row: k * self.apart}, copy=k) for k in range(beside)]
        if self.apart == 1:
            self._leaves(group.leaves, points)
            return
        first = self.body.variables[row]
        number, _ = self.b.open_for(self.b.index(0), self.b.index(self.apart), 1)
        self.body.variables[row] = self.b.add(first, number)
        self._leaves(group.leaves, points)
        self.b.close_for()

    def _one_behind(self, group: GroupPlan, behind: Behind) -> None:
        """The first row without its last leaf, every further one with that of the row before, and the last leaf of the last."""
        row, last, variables = group.shared[-1], group.leaves[-1], self.body.variables
        low, high = self._clipped(row, 0, row.size)
        self._at_row(group, low)
        self._leaves(group.leaves[:-1], [Point()])
        taken = _taken(last)
        number, held = self.b.open_for(self.b.plus(low, 1), high, 1, [self.shared_values[buffer][0] for buffer in taken])
        self._at_row(group, number)
        self.late = _Late(last, behind.busy, row, self.b.plus(number, -1), {b: {0: v} for b, v in zip(taken, held, strict=True)})
        self._leaves(group.leaves[:-1], [Point()])
        self.late = None
        held = self.b.close_for([self.shared_values[buffer][0] for buffer in taken])
        self.shared_values = {b: {0: v} for b, v in zip(taken, held, strict=True)}
        self._at_row(group, high)
        variables[row] = self.b.plus(high, -1)
        self._leaves([last], [Point()])

    def _at_row(self, group: GroupPlan, number: SSAValue) -> None:
        """The row, and which of two buffers holds it and which the one before."""
        variables, behind = self.body.variables, group.behind
        variables[group.shared[-1]] = number
        variables[behind.this] = self.b.divided(number, 2)[1]
        variables[behind.before] = self.b.divided(self.b.plus(number, 1), 2)[1]

    def catch_up(self, leaf: LeafPlan, points: Sequence[Point]) -> None:
        """Behind the busy leaf's work at these points of this row, the late one's at the same ones of its row. All at once: a load may wait
        for a store whose address it shares but for the page (nest_behind.py), and waits once then.
        """
        late, variables = self.late, self.body.variables
        if late is None or leaf is not late.busy:
            return
        mine, busy = late.leaf.own[0], late.busy.own[0]
        kept = variables[late.row], self.shared_values
        variables[late.row], variables[mine], self.shared_values = late.number, variables[busy], late.shared
        for point in points:
            self.statements(late.leaf, Point(point.width, None if point.vector is None else mine, {mine: point.offsets.get(busy, 0)}), [])
        variables[late.row], self.shared_values = kept

    def together(self, points: Sequence[Point]) -> Point:
        """Rows side by side as the lanes of one point; a single one as it is."""
        return points[0] if len(points) == 1 else Point(len(points), self.current.shared[-1], {}, TOGETHER, apart=self.apart)

    def _scalars(self, points: Sequence[Point]) -> Sequence[Point]:
        """Points of single elements: those of rows side by side as one."""
        return [self.together(points)] if self.current.beside > 1 else points

    def _vector_piece(self, group: GroupPlan, piece: Piece, windows: int) -> None:
        loop = group.vector
        start, stop, step, width, copies, masked = piece
        filled = self.b.index(stop - start) if masked else None
        points = [Point(width, loop, {loop: k * width}, k, filled=filled) for k in range(copies)]
        if windows > 1:
            points = [Point(width, loop, {group.slid: k}, k, filled=filled) for k in range(windows)]
        if loop not in self.ranges and same(stop - start, step):
            self._at_constant(loop, start, lambda: self._tiled(group, points))
            return
        low, high = self._clipped(loop, start, stop)
        self.body.variables[loop], _ = self.b.open_for(low, high, step)
        self._tiled(group, points)
        self.b.close_for()

    def _tiled(self, group: GroupPlan, points: Sequence[Point]) -> None:
        """The tile loop, if any, inside the vector loop: as many points at once as there are lanes."""
        tile, width = group.tile, points[0].width
        if tile is None:
            self._leaves(group.leaves, points)
            return
        whole = tile.size - tile.size % width if width == group.width else 0
        squares = [Point(width, group.vector, {tile: k}, k, tile) for k in range(width)]
        for start, stop, step, inside in ((0, whole, width, squares), (whole, tile.size, 1, points)):
            if any_symbolic((start, stop)) or start < stop:
                self.body.variables[tile], _ = self.b.open_for(self.b.index(start), self.b.index(stop), step)
                self._leaves(group.leaves, inside)
                self.b.close_for()

    def _clipped(self, loop: Loop, start: int, stop: int) -> tuple[SSAValue, SSAValue]:
        """The piece's bounds, cut to the task's range (whose limits are multiples of the largest step)."""
        low, high = self.b.index(start), self.b.index(stop)
        if loop in self.ranges:
            first, last = self.ranges[loop]
            low = first if same(start, 0) else self.b.maximum(first, low)
            high = self.b.minimum(last, high)
        return low, high

    def _at_constant(self, loop: Loop, value: int, inside: Callable[[], None]) -> None:
        self.body.variables[loop] = None if same(value, 0) else self.b.index(value)
        inside()
        self.body.variables.pop(loop)

    # Leaves

    def _leaves(self, leaves: Sequence[LeafPlan], points: Sequence[Point]) -> None:
        for leaf in leaves:
            self.body.leaf_number += 1
            self.body.leaf_level = self.b.depth
            inside = self.late is not None and leaf is self.late.busy
            stages = [*leaf.stages, *self.late.leaf.stages] if inside else leaf.stages
            self.body.written_here = {f.buffer for p in stages for f in p.writes if f is not None}
            self._parallel(leaf, [x for x in leaf.own if x.kind != "r"], points)

    def _parallel(self, leaf: LeafPlan, rest: Sequence[Loop], points: Sequence[Point]) -> None:
        if not rest:
            self._inside(leaf, points)
            return
        loop = rest[0]
        if loop is not leaf.vector:
            self.body.variables[loop], _ = self.b.open_for(self.b.index(0), self.b.index(loop.size), 1)
            self._parallel(leaf, rest[1:], points)
            self.b.close_for()
            return
        for start, stop, step, width, copies, masked in pieces(loop.size, leaf.width, leaf.copies, leaf.cut):
            filled = self.b.index(stop - start) if masked else None
            wide = [Point(width, loop, {**p.offsets, loop: k * width}, p.copy, filled=filled) for p in points for k in range(copies)]
            if width == 1:
                wide = self._scalars(points)
            if same(stop - start, step):
                self._at_constant(loop, start, lambda wide=wide: self._parallel(leaf, rest[1:], wide))
                continue
            self.body.variables[loop], _ = self.b.open_for(self.b.index(start), self.b.index(stop), step)
            self._parallel(leaf, rest[1:], wide)
            self.b.close_for()

    def _inside(self, leaf: LeafPlan, points: Sequence[Point]) -> None:
        shares = all(x.kind == "r" for x in leaf.own)
        if any(x.kind == "r" for x in leaf.own):
            Fold(self, leaf, points, shares).emit()
            return
        for point in self._scalars(points) if shares else points:
            values = self.statements(leaf, point, [])[1]
            if shares:
                for buffer, value in values.items():
                    self.share(buffer, value, point)
        self.catch_up(leaf, points)

    def share(self, buffer: Buffer, value: Value, point: Point) -> None:
        """Keep a value that later leaves of the iteration take: of rows side by side as one vector, and each."""
        held = self.shared_values.setdefault(buffer, {})
        held[point.copy] = value
        if point.copy == TOGETHER:
            held |= enumerate(self.body.lanes(value, point))

    def statements(
        self, leaf: LeafPlan, point: Point, sums: Sequence[Value]
    ) -> tuple[list[Value], dict[Buffer, Value]]:
        """All stages of a leaf at one point.

        sums: the accumulators of the folding stages' outputs, in order. Returns the new ones, and what the
        other stages wrote. Stores come last, so that an output may take the memory of an operand.
        """
        given, sums_after = iter(sums), []
        values: dict[Buffer, Value] = {}
        stores = []
        for flat in leaf.asked:
            self.body.ask(flat, point)
        for plan in leaf.stages:
            stage = plan.stage
            args: list[Value | None] = [
                None if f is None else self._read(f, skip, values, point)
                for f, skip in zip(plan.reads, plan.forwarded, strict=True)
            ]
            if stage.reduces:
                args += [next(given) for _ in stage.writes]
                sums_after += self.body.run(stage.block, plan.loops, args, point, sums_of_products(stage.block, stage.combiners))
                continue
            args += [self._old(plan, k, point) for k in range(len(stage.writes))]
            results = (
                [self.scalar(stage.fill)]
                if stage.block is None
                else self.body.run(stage.block, plan.loops, args, point)
            )
            for write, flat, value in zip(stage.writes, plan.writes, results, strict=True):
                values[write.buffer] = value
                if flat is not None:
                    stores.append((flat, value))
        self.body.store_all(stores, point)
        return sums_after, values

    def _read(self, flat: Flat, forwarded: bool, values: dict[Buffer, Value], point: Point) -> Value:
        if not forwarded:
            return self.body.load(flat, point)
        if flat.buffer in values:
            return values[flat.buffer]
        return self.shared_values[flat.buffer][point.copy]

    def _old(self, plan: StagePlan, k: int, point: Point) -> Value | None:
        """What an output held before, where the body asks for it."""
        stage = plan.stage
        if not stage.uses_out[k]:
            return None
        if stage.starts[k] is not None:
            return self.scalar(stage.starts[k])
        return self.body.load(plan.writes[k], point)

    def scalar(self, constant: SSAValue) -> SSAValue:
        """A constant of the old body at the top of the new one."""
        op = constant.owner
        assert isinstance(op, arith.ConstantOp)
        return self.b.constant(op.properties["value"], constant.type)


def _outer(group: GroupPlan) -> list[Loop]:
    return [x for x in group.shared if x not in (group.vector, group.tile, group.slid, group.tied)]


def _taken(leaf: LeafPlan) -> list[Buffer]:
    """The buffers whose values of the iteration a leaf takes from leaves before it."""
    mine = {w.buffer for plan in leaf.stages for w in plan.stage.writes}
    reads = (f for plan in leaf.stages for f, skip in zip(plan.reads, plan.forwarded, strict=True) if f is not None and skip)
    return list(dict.fromkeys(f.buffer for f in reads if f.buffer not in mine))


def _elements(buffer: Buffer) -> int:
    n = 1
    for size in buffer.sizes:
        n *= size
    return n
