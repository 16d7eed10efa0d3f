"""Plans a kernel's loop nests: loops, linear accesses, homes of temporaries; merges contiguous loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..dialects.sizes import largest, same
from .memref_layout import element_bytes
from .memory_plan import aligned
from .nest_fusion import LARGEST_ROW, Group, Leaf, make_groups
from .nest_stages import Access, Buffer, Kernel, Stage

ALLOCA_BYTES = 4 << 10
"""Row buffers up to this size live on the stack of the thread, larger ones in the scratch argument."""


@dataclass(eq=False, slots=True)
class Loop:
    """One loop dim of a group or of a leaf.

    kind: "p", "r" or "a" (see Stage); indexed: a body asks for its index.
    """

    size: int
    kind: str
    indexed: bool = False


@dataclass(eq=False, slots=True)
class Flat:
    """A position in a buffer: offset + sum of coefficient * loop.

    lane: distance between vector lanes (row buffers). beside: distance between the buffers of rows side by side. streams: a write whose memory nobody reads while it is in a cache. ahead:
    elements further on that a vector access asks for already (nest_ahead.py).
    """

    buffer: Buffer
    offset: int
    terms: dict[Loop, int]
    lane: int | None = None
    beside: int = 0
    streams: bool = False
    ahead: int = 0


@dataclass(eq=False, slots=True)
class StagePlan:
    """A stage with its loops and accesses. forwarded: reads that take the writer's value instead of memory.

    A read is None when the body does not use it, a write when its value is never needed in memory.
    """

    stage: Stage
    loops: list[Loop]
    reads: list[Flat | None]
    writes: list[Flat | None]
    forwarded: list[bool]


@dataclass(eq=False, slots=True)
class LeafPlan:
    """Stages in one nest under the group's loops; own: the leaf's loops.

    vector: the loop that becomes vectors. cut: its last vector is masked (nest_masks.py). by_rows: the innermost of its folds is unrolled (nest_windows.py). asked: memory that a later leaf of the same iteration writes, asked for here (nest_ahead.py).
    """

    stages: list[StagePlan]
    own: list[Loop]
    vector: Loop | None = None
    width: int = 1
    copies: int = 1
    cut: bool = False
    by_rows: bool = False
    asked: list[Flat] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Row:
    """A temporary of one shared iteration.

    at: its byte offset in the scratch argument, or None for the stack.
    """

    buffer: Buffer
    length: int
    at: int | None = None


@dataclass(eq=False, slots=True)
class Behind:
    """A last leaf that is a row behind the others, in the loop of the busy one (nest_behind.py).

    this, before: which of two buffers holds a row and the one before it, as loops whose variables are 0 or 1.
    """

    busy: LeafPlan
    this: Loop
    before: Loop


@dataclass(eq=False, slots=True)
class GroupPlan:
    """Leaves under shared loops.

    tasks: pieces threads may take (1: no scf.parallel), each `chunk` iterations of `split`.

    cut: the last vector of the group's vector loop is masked. tile: a loop that runs inside the vector loop, so that operands contiguous along it are transposed in
    registers. beside: how many rows run at a time, so many iterations of the innermost shared loop `apart` (nest_beside.py).
    windows: how many results that are neighbours along the loop `slid` are folded at a time (nest_windows.py).
    """

    leaves: list[LeafPlan]
    shared: list[Loop]
    rows: list[Row] = field(default_factory=list)
    vector: Loop | None = None
    width: int = 1
    copies: int = 1
    cut: bool = False
    tile: Loop | None = None
    beside: int = 1
    apart: int = 1
    slid: Loop | None = None
    windows: int = 1
    tasks: int = 1
    split: list[Loop] = field(default_factory=list)
    chunk: int = 1
    row_bytes: int = 0
    row_base: int = 0
    segment: int = 0
    behind: Behind | None = None

    @property
    def tied(self) -> Loop | None:
        """The innermost shared loop, if its iterations are not simply one after the other: side by side, or with a leaf behind."""
        return self.shared[-1] if self.beside > 1 or self.behind is not None else None

    @property
    def flats(self) -> Iterator[Flat]:
        for leaf in self.leaves:
            yield from flats_of(leaf)


def alike(busy: LeafPlan, leaf: LeafPlan) -> bool:
    """Whether both go through a row in the same steps."""
    return len(busy.own) == len(leaf.own) == 1 and same(busy.own[0].size, leaf.own[0].size) and busy.width == leaf.width


def flats_of(leaf: LeafPlan) -> Iterator[Flat]:
    """Every access of a leaf that goes to memory."""
    for plan in leaf.stages:
        yield from (
            f for f, skip in zip(plan.reads, plan.forwarded, strict=True) if f is not None and not skip
        )
        yield from (f for f in plan.writes if f is not None)


@dataclass(slots=True)
class KernelPlan:
    """The groups in order, where temporaries live (byte offsets in scratch), and which need no memory."""

    kernel: Kernel
    groups: list[GroupPlan]
    arena: dict[Buffer, int]
    in_registers: set[Buffer]
    scratch_bytes: int


def plan_loops(kernel: Kernel, scratch_from: int = 0, largest_row: int = LARGEST_ROW) -> KernelPlan:
    """Loops and homes, before vector dims and threads are chosen (nest_schedule.py).

    scratch_from: bytes at the start of the scratch argument that belong to somebody else. largest_row: see make_groups.
    """
    return _Planner(kernel, scratch_from, largest_row).plan()


@dataclass(slots=True)
class _Use:
    group: int
    leaf: int
    plan: StagePlan
    access: Access
    slot: int
    writes: bool


class _Planner:
    def __init__(self, kernel: Kernel, scratch_from: int, largest_row: int) -> None:
        self.kernel = kernel
        self.largest_row = largest_row
        self.uses: dict[Buffer, list[_Use]] = {}
        self.in_registers: set[Buffer] = set()
        self.arena: dict[Buffer, int] = {}
        self.bytes = aligned(scratch_from)

    def plan(self) -> KernelPlan:
        sources = make_groups([s for s in self.kernel.stages if s.work], self.largest_row)
        groups = [self._group(g, source) for g, source in enumerate(sources)]
        for uses in self.uses.values():
            self._forward(uses, groups)
        for buffer in self.kernel.buffers:
            if buffer.is_temporary:
                self._home(buffer, groups)
        self._accesses()
        for group in groups:
            _merge_loops(group)
            _finish_rows(group)
        return KernelPlan(self.kernel, groups, self.arena, self.in_registers, self.bytes)

    def _group(self, index: int, source: Group) -> GroupPlan:
        first = source.leaves[0]
        shared = [Loop(first.sizes[dims[0]], "p") for dims in source.shared]
        leaves = []
        for k, leaf in enumerate(source.leaves):
            known = {dims[k]: loop for dims, loop in zip(source.shared, shared, strict=True)}
            leaves.append(self._leaf(index, k, leaf, known))
        return GroupPlan(leaves, shared, segment=first.stages[0].segment)

    def _leaf(self, group: int, k: int, leaf: Leaf, known: dict[int, Loop]) -> LeafPlan:
        kinds = leaf.kinds
        loops = [known.get(d) or Loop(size, kinds[d]) for d, size in enumerate(leaf.sizes)]
        stages = []
        for stage, dims in zip(leaf.stages, leaf.dims_of, strict=True):
            mine = [loops[d] for d in dims]
            plan = StagePlan(
                stage, mine, [None] * len(stage.reads), [None] * len(stage.writes), [False] * len(stage.reads)
            )
            stages.append(plan)
            for d in _indexed_dims(stage):
                mine[d].indexed = True
            for slot, read in enumerate(stage.reads):
                if read is not None:
                    self.uses.setdefault(read.buffer, []).append(_Use(group, k, plan, read, slot, False))
            for slot, write in enumerate(stage.writes):
                self.uses.setdefault(write.buffer, []).append(_Use(group, k, plan, write, slot, True))
        return LeafPlan(stages, [x for d, x in enumerate(loops) if d not in known])

    # Values instead of memory

    def _forward(self, uses: Sequence[_Use], groups: Sequence[GroupPlan]) -> None:
        writers = [u for u in uses if u.writes]
        if len(writers) != 1 or "a" in writers[0].plan.stage.kinds:
            return
        writer = writers[0]
        for use in uses:
            if use is writer or use.group != writer.group:
                continue
            use.plan.forwarded[use.slot] = use.leaf == writer.leaf or self._visible(
                writer, use, groups[use.group]
            )

    @staticmethod
    def _visible(writer: _Use, reader: _Use, group: GroupPlan) -> bool:
        """Whether the written value is one per shared iteration, and the read takes exactly it."""
        leaf = group.leaves[writer.leaf]
        if any(loop.kind != "r" for loop in leaf.own):
            return False
        return _terms(writer.access, writer.plan) == _terms(reader.access, reader.plan)

    # Homes of temporaries

    def _home(self, buffer: Buffer, groups: Sequence[GroupPlan]) -> None:
        uses = self.uses.get(buffer, [])
        gathered = any(buffer in s.gathered for s in self.kernel.stages)
        reads = [u for u in uses if not u.writes]
        outs = [u for u in uses if u.writes and _keeps(u.plan.stage, u.slot)]
        if not gathered and not outs and all(u.plan.forwarded[u.slot] for u in reads):
            self.in_registers.add(buffer)
            return
        inside = {u.group for u in uses}
        group = groups[uses[0].group] if len(inside) == 1 and not gathered and uses else None
        dropped = _shared_dims(buffer, uses, group) if group is not None else {}
        if not buffer.settled:
            buffer.strides = _strides(buffer, uses, dropped)
        if group is not None and _row_local(uses, group, dropped):
            group.rows.append(Row(buffer, 0))
        else:
            self.arena[buffer] = self.bytes
            self.bytes += aligned(largest(_count(buffer.sizes) * element_bytes(buffer.element)))

    def _accesses(self) -> None:
        """The linear positions, now that every temporary has strides."""
        for uses in self.uses.values():
            for use in uses:
                offset, terms = use.access.linear()
                flat = Flat(use.access.buffer, offset, {use.plan.loops[d]: c for d, c in terms})
                if not use.writes:
                    use.plan.reads[use.slot] = flat
                elif use.access.buffer not in self.in_registers:
                    use.plan.writes[use.slot] = flat


def _keeps(stage: Stage, slot: int) -> bool:
    """Whether the stage needs what the output held before."""
    return stage.uses_out[slot] and stage.starts[slot] is None and not stage.neutral


def _terms(access: Access, plan: StagePlan) -> list[tuple[int, tuple[tuple[Loop, int], ...]]]:
    return [(c, tuple((plan.loops[d], k) for d, k in terms)) for c, terms in access.dims]


def _indexed_dims(stage: Stage) -> list[int]:
    if stage.block is None:
        return []
    return [op.properties["dim"].value.data for op in stage.block.ops if op.name == "linalg.index"]


def _count(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


def _shared_dims(buffer: Buffer, uses: Sequence[_Use], group: GroupPlan) -> dict[int, Loop]:
    """Buffer dims that every access indexes with one and the same shared loop alone."""
    found: dict[int, Loop] = {}
    for d in range(len(buffer.sizes)):
        seen = {_terms(u.access, u.plan)[d] for u in uses}
        if len(seen) == 1:
            constant, terms = seen.pop()
            if constant == 0 and len(terms) == 1 and terms[0][1] == 1 and terms[0][0] in group.shared:
                found[d] = terms[0][0]
    return found


def _row_local(uses: Sequence[_Use], group: GroupPlan, dropped: dict[int, Loop]) -> bool:
    """Whether one copy per shared iteration will do: shared loops index dropped dims, and nothing else."""
    shared = set(group.shared)
    if set(dropped.values()) != shared:
        return False
    for use in uses:
        for d, (_, terms) in enumerate(_terms(use.access, use.plan)):
            if d not in dropped and any(loop in shared for loop, _ in terms):
                return False
    return True


def _strides(buffer: Buffer, uses: Sequence[_Use], dropped: dict[int, Loop]) -> tuple[int, ...]:
    """A dense layout: dims of shared loops outermost, then in the order of the writer's largest operand."""
    writer = next(u for u in uses if u.writes) if any(u.writes for u in uses) else uses[0]
    reference = _reference(writer.plan.stage)
    weight = []
    for d in range(len(buffer.sizes)):
        terms = writer.access.dims[d][1]
        weight.append((d not in dropped, -max((reference.get(dim, 0) for dim, _ in terms), default=0), d))
    strides, step = [0] * len(buffer.sizes), 1
    for d in sorted(range(len(buffer.sizes)), key=weight.__getitem__, reverse=True):
        strides[d] = step
        step *= buffer.sizes[d]
    return tuple(strides)


