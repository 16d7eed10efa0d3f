"""Which writes of a kernel go past the caches: large outputs that nobody reads again while they are still there.

An ordinary store first reads the line it writes. For outputs beyond the cache that cores share that is a third of the traffic; a
smaller one is still there when it is written again, and past the caches that would take three times as long.
"""

from __future__ import annotations

from collections import Counter
from math import prod

from xdsl.dialects.builtin import Float32Type

from ..dialects.sizes import estimate, same
from ..dialects.target import Target
from .in_place import may_overwrite
from .memref_layout import places_of
from .nest_plan import Flat, GroupPlan, KernelPlan, LeafPlan


def choose_streams(plan: KernelPlan, target: Target) -> None:
    """Marks the writes of a scheduled kernel that stream: each the only access to its buffer."""
    if target.vector_bytes < 32:
        return
    stages = [(group, leaf, stage) for group in plan.groups for leaf in group.leaves for stage in leaf.stages]
    uses = Counter(f.buffer for _, _, stage in stages for f in (*stage.reads, *stage.writes) if f is not None)
    for group, leaf, stage in stages:
        for flat in stage.writes:
            if flat is not None and uses[flat.buffer] == 1 and not stage.stage.reduces:
                flat.streams = _streams(plan, group, leaf, flat, target)


def _streams(plan: KernelPlan, group: GroupPlan, leaf: LeafPlan, flat: Flat, target: Target) -> bool:
    loop, width, tile = (leaf.vector, leaf.width, None) if group.vector is None else (group.vector, group.width, group.tile)
    if loop is None or tile is not None or not isinstance(flat.buffer.element, Float32Type):
        return False
    whole_lines = 4 * width == target.vector_bytes and flat.terms.get(loop) == 1 and same(loop.size % width, 0)
    others = [c for x, c in flat.terms.items() if x is not loop]
    if not whole_lines or not all(same(c % width, 0) for c in (flat.offset, *others)):
        return False
    count = prod(estimate(x.size) for x in flat.terms)
    return 4 * count >= target.l3_bytes and not _may_be_in_place(plan, flat)


def _may_be_in_place(plan: KernelPlan, flat: Flat) -> bool:
    """Whether the output may be made in an operand's memory. Its lines are in the cache by then: an optimizer's step took four
    times as long with streams.
    """
    function = plan.kernel.function
    args = function.body.block.args
    output = _output(plan, flat)
    inputs = flat.buffer.index - output
    return any(places_of(args[i].type) == places_of(args[flat.buffer.index].type) and may_overwrite(function, i, output) for i in range(inputs))


def _output(plan: KernelPlan, flat: Flat) -> int:
    """The number of the output a write goes to."""
    return flat.buffer.index - plan.kernel.function.attributes["lamina.inputs"].value.data  # type: ignore[union-attr]  # every one has it
