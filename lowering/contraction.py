"""Contraction kernels to loops: register tiles over a full reduction, packed panels, epilogue on the sums.

One scheme for matrix products, convolutions, both their gradients and einsums, chosen from index maps, sizes
and strides:

    scf.parallel task                        batch, blocks of rows, shares of the panels (and chunks of a long
    reduction)
      for panel, for row, for tile           a block of rows meets one panel after the other; vectors x rows fit the registers
        sums = 0
        for k: sums += broadcast(row[k]) * panel[k]
        out = epilogue(sums)

Where the first cache does not hold a panel, all tiles go over it (or over all panels) stretch by stretch, and the sums lie where the
results will.
A long reduction with few results is cut into a fixed number of chunks whose sums are added in order
afterwards: threads have work, and results do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod

from xdsl.dialects import arith, func, memref
from xdsl.ir import SSAValue

from ..dialects.sizes import Size, same
from ..dialects.target import Target
from .contraction_bounds import Bounds, both, bounds_within
from .contraction_limits import way_of
from .contraction_match import Factor
from .contraction_covers import Panel, Tiles
from .contraction_problem import Dim
from .contraction_prefetch import LEAST_STEPS, asked_by_steps, fetch_results, next_panel
from .contraction_schedule import Schedule, schedule
from .contraction_tail import moves_in_pieces
from .contraction_tile import Memory, Place, Shape
from .halo import shrink_fills
from .loop_writer import Address, LoopWriter
from .packing import Packing, write_packing

Share = tuple[SSAValue, SSAValue]  # of the outermost loop of a reduction: from, to
Body = Callable[[Place, Tiles, Panel, Share | None, Address], None]


def lower_contraction(kernel: func.FuncOp, target: Target) -> bool:
    """Replaces the contraction of a buffered kernel, and its epilogue, by loops.

    False, with the kernel untouched, when there is none or plain loops serve as well. Fills and other stages
    that the epilogue does not need stay where they are. Uses the kernel's last argument as scratch when
    ``scratch_bytes`` is not 0.
    """
    scheduled = schedule(kernel, target)
    if scheduled is None:
        return False
    shrink_fills(kernel)
    scratch = kernel.body.block.args[-1] if scheduled.scratch_bytes else None
    _Kernel(scheduled, scratch).write()
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
    scheduled = schedule(kernel, target)
    return 0 if scheduled is None else scheduled.scratch_bytes


class _Kernel:
    """Writes one scheduled contraction."""

    def __init__(self, scheduled: Schedule, scratch: SSAValue | None) -> None:
        self.scheduled = scheduled
        self.contraction = scheduled.contraction
        self.plan = scheduled.full_plan
        self.writer = LoopWriter(scheduled.contraction.consumed[-1], scheduled.contraction.origin)
        self.memory = self._memory(scratch)
        self.tile = scheduled.tile(self.writer, self.memory)
        self.filled: SSAValue | None = None  # lanes of the cut panel that is being written

    def _memory(self, scratch: SSAValue | None) -> list[Memory]:
        w, scheduled = self.writer, self.scheduled
        memory = [
            Memory(None if a.buffer is None else w.flat(a.buffer), self.plan.vector.strides[i])
            for i, a in enumerate(scheduled.accesses)
        ]
        total, columns, scalars = scheduled.total, scheduled.packing, scheduled.row_packing or scheduled.box
        packed, rows = scheduled.packed_bytes, scheduled.packed_row_bytes
        parts = (
            (0, columns.elements if columns and packed else 0, columns.element if columns else total),
            (packed + rows, self.plan.chunks * scheduled.partial_elements, total),
            (packed, scalars.elements if scalars else 0, scalars.element if scalars else total),
        )
        for start, count, element in parts:
            there = (
                memory[0].buffer if scratch is None or same(count, 0) else w.window(scratch, start, element, count)
            )
            memory.append(Memory(there, 1))
        if scheduled.ahead is not None:
            memory[scheduled.packed] = Memory(w.flat(scheduled.ahead), 1)
        if scheduled.box is not None:
            memory[0] = memory[scheduled.packed_rows]
        return memory

    def write(self) -> None:
        """The whole kernel."""
        scheduled = self.scheduled
        if scheduled.ahead is None:
            self._pack(scheduled.packing, scheduled.packed, self.contraction.right)
        self._pack(scheduled.row_packing or scheduled.box, scheduled.packed_rows, self.contraction.left)
        self._products()
        if self.plan.chunks > 1:
            self._sum_chunks()

    def _pack(self, packing: Packing | None, number: int, factor: Factor) -> None:
        if packing is None:
            return
        pack = replace(packing, source=self.writer.flat(packing.source))
        threads = self.scheduled.threads
        write_packing(self.writer, pack, self.memory[number].buffer, lambda value: self.tile.converted(value, factor), threads)

    # -- the products ------------------------------------------------------------------------------

    def _products(self) -> None:
        plan, w = self.plan, self.writer
        blocks = plan.row_parts // plan.row_shares
        counts = (plan.chunks, *(d.size for d in plan.grid), blocks, plan.panel_parts, plan.row_shares)
        with self._tasks(counts) as (chunk, *grid, block, panel_part, share):
            row_part = share if blocks == 1 else w.binary(arith.AddiOp, w.times(block, plan.row_shares), share)
            shapes = [self._shape(self.scheduled.tile_rows(t.size), p) for t in plan.tiles for p in plan.panels]
            self._reserve([self.tile.finished(shape) for shape in shapes])
            self.tile.begin(shapes)
            place, bounds = self._start(), None
            for dim, index in zip(plan.grid, grid, strict=True):
                place = self._moved(place, dim, index)
            if plan.chunks > 1:
                bounds = self._part(plan.reduction[0].size, chunk, plan.chunks)
                place[self.scheduled.partial] = w.advance(
                    place[self.scheduled.partial], chunk, self.scheduled.partial_elements
                )
            self._beside(list(plan.beside[plan.aside :]), place, lambda p: self._panels(p, row_part, panel_part, bounds))

    def _beside(self, dims: list[Dim], place: Place, body: Callable[[Place], None]) -> None:
        if not dims:
            body(place)
            return
        with self.writer.loop(0, dims[0].size) as loop:
            self._beside(dims[1:], self._moved(place, dims[0], loop.counter), body)

    def _panels(self, place: Place, row_part: SSAValue, panel_part: SSAValue, bounds: Share | None) -> None:
        """All rows of a block with all panels of a share."""

        def each_panel(body: Callable[[Place, Panel], None]) -> None:
            for there, panel in self._each_panel(place, panel_part, self.plan.panel_parts):
                body(there, panel)

        if self.plan.stretches == 1:
            each_panel(lambda there, panel: self._rows(there, panel, row_part, bounds, self._product))
        elif self.plan.together:
            self._stretches(lambda bounds, body: each_panel(lambda there, panel: self._rows(there, panel, row_part, bounds, body)))
        else:
            each_panel(lambda there, panel: self._stretches(lambda bounds, body: self._rows(there, panel, row_part, bounds, body)))

    def _each_panel(self, place: Place, part: SSAValue, parts: int) -> Iterator[tuple[Place, Panel]]:
        """Yields inside the loops over a share of the panels."""
        w, plan = self.writer, self.plan
        for number, panel in enumerate(plan.panels):
            share = self._mirrored(part, parts) if number and parts > 1 else part
            dim = self.scheduled.panel_dim(panel)
            origin = self._moved(place, Dim(1, tuple(s // panel.vectors for s in dim.strides)), panel.start)
            for there, index in self._each(origin, dim, panel.count, share, parts):
                if panel.cut:
                    before = w.at(w.advance(Address(None, panel.start * plan.lanes), index, plan.lanes))
                    left = w.binary(arith.SubiOp, w.index(plan.vector.size), before)
                    self.filled = w.binary(arith.MinSIOp, left, w.index(plan.lanes))
                yield there, panel

    def _stretches(self, rows: Callable[[Share | None, Body], None]) -> None:
        """One stretch of the reduction after the other. rows: goes over rows of a block, with one panel or all of them."""
        plan, w = self.plan, self.writer
        rows(None, self._clear)
        with w.loop(0, plan.stretches) as loop:
            rows(self._part(plan.reduction[0].size, loop.counter, plan.stretches), self._go_on)
        if self.contraction.stages:
            rows(None, self._complete)

    def _rows(self, place: Place, panel: Panel, row_part: SSAValue, bounds: Share | None, body: Body) -> None:
        """The rows of a block: this task's share of the outermost loop, all of the others."""
        if not self.plan.within:
            self._tiles(place, panel, row_part, self.plan.row_parts, bounds, Address(), body)
            return
        cut = self.plan.cut_loops(self.plan.row_parts)
        rest = list(self.plan.within[cut:])
        for there, row in self._each_row(place, self.plan.within[:cut], row_part):
            before = self.writer.advance(Address(), row, sum(t.count for t in self.plan.tiles)) if self.plan.next_panel else Address()
            self._beside(rest, there, lambda p, before=before: self._tiles(p, panel, row_part, 1, bounds, before, body))

    def _each_row(self, place: Place, loops: Sequence[Dim], part: SSAValue) -> Iterator[tuple[Place, SSAValue | int]]:
        """Yields inside a loop over a share of the iterations of one loop, or of two as if they were one."""
        outer, *inner = loops
        if not inner:
            yield from self._each(place, outer, outer.size, part, self.plan.row_parts)
            return
        w, size = self.writer, inner[0].size
        low, high = self._part(outer.size * size, part, self.plan.row_parts)
        with w.loop(low, high) as loop:
            row = self._moved(place, outer, w.divided(loop.counter, size))
            before = w.binary(arith.SubiOp, loop.counter, low) if self.plan.next_panel else loop.counter
            yield self._moved(row, inner[0], w.remainder(loop.counter, size)), before

    def _tiles(
        self, place: Place, panel: Panel, row_part: SSAValue, parts: int, bounds: Share | None, before: Address, body: Body
    ) -> None:
        """``before``: tiles of the panel that this task has done."""
        plan = self.plan
        for number, tiles in enumerate(plan.tiles):
            dim = Dim(tiles.count, tuple(s * tiles.size for s in plan.tiled.strides))
            origin = self._moved(place, plan.tiled, tiles.start)
            part = row_part
            if number and parts > 1:
                part = self._mirrored(row_part, parts)
            self.tile.prepare(self._shape(self.scheduled.tile_rows(tiles.size), panel))
            for there, tile in self._each(origin, dim, tiles.count, part, parts):
                body(there, tiles, panel, bounds, self.writer.advance(before, tile, 1) if plan.next_panel else before)
            before = before + tiles.count if plan.next_panel else before

    def _product(self, place: Place, tiles: Tiles, panel: Panel, bounds: Share | None, number: Address) -> None:
        """One tile, the ``number``-th of its panel."""
        plan, scheduled, fetched = self.plan, self.scheduled, None
        shape = self._shape(scheduled.tile_rows(tiles.size), panel)
        if plan.next_panel:
            fetched = next_panel(self.writer, plan, panel, place[scheduled.packed], number, bounds)
        elif plan.next_rows:
            fetched = place[0] + tiles.size * plan.tiled.strides[0]
        reduction, bounded = scheduled.reduction(panel, tiles.size), self._bounds(place, shape, bounds)
        if plan.chunks == 1 and not isinstance(plan.steps, Size) and plan.steps >= LEAST_STEPS:
            if self.tile.asks and not any(bounded):
                shape = asked_by_steps(self.contraction, scheduled.accesses, self.memory, shape, reduction)
            if not shape.asked:
                fetch_results(self.writer, self.contraction, scheduled.accesses, self.memory, place, shape)
        partial = scheduled.partial if plan.chunks > 1 else None
        finish = self._finish if partial is None else self._keep_partial
        self.tile.product(place, shape, reduction, bounded, finish, partial, fetched)

    def _bounds(self, place: Place, shape: Shape, share: Share | None) -> list[Bounds | None]:
        """Of a tile's loops over the reduction: a share of the outermost one, and what limits leave of them."""
        plan, w = self.plan, self.writer
        bounds: list[Bounds | None] = [share, *[None] * (len(plan.reduction) - 1)]
        vector = plan.vector._replace(size=shape.vectors * plan.lanes)
        for limit in plan.limits:
            number = next(k for k, d in enumerate(plan.reduction) if d.strides[limit.number])
            way = way_of(limit, (), (*shape.rows, vector), plan.reduction)
            bounds[number] = both(w, bounds[number], bounds_within(w, limit, way, place[limit.number]))
        return bounds

    def _clear(self, place: Place, tiles: Tiles, panel: Panel, _: Share | None, __: Address) -> None:
        shape = self._shape(self.scheduled.tile_rows(tiles.size), panel)
        self.tile.write_sums(self.tile.zeros(shape), self.scheduled.holds, place, shape)

    def _go_on(self, place: Place, tiles: Tiles, panel: Panel, bounds: Share | None, _: Address) -> None:
        """A stretch of a tile's sums."""
        scheduled, tile = self.scheduled, self.tile
        shape = self._shape(scheduled.tile_rows(tiles.size), panel)
        before = tile.read_sums(scheduled.holds, place, shape)
        sums = tile.sums(place, shape, scheduled.reduction(panel, tiles.size), self._bounds(place, shape, bounds), None, before)
        tile.write_sums(sums, scheduled.holds, place, shape)

    def _complete(self, place: Place, tiles: Tiles, panel: Panel, _: Share | None, __: Address) -> None:
        shape = self._shape(self.scheduled.tile_rows(tiles.size), panel)
        self._finish(self.tile.read_sums(self.scheduled.holds, place, shape), place, shape)

    def _keep_partial(self, sums: list[SSAValue], place: Place, shape: Shape) -> None:
        self.tile.write_sums(sums, self.scheduled.partial, place, replace(shape, tail=self.plan.lanes, filled=None))

    def _finish(self, sums: list[SSAValue], place: Place, shape: Shape) -> None:
        self.tile.finish(sums, place, shape, self.scheduled.accesses)

    # -- the sum of chunks -------------------------------------------------------------------------

    def _sum_chunks(self) -> None:
        """Adds the chunks' partial sums in order and applies the epilogue, one row at a time."""
        plan = self.plan
        loops = plan.results
        with self._tasks(tuple(d.size for d in loops)) as indices:
            self._reserve([Shape((), p.vectors, plan.lanes, p.tail) for p in plan.panels])
            place = self._start()
            for dim, index in zip(loops, indices, strict=True):
                place = self._moved(place, dim, index)
            for there, panel in self._each_panel(place, self.writer.index(0), 1):
                shape = replace(self._shape((), panel), columns=1, scalars=0, ahead=0, fetched=1, pace=0)
                self._finish(self._total(there, panel), there, shape)

    def _total(self, place: Place, panel: Panel) -> list[SSAValue]:
        w, lanes, size = self.writer, self.plan.lanes, self.scheduled.partial_elements
        buffer, at = self.memory[self.scheduled.partial].buffer, place[self.scheduled.partial]
        first = [w.load_vector(buffer, at + j * lanes, lanes) for j in range(panel.vectors)]
        with w.loop(1, self.plan.chunks, first) as loop:
            there = w.advance(at, loop.counter, size)
            more = [w.load_vector(buffer, there + j * lanes, lanes) for j in range(panel.vectors)]
            loop.next = [self.tile.add(a, b) for a, b in zip(loop.inside, more, strict=True)]
        return loop.results

    # -- places and loops --------------------------------------------------------------------------

    def _start(self) -> Place:
        packing = self.scheduled.packing
        before = packing.panels[0].start * self.plan.lanes * packing.steps if packing else 0
        return [
            *(Address(None, offset) for offset in self.scheduled.offsets),
            Address(None, -before),
            Address(),
            Address(),
        ]

    def _moved(self, place: Place, dim: Dim, index: SSAValue | int) -> Place:
        return [self.writer.advance(a, index, s) for a, s in zip(place, dim.strides, strict=True)]

    def _each(self, place: Place, dim: Dim, count: int, part: SSAValue, parts: int) -> Iterator[tuple[Place, SSAValue | int]]:
        """Yields once inside a loop over this part's share of ``count``: the place there, and how many came before."""
        if same(count, 1) and parts == 1:
            yield place, 0
            return
        low, high = (0, count) if parts == 1 else self._part(count, part, parts)
        with self.writer.loop(low, high) as loop:
            counted = self.plan.next_panel and parts > 1
            before = self.writer.binary(arith.SubiOp, loop.counter, low) if counted else loop.counter
            yield self._moved(place, dim, loop.counter), before

    def _part(self, count: int, part: SSAValue, parts: int) -> Share:
        """Bounds of one of ``parts`` nearly equal shares of ``count``."""
        w = self.writer
        if not isinstance(count, Size) and count % parts == 0:
            low = w.times(part, count // parts)
            return low, w.plus(low, count // parts)
        after = w.plus(part, 1)
        return w.divided(w.times(part, count), parts), w.divided(w.times(after, count), parts)

    def _mirrored(self, part: SSAValue, parts: int) -> SSAValue:
        """Shares counted from the other end, so that uneven shares of two loops add up to even ones."""
        return self.writer.binary(arith.SubiOp, self.writer.index(parts - 1), part)

    @contextmanager
    def _tasks(self, counts: Sequence[int]) -> Iterator[list[SSAValue]]:
        """Tasks numbered over a box; gives the index along each side."""
        w = self.writer
        with w.tasks(prod(counts), self.scheduled.threads) as task:
            indices: list[SSAValue] = []
            left = task
            for i in range(len(counts) - 1, -1, -1):
                if same(counts[i], 1):
                    indices.append(w.index(0))
                elif all(same(n, 1) for n in counts[:i]):
                    indices.append(left)
                else:
                    indices.append(w.remainder(left, counts[i]))
                    left = w.divided(left, counts[i])
            yield indices[::-1]

    def _shape(self, rows: tuple[Dim, ...], panel: Panel) -> Shape:
        columns = self.scheduled.packed if panel.packed else 1
        scalars = self.scheduled.packed_rows if self.scheduled.row_packing else 0
        ahead = self.plan.ahead if panel.packed else 0
        fetched, pace = (0, prod(d.size for d in rows)) if self.plan.next_rows else (columns, self.plan.next_panel)
        filled = self.filled if panel.cut else None
        places = tuple(panel.place(j, self.plan.lanes, self.plan.steps) for j in range(panel.vectors)) if panel.packed and panel.run else ()
        return Shape(rows, panel.vectors, self.plan.lanes, panel.tail, columns, scalars, ahead, fetched, pace, filled, places)

    def _held(self, shapes: list[Shape]) -> int:
        """Accumulators of the largest tile whose epilogue is a loop."""
        accesses = self.scheduled.accesses
        return max(prod(d.size for d in s.rows) * self.tile.looped(s, accesses) for s in shapes)

    def _reserve(self, shapes: list[Shape]) -> None:
        """Buffers on the stack for these tiles: for what does not move as whole vectors, for what a loop's epilogue reads."""
        plan = self.plan
        tail = 0 if isinstance(plan.vector.size, Size) else plan.vector.size % plan.lanes
        kinds = [
            a.element
            for i, a in enumerate(self.scheduled.accesses[2:], 2)
            if a.buffer is not None and not same(plan.vector.strides[i], 0)
            and (not same(plan.vector.strides[i], 1) or (tail and not moves_in_pieces(a.element, tail)))
        ]
        rows = max(prod(d.size for d in s.rows) for s in shapes)
        self.tile.reserve(kinds, rows * plan.lanes, self._held(shapes) * plan.lanes)
