"""The published cost of an op: every rewrite rule must lower the sum of these."""

from __future__ import annotations

from ..dialects.book.stanza import Stanza

FAMILY = {"view": 1, "each": 10, "fold": 30, "contract": 100, "is": 200, "irregular": 50}
"""Cost by family: a view moves nothing after fusion, a contraction is the work of a program."""

PLACEMENT = 5
"""A view that writes its result (pad)."""

SLOW = {
    "div": 15, "reciprocal": 15, "sqrt": 20, "rsqrt": 20,
    "remainder": 20, "fmod": 20, "floor_divide": 20, "pow": 60, "atan2": 60,
}  # fmt: skip
"""Scalar functions that take longer than an addition."""

CHEAP_SCALARS = frozenset(
    "add sub mul neg abs sign maximum minimum select cast relu floor ceil round trunc is_nan is_inf "
    "is_finite equal not_equal less less_equal greater greater_equal logical_and logical_or "
    "logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not shift_left shift_right".split()
)
TRANSCENDENTAL = 40


def cost(stanza: Stanza) -> int:
    """Cost of one op of the book."""
    if not stanza.tensors:
        return 0
    if stanza.is_placement:
        return PLACEMENT
    if stanza.family != "each" or stanza.name in CHEAP_SCALARS:
        return FAMILY[stanza.family]
    return SLOW.get(stanza.name, TRANSCENDENTAL)
