"""Contraction kernels to loops: a register tile over a full reduction, packed panels, the epilogue on the accumulators.

One scheme for matrix products, convolutions, both their gradients and einsums, chosen from index maps, sizes and strides:

    scf.parallel task                        batch, outer rows, blocks of rows or panels (and chunks of a long reduction)
      for panel, for tile                    vectors x rows that fit the registers
        sums = 0
        for k: sums += broadcast(row[k]) * panel[k]
        out = epilogue(sums)

A long reduction with few results is cut into a fixed number of chunks whose sums are added in order afterwards: threads have
work, and results do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod

from xdsl.dialects import arith, func, memref
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Attribute, SSAValue

from ..dialects.target import Target
from .contraction_match import Access, Contraction, match_contraction
from .contraction_plan import Dim, Panel, Plan, Problem, Tiles, make_plan
from .contraction_tile import Memory, Place, Shape, Tile, accumulator_type
from .loop_writer import Address, LoopWriter
from .packing import Packing, write_packing

ALIGNMENT = 64


def lower_contraction(kernel: func.FuncOp, target: Target) -> bool:
    """Replaces the contraction of a buffered kernel, and its epilogue, by loops.

    False, with the kernel untouched, when there is none or plain loops serve as well. Fills and other stages that the epilogue does
    not need stay where they are. Uses the kernel's last argument as scratch when ``scratch_bytes`` is not 0.
    """
    scheduled = _schedule(kernel, target)
    if scheduled is None:
        return False
    scratch = kernel.body.block.args[-1] if scheduled.scratch_bytes else None
    _Kernel(scheduled, scratch, target).write()
    for op in reversed(scheduled.contraction.consumed):
        op.detach()
        op.erase()
    for op in list(kernel.body.block.ops):
        if isinstance(op, memref.AllocaOp) and not op.results[0].uses:
            op.detach()
            op.erase()
    return True


def scratch_bytes(kernel: func.FuncOp, target: Target) -> int:
    """Bytes of scratch memory ``lower_contraction`` needs as the kernel's last argument (0: none)."""
    scheduled = _schedule(kernel, target)
    return 0 if scheduled is None else scheduled.scratch_bytes


def lowers(kernel: func.FuncOp, target: Target) -> bool:
    """Whether ``lower_contraction`` takes the kernel and leaves nothing behind but fills."""
    scheduled = _schedule(kernel, target)
    if scheduled is None:
        return False
    left = [op for op in kernel.body.block.ops if isinstance(op, GenericOp) and op not in scheduled.contraction.consumed]
    return all(not op.inputs for op in left)


