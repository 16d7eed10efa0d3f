"""Copies the vector side of a contraction into panels, so that the register tile reads it front to back.

    source[.., k, n]  ->  packed[slot][panel][k][vectors * lanes]     lanes behind the last column hold what nobody asks for
                          packed[slot][panel][run][k][run's vectors * lanes]    where a processor follows several runs of memory at once

The rows' side is packed the same way, tile by tile: a row is a vector of one lane.

A slot is one index of the loops outside a panel. Three ways, by the source's strides: whole vectors where
columns are neighbours, square blocks transposed in registers where steps are neighbours, single elements
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, vector
from xdsl.dialects.builtin import DenseArrayBase, i64
from xdsl.ir import Attribute, SSAValue

from ..dialects.sizes import Size, any_symbolic, estimate, same
from .contraction_covers import Panel
from .contraction_problem import Dim, contiguous_run
from .loop_writer import Address, LoopWriter, number_attr

Convert = Callable[[SSAValue], SSAValue]


@dataclass(frozen=True)
class Packing:
    """Source and form of the packed copy. ``slots``: loops outside a panel; strides are those of access 1."""

    source: SSAValue
    offset: int
    element: Attribute
    lanes: int
    slots: tuple[Dim, ...]
    columns: Dim
    reduction: tuple[Dim, ...]
    panels: tuple[Panel, ...]

    @property
    def form(self) -> str:
        """How an element's place in a panel is found, in a word."""
        return "steps"

    @property
    def steps(self) -> int:
        """Elements of the packed copy per column: one for each step of the reduction."""
        return prod(d.size for d in self.reduction)

    @property
    def row_stride(self) -> int:
        """Elements of the packed copy between the rows of a tile, where it is of the rows' side."""
        return 1

    @property
    def slot_elements(self) -> int:
        """Elements of the packed copy per slot."""
        return sum(p.count * p.vectors for p in self.panels) * self.lanes * self.steps

    @property
    def elements(self) -> int:
        """Elements of the whole packed copy."""
        return self.slot_elements * prod(d.size for d in self.slots)

    def step_strides(self, width: int) -> list[int]:
        """Elements of the packed copy between neighbouring steps of each reduction loop,
        in a panel of ``width`` columns.
        """
        sizes = [d.size for d in self.reduction]
        return [width * prod(sizes[i + 1 :]) for i in range(len(sizes))]

    def slot_strides(self) -> list[int]:
        """Elements of the packed copy between neighbouring indices of each slot dim."""
        strides = [self.slot_elements] * len(self.slots)
        for i in range(len(self.slots) - 2, -1, -1):
            strides[i] = strides[i + 1] * self.slots[i + 1].size
        return strides

    def write_panel(
        self, w: LoopWriter, target: SSAValue, convert: Convert, panel: Panel, source: Address, packed: Address, number: SSAValue
    ) -> None:
        """Writes the code that fills one panel of ``target``, the one with this number of its kind."""
        _PanelWriter(w, self, target, convert, panel, self.filled(w, panel, number)).write(source, packed)

    def filled(self, w: LoopWriter, panel: Panel, number: SSAValue) -> int | SSAValue:
        """Lanes of the last vector of such a panel, the one with this number, that hold columns."""
        if not panel.cut:
            return panel.tail
        before = w.at(w.advance(Address(None, panel.start * self.lanes), number, self.lanes))
        return w.binary(arith.MinSIOp, w.binary(arith.SubiOp, w.index(self.columns.size), before), w.index(self.lanes))


