"""Products of f32 on tensor cores: each factor rounded to TF32 (10 bits of mantissa), or as the sum of two such numbers.

With two numbers per factor, x = x1 + x2, the products x2 y1 + x1 y2 + x1 y1 are added (3xTF32): nearly f32's own accuracy. An
infinite factor gives NaN there (its remainder is none).
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ..dialects import nv
from .gpu_contraction_launch import PLAIN
from .gpu_contraction_plan import TF32_DEPTH
from .gpu_tensor_core import TensorCoreLaunch


class Tf32Launch(TensorCoreLaunch):
    """Tiles of the product by mma.sync on factors rounded to TF32, summed in f32."""

    depth, core_depth, bits = TF32_DEPTH, 8, i32
    terms: tuple[tuple[int, int], ...] = ((0, 0),)
    """Which parts of the factors are multiplied, the smallest products first."""

    def factor_registers(self, count: int, hint: str) -> list[SSAValue]:
        """One array per part of a factor."""
        return [self.b.registers(count, f32, hint) for _ in range(1 + max(i for i, _ in self.terms))]

    def keep_factor(self, values: list[SSAValue], registers: list[SSAValue], first: SSAValue) -> None:
        """Keeps what a lane holds of a fragment, rounded; then what rounding left over, rounded."""
        b = self.b
        numbers = [b.emit(arith.BitcastOp, (value,), f32) for value in values]
        for part in registers:
            rounded = [b.emit(nv.RoundTf32Op, (x,), f32) for x in numbers]
            self.keep(rounded, part, first)
            numbers = [b.emit(arith.SubfOp, (x, y), f32, PLAIN) for x, y in zip(numbers, rounded, strict=True)]

    def core(self, a: list[SSAValue], c: list[SSAValue], i: SSAValue, j: SSAValue) -> None:
        """Adds one product of fragments to its sums."""
        for left, right in self.terms:
            operands, place = self.operands(a[left], c[right], i, j)
            op = nv.MmaTf32Op.create(operands=operands, result_types=[f32] * 4)
            self.b.do(op)
            self.keep(list(op.results), self.sums, place)


class Tf32x3Launch(Tf32Launch):
    """The same with two numbers per factor."""

    terms = ((1, 0), (0, 1), (0, 0))
