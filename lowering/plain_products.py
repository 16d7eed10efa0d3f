"""Programs for sizes known at the call only that would spend their time in plain loops: they are compiled size by size instead.

Register tiles need a loop of known size for their vectors. A product without one (both matrices grow) is a nest of plain loops, some
five to twenty times as slow. As a small part of a program (attention over another length) that costs less than compiling again.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects import func

from ..dialects.sizes import NeedsNumber
from ..dialects.target import Target
from .contraction_schedule import posed, schedule

MOST_PLAIN = 0.5
"""Share of a program's multiply-adds that may be in plain loops."""
SMALL = 1 << 22
"""Multiply-adds of plain products that take less time than anybody waits for a compiler."""


def refuse_plain_products(kernels: Iterable[func.FuncOp], target: Target) -> None:
    """NeedsNumber when most of the work of a program's calls is products of unknown sizes without register tiles. kernels: one per call."""
    known: dict[func.FuncOp, tuple[int, bool]] = {}
    total = plain = 0
    for kernel in kernels:
        if kernel not in known:
            found = posed(kernel, target)
            work = 0 if found is None else found[2].work
            known[kernel] = work, bool(work) and not found[2].is_static and schedule(kernel, target) is None
        work, is_plain = known[kernel]
        total += work
        plain += work if is_plain else 0
    if plain > SMALL and plain > MOST_PLAIN * total:
        share = f"{100 * plain // total} % of its multiply-adds would be plain loops"
        raise NeedsNumber(f"products whose columns are not known have no register tiles, and {share}")
