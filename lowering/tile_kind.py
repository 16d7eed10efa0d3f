"""What tile registers can multiply of a contraction: bf16 into f32 and bytes into integers of 32 bits, without losing anything; f32, as one
or two numbers of bf16, where the target was asked to.
"""

from __future__ import annotations

from typing import NamedTuple

from xdsl.dialects import arith
from xdsl.dialects.builtin import BFloat16Type, Float32Type, i8, i32
from xdsl.ir import Attribute

from ..dialects.target import Target
from .contraction_match import Contraction, Factor
from .loop_writer import bytes_of

BLOCK_BYTES = 64
F32_PARTS = {"bf16": 1, "3xbf16": 2}


class TileKind(NamedTuple):
    """element: what tiles hold. total: what they are summed in. raw: which sides' elements are such, the others are converted.
    unsigned: whether bytes of a side have no sign. parts: numbers that a factor is the sum of.
    """

    element: Attribute
    total: Attribute
    raw: tuple[bool, bool]
    unsigned: tuple[bool, bool] = (False, False)
    parts: int = 1

    def __str__(self) -> str:
        return f"{self.parts} {self.element}" if self.parts > 1 else f"{self.element}"

    @property
    def depth(self) -> int:
        """Depths in a block."""
        return BLOCK_BYTES // bytes_of(self.element)

    def turned(self) -> TileKind:
        """The same with the sides exchanged."""
        return self._replace(raw=self.raw[::-1], unsigned=self.unsigned[::-1])


def tile_kind(contraction: Contraction, target: Target) -> TileKind | None:
    """What the target's tiles multiply of it; None: nothing."""
    sides = (contraction.left, contraction.right)
    raw = [side.access.element for side in sides]
    if "bf16" in target.tiles and isinstance(contraction.sum_type, (BFloat16Type, Float32Type)) and all(map(_is_bf16, sides)):
        return TileKind(BFloat16Type(), Float32Type(), (raw[0] == BFloat16Type(), raw[1] == BFloat16Type()))
    if target.f32 != "ieee" and isinstance(contraction.sum_type, Float32Type) and all(map(_is_f32, sides)):
        return TileKind(BFloat16Type(), Float32Type(), (False, False), parts=F32_PARTS[target.f32])
    if "i8" in target.tiles and all(element == i8 for element in raw):
        if contraction.sum_type == i8 and not any(side.casts for side in sides):
            return TileKind(i8, i32, (True, True))
        if contraction.sum_type == i32 and all(len(side.casts) == 1 for side in sides):
            left, right = (isinstance(side.casts[0], arith.ExtUIOp) for side in sides)
            return TileKind(i8, i32, (True, True), (left, right))
    return None


def _is_bf16(side: Factor) -> bool:
    """Whether a factor's values are numbers of bf16, whatever they are widened to."""
    held = side.access.element
    for k in range(len(side.casts) + 1):
        if isinstance(held, BFloat16Type) and all(isinstance(cast, arith.ExtFOp) for cast in side.casts[k:]):
            return True
        held = side.casts[k].results[0].type if k < len(side.casts) else held
    return False


def _is_f32(side: Factor) -> bool:
    """Whether a factor's values are numbers of f32 as far as their type goes."""
    held = side.casts[-1].results[0].type if side.casts else side.access.element
    return isinstance(held, Float32Type)