def _reference(stage: Stage) -> dict[int, int]:
    """Coefficients of the loop dims in the position of the argument that uses most of them."""
    best: dict[int, int] = {}
    for access in (*stage.reads, *stage.writes):
        if access is not None and not access.buffer.is_temporary:
            terms = {d: abs(c) for d, c in access.linear()[1]}
            if len(terms) > len(best):
                best = terms
    return best


# Merging loops


def _merge_loops(group: GroupPlan) -> None:
    changed = True
    while changed:
        changed = any(
            _merge_once(part, group) for part in (group.shared, *(leaf.own for leaf in group.leaves))
        )


def _merge_once(part: list[Loop], group: GroupPlan) -> bool:
    flats = [*group.flats]
    for outer in part:
        for inner in part:
            if (
                outer is inner
                or outer.kind != inner.kind
                or outer.kind == "a"
                or outer.indexed
                or inner.indexed
            ):
                continue
            if all(f.terms.get(outer, 0) == f.terms.get(inner, 0) * inner.size for f in flats):
                inner.size *= outer.size
                part.remove(outer)
                for plan in (p for leaf in group.leaves for p in leaf.stages):
                    plan.loops = [inner if x is outer else x for x in plan.loops]
                    for flat in (*plan.reads, *plan.writes):
                        if flat is not None:
                            flat.terms.pop(outer, None)
                return True
    return False


def _finish_rows(group: GroupPlan) -> None:
    """Row buffers forget the shared loops; their lengths follow."""
    rows = {row.buffer: row for row in group.rows}
    shared = set(group.shared)
    for flat in group.flats:
        row = rows.get(flat.buffer)
        if row is None:
            continue
        held = [loop for loop in flat.terms if loop in shared]
        flat.lane = 0
        for loop in held:
            del flat.terms[loop]
        reach = flat.offset + sum((loop.size - 1) * max(c, 0) for loop, c in flat.terms.items())
        row.length = max(row.length, reach + 1)
