"""What of a contraction is multiplied in groups of narrow numbers: bf16 into f32 and bytes into integers of 32 bits, without losing
anything, by tile registers or by vectors; by tile registers also f32, as one or two numbers of bf16, where the target was asked to.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from xdsl.dialects import arith
from xdsl.dialects.builtin import BFloat16Type, Float32Type, i8, i16, i32
from xdsl.ir import Attribute, Operation

from ..dialects.target import Target
from .contraction_match import Contraction, Factor
from .loop_writer import bytes_of

WORD_BYTES = 4
TILE_WORDS = 16
F32_PARTS = {"bf16": 1, "3xbf16": 2}


class TileKind(NamedTuple):
    """element: what is multiplied. total: what it is summed in. raw: which sides' elements are such, the others are converted.
    unsigned: whether bytes of a side have no sign. parts: numbers that a factor is the sum of. words: words of 32 bits of each
    row and column that a step takes: 16 by tile registers, 1 by vectors.
    """

    element: Attribute
    total: Attribute
    raw: tuple[bool, bool]
    unsigned: tuple[bool, bool] = (False, False)
    parts: int = 1
    words: int = TILE_WORDS

    def __str__(self) -> str:
        return f"{self.parts} {self.element}" if self.parts > 1 else f"{self.element}"

    @property
    def unit(self) -> str:
        """What multiplies, as plans call it."""
        return "tiles" if self.words > 1 else "dots"

    @property
    def group(self) -> int:
        """Depths in a word."""
        return WORD_BYTES // bytes_of(self.element)

    @property
    def depth(self) -> int:
        """Depths in a step."""
        return self.words * self.group

    @property
    def biased(self) -> bool:
        """Whether the rows' bytes get the other sign first, as vectors multiply bytes with and without sign: 128 is added or taken away."""
        return self.words == 1 and self.element == i8 and self.unsigned[0] == self.unsigned[1]

    def turned(self) -> TileKind:
        """The same with the sides exchanged."""
        return self._replace(raw=self.raw[::-1], unsigned=self.unsigned[::-1])


def tile_kind(contraction: Contraction, target: Target) -> TileKind | None:
    """What the target's tile registers multiply of it; None: nothing."""
    sides = (contraction.left, contraction.right)
    if target.f32 != "ieee" and isinstance(contraction.sum_type, Float32Type) and all(map(_is_f32, sides)) and not all(map(_is_bf16, sides)):
        return TileKind(BFloat16Type(), Float32Type(), (False, False), parts=F32_PARTS[target.f32])
    return _kind(contraction, target.tiles)


def dot_kind(contraction: Contraction, target: Target) -> TileKind | None:
    """What the target's vectors multiply of it several at a time; None: nothing."""
    found = _kind(contraction, target.dots)
    if found is None and "i16" in target.dots and (bytes_ := _kind(contraction, {"i8"})) is not None:
        found = bytes_._replace(element=i16, raw=(False, False))
    return None if found is None else found._replace(words=1)


def _kind(contraction: Contraction, elements: Set[str]) -> TileKind | None:
    sides = (contraction.left, contraction.right)
    raw = [side.access.element for side in sides]
    if "bf16" in elements and isinstance(contraction.sum_type, (BFloat16Type, Float32Type)) and all(map(_is_bf16, sides)):
        return TileKind(BFloat16Type(), Float32Type(), (raw[0] == BFloat16Type(), raw[1] == BFloat16Type()))
    if "i8" in elements and all(element == i8 for element in raw):
        if contraction.sum_type == i8 and not any(side.casts for side in sides):
            return TileKind(i8, i32, (True, True))
        if contraction.sum_type == i32 and all(len(side.casts) == 1 for side in sides):
            left, right = (isinstance(side.casts[0], arith.ExtUIOp) for side in sides)
            return TileKind(i8, i32, (True, True), (left, right))
    return None


def narrowing(factor: Factor, element: Attribute) -> list[Operation]:
    """A factor's casts without those at the end that only widen elements of this type."""
    return [cast for k, cast in enumerate(factor.casts) if not _is_widened(factor, k, element)]


def _is_widened(factor: Factor, k: int, element: Attribute) -> bool:
    """Whether cast ``k`` and those behind it only widen such elements."""
    before = factor.casts[k - 1].results[0].type if k else factor.access.element
    return before == element and all(isinstance(c, (arith.ExtFOp, arith.ExtSIOp, arith.ExtUIOp)) for c in factor.casts[k:])


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
