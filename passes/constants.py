"""Constants: compute at compile time what does not depend on the program's inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, stanza_of, type_of
from ..dialects.types import Type, dtype_of, size_of
from .base import Pass
from .program import origin_of, program_blocks
from .rules import constant_of


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace ops on constants by the constant they give, as long as it is one number everywhere.

    before  %1 = prim.full {shape = [4, 1], value = 4.0}
            %2 = prim.sqrt %1
            %3 = prim.expand %2 {to = [4, 8]}
    after   %1 = prim.full {shape = [4, 1], value = 4.0}
            %2 = prim.full {shape = [4, 1], value = 2.0}
            %3 = prim.full {shape = [4, 8], value = 2.0}

    Elementwise ops are computed on one element and views keep the number, so size does not matter; other ops
    are computed in full, up to `largest` elements of any operand or result.
    """

    name = "constants"
    takes = ("differentiated", "primitive")

    largest: int = 4096

    def run(self, module: ModuleOp) -> int:
        """Number of ops replaced."""
        return sum(self.fold_block(block) for block in program_blocks(module))

    def fold_block(self, block: Block) -> int:
        """Number of ops of a block replaced."""
        count = 0
        op = block.first_op
        while op is not None:
            following = op.next_op
            if isinstance(op, BookOp) and op._operands and len(op.results) == 1:
                count += self.fold(block, op)
            op = following
        return count

    def fold(self, block: Block, op: BookOp) -> int:
        """1 if the op was replaced."""
        numbers = [constant_of(value) for value in op._operands]
        if None in numbers:
            return 0
        number = self.number(op, numbers)
        if number is None:
            return 0
        shape, dtype = type_of(op.results[0])
        build = XdslBuilder(op, origin_of(op))
        op.results[0].replace_all_uses_with(build("full", (), (shape, number, dtype))[0])
        block.erase_op(op)
        return 1

    def number(self, op: BookOp, numbers: list[float | int | None]) -> float | int | None:
        """What the op gives for operands filled with these numbers, if that is one number; else None."""
        stanza = stanza_of(op)
        types = [type_of(value) for value in op._operands]
        if stanza.family == "each":
            types = [((), dtype) for _, dtype in types]
        elif stanza.family == "view" and not stanza.is_placement:
            return numbers[0]
        elif max(size_of(shape) for shape, _ in (*types, type_of(op.results[0]))) > self.largest:
            return None
        (result,) = stanza.evaluate(
            [_filled(t, n) for t, n in zip(types, numbers, strict=True)], attrs_of(op)
        )
        return _one_number(result)


def _filled(t: Type, number: float | int | None) -> np.ndarray:
    shape, dtype = t
    return np.full(shape, number, dtype.numpy)


def _one_number(array: np.ndarray) -> float | int | None:
    """The number an array is filled with; None when it has none or several."""
    if array.size == 0:
        return 0
    flat = np.ascontiguousarray(array).reshape(-1)
    octets = flat.view(np.uint8).reshape(array.size, -1)  # bytes: NaN is NaN, and 0.0 is not -0.0
    return _PYTHON[dtype_of(array).kind](flat[0]) if (octets == octets[0]).all() else None


_PYTHON = {"f": float, "i": int, "u": int, "b": bool}
