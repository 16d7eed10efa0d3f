"""Which stages of a kernel run in one loop (a leaf), and which leaves share their outer loops (a group).

A leaf holds stages over one domain: a later one reads what an earlier one wrote at the very same loop
indices. A group holds leaves that depend on each other only within one iteration of their shared, parallel
loops (a softmax row, say): what passes between them stays in registers or in a row buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd

from ..dialects.sizes import any_symbolic, estimate, same
from .nest_stages import Access, Stage

LARGEST_ROW = 1 << 18
"""Elements of work per shared iteration beyond which sharing loops no longer keeps data in cache."""


@dataclass(eq=False, slots=True)
class Leaf:
    """Stages in one loop nest. dims_of[k][d] is the leaf dim of dim d of stage k."""

    sizes: tuple[int, ...]
    stages: list[Stage] = field(default_factory=list)
    dims_of: list[list[int]] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """Per leaf dim: "r" or "a" if it is for some stage, else "p"."""
        kinds = ["p"] * len(self.sizes)
        for stage, dims in zip(self.stages, self.dims_of, strict=True):
            for kind, dim in zip(stage.kinds, dims, strict=True):
                if kind != "p":
                    kinds[dim] = kind
        return kinds

    @property
    def work(self) -> int:
        n = 1
        for size in self.sizes:
            n *= size
        return n


@dataclass(eq=False, slots=True)
class Group:
    """Leaves under shared loops. shared[s][k] is the dim of leaf k that belongs to shared loop s."""

    leaves: list[Leaf]
    shared: list[list[int]]


def make_groups(stages: Sequence[Stage], largest_row: int = LARGEST_ROW) -> list[Group]:
    """Groups in program order. largest_row: elements of work per shared iteration up to which leaves share loops."""
    leaves: list[Leaf] = []
    for stage in stages:
        if not (leaves and _merge(leaves[-1], stage)):
            leaves.append(Leaf(stage.sizes, [stage], [list(range(len(stage.sizes)))]))
    groups: list[Group] = []
    for leaf in leaves:
        if not (groups and _join(groups[-1], leaf, largest_row)):
            groups.append(Group([leaf], [[d] for d, kind in enumerate(leaf.kinds) if kind == "p"]))
    return groups


# Leaves


def _merge(leaf: Leaf, stage: Stage) -> bool:
    if len(stage.sizes) != len(leaf.sizes) or "a" in stage.kinds or "a" in leaf.kinds:
        return False
    pairs = _same_point(leaf, stage) if stage.segment == leaf.stages[0].segment and not stage.alone else None
    if pairs is None or not _complete(leaf, stage, pairs):
        return False
    dims = [pairs[d] for d in range(len(stage.sizes))]
    reduced = {dims[d] for d, kind in enumerate(stage.kinds) if kind == "r"}
    before = {d for d, kind in enumerate(leaf.kinds) if kind == "r"}
    if reduced and before and reduced != before:
        return False
    leaf.stages.append(stage)
    leaf.dims_of.append(dims)
    return True


def _same_point(leaf: Leaf, stage: Stage) -> dict[int, int] | None:
    """stage dim -> leaf dim as dependences and common operands demand.

    None when the stage cannot be in the leaf.
    """
    pairs: dict[int, int] = {}
    linked = False
    for earlier, dims in zip(leaf.stages, leaf.dims_of, strict=True):
        if _conflicts(earlier, stage):
            return None
        for write in earlier.writes:
            for read in stage.reads:
                if read is None or read.buffer is not write.buffer:
                    continue
                linked = True
                if earlier.reduces or not _equate(pairs, write, dims, read):
                    return None
    for earlier, dims in zip(leaf.stages, leaf.dims_of, strict=True):
        for mine, other in (*_common_reads(stage, earlier), *_common_writes(stage, earlier)):
            linked |= _suggest(pairs, other, dims, mine)
            if linked and len(pairs) == len(stage.sizes):
                return pairs  # nobody has anything to add
    return pairs if linked else None


def _conflicts(earlier: Stage, stage: Stage) -> bool:
    """Whether the stage overwrites what the earlier one touches, or reads its results at computed places."""
    mine = {w.buffer for w in stage.writes}
    if any(w.buffer is x.buffer and not _are_apart(earlier, w, stage, x) for w in earlier.writes for x in stage.writes) or any(
        r is not None and r.buffer in mine for r in earlier.reads
    ):
        return True
    return any(w.buffer in stage.gathered for w in earlier.writes) or any(b in mine for b in earlier.gathered)


def _are_apart(earlier: Stage, w: Access, stage: Stage, x: Access) -> bool:
    """Whether two stages write different elements of a buffer: boxes side by side, or elements between each other's."""
    for (a, a_terms), (b, b_terms) in zip(w.dims, x.dims, strict=True):
        (low, high), (from_, to) = _reach(a, a_terms, earlier.sizes), _reach(b, b_terms, stage.sizes)
        if not any_symbolic((low, high, from_, to)) and (high < from_ or to < low):
            return True
    return never_meet(w, x)


