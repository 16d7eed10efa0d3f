"""The nv dialect: what one CUDA thread can ask of its block, its warp and its registers that upstream ops do not say.

Kernels at the gpu level are functions of one thread: `gpu.thread_id`, `gpu.block_id` and `gpu.barrier` are upstream's;
arithmetic, loops and memory are `arith`, `math`, `scf` and `memref`. Memory spaces are strings: `"shared"` (one arena per
block, given out by `nv.shared` at byte offsets) and `"registers"` (small arrays of a thread whose indices are constants
once the loops marked `nv.unroll` are unrolled). Each op prints as one function of the CUDA prelude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import (
    I32,
    BFloat16Type,
    Float16Type,
    Float32Type,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    StringAttr,
    UnitAttr,
    f32,
    i1,
    i32,
)
from xdsl.ir import Attribute, Dialect
from xdsl.irdl import (
    AnyAttr,
    IRDLOperation,
    VarConstraint,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from .nv_hopper import HOPPER_OPS, HOPPER_TYPES
from .nv_parts import PART_OPS
from .nv_store import STORE_OPS

SHARED = StringAttr("shared")
REGISTERS = StringAttr("registers")
UNROLL, ROLLED = "nv.unroll", "nv.rolled"
"""Attributes of loops: the compiler of the source unrolls it, or must not."""
LARGEST_ACCESS = 16
"""Bytes one thread moves with one instruction."""


def element_size(element: Attribute) -> int:
    """Bytes of an element in memory; an i1 takes one."""
    if isinstance(element, IntegerType):
        return max(1, element.width.data // 8)
    if isinstance(element, Float16Type | BFloat16Type):
        return 2
    return 4 if isinstance(element, Float32Type) else 8


@irdl_op_definition
class SharedOp(IRDLOperation):
    """A piece of the block's shared memory, some bytes from its start.

    `%s = nv.shared %offset : memref<64xf32, "shared">`
    """

    name = "nv.shared"
    offset = operand_def(IndexType())
    result = result_def(MemRefType)
    traits = traits_def(Pure())
    assembly_format = "$offset attr-dict `:` type($result)"

    def verify_(self) -> None:
        if self.result.type.memory_space != SHARED:
            raise VerifyException('nv.shared gives a memref in the memory space "shared"')


@irdl_op_definition
class ShuffleXorOp(IRDLOperation):
    """The value another lane of the warp has: that of the lane whose number differs in the bits of `mask`.

    Every lane of the warp executes it: `%y = nv.shuffle_xor %x, 16 : f32`
    """

    name = "nv.shuffle_xor"
    T: ClassVar = VarConstraint("T", AnyAttr())
    value = operand_def(T)
    mask = prop_def(IntegerAttr[I32])
    result = result_def(T)
    assembly_format = "$value `,` $mask attr-dict `:` type($result)"

    def verify_(self) -> None:
        if self.mask.value.data not in (1, 2, 4, 8, 16):
            raise VerifyException(f"nv.shuffle_xor exchanges lanes 1, 2, 4, 8 or 16 apart, got {self.mask.value.data}")


@irdl_op_definition
class SyncWarpOp(IRDLOperation):
    """The lanes of a warp wait for each other and see each other's writes."""

    name = "nv.sync_warp"
    assembly_format = "attr-dict"


def _check_wide(name: str, memory: Attribute, lanes: Sequence[Attribute]) -> None:
    if not isinstance(memory, MemRefType) or len(memory.get_shape()) != 1:
        raise VerifyException(f"{name} works on a 1-D memref")
    if any(t != memory.element_type for t in lanes):
        raise VerifyException(f"{name}: lanes have the memref's element type")
    n, size = len(lanes), element_size(memory.element_type) * len(lanes)
    if n < 2 or n & (n - 1) or size > LARGEST_ACCESS:
        raise VerifyException(f"{name} moves 2, 4, 8 or 16 lanes of together at most 16 bytes, got {n} ({size} bytes)")


@irdl_op_definition
class LoadOp(IRDLOperation):
    """Neighbouring elements in one access, aligned to its size: `%a, %b = nv.load %x[%i] : memref<8xf32> -> f32, f32`."""

    name = "nv.load"
    memory = operand_def(MemRefType)
    index = operand_def(IndexType())
    lanes = var_result_def()
    assembly_format = "$memory `[` $index `]` attr-dict `:` type($memory) `->` type($lanes)"

    def verify_(self) -> None:
        _check_wide(self.name, self.memory.type, [r.type for r in self.lanes])


