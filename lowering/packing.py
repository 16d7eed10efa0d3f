"""Copies the vector side of a contraction into panels, so that the register tile reads it front to back.

    source[.., k, n]  ->  packed[slot][panel][k][vectors * lanes]        the lanes behind the last column hold zeros

A slot is one index of the loops outside a panel. Three ways, by the source's strides: whole vectors where columns are
neighbours, square blocks transposed in registers where steps are neighbours, single elements otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import vector
from xdsl.dialects.builtin import DenseArrayBase, i64
from xdsl.ir import Attribute, SSAValue

from .contraction_plan import Dim, Panel
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
    def steps(self) -> int:
        """Extent of the reduction."""
        return prod(d.size for d in self.reduction)

    @property
    def slot_elements(self) -> int:
        """Elements of the packed copy per slot."""
        return sum(p.count * p.vectors for p in self.panels) * self.lanes * self.steps

    @property
    def elements(self) -> int:
        """Elements of the whole packed copy."""
        return self.slot_elements * prod(d.size for d in self.slots)

    def slot_strides(self) -> list[int]:
        """Elements of the packed copy between neighbouring indices of each slot dim."""
        strides = [self.slot_elements] * len(self.slots)
        for i in range(len(self.slots) - 2, -1, -1):
            strides[i] = strides[i + 1] * self.slots[i + 1].size
        return strides


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
            start = panel.start * pack.lanes
            _PanelWriter(w, pack, target, convert, panel).write(
                source + start * pack.columns.strides[1], packed + start * pack.steps
            )


class _PanelWriter:
    def __init__(self, w: LoopWriter, pack: Packing, target: SSAValue, convert: Convert, panel: Panel) -> None:
        self.w = w
        self.pack = pack
        self.target = target
        self.convert = convert
        self.panel = panel
        self.width = panel.vectors * pack.lanes

    def write(self, source: Address, packed: Address) -> None:
        dims = list(self.pack.reduction)
        inner = dims[-1] if dims else None
        blocks = (
            inner is not None
            and self.pack.columns.strides[1] != 1
            and inner.strides[1] == 1
            and inner.size >= self.pack.lanes
        )
        if not blocks:
            self._loops(dims, source, packed, self._row)
            return
        assert inner is not None
        self._loops(dims[:-1], source, packed, lambda s, p: self._blocks(inner.size, s, p))

    def _loops(self, dims: Sequence[Dim], source: Address, packed: Address, body: Callable[[Address, Address], None]) -> None:
        if not dims:
            body(source, packed)
            return
        dim, rest = dims[0], dims[1:]
        at = next(i for i, d in enumerate(self.pack.reduction) if d is dim)
        step = self.width * prod(d.size for d in self.pack.reduction[at + 1 :])
        with self.w.loop(0, dim.size) as loop:
            s = self.w.advance(source, loop.counter, dim.strides[1])
            p = self.w.advance(packed, loop.counter, step)
            self._loops(rest, s, p, body)

    def _row(self, source: Address, packed: Address) -> None:
        """One step of the reduction: all columns of the panel."""
        for j in range(self.panel.vectors):
            lanes = self.panel.tail if j == self.panel.vectors - 1 else self.pack.lanes
            at = source + j * self.pack.lanes * self.pack.columns.strides[1]
            self._vector(at, packed + j * self.pack.lanes, lanes)

    def _vector(self, source: Address, packed: Address, valid: int) -> None:
        w, lanes = self.w, self.pack.lanes
        if self.pack.columns.strides[1] == 1 and valid == lanes:
            w.store_vector(self.convert(w.load_vector(self.pack.source, source, lanes)), self.target, packed)
            return
        if valid < lanes:
            w.store_vector(w.splat(number_attr(0, self.pack.element), lanes), self.target, packed)
        with w.loop(0, valid) as loop:
            at = w.advance(source, loop.counter, self.pack.columns.strides[1])
            value = self.convert(w.load(self.pack.source, at))
            w.store(value, self.target, w.advance(packed, loop.counter, 1))

    def _blocks(self, extent: int, source: Address, packed: Address) -> None:
        """``extent`` neighbouring steps: lanes x lanes blocks transposed in registers, the rest element by element."""
        w, lanes, column = self.w, self.pack.lanes, self.pack.columns.strides[1]
        whole = extent - extent % lanes
        for j in range(self.panel.vectors):
            valid = self.panel.tail if j == self.panel.vectors - 1 else lanes
            first, to = source + j * lanes * column, packed + j * lanes
            covered = 0
            if valid == lanes:
                with w.loop(0, whole, step=lanes) as loop:
                    s = w.advance(first, loop.counter, 1)
                    p = w.advance(to, loop.counter, self.width)
                    rows = [w.load_vector(self.pack.source, s + i * column, lanes) for i in range(lanes)]
                    for i, row in enumerate(transposed(w, rows)):
                        w.store_vector(self.convert(row), self.target, p + i * self.width)
                covered = whole
            if covered < extent:
                with w.loop(covered, extent) as loop:
                    s = w.advance(first, loop.counter, 1)
                    self._vector(s, w.advance(to, loop.counter, self.width), valid)


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
                    w.value(vector.ShuffleOp.create(operands=pair, result_types=(kind,), properties={"mask": mask}))
                    for mask in masks
                )
        rows = out
        size //= 2
    return rows