def _reach(constant: int, terms: Sequence[tuple[int, int]], sizes: Sequence[int]) -> tuple[int, int]:
    """The smallest and the largest index along a dim."""
    spans = [step * (sizes[d] - 1) for d, step in terms]
    return constant + sum(n for n in spans if not n > 0), constant + sum(n for n in spans if n > 0)


def never_meet(x: Access, y: Access) -> bool:
    """Whether two accesses of a buffer touch different elements wherever their loops are: all steps are multiples of a number that
    the distance between them is not (real and imaginary parts).
    """
    (first, terms), (second, others) = x.linear(), y.linear()
    steps = [step for _, step in (*terms, *others)]
    if any_symbolic((first, second, *steps)):
        return False
    step = gcd(*steps)
    return step > 1 and (first - second) % step != 0


def _common_reads(a: Stage, b: Stage) -> Iterator[tuple[Access, Access]]:
    for x in a.reads:
        for y in b.reads:
            if x is not None and y is not None and x.buffer is y.buffer:
                yield x, y


def _common_writes(a: Stage, b: Stage) -> list[tuple[Access, Access]]:
    return [(x, y) for x in a.writes for y in b.writes if x.buffer is y.buffer]


def _equate(pairs: dict[int, int], write: Access, dims: Sequence[int], read: Access) -> bool:
    for (cw, tw), (cr, tr) in zip(write.dims, read.dims, strict=True):
        if cw != cr or len(tw) != len(tr) or len(tw) > 1:
            return False
        if tw and (tw[0][1] != tr[0][1] or pairs.setdefault(tr[0][0], dims[tw[0][0]]) != dims[tw[0][0]]):
            return False
    return True


def _suggest(pairs: dict[int, int], other: Access, dims: Sequence[int], mine: Access) -> bool:
    found = False
    for (co, to), (cm, tm) in zip(other.dims, mine.dims, strict=True):
        if co == cm and len(to) == len(tm) == 1 and to[0][1] == tm[0][1]:
            target = dims[to[0][0]]
            if tm[0][0] not in pairs and target not in pairs.values():
                pairs[tm[0][0]] = target
            found |= pairs.get(tm[0][0]) == target
    return found


def _complete(leaf: Leaf, stage: Stage, pairs: dict[int, int]) -> bool:
    """Pairs the remaining dims in order of equal size.

    False when no one-to-one pairing of equal sizes comes out.
    """
    if len(set(pairs.values())) != len(pairs):
        return False
    free = [d for d in range(len(leaf.sizes)) if d not in pairs.values()]
    for d, size in enumerate(stage.sizes):
        if d not in pairs:
            match = next((f for f in free if leaf.sizes[f] == size), None)
            if match is None:
                return False
            free.remove(match)
            pairs[d] = match
    return all(leaf.sizes[pairs[d]] == size for d, size in enumerate(stage.sizes))


# Groups