@irdl_op_definition
class StoreOp(IRDLOperation):
    """Neighbouring elements in one access, aligned to its size: `nv.store %a, %b to %x[%i] : f32, f32 to memref<8xf32>`."""

    name = "nv.store"
    lanes = var_operand_def()
    memory = operand_def(MemRefType)
    index = operand_def(IndexType())
    assembly_format = "$lanes `to` $memory `[` $index `]` attr-dict `:` type($lanes) `to` type($memory)"

    def verify_(self) -> None:
        _check_wide(self.name, self.memory.type, [v.type for v in self.lanes])


@irdl_op_definition
class LdmatrixOp(IRDLOperation):
    """Four 8x8 matrices of 16-bit elements (8x4 of 32-bit, 8x16 of 8-bit ones) from shared memory, spread over the warp as mma.sync wants its operands.

    Lane i gives the place of row i%8 of matrix i/8 (16 bytes, aligned); it gets row i/4, columns 2*(i%4) and the next,
    of each matrix: one i32 holds the two (column i%4 of 32 bits, four of 8 bits). `transposed` matrices of 16 bits are turned on the way.
    `%a, %b, %c, %d = nv.ldmatrix %s[%i] {transposed} : memref<4096xbf16, "shared">`
    """

    name = "nv.ldmatrix"
    memory = operand_def(MemRefType)
    index = operand_def(IndexType())
    transposed = opt_attr_def(UnitAttr)
    a = result_def(i32)
    b = result_def(i32)
    c = result_def(i32)
    d = result_def(i32)
    assembly_format = "$memory `[` $index `]` attr-dict `:` type($memory)"

    def verify_(self) -> None:
        held = self.memory.type
        if held.memory_space != SHARED or len(held.get_shape()) != 1:
            raise VerifyException("nv.ldmatrix reads a 1-D memref in shared memory")
        if element_size(held.element_type) not in ((1, 2, 4) if self.transposed is None else (2,)):
            raise VerifyException("nv.ldmatrix reads elements of 16 bits, or of 8 or 32 bits that are not turned")


@irdl_op_definition
class MmaSyncOp(IRDLOperation):
    """c + a * b of a warp on tensor cores, m16n8k16: a is 16x16 (4 registers), b 16x8 (2), c and the result 16x8 of f32 (4).

    Lane l holds c[l/4][2*(l%4)], its right neighbour, and the same two of row l/4 + 8. `kind` is the element type of a and b.
    `%d:4 = nv.mma_sync a(%a0, %a1, %a2, %a3) b(%b0, %b1) c(%c0, %c1, %c2, %c3) bf16`
    """

    name = "nv.mma_sync"
    a0 = operand_def(i32)
    a1 = operand_def(i32)
    a2 = operand_def(i32)
    a3 = operand_def(i32)
    b0 = operand_def(i32)
    b1 = operand_def(i32)
    c0 = operand_def(f32)
    c1 = operand_def(f32)
    c2 = operand_def(f32)
    c3 = operand_def(f32)
    kind = prop_def(BFloat16Type | Float16Type)
    d0 = result_def(f32)
    d1 = result_def(f32)
    d2 = result_def(f32)
    d3 = result_def(f32)
    traits = traits_def(Pure())
    assembly_format = "`a` $a0 $a1 $a2 $a3 `b` $b0 $b1 `c` $c0 $c1 $c2 $c3 $kind attr-dict"


@irdl_op_definition
class MmaTf32Op(IRDLOperation):
    """c + a * b of a warp on tensor cores, m16n8k8: of a and b the sign, 8 bits of exponent and 10 of mantissa count.

    Lane l holds a[l/4][l%4], the same of row l/4 + 8, and both of depth l%4 + 4; b[l%4][l/4] and that of depth l%4 + 4; c as for
    nv.mma_sync. `%d:4 = nv.mma_tf32 a(%a0, %a1, %a2, %a3) b(%b0, %b1) c(%c0, %c1, %c2, %c3)`
    """

    name = "nv.mma_tf32"
    a0 = operand_def(f32)
    a1 = operand_def(f32)
    a2 = operand_def(f32)
    a3 = operand_def(f32)
    b0 = operand_def(f32)
    b1 = operand_def(f32)
    c0 = operand_def(f32)
    c1 = operand_def(f32)
    c2 = operand_def(f32)
    c3 = operand_def(f32)
    d0 = result_def(f32)
    d1 = result_def(f32)
    d2 = result_def(f32)
    d3 = result_def(f32)
    traits = traits_def(Pure())
    assembly_format = "`a` $a0 $a1 $a2 $a3 `b` $b0 $b1 `c` $c0 $c1 $c2 $c3 attr-dict"


