"""Padding arguments of image transforms: one number for all sides, two for both axes, or four."""

from __future__ import annotations

import numbers
from typing import Any

MODES = ("constant", "edge", "reflect", "symmetric")


def check_padding(padding: Any, fill: Any = 0, padding_mode: Any = "constant") -> None:
    """TypeError and ValueError as torchvision raises them."""
    if not isinstance(padding, (numbers.Number, tuple, list)):
        raise TypeError("Got inappropriate padding arg")
    if fill is not None and not isinstance(fill, (numbers.Number, tuple, list)):
        raise TypeError("Got inappropriate fill arg")
    if not isinstance(padding_mode, str):
        raise TypeError("Got inappropriate padding_mode arg")
    if padding_mode not in MODES:
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    if isinstance(padding, (tuple, list)) and len(padding) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element tuple")


def sides(padding: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom)."""
    if not isinstance(padding, (tuple, list)):
        return (padding,) * 4
    if len(padding) == 4:
        return tuple(padding)
    return (padding[0], padding[-1]) * 2