def write_packing(w: LoopWriter, pack: Packing, target: SSAValue, convert: Convert, threads: bool) -> None:
    """Writes the code that fills ``target``, flat memory of ``pack.elements``. Tasks are panels."""
    slots = prod(d.size for d in pack.slots)
    for panel in pack.panels:
        with w.tasks(slots * panel.count, threads) as task:
            source, packed = Address(None, pack.offset), Address()
            left = task
            which: list[tuple[Dim, SSAValue | int]] = []
            for dim in reversed(pack.slots):
                which.append((dim, w.remainder(left, dim.size)))
                left = w.divided(left, dim.size)
            for (dim, index), stride in zip(reversed(which), pack.slot_strides(), strict=True):
                source = w.advance(source, index, dim.strides[1])
                packed = w.advance(packed, index, stride)
            width = panel.vectors * pack.lanes
            source = w.advance(source, left, width * pack.columns.strides[1])
            packed = w.advance(packed, left, width * pack.steps)
            start, before = panel.start * pack.lanes, pack.panels[0].start * pack.lanes
            pack.write_panel(
                w, target, convert, panel, source + start * pack.columns.strides[1], packed + (start - before) * pack.steps, left
            )


class _PanelWriter:
    def __init__(
        self, w: LoopWriter, pack: Packing, target: SSAValue, convert: Convert, panel: Panel, filled: int | SSAValue
    ) -> None:
        self.filled = filled  # lanes of the last vector
        self.w = w
        self.pack = pack
        self.target = target
        self.convert = convert
        self.panel = panel
        self.steps = pack.step_strides(panel.near * pack.lanes)

    def write(self, source: Address, packed: Address) -> None:
        pack = self.pack
        run = contiguous_run(pack.reduction)
        if pack.lanes == 1 or pack.columns.strides[1] == 1 or prod(estimate(pack.reduction[i].size) for i in run) < pack.lanes:
            self._loops(list(range(len(pack.reduction))), source, packed, self._row)
            return
        others = [i for i in range(len(pack.reduction)) if i not in run]
        self._loops(others, source, packed, lambda s, p: self._blocks(run, s, p))

    def _loops(
        self, dims: Sequence[int], source: Address, packed: Address, body: Callable[[Address, Address], None]
    ) -> None:
        if not dims:
            body(source, packed)
            return
        dim = self.pack.reduction[dims[0]]
        with self.w.loop(0, dim.size) as loop:
            s = self.w.advance(source, loop.counter, dim.strides[1])
            p = self.w.advance(packed, loop.counter, self.steps[dims[0]])
            self._loops(dims[1:], s, p, body)

    def _row(self, source: Address, packed: Address) -> None:
        """One step of the reduction: all columns of the panel."""
        lanes, last = self.pack.lanes, self.panel.vectors - 1
        for j in range(self.panel.vectors):
            valid = self.filled if j == last else lanes
            self._vector(source + j * lanes * self.pack.columns.strides[1], packed + self._place(j), valid)

    def _place(self, j: int) -> int:
        """Elements of the copy from a step of the panel's first vector to the same of the ``j``-th."""
        return j * self.pack.lanes if not self.panel.run else self.panel.place(j, self.pack.lanes, self.pack.steps)

    def _vector(self, source: Address, packed: Address, valid: int | SSAValue) -> None:
        w, lanes, pack = self.w, self.pack.lanes, self.pack
        if lanes == 1:
            w.store(self.convert(w.load(pack.source, source)), self.target, packed)
            return
        near = same(pack.columns.strides[1], 1)
        if near and (isinstance(valid, SSAValue) or valid == lanes):
            whole = w.load_part(pack.source, source, lanes, valid, 0) if isinstance(valid, SSAValue) else w.load_vector(pack.source, source, lanes)
            w.store_vector(self.convert(whole), self.target, packed)
            return
        if isinstance(valid, SSAValue) or valid < lanes:
            w.store_vector(w.splat(number_attr(0, pack.element), lanes), self.target, packed)
        with w.loop(0, valid) as loop:
            at = w.advance(source, loop.counter, pack.columns.strides[1])
            value = self.convert(w.load(pack.source, at))
            w.store(value, self.target, w.advance(packed, loop.counter, 1))

    def _blocks(self, run: Sequence[int], source: Address, packed: Address) -> None:
        """The steps of a run lie side by side: lanes x lanes blocks are transposed in registers,
        the rest goes one by one.
        """
        w, lanes, column = self.w, self.pack.lanes, self.pack.columns.strides[1]
        full = self.panel.vectors - (isinstance(self.filled, SSAValue) or self.filled < lanes)
        if full:
            with w.tasks(full, False) as number:
                there = w.advance(packed, number, lanes)
                if self.panel.run:  # what lies between the runs, beside that
                    there = w.advance(there, w.divided(number, self.panel.run), self._place(self.panel.run) - self.panel.run * lanes)
                self._blocks_of_vector(run, w.advance(source, number, lanes * column), there, lanes)
        if full < self.panel.vectors:
            self._blocks_of_vector(run, source + full * lanes * column, packed + self._place(full), self.filled)

    def _blocks_of_vector(self, run: Sequence[int], source: Address, packed: Address, valid: int | SSAValue) -> None:
        """The steps of a run, one vector of columns."""
        w, lanes = self.w, self.pack.lanes
        extent = prod(self.pack.reduction[i].size for i in run)
        covered = extent - extent % lanes
        if isinstance(covered, Size) or covered:
            with w.loop(0, covered, step=lanes) as loop:
                self._block(run, w.advance(source, loop.counter, 1), packed, loop.counter, valid)
        if not any_symbolic((covered, extent)) and covered == extent:
            return
        with w.loop(covered, extent) as loop:
            self._vector(w.advance(source, loop.counter, 1), self._in_run(run, packed, loop.counter), valid)

    def _block(self, run: Sequence[int], source: Address, packed: Address, step: SSAValue, valid: int | SSAValue) -> None:
        """``lanes`` steps of the ``valid`` columns of a vector, the last of which stands for those behind it. Where their places take divisions,
        the rows go through a small buffer and one loop: written out, that is thousands of lines of C in a large program.
        """
        w, lanes, column = self.w, self.pack.lanes, self.pack.columns.strides[1]
        if isinstance(valid, SSAValue):
            last = w.plus(valid, -1)
            places = [w.advance(source, w.binary(arith.MinSIOp, w.index(i), last), column) for i in range(lanes)]
        else:
            places = [source + min(i, valid - 1) * column for i in range(lanes)]
        rows = transposed(w, [w.load_vector(self.pack.source, place, lanes) for place in places])
        if len(run) == 1:
            for i, row in enumerate(rows):
                w.store_vector(self.convert(row), self.target, self._in_run(run, packed, w.plus(step, i)))
            return
        element = rows[0].type.element_type  # type: ignore[union-attr]  # rows are vectors
        block = w.buffer(element, lanes * lanes)
        for i, row in enumerate(rows):
            w.store_vector(row, block, Address(None, i * lanes))
        with w.loop(0, lanes) as loop:
            row = w.load_vector(block, w.advance(Address(), loop.counter, lanes), lanes)
            at = w.binary(arith.AddiOp, step, loop.counter)
            w.store_vector(self.convert(row), self.target, self._in_run(run, packed, at))

    def _in_run(self, run: Sequence[int], packed: Address, at: SSAValue) -> Address:
        """The packed place of step ``at`` of a run; ``run`` names its loops from innermost to outermost."""
        for number, i in enumerate(run):
            size, last = self.pack.reduction[i].size, number == len(run) - 1
            packed = self.w.advance(packed, at if last else self.w.remainder(at, size), self.steps[i])
            at = at if last else self.w.divided(at, size)
        return packed


def transposed(w: LoopWriter, rows: list[SSAValue]) -> list[SSAValue]:
    """A square block of vectors, transposed by exchanging halves, quarters, … between pairs of rows."""
    lanes = len(rows)
    kind = rows[0].type
    size = lanes // 2
    while size:
        low = [e if not e & size else lanes + e - size for e in range(lanes)]
        high = [e + size if not e & size else lanes + e for e in range(lanes)]
        masks = [DenseArrayBase.from_list(i64, mask) for mask in (low, high)]
        out = list(rows)
        for i in range(lanes):
            if not i & size:
                pair = (rows[i], rows[i + size])
                out[i], out[i + size] = (
                    w.value(
                        vector.ShuffleOp.create(
                            operands=pair, result_types=(kind,), properties={"mask": mask}
                        )
                    )
                    for mask in masks
                )
        rows = out
        size //= 2
    return rows