@irdl_op_definition
class MmaBytesOp(IRDLOperation):
    """c + a * b of a warp on tensor cores, m16n8k32, in integers that wrap around: four bytes of a (of b) lie in an i32.

    Lane l holds a[l/4][4*(l%4)] and the next three, the same of row l/4 + 8, and both of depth 16 further; b and c accordingly.
    `left`, `right`: "s8" or "u8". `%d:4 = nv.mma_bytes a(%a0, %a1, %a2, %a3) b(%b0, %b1) c(%c0, %c1, %c2, %c3) "s8" "u8"`
    """

    name = "nv.mma_bytes"
    a0 = operand_def(i32)
    a1 = operand_def(i32)
    a2 = operand_def(i32)
    a3 = operand_def(i32)
    b0 = operand_def(i32)
    b1 = operand_def(i32)
    c0 = operand_def(i32)
    c1 = operand_def(i32)
    c2 = operand_def(i32)
    c3 = operand_def(i32)
    left = prop_def(StringAttr)
    right = prop_def(StringAttr)
    d0 = result_def(i32)
    d1 = result_def(i32)
    d2 = result_def(i32)
    d3 = result_def(i32)
    traits = traits_def(Pure())
    assembly_format = "`a` $a0 $a1 $a2 $a3 `b` $b0 $b1 `c` $c0 $c1 $c2 $c3 $left $right attr-dict"

    def verify_(self) -> None:
        if not {self.left.data, self.right.data} <= {"s8", "u8"}:
            raise VerifyException('nv.mma_bytes multiplies "s8" and "u8"')


@irdl_op_definition
class RoundTf32Op(IRDLOperation):
    """The nearest number of 10 bits of mantissa, of two as near the larger one: `%y = nv.round_tf32 %x`."""

    name = "nv.round_tf32"
    value = operand_def(f32)
    result = result_def(f32)
    traits = traits_def(Pure())
    assembly_format = "$value attr-dict"


@irdl_op_definition
class Exp2Op(IRDLOperation):
    """2 to the power of x in one instruction: the last two or three bits may be wrong, below the smallest normal number it is 0.

    For what is rounded to 16 bits anyway: `%y = nv.exp2 %x`.
    """

    name = "nv.exp2"
    value = operand_def(f32)
    result = result_def(f32)
    traits = traits_def(Pure())
    assembly_format = "$value attr-dict"


@irdl_op_definition
class PackOp(IRDLOperation):
    """Two f32 rounded to 16-bit floats, the first in the low half: `%p = nv.pack %x, %y bf16`."""

    name = "nv.pack"
    low = operand_def(f32)
    high = operand_def(f32)
    kind = prop_def(BFloat16Type | Float16Type)
    result = result_def(i32)
    traits = traits_def(Pure())
    assembly_format = "$low `,` $high $kind attr-dict"


@irdl_op_definition
class CpAsyncOp(IRDLOperation):
    """16 bytes from global to shared memory without waiting; zeros where `inside` is false. Both places are aligned.

    `nv.cp_async %x[%i] to %s[%j] if %inside : memref<4096xbf16> to memref<512xbf16, "shared">`
    """

    name = "nv.cp_async"
    source = operand_def(MemRefType)
    source_index = operand_def(IndexType())
    target = operand_def(MemRefType)
    target_index = operand_def(IndexType())
    inside = operand_def(i1)
    assembly_format = (
        "$source `[` $source_index `]` `to` $target `[` $target_index `]` `if` $inside attr-dict `:` type($source) `to` type($target)"
    )

    def verify_(self) -> None:
        if self.target.type.memory_space != SHARED or self.source.type.memory_space == SHARED:
            raise VerifyException("nv.cp_async copies from global to shared memory")
        if self.source.type.element_type != self.target.type.element_type:
            raise VerifyException("nv.cp_async copies elements of one type")


@irdl_op_definition
class CpAsyncCommitOp(IRDLOperation):
    """The thread's copies since the last commit are one group."""

    name = "nv.cp_async_commit"
    assembly_format = "attr-dict"


@irdl_op_definition
class CpAsyncWaitOp(IRDLOperation):
    """Waits until at most `pending` groups of the thread are under way: `nv.cp_async_wait 1`. A barrier shows them to others."""

    name = "nv.cp_async_wait"
    pending = prop_def(IntegerAttr[I32])
    assembly_format = "$pending attr-dict"


Nv = Dialect(
    "nv",
    [
        SharedOp, ShuffleXorOp, SyncWarpOp, LoadOp, StoreOp, LdmatrixOp, MmaSyncOp, MmaTf32Op, MmaBytesOp, RoundTf32Op, Exp2Op, PackOp, CpAsyncOp,
        CpAsyncCommitOp, CpAsyncWaitOp, *HOPPER_OPS, *PART_OPS, *STORE_OPS,
    ],
    HOPPER_TYPES,
)  # fmt: skip
