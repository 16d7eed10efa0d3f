"""Large buffers that wait for a distant reader are made again in front of it, from what is small and there anyway.

    S = Q K^T; P = softmax(S); O = P V; … dV = P^T dO          P lies in memory from the one to the other
    S = Q K^T; P = softmax(S); O = P V; … S' = Q K^T; P' = softmax(S'); dV = P'^T dO

Both pairs are then run block by block (blocked_calls.py), and no buffer of that size is left. Only for a product and a row
reduction of it, beyond the last cache, where writing and reading the buffer takes longer than making it; or where a mask of
indices leaves out columns (block_limits.py), which later readers cannot know when the buffer comes from memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..dialects.sizes import Size, estimate
from ..dialects.target import Target
from .block_limits import asks_positions, columns_that_matter
from .blocked_calls import WINDOW, folds, is_product, least_size, may_divide, member_of, touches
from .memref_layout import strides_of
from .storage import Call, Loop, Storage


def recompute(calls: list[Call | Loop], storages: list[Storage], target: Target) -> None:
    """Adds the calls that make such buffers again."""
    position = 0
    again: list[Call | Loop] = []  # their readers are all near: one chain
    while position < len(calls):
        found = None if any(calls[position] is call for call in again) else _distant_readers(calls, position, target)
        if found is not None:
            again += _make_again(calls, storages, position, *found)
        position += 1


def _distant_readers(calls: Sequence[Call | Loop], start: int, target: Target) -> tuple[int, list[int]] | None:
    """The row reduction of this product, and who reads its result later than at once; None where there is nothing to gain."""
    product = calls[start]
    if not isinstance(product, Call) or not is_product(product.function) or len(product.results) != 1:
        return None
    scores = product.results[0][0]
    if type(scores) is not Storage or estimate(scores.size) < least_size(target):  # nearly all: what follows looks at every call
        return None
    touching = [k for k, item in enumerate(calls) if touches(item, scores)]
    if len(touching) != 2 or touching[0] != start or touching[1] >= start + WINDOW:
        return None
    rows = calls[touching[1]]
    if not isinstance(rows, Call) or not folds(rows.function) or len(rows.results) != 1:
        return None
    weights = rows.results[0][0]
    if any(type(s) is not Storage or s.argument is not None or estimate(s.size) < least_size(target) for s in (scores, weights)):
        return None
    readers = [k for k, item in enumerate(calls) if touches(item, weights)][1:]
    distant = [k for number, k in enumerate(readers) if k != readers[0] + number]  # not right behind the first one
    if not distant or not all(isinstance(calls[k], Call) for k in readers):
        return None
    needed = [s for call in (product, rows) for s, _ in call.operands if s is not scores]
    written = any(touches_result(item, s) for item in calls[start + 1 : distant[0]] for s in needed)
    overwritten = any(touches_result(calls[k], weights) for k in readers)
    if written or overwritten or not (estimate(scores.size) >= target.l3_bytes or _is_masked(product, rows, scores, weights)):
        return None
    return touching[1], distant


def _is_masked(product: Call, rows: Call, scores: Storage, weights: Storage) -> bool:
    """Whether a comparison of indices says which columns do not matter."""
    pair = [member_of(product), member_of(rows)]
    members = [m for m in pair if m is not None]
    held = product.results[0][1]
    if len(members) < len(pair) or not asks_positions(members[0]):
        return False
    extents = sorted(((step, n) for n, step in zip(held.get_shape(), strides_of(held), strict=True) if n > 1), key=estimate)
    if not all(may_divide(n) for _, n in extents[:2] if isinstance(n, Size)):  # of the matrix: chains leave such ones whole
        return False
    steps = [step for step, _ in extents]
    both = [[(s, step) for s in (scores, weights)] for step in steps]
    return any(columns_that_matter(members, row, column) for row in both for column in both if row is not column)


def touches_result(item: Call | Loop, storage: Storage) -> bool:
    """Whether the storage is written."""
    if isinstance(item, Loop):
        return touches(item, storage)
    return any(s is storage or getattr(s, "base", None) is storage for s, _ in item.results)


def _make_again(calls: list[Call | Loop], storages: list[Storage], start: int, rows: int, distant: Sequence[int]) -> list[Call | Loop]:
    """Makes both in front of the first distant reader; the calls."""
    step = calls[distant[0]].step  # type: ignore[union-attr]  # readers are calls
    again: dict[Storage, Storage] = {}
    made: list[Call | Loop] = []
    for k in (start, rows):
        call = calls[k]
        assert isinstance(call, Call)
        for storage, _ in call.operands:
            if storage not in again:
                storage.keep(step)
        for storage, _ in call.results:
            again[storage] = Storage(storage.size, step, step)
            storages.append(again[storage])
        scratch = None if call.scratch is None else Storage(call.scratch.size, step, step)
        storages += [] if scratch is None else [scratch]
        operands, results = ([(again.get(s, s), t) for s, t in part] for part in (call.operands, call.results))
        made.append(Call(call.function, operands, results, call.origin, scratch, step))
    weights = calls[rows].results[0][0]  # type: ignore[union-attr]
    weights.last = max(item.step for k, item in enumerate(calls) if isinstance(item, Call) and k not in distant and touches(item, weights))
    for k in distant:
        reader = calls[k]
        assert isinstance(reader, Call)
        reader.operands = [(again[s] if s is weights else s, t) for s, t in reader.operands]
        again[weights].keep(reader.step)
    calls[distant[0] : distant[0]] = made
    return made
