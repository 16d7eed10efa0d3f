"""Parts made in their place: what a kernel would copy into a box of its result is made there by the kernel that computes it.

    %a = kernel.fused(…)      %b = kernel.fused(…)
    %c = kernel.fused(%a, %b)                         puts %a and %b side by side, zeros around them

`%a` gets no buffer of its own, it is a part of that of `%c`, and whoever reads it reads it there. What is left of the last kernel
fills what lies around its parts and makes those that are no copies; where nothing is left, it is not called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xdsl.dialects import func, memref, tensor
from xdsl.dialects.builtin import FunctionType, IntegerAttr, MemRefType, i64
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.ir import Block, BlockArgument, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineMap

from ..dialects.kernel import FusedOp
from ..dialects.sizes import any_symbolic
from .halo import fill_around
from .memref_layout import element_bytes, memref_type, span_of, strides_in_order, strides_of

LEAST_RUN = 64
"""Bytes that lie side by side in a part: shorter runs are better written elsewhere and copied."""


class _Box(NamedTuple):
    """What a kernel copies: an operand, into this box of its result. reads, writes: the loops along the dims of either (None: one element)."""

    operand: int
    start: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]
    reads: tuple[int | None, ...]
    writes: tuple[int | None, ...]

    @property
    def count(self) -> int:
        """Elements of it."""
        count = 1
        for n in self.size:
            count *= n
        return count


@dataclass(eq=False)
class Whole:
    """The buffer of a result that parts are made in."""

    held: MemRefType


@dataclass(frozen=True)
class Place:
    """Where a value is made: `shift` elements behind the beginning of a buffer, with the strides of `held`."""

    whole: Whole
    shift: int
    held: MemRefType


@dataclass
class PlacedParts:
    """places: of values that are made in a buffer of others, and of the values they are parts of. copied: for a kernel, the operands
    it need not copy any more.
    """

    places: dict[SSAValue, Place] = field(default_factory=dict)
    copied: dict[FusedOp, tuple[int, ...]] = field(default_factory=dict)

    def find(self, block: Block, returned: set[SSAValue]) -> None:
        """Looks at the kernels of @main, last ones first: what is a part may have parts."""
        op = block.last_op
        while op is not None:
            if isinstance(op, FusedOp) and len(op.results) == 1 and op.results[0] not in returned:
                self._parts_of(op, block, returned)
            op = op.prev_op

    def _parts_of(self, op: FusedOp, block: Block, returned: set[SSAValue]) -> None:
        result = op.results[0]
        found = list(_copies(op))
        if not found or any_symbolic(result.type.get_shape()):
            return
        whole = self.places.get(result) or _whole_place(op)
        taken: dict[int, Place] = {}
        for box in found:
            value = op.operands[box.operand]
            there = self._place(value, box, whole, block, returned)
            if there is not None and box.operand not in taken:
                taken[box.operand] = there
        boxes = [box for box in found if box.operand in taken]
        if not taken or not _may_leave_out(op, boxes):
            return
        self.places[result] = whole
        self.places.update((op.operands[i], place) for i, place in taken.items())
        self.copied[op] = tuple(sorted(taken))

    def _place(self, value: SSAValue, box: _Box, whole: Place, block: Block, returned: set[SSAValue]) -> Place | None:
        """The place of a value that a kernel copies into a box; None where it had better be made elsewhere."""
        maker = value.owner
        if not isinstance(maker, FusedOp) or maker.parent is not block or value in returned or value in self.places:
            return None
        if not all(isinstance(use.operation, FusedOp) and use.operation.parent is block for use in value.uses):
            return None
        base = strides_of(whole.held)
        shift = sum(b * s for b, s in zip(base, box.start, strict=True))
        along = {d: b * s for d, b, s in zip(box.writes, base, box.step, strict=True) if d is not None}
        sizes = value.type.get_shape()
        strides = tuple(0 if d is None else along[d] for d in box.reads)
        if not _is_served(sizes, strides, _own_strides(maker, value), element_bytes(whole.held.element_type)):
            return None
        reach = span_of(whole.held)
        held = memref_type(sizes, value.type.element_type, tuple(s or reach for s in strides))
        return Place(whole.whole, whole.shift + shift, held)


def _whole_place(op: FusedOp) -> Place:
    result = op.results[0]
    held = memref_type(result.type.get_shape(), result.type.element_type, _own_strides(op, result))
    return Place(Whole(held), 0, held)


def _own_strides(op: FusedOp, value: SSAValue) -> tuple[int, ...]:
    order = op.result_layouts()[list(op.results).index(value)]
    return strides_in_order(value.type.get_shape(), order)


def _is_served(sizes: Sequence[int], strides: Sequence[int], own: Sequence[int], element: int) -> bool:
    """Whether dims lie in the order their maker would give them, and what it makes in one go lies in long runs."""
    moving = sorted((o, s, n) for o, s, n in zip(own, strides, sizes, strict=True) if n != 1)
    if not moving or [s for _, s, _ in moving] != sorted(s for _, s, _ in moving):
        return False
    run = 1
    for _, stride, size in moving:
        if stride != run:
            break
        run *= size
    return run * element >= LEAST_RUN


# -- what a kernel copies ------------------------------------------------------------------------------


def _copies(op: FusedOp) -> Iterator[_Box]:
    """The operands that a kernel only copies into boxes of its result, each the one reader of that operand."""
    body = op.body.block
    for stage in body.ops:
        insert = _insertion(stage) if isinstance(stage, GenericOp) else None
        if insert is None:
            continue
        source = stage.inputs[0]
        if not isinstance(source, BlockArgument) or source.block is not body or not source.has_one_use():
            continue
        if list(op.operands).count(op.operands[source.index]) != 1:
            continue
        reads, writes = (_loops(m.data) for m in stage.indexing_maps.data)
        sizes = source.type.get_shape()
        box = [part.get_values() for part in (insert.static_offsets, insert.static_sizes, insert.static_strides)]
        if reads is None or writes is None or any_symbolic((*sizes, *box[1])):
            continue
        extents = {d: n for d, n in zip(writes, box[1], strict=True) if d is not None}
        if all(n == (1 if d is None else extents.get(d, -1)) for d, n in zip(reads, sizes, strict=True)):
            yield _Box(source.index, *map(tuple, box), reads, writes)


def _insertion(stage: GenericOp) -> tensor.InsertSliceOp | None:
    """Where a stage that computes nothing puts what it reads: into the box that it is given to write."""
    if len(stage.inputs) != 1 or len(stage.results) != 1 or not stage.results[0].has_one_use():
        return None
    if any(kind.data.value != "parallel" for kind in stage.iterator_types):
        return None
    last, box = stage.body.block.last_op, stage.outputs[0].owner
    insert = next(iter(stage.results[0].uses)).operation
    if last is not stage.body.block.first_op or last.operands[0] is not stage.body.block.args[0]:
        return None
    if not isinstance(insert, tensor.InsertSliceOp) or not isinstance(box, tensor.ExtractSliceOp) or len(insert.operands) > 2:
        return None
    return insert if box.operands[0] is insert.operands[1] else None


def _loops(map: AffineMap) -> tuple[int | None, ...] | None:
    """The loop along each dim (None: its one element), each loop along one; None for any other map."""
    found = [e.position if isinstance(e, AffineDimExpr) else None if e == AffineConstantExpr(0) else -1 for e in map.results]
    moving = [d for d in found if d is not None]
    return None if -1 in moving or len(set(moving)) < max(len(moving), map.num_dims) else tuple(found)


def _may_leave_out(op: FusedOp, left_out: Sequence[_Box]) -> bool:
    """Whether the rest of a kernel leaves these boxes alone once it does not fill them: they and all others it writes are apart, and
    make up one box, around which it can fill.
    """
    boxes = [_written(insert) for insert in op.body.block.ops if isinstance(insert, tensor.InsertSliceOp)]
    stages = [s for s in op.body.block.ops if isinstance(s, (GenericOp, FillOp))]
    fills = [s for s in stages if isinstance(s, FillOp)]
    whole = [s for s in stages if s.results and s.results[0].type == op.results[0].type]
    if any(b is None for b in boxes) or any(isinstance(s, GenericOp) for s in whole) or len(fills) > 1:
        return False
    if any(_meet(a, b) for k, a in enumerate(boxes) for b in boxes[:k]):
        return False
    around = _around(boxes)
    count = 1
    for low, high in around:
        count *= high - low
    return not fills or count == sum(_Box(0, *b, (), ()).count for b in boxes)


_Extent = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _written(insert: tensor.InsertSliceOp) -> _Extent | None:
    if len(insert.operands) > 2:
        return None
    offsets, sizes, steps = (tuple(p.get_values()) for p in (insert.static_offsets, insert.static_sizes, insert.static_strides))
    return None if any_symbolic((*offsets, *sizes)) or 0 in sizes else (offsets, sizes, steps)


def _meet(a: _Extent, b: _Extent) -> bool:
    """Whether two boxes may have an element in common."""
    for p, n, s, q, m, t in zip(*a, *b, strict=True):
        if p + (n - 1) * s < q or q + (m - 1) * t < p or (s == t and (p - q) % s):
            return False
    return True


def _around(boxes: Sequence[_Extent]) -> list[tuple[int, int]]:
    """The smallest box that holds them all."""
    lows = [[o for o in offsets] for offsets, _, _ in boxes]
    highs = [[o + (n - 1) * s + 1 for o, n, s in zip(*box, strict=True)] for box in boxes]
    return [(min(low), max(high)) for low, high in zip(zip(*lows, strict=True), zip(*highs, strict=True), strict=True)]


# -- the kernel that is left -----------------------------------------------------------------------------


def without_copies(function: func.FuncOp, operands: Sequence[int]) -> bool:
    """Takes the copies of these operands out of a kernel function, and the operands; whether anything is left to do."""
    block = function.body.block
    output = block.args[-1]
    boxes = [use.operation for use in output.uses if isinstance(use.operation, memref.SubviewOp)]
    around = _around([tuple(tuple(p.get_values()) for p in (b.static_offsets, b.static_sizes, b.static_strides)) for b in boxes])
    for fill in [op for op in block.ops if isinstance(op, FillOp) and op.outputs[0] is output]:
        fill_around(fill, around)
    for k in sorted(operands, reverse=True):
        stage = next(iter(block.args[k].uses)).operation
        view = stage.operands[1].owner
        block.erase_op(stage)
        if not view.results[0].uses:
            block.erase_op(view)
        block.erase_arg(block.args[k])
    left = function.attributes["lamina.inputs"].value.data - len(operands)
    function.attributes["lamina.inputs"] = IntegerAttr(left, i64)
    function.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
    return any(isinstance(op, (GenericOp, FillOp)) for op in block.ops)