@dataclass(frozen=True)
class _Scheduled:
    """A contraction with its plan. ``accesses``: 0 rows' side, 1 vectors' side, then the epilogue's; ``dims`` all use them."""

    contraction: Contraction
    plan: Plan
    accesses: tuple[Access, ...]
    packing: Packing | None
    threads: bool

    @property
    def partial_elements(self) -> int:
        """Elements of the partial sums of one chunk."""
        return _padded(self.plan) * prod(d.size for d in _result_dims(self.plan)) if self.plan.chunks > 1 else 0

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed copy, rounded up to whole lines."""
        if self.packing is None:
            return 0
        return _lines(self.packing.elements * _bytes(self.packing.element))

    @property
    def scratch_bytes(self) -> int:
        """The packed copy, then the partial sums of all chunks."""
        item = _bytes(accumulator_type(self.contraction))
        return self.packed_bytes + _lines(self.plan.chunks * self.partial_elements * item)


def _schedule(kernel: func.FuncOp, target: Target) -> _Scheduled | None:
    contraction = match_contraction(kernel)
    if contraction is None:
        return None
    accesses, outputs = _accesses(contraction)
    dims = [Dim(n, tuple(a.strides[d] for a in accesses)) for d, n in enumerate(contraction.sizes)]
    item = _bytes(accumulator_type(contraction))
    problem = Problem(
        tuple(dims[d] for d in contraction.parallel),
        tuple(dims[d] for d in contraction.reduction),
        outputs,
        item,
        _bytes(contraction.right.access.element),
        accesses[1].element != accumulator_type(contraction),
    )
    plan = make_plan(problem, target)
    if plan is None:
        return None
    if plan.swapped:
        contraction = replace(contraction, left=contraction.right, right=contraction.left)
        accesses = (accesses[1], accesses[0], *accesses[2:])
    packing = _packing(contraction, plan) if plan.packed else None
    return _Scheduled(contraction, plan, accesses, packing, problem.work >= target.parallel_work)


def _accesses(contraction: Contraction) -> tuple[tuple[Access, ...], tuple[int, ...]]:
    """Every access once (both factors first), and the numbers of those that are written."""
    found: dict[tuple[object, ...], Access] = {}
    for stage in contraction.stages:
        for access in stage.inputs:
            if isinstance(access, Access):
                found.setdefault(access.key(), access)
    for access in contraction.outputs:
        found.setdefault(access.key(), access)
    numbers = {key: i + 2 for i, key in enumerate(found)}
    outputs = tuple(numbers[a.key()] for a in contraction.outputs)
    return (contraction.left.access, contraction.right.access, *found.values()), outputs


def _packing(contraction: Contraction, plan: Plan) -> Packing:
    access = contraction.right.access
    return Packing(
        access.buffer, access.offset, accumulator_type(contraction), plan.lanes,
        (*plan.batch, *plan.beside), plan.vector, plan.reduction, plan.panels,
    )  # fmt: skip


def _result_dims(plan: Plan) -> tuple[Dim, ...]:
    """The parallel loops but the vector dim, outermost first."""
    return (*plan.batch, *plan.outer, *plan.beside, plan.tiled, *plan.inner)


def _padded(plan: Plan) -> int:
    return -(-plan.vector.size // plan.lanes) * plan.lanes


def _lines(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _bytes(element: Attribute) -> int:
    return max(1, (element.bitwidth + 7) // 8)  # type: ignore[attr-defined]  # element types have a width


class _Kernel:
    """Writes one scheduled contraction."""

    def __init__(self, scheduled: _Scheduled, scratch: SSAValue | None, target: Target) -> None:
        self.scheduled = scheduled
        self.contraction = scheduled.contraction
        self.plan = _with_scratch_strides(scheduled)
        self.threads = scheduled.threads
        self.partial = len(scheduled.accesses)
        self.writer = LoopWriter(scheduled.contraction.consumed[-1])
        self.scratch = scratch
        self.memory = self._memory()
        self.tile = Tile(self.writer, self.contraction, self.memory)

    def _memory(self) -> list[Memory]:
        w, scheduled = self.writer, self.scheduled
        memory = [Memory(w.flat(a.buffer), self.plan.vector.strides[i]) for i, a in enumerate(scheduled.accesses)]
        element = accumulator_type(self.contraction)
        if scheduled.packing is not None:
            assert self.scratch is not None
            memory[1] = Memory(w.window(self.scratch, 0, element, scheduled.packing.elements), 1)
        if self.plan.chunks > 1:
            assert self.scratch is not None
            count = self.plan.chunks * scheduled.partial_elements
            memory.append(Memory(w.window(self.scratch, scheduled.packed_bytes, element, count), 1))
        return memory

    def write(self) -> None:
        """The whole kernel."""
        packing = self.scheduled.packing
        if packing is not None:
            pack = replace(packing, source=self.writer.flat(packing.source))
            convert = lambda value: self.tile.converted(value, self.contraction.right)  # noqa: E731
            write_packing(self.writer, pack, self.memory[1].buffer, convert, self.threads)
        self._products()
        if self.plan.chunks > 1:
            self._sum_chunks()

    # -- the products -----------------------------------------------------------------------------------------------

    def _products(self) -> None:
        plan, w = self.plan, self.writer
        counts = (plan.chunks, *(d.size for d in plan.grid), plan.row_parts, plan.panel_parts)
        with self._tasks(counts) as (chunk, *grid, row_part, panel_part):
            self._reserve(max(t.size for t in plan.tiles) * plan.inner_rows)
            place, bounds = self._start(), None
            for dim, index in zip(plan.grid, grid, strict=True):
                place = self._moved(place, dim, index)
            if plan.chunks > 1:
                bounds = self._part(plan.reduction[0].size, chunk, plan.chunks)
                place[self.partial] = w.advance(place[self.partial], chunk, self.scheduled.partial_elements)
            self._beside(list(plan.beside), place, lambda p: self._panels(p, row_part, panel_part, bounds))

    def _beside(self, dims: list[Dim], place: Place, body) -> None:  # noqa: ANN001
        if not dims:
            body(place)
            return
        with self.writer.loop(0, dims[0].size) as loop:
            self._beside(dims[1:], self._moved(place, dims[0], loop.counter), body)

    def _panels(
        self, place: Place, row_part: SSAValue, panel_part: SSAValue, bounds: tuple[SSAValue, SSAValue] | None
    ) -> None:
        for panel in self.plan.panels:
            dim = self._panel_dim(panel)
            origin = self._moved(place, Dim(1, tuple(s // panel.vectors for s in dim.strides)), panel.start)
            for _, there in self._each(origin, dim, panel.count, panel_part, self.plan.panel_parts):
                self._tiles(there, panel, row_part, bounds)

    def _tiles(
        self, place: Place, panel: Panel, row_part: SSAValue, bounds: tuple[SSAValue, SSAValue] | None
    ) -> None:
        plan = self.plan
        for number, tiles in enumerate(plan.tiles):
            dim = Dim(tiles.count, tuple(s * tiles.size for s in plan.tiled.strides))
            origin = self._moved(place, plan.tiled, tiles.start)
            part = row_part
            if number and plan.row_parts > 1:
                part = self._mirrored(row_part, plan.row_parts)
            for _, there in self._each(origin, dim, tiles.count, part, plan.row_parts):
                self._product(there, tiles, panel, bounds)

    def _product(
        self, place: Place, tiles: Tiles, panel: Panel, bounds: tuple[SSAValue, SSAValue] | None
    ) -> None:
        plan = self.plan
        rows = (plan.tiled._replace(size=tiles.size), *plan.inner)
        shape = Shape(rows, panel.vectors, plan.lanes, panel.tail)
        sums = self.tile.sums(place, shape, self._reduction(panel), bounds)
        if plan.chunks > 1:
            full = replace(shape, tail=plan.lanes)
            self.tile.write_sums(sums, self.partial, place, full)
        else:
            self._finish(sums, place, shape)

    def _finish(self, sums: list[SSAValue], place: Place, shape: Shape) -> None:
        contraction = self.contraction
        self.tile.finish(sums, place, shape, contraction.stages, self.scheduled.accesses, contraction.outputs)

    # -- the sum of chunks ------------------------------------------------------------------------------------------

    def _sum_chunks(self) -> None:
        """Adds the chunks' partial sums in order and applies the epilogue, one row at a time."""
        plan = self.plan
        loops = _result_dims(plan)
        with self._tasks(tuple(d.size for d in loops)) as indices:
            self._reserve(1)
            place = self._start()
            for dim, index in zip(loops, indices, strict=True):
                place = self._moved(place, dim, index)
            for panel in plan.panels:
                dim = self._panel_dim(panel)
                origin = self._moved(place, Dim(1, tuple(s // panel.vectors for s in dim.strides)), panel.start)
                for _, there in self._each(origin, dim, panel.count, self.writer.index(0), 1):
                    shape = Shape((), panel.vectors, plan.lanes, panel.tail)
                    self._finish(self._total(there, panel), there, shape)

    def _total(self, place: Place, panel: Panel) -> list[SSAValue]:
        w, lanes, size = self.writer, self.plan.lanes, self.scheduled.partial_elements
        buffer, at = self.memory[self.partial].buffer, place[self.partial]
        first = [w.load_vector(buffer, at + j * lanes, lanes) for j in range(panel.vectors)]
        with w.loop(1, self.plan.chunks, first) as loop:
            there = w.advance(at, loop.counter, size)
            more = [w.load_vector(buffer, there + j * lanes, lanes) for j in range(panel.vectors)]
            loop.next = [self.tile.add(a, b) for a, b in zip(loop.inside, more, strict=True)]
        return loop.results

    # -- places and loops -------------------------------------------------------------------------------------------

    def _start(self) -> Place:
        place = [Address(None, a.offset) for a in self.scheduled.accesses]
        if self.scheduled.packing is not None:
            place[1] = Address()
        return place + [Address()] * (len(self.memory) - len(place))

    def _moved(self, place: Place, dim: Dim, index: SSAValue | int) -> Place:
        return [self.writer.advance(a, index, s) for a, s in zip(place, dim.strides, strict=True)]

    def _panel_dim(self, panel: Panel) -> Dim:
        """The loop over the panels of one width."""
        plan = self.plan
        width = panel.vectors * plan.lanes
        strides = [s * width for s in plan.vector.strides]
        if self.scheduled.packing is not None:
            strides[1] = width * plan.steps
        return Dim(panel.count, tuple(strides))

    def _reduction(self, panel: Panel) -> list[Dim]:
        """The reduction's loops; a packed panel is read front to back."""
        dims = list(self.plan.reduction)
        if self.scheduled.packing is None:
            return dims
        steps = self.scheduled.packing.step_strides(panel.vectors * self.plan.lanes)
        return [Dim(d.size, (d.strides[0], step)) for d, step in zip(dims, steps, strict=True)]

    def _each(self, place: Place, dim: Dim, count: int, part: SSAValue, parts: int):  # noqa: ANN202
        """Yields once inside a loop over this part's share of ``count``, with the place there."""
        if count == 1 and parts == 1:
            yield None, place
            return
        low, high = (0, count) if parts == 1 else self._part(count, part, parts)
        with self.writer.loop(low, high) as loop:
            yield loop.counter, self._moved(place, dim, loop.counter)

    def _part(self, count: int, part: SSAValue, parts: int) -> tuple[SSAValue, SSAValue]:
        """Bounds of one of ``parts`` nearly equal shares of ``count``."""
        w = self.writer
        if count % parts == 0:
            low = w.times(part, count // parts)
            return low, w.plus(low, count // parts)
        after = w.plus(part, 1)
        return w.divided(w.times(part, count), parts), w.divided(w.times(after, count), parts)

    def _mirrored(self, part: SSAValue, parts: int) -> SSAValue:
        """Shares counted from the other end, so that uneven shares of two loops add up to even ones."""
        return self.writer.binary(arith.SubiOp, self.writer.index(parts - 1), part)

    @contextmanager
    def _tasks(self, counts: Sequence[int]):  # noqa: ANN202
        """Tasks numbered over a box; gives the index along each side."""
        w = self.writer
        with w.tasks(prod(counts), self.threads) as task:
            indices: list[SSAValue] = []
            left = task
            for i in range(len(counts) - 1, -1, -1):
                if counts[i] == 1:
                    indices.append(w.index(0))
                elif all(n == 1 for n in counts[:i]):
                    indices.append(left)
                else:
                    indices.append(w.remainder(left, counts[i]))
                    left = w.divided(left, counts[i])
            yield indices[::-1]

    def _reserve(self, rows: int) -> None:
        """Staging buffers for what does not move as whole vectors."""
        plan = self.plan
        whole = plan.vector.size % plan.lanes == 0
        kinds = [
            a.element
            for i, a in enumerate(self.scheduled.accesses[2:], 2)
            if plan.vector.strides[i] > 1 or plan.vector.strides[i] < 0 or (plan.vector.strides[i] == 1 and not whole)
        ]
        self.tile.reserve(kinds, rows * plan.lanes)


def _with_scratch_strides(scheduled: _Scheduled) -> Plan:
    """The plan with the strides of what lives in scratch: the packed copy as access 1, the partial sums as the last."""
    plan, packed = scheduled.plan, scheduled.packing
    groups = (plan.batch, plan.outer, plan.beside, (plan.tiled,), plan.inner)
    slots = iter(packed.slot_strides() if packed else ())
    partial = _partial_strides(plan)

    def turned(dim: Dim, packed_step: int, partial_step: int) -> Dim:
        strides = list(dim.strides)
        if packed is not None:
            strides[1] = packed_step
        return Dim(dim.size, (*strides, partial_step) if plan.chunks > 1 else tuple(strides))

    moved = [
        tuple(turned(d, next(slots, 0) if number in (0, 2) else 0, next(partial)) for d in group)
        for number, group in enumerate(groups)
    ]
    batch, outer, beside, tiled, inner = moved
    return replace(
        plan, batch=batch, outer=outer, beside=beside, tiled=tiled[0], inner=inner, vector=turned(plan.vector, 0, 1),
        reduction=tuple(Dim(d.size, d.strides[:2]) for d in plan.reduction),
    )  # fmt: skip


def _partial_strides(plan: Plan) -> Iterator[int]:
    """Strides of the dense partial sums, for the loops of ``_result_dims``."""
    sizes = [d.size for d in _result_dims(plan)]
    return iter([prod(sizes[i + 1 :]) * _padded(plan) for i in range(len(sizes))])
