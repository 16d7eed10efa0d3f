"""Products of bytes on tensor cores, summed in integers of 32 bits: exact, as many bits as the sum has wrap around."""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import StringAttr, i8, i32
from xdsl.ir import SSAValue

from ..dialects import nv
from .gpu_contraction_plan import BYTES_DEPTH
from .gpu_tensor_core import TensorCoreLaunch


class BytesLaunch(TensorCoreLaunch):
    """Tiles of the product by mma.sync, each factor signed or unsigned."""

    depth, core_depth, bits = BYTES_DEPTH, 32, i8

    def core(self, a: list[SSAValue], c: list[SSAValue], i: SSAValue, j: SSAValue) -> None:
        """Adds one product of fragments to its sums."""
        operands, place = self.operands(a[0], c[0], i, j)
        kinds = ["s8" if isinstance(f.casts[0], arith.ExtSIOp) else "u8" for f in (self.t.left, self.t.right)]
        properties = {"left": StringAttr(kinds[0]), "right": StringAttr(kinds[1])}
        op = nv.MmaBytesOp.create(operands=operands, result_types=[i32] * 4, properties=properties)
        self.b.do(op)
        self.keep(list(op.results), self.sums, place)
