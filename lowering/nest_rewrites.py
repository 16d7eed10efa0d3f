"""Rewrites of a kernel's stages: fills shrink to what nobody overwrites, long folds split into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from xdsl.dialects.linalg.ops import YieldOp
from xdsl.ir import Block, SSAValue

from ..dialects.sizes import estimate, same
from ..dialects.target import Target
from .memref_layout import row_major
from .nest_stages import Access, Buffer, Kernel, Linear, Stage

MOST_SLABS = 8
FEWEST_CHUNKS = 4


Cuts = Sequence[tuple[int, int]]
"""Folded dims of a stage, and into how many chunks each is cut."""


def rewrite_stages(kernel: Kernel, target: Target, cuts: Callable[[Stage, Target], Cuts] | None = None) -> None:
    """Changes the kernel's list of stages in place; what they compute stays the same.

    cuts: of a fold that leaves threads without work as it is (default: a CPU's answer); none where it does not.
    """
    kernel.stages = _hoist_fills(_shrink_fills(kernel.stages))
    kernel.stages = [part for stage in kernel.stages for part in _split_fold(kernel, stage, target, cuts or _cuts)]


# Fills


def _touches(stage: Stage, buffer: Buffer) -> bool:
    return (
        any(w.buffer is buffer for w in stage.writes)
        or any(r is not None and r.buffer is buffer for r in stage.reads)
        or buffer in stage.gathered
    )


def _shrink_fills(stages: Sequence[Stage]) -> list[Stage]:
    """A fill of a whole buffer into which a box is then written fills only the slabs around the box."""
    result: list[Stage] = []
    for at, stage in enumerate(stages):
        later = None
        if stage.fill is not None and stage.work == _product(stage.writes[0].buffer.sizes):
            later = next((s for s in stages[at + 1 :] if _touches(s, stage.writes[0].buffer)), None)
        box = _written_box(later, stage) if later is not None else None
        slabs = list(_slabs(stage, box)) if box is not None else [stage]
        result += slabs if len(slabs) <= MOST_SLABS else [stage]
    return result


def _written_box(stage: Stage, fill: Stage) -> list[tuple[int, int]] | None:
    """Per buffer dim the range [low, high) a stage overwrites.

    None when it is no dense box, or reads what was there.
    """
    buffer = fill.writes[0].buffer
    slots = [k for k, w in enumerate(stage.writes) if w.buffer is buffer]
    if (
        len(slots) != 1
        or stage.segment != fill.segment
        or stage.uses_out[slots[0]]
        or buffer in stage.gathered
    ):
        return None
    if any(r is not None and r.buffer is buffer for r in stage.reads) or set(stage.kinds) - {"p"}:
        return None
    box, seen = [], set()
    for constant, terms in stage.writes[slots[0]].dims:
        if len(terms) > 1 or (terms and (terms[0][1] != 1 or terms[0][0] in seen)):
            return None
        seen.update(d for d, _ in terms)
        box.append((constant, constant + (stage.sizes[terms[0][0]] if terms else 1)))
    return box


def _slabs(fill: Stage, box: Sequence[tuple[int, int]]) -> Iterator[Stage]:
    sizes = fill.writes[0].buffer.sizes
    ranges = [(0, size) for size in sizes]
    for d, (low, high) in enumerate(box):
        for part in ((0, low), (high, sizes[d])):
            slab = [*ranges[:d], part, *ranges[d + 1 :]]
            if all(first < last for first, last in slab):
                yield _fill_of(fill, slab)
        ranges[d] = (low, high)


def _fill_of(fill: Stage, ranges: Sequence[tuple[int, int]]) -> Stage:
    dims: list[Linear] = []
    loops: list[int] = []
    for low, high in ranges:
        dims.append((low, ((len(loops), 1),) if high - low > 1 else ()))
        if high - low > 1:
            loops.append(high - low)
    access = Access(fill.writes[0].buffer, tuple(dims))
    return Stage(
        tuple(loops), ["p"] * len(loops), [], [access], None, fill=fill.fill, uses_out=[False],
        combiners=[None],
        starts=[None], segment=fill.segment,
    )  # fmt: skip


def _hoist_fills(stages: Sequence[Stage]) -> list[Stage]:
    """Fills of a buffer nobody touched before go to the front of their segment, out of the way of fusion."""
    result: list[Stage] = []
    for stage in stages:
        at = len(result)
        if stage.fill is not None:
            while (
                at
                and result[at - 1].segment == stage.segment
                and not (_touches(result[at - 1], stage.writes[0].buffer) or result[at - 1].fill is not None)
            ):
                at -= 1
        result.insert(at, stage)
    return result


# Folds


def _split_fold(kernel: Kernel, stage: Stage, target: Target, cuts: Callable[[Stage, Target], Cuts]) -> list[Stage]:
    """A long fold with few results as partial folds, which threads share, and a fold of those in order.

    The number of parts comes from the sizes alone, so results do not depend on the number of threads.
    """
    if (
        not stage.reduces
        or None in stage.combiners
        or "a" in stage.kinds
        or estimate(stage.work) < 2 * target.parallel_work
    ):
        return [stage]
    found = cuts(stage, target)
    return list(_cut(kernel, stage, found)) if found else [stage]


def _cuts(stage: Stage, target: Target) -> Cuts:
    return one_cut(stage, target) if _parallel_units(stage, target) < target.tasks else ()


def _parallel_units(stage: Stage, target: Target) -> int:
    """How many pieces threads could take without cutting folds: vectors or iterations."""
    contiguous = {d for r in stage.reads if r is not None for d, c in r.linear()[1] if same(abs(estimate(c)), 1)}
    units = 1
    for d, (size, kind) in enumerate(zip(stage.sizes, stage.kinds, strict=True)):
        if kind == "p":
            units *= max(1, estimate(size) // target.lanes(4)) if d in contiguous else estimate(size)
    return units


def one_cut(stage: Stage, target: Target) -> Cuts:
    """The fold dim with the largest stride that has a good divisor, and the number of chunks."""
    for d in foldable_dims(stage):
        chunks = max((c for c in range(1, target.tasks + 1) if same(stage.sizes[d] % c, 0)), default=1)
        if chunks >= FEWEST_CHUNKS:
            return ((d, chunks),)
    return ()


def foldable_dims(stage: Stage) -> list[int]:
    """Dims that may be folded chunk by chunk, those with the largest stride first."""
    reach: dict[int, int] = {}
    for read in stage.reads:
        if read is not None:
            for d, c in read.linear()[1]:
                reach[d] = max(reach.get(d, 0), abs(estimate(c)))
    folds = [d for d, kind in enumerate(stage.kinds) if kind == "r"]
    return [d for d in sorted(folds, key=lambda d: (-estimate(reach.get(d, 0)), d)) if stage.block is not None and not _asks_index(stage, d)]


def _asks_index(stage: Stage, dim: int) -> bool:
    return any(op.name == "linalg.index" and op.properties["dim"].value.data == dim for op in stage.block.ops)


def _cut(kernel: Kernel, stage: Stage, cuts: Cuts) -> Iterator[Stage]:
    """First the partial folds into new temporaries [chunks, parallel dims], then their fold."""
    counts, inner = [n for _, n in cuts], {d: stage.sizes[d] // n for d, n in cuts}
    chunks = range(len(stage.sizes), len(stage.sizes) + len(cuts))
    parallel = [d for d, kind in enumerate(stage.kinds) if kind == "p"]
    kept = [stage.sizes[d] for d in parallel]
    parts = [_partial(kernel, w.buffer, (*counts, *kept)) for w in stage.writes]
    own: tuple[Linear, ...] = tuple((0, ((d, 1),)) for d in (*chunks, *parallel))
    reads = list(stage.reads)
    for (d, _), chunk in zip(cuts, chunks, strict=True):
        reads = [r and _spread(r, d, chunk, inner[d]) for r in reads]
    n = len(stage.writes)
    yield Stage(
        (*(inner.get(d, size) for d, size in enumerate(stage.sizes)), *counts), [*stage.kinds, *("p" for _ in cuts)], reads,
        [Access(p, own) for p in parts], stage.block, uses_out=list(stage.uses_out),
        combiners=list(stage.combiners),
        starts=[None] * n, gathered=stage.gathered, origin=stage.origin, segment=stage.segment, neutral=True,
    )  # fmt: skip
    place = {d: k + len(cuts) for k, d in enumerate(parallel)}
    whole: tuple[Linear, ...] = tuple((0, ((k, 1),)) for k in range(len(parallel) + len(cuts)))
    yield Stage(
        (*counts, *kept), [*("r" for _ in cuts), *("p" for _ in parallel)],
        [Access(p, whole) for p in parts],
        [Access(w.buffer, _renamed(w.dims, place)) for w in stage.writes], _combining_block(stage),
        uses_out=[True] * n, combiners=list(stage.combiners), starts=list(stage.starts),
        origin=stage.origin, segment=stage.segment, alone=True,
    )  # fmt: skip


def _renamed(dims: Sequence[Linear], place: dict[int, int]) -> tuple[Linear, ...]:
    return tuple((c, tuple((place[d], k) for d, k in terms)) for c, terms in dims)


def _partial(kernel: Kernel, like: Buffer, sizes: tuple[int, ...]) -> Buffer:
    buffer = Buffer(
        like.value, like.element, sizes, row_major(sizes), True, len(kernel.buffers), written=True
    )
    kernel.buffers.append(buffer)
    return buffer


def _spread(access: Access, dim: int, chunk: int, inner: int) -> Access:
    """The access with `dim` read as chunk * inner + dim."""
    dims = []
    for constant, terms in access.dims:
        extra = tuple((chunk, c * inner) for d, c in terms if d == dim)
        dims.append((constant, (*terms, *extra)))
    return Access(access.buffer, tuple(dims))


def _combining_block(stage: Stage) -> Block:
    """acc_k = combine_k(acc_k, part_k) for every output."""
    elements = [w.buffer.element for w in stage.writes]
    block = Block(arg_types=[*elements, *elements])
    results: list[SSAValue] = []
    for k, value in enumerate(stage.block.last_op.operands):
        op = value.owner
        pair = [block.args[len(elements) + k], block.args[k]]
        combine = type(op).create(operands=pair, result_types=[elements[k]], properties=op.properties)
        block.add_op(combine)
        results.append(combine.results[0])
    block.add_op(YieldOp(*results))
    return block


def _product(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n