def _join(group: Group, leaf: Leaf, largest_row: int) -> bool:
    if leaf.stages[0].alone or group.leaves[0].stages[0].segment != leaf.stages[0].segment:
        return False
    if any(
        w.buffer in later.gathered
        for k in group.leaves
        for s in k.stages
        for w in s.writes
        for later in leaf.stages
    ):
        return False
    links = [_aligned(earlier, leaf) for earlier in group.leaves]
    if not any(links):
        return False
    kinds = leaf.kinds
    shared = []
    for loop in group.shared:
        dim = _extend(loop, links)
        if dim is not None and kinds[dim] == "p" and leaf.sizes[dim] == group.leaves[0].sizes[loop[0]]:
            shared.append([*loop, dim])
    if not _hands_over(group, leaf):
        shared = _without_innermost(leaf, shared)
    if not _worth_it(group, leaf, shared, largest_row):
        return False
    group.leaves.append(leaf)
    group.shared = shared
    return True


def _hands_over(group: Group, leaf: Leaf) -> bool:
    """Whether the leaf reads what the group writes, or the other way round: not where both only write parts of a buffer."""
    return any(
        x.buffer is y.buffer
        for earlier in group.leaves
        for one, other in ((earlier, leaf), (leaf, earlier))
        for a in one.stages
        for b in other.stages
        for x in a.writes
        for y in b.reads
        if y is not None
    )


def _without_innermost(leaf: Leaf, shared: list[list[int]]) -> list[list[int]]:
    """The shared loops but those along which memory is contiguous, which each leaf then goes through as far as it can at once."""
    near = {
        dims[d]
        for stage, dims in zip(leaf.stages, leaf.dims_of, strict=True)
        for write in stage.writes
        for d, step in write.linear()[1]
        if same(step, 1)
    }
    return [loop for loop in shared if loop[-1] not in near] or shared


def _extend(loop: Sequence[int], links: Sequence[list[set[tuple[int, int]]]]) -> int | None:
    """The dim of the new leaf every dependence puts at this shared loop, if there is one."""
    candidates: set[int] | None = None
    for mine, dependences in zip(loop, links, strict=True):
        for pairs in dependences:
            here = {new for old, new in pairs if old == mine}
            candidates = here if candidates is None else candidates & here
    return min(candidates) if candidates else None


def _aligned(earlier: Leaf, leaf: Leaf) -> list[set[tuple[int, int]]]:
    """Per dependence between the leaves: the pairs of dims that index the common buffer in the same way."""
    found = []
    for a, a_dims in zip(earlier.stages, earlier.dims_of, strict=True):
        for b, b_dims in zip(leaf.stages, leaf.dims_of, strict=True):
            for x, y in _dependences(a, b):
                found.append(_pairs(x, a_dims, y, b_dims))
    return found


def _dependences(a: Stage, b: Stage) -> Iterator[tuple[Access, Access]]:
    for x in a.writes:
        for y in (*b.reads, *b.writes):
            if y is not None and x.buffer is y.buffer:
                yield x, y
    for x in a.reads:
        for y in b.writes:
            if x is not None and x.buffer is y.buffer:
                yield x, y


def _pairs(x: Access, x_dims: Sequence[int], y: Access, y_dims: Sequence[int]) -> set[tuple[int, int]]:
    pairs = set()
    for (cx, tx), (cy, ty) in zip(x.dims, y.dims, strict=True):
        if cx == cy and len(tx) == len(ty) == 1 and tx[0][1] == ty[0][1]:
            pairs.add((x_dims[tx[0][0]], y_dims[ty[0][0]]))
    return pairs


def _worth_it(group: Group, leaf: Leaf, shared: Sequence[Sequence[int]], largest_row: int) -> bool:
    iterations = 1
    for loop in shared:
        iterations *= group.leaves[0].sizes[loop[0]]
    if iterations == 1:
        return False
    row = max(estimate(k.work) for k in (*group.leaves, leaf)) // estimate(iterations)
    return row <= largest_row
