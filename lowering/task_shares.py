"""How evenly tasks come out among threads: what the pool (backends/pool.c) makes of tasks of these sizes."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from functools import lru_cache

SHARERS = (2, 4, 8)  # threads for which tasks are to be even
LEAST_SHARE = 64  # of a thread's part: what is claimed at once is at least that share of it


def unevenness(tasks: Sequence[int]) -> float:
    """Time of some threads for tasks of these sizes over that of a perfect division, on average."""
    return _unevenness(tuple(tasks))


@lru_cache(maxsize=4096)
def _unevenness(tasks: tuple[int, ...]) -> float:
    before = [0, *itertools.accumulate(tasks)]
    return sum(_finished(before, threads) * threads / (before[-1] or 1) for threads in SHARERS) / len(SHARERS)


def _finished(before: Sequence[int], threads: int) -> int:
    """When the last of so many threads is done. before: the work in front of every task, and of all.

    Every thread has a part of its own and claims half of what is left of it; who has finished claims from the others, the next one first.
    """
    count = len(before) - 1
    stops = [count * (k + 1) // threads for k in range(threads)]
    nexts = [count * k // threads for k in range(threads)]
    least = [max(1, (stop - start) // LEAST_SHARE) for start, stop in zip(nexts, stops, strict=True)]
    busy, last = [(0, k) for k in range(threads)], 0
    while busy:
        time, thread = busy[0]
        owner = next((o % threads for o in range(thread, thread + threads) if nexts[o % threads] < stops[o % threads]), None)
        if owner is None:
            last = max(last, heapq.heappop(busy)[0])
            continue
        start, left = nexts[owner], stops[owner] - nexts[owner]
        nexts[owner] = start + min(left, max(left // 2, least[owner]))
        heapq.heapreplace(busy, (time + before[nexts[owner]] - before[start], thread))
    return last
