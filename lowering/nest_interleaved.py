"""Accesses a few elements apart whose neighbours are accessed, too: parts of complex numbers, pairs of rotations, every second element.

    x[2 i], x[2 i + 1]          two vectors side by side are loaded and taken apart in registers
    y[2 i] = a, y[2 i + 1] = b      two vectors are riffled and stored side by side

Element by element they would be sixteen loads, or stores, each.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..dialects.sizes import any_symbolic
from .memref_layout import element_bytes
from .nest_plan import Flat, Loop

STRIDES = 2, 4
"""Vectors that are taken apart, or put together, at once."""


def is_interleaved(flat: Flat, loop: Loop) -> bool:
    """Whether all of an access's elements are a few apart along a loop: whichever iteration it is, they have the same place among their neighbours."""
    stride = flat.terms.get(loop, 0)
    if any_symbolic((stride, flat.offset, *flat.terms.values())) or stride not in STRIDES or flat.lane or flat.beside:
        return False
    return element_bytes(flat.buffer.element) >= 4 and all(c % stride == 0 for c in flat.terms.values())


def reads_whole(flat: Flat, loop: Loop) -> bool:
    """Whether a read may load the neighbours of its elements: nobody writes them, and they are there."""
    if flat.buffer.written or not is_interleaved(flat, loop) or any_symbolic((*flat.buffer.sizes, *[x.size for x in flat.terms])):
        return False
    stride = flat.terms[loop]
    last = flat.offset + sum(max(0, c * (x.size - 1)) for x, c in flat.terms.items())
    held = 1 + sum((n - 1) * s for n, s in zip(flat.buffer.sizes, flat.buffer.strides, strict=True))
    return last + stride - 1 - flat.offset % stride < held


def whole_writes(flats: Iterable[Flat], loop: Loop) -> list[list[int]]:
    """Which writes of one nest fill neighbouring elements together: the numbers of each group, first place first."""
    groups: dict[tuple[object, ...], dict[int, int]] = {}
    for k, flat in enumerate(flats):
        if is_interleaved(flat, loop):
            stride = flat.terms[loop]
            place = flat.offset % stride
            groups.setdefault((flat.buffer.value, stride, flat.offset - place, tuple(flat.terms.items())), {})[place] = k
    return [[group[place] for place in range(key[1])] for key, group in groups.items() if len(group) == key[1]]  # type: ignore[call-overload]


def cost(stride: int) -> float:
    """Cycles of one such access: its share of the loads or stores, and the rounds of shuffles."""
    return float(stride.bit_length())
