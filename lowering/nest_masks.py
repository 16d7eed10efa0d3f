"""Which vector loops of a nest end in a masked vector: sizes known at the call only, whose last elements would be computed one by one.

Lanes that do not count hold ones where they are read, are left out of folds, and are not written.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects import memref

from ..dialects.sizes import Size, same
from ..dialects.target import Target
from .memref_layout import element_bytes
from .nest_plan import GroupPlan, LeafPlan, Loop, flats_of

LEAST_BYTES = 16
"""Of a vector that a processor loads under a mask."""


def choose_cuts(group: GroupPlan, target: Target) -> None:
    """Notes which vector loops of a group end in a masked vector."""
    if group.vector is not None:
        group.cut = group.tile is None and ends_in_mask(group.leaves, group.vector, group.width, target)
        return
    for leaf in group.leaves:
        leaf.cut = leaf.vector is not None and ends_in_mask([leaf], leaf.vector, leaf.width, target)


def ends_in_mask(leaves: Iterable[LeafPlan], loop: Loop, width: int, target: Target) -> bool:
    """Whether all that these leaves access along a loop lies side by side or stays where it is, in elements that may be masked."""
    return isinstance(loop.size, Size) and width > 1 and all(_fits(leaf, loop, width, target) for leaf in leaves)


def _fits(leaf: LeafPlan, loop: Loop, width: int, target: Target) -> bool:
    for flat in flats_of(leaf):
        stride, size = flat.terms.get(loop, flat.lane or 0), element_bytes(flat.buffer.element)
        if same(stride, 0):
            continue
        if not same(stride, 1) or not target.masked_bytes or size < target.masked_bytes or size * width < LEAST_BYTES:
            return False
    ordered = any(loop in p.loops and p.stage.reduces and None in p.stage.combiners for p in leaf.stages)
    gathers = any(isinstance(op, memref.LoadOp) for p in leaf.stages if p.stage.block is not None for op in p.stage.block.ops)
    return not ordered and not gathers
