"""The nv dialect's ops of sm_90a: tensor maps and bulk copies (TMA), mbarriers, wgmma, registers handed between warpgroups.

Source: PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Instructions", "Tensor" and "mbarrier". A warpgroup is four warps,
threads 128*i to 128*i + 127 of a block. Tiles lie in shared memory in the 128-byte swizzle: rows of 128 bytes, eight of them
a pattern of 1024 bytes in which the 16-byte pieces of row r change places by r.
"""

from __future__ import annotations

from xdsl.dialects.builtin import (
    I32,
    I64,
    BFloat16Type,
    DenseArrayBase,
    Float16Type,
    IndexType,
    IntegerAttr,
    MemRefType,
    UnitAttr,
    f32,
    i64,
)
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import (
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

SWIZZLE_BYTES = 128
LARGEST_BOX = 256
WGMMA_ROWS, WGMMA_DEPTH = 64, 16


def _is_shared(held: Attribute) -> bool:
    space = getattr(held, "memory_space", None)
    return getattr(space, "data", None) == "shared"


@irdl_attr_definition
class TensorMapType(ParametrizedAttribute, TypeAttribute):
    """What the copy engine knows of an array in global memory: the host makes it, the kernel gets it as a parameter."""

    name = "nv.tensor_map"


@irdl_op_definition
class TensorMapOp(IRDLOperation):
    """A box-wise view of an argument of the kernel.

    sizes: elements per dimension, innermost first. strides: elements between neighbours of every dimension but the innermost
    one. box: how many of each dimension one copy moves; the innermost 128 bytes. offset: elements before the first.
    What lies outside the sizes is read as zero.
    """

    name = "nv.tensor_map"
    source = operand_def(MemRefType)
    sizes = prop_def(DenseArrayBase[I64])
    strides = prop_def(DenseArrayBase[I64])
    box = prop_def(DenseArrayBase[I64])
    offset = prop_def(IntegerAttr[I64])
    result = result_def(TensorMapType)
    traits = traits_def(Pure())
    assembly_format = (
        "$source `offset` $offset `sizes` $sizes `strides` $strides `box` $box attr-dict `:` type($source) `to` type($result)"
    )

    def verify_(self) -> None:
        held = self.source.type
        sizes, strides, box = (tuple(a.get_values()) for a in (self.sizes, self.strides, self.box))
        if _is_shared(held) or not isinstance(held.element_type, BFloat16Type | Float16Type):
            raise VerifyException("nv.tensor_map describes 16-bit floats in global memory")
        if not 2 <= len(sizes) <= 5 or len(box) != len(sizes) or len(strides) != len(sizes) - 1:
            raise VerifyException(
                f"nv.tensor_map has two to five sizes, as many of box, one stride less, got {len(sizes)}, {len(box)}, {len(strides)}"
            )
        if any(s * 2 % 16 for s in strides) or self.offset.value.data * 2 % 16:
            raise VerifyException("nv.tensor_map: strides and offset are multiples of 16 bytes")
        if box[0] * 2 != SWIZZLE_BYTES or not all(0 < b <= LARGEST_BOX for b in box):
            raise VerifyException(f"nv.tensor_map: a box is 128 bytes wide and at most 256 elements in the others, got {box}")


@irdl_op_definition
class TmaLoadOp(IRDLOperation):
    """One thread has the copy engine bring a box to shared memory (a multiple of 1024 bytes, in the 128-byte swizzle).

    The barrier is told of its bytes when they are there: `nv.tma_load %map[%k, %m] to %s[%i] signals %b[%stage] : ...`
    """

    name = "nv.tma_load"
    map = operand_def(TensorMapType)
    places = var_operand_def(IndexType())
    target = operand_def(MemRefType)
    target_index = operand_def(IndexType())
    barriers = operand_def(MemRefType)
    barrier = operand_def(IndexType())
    assembly_format = (
        "$map `[` $places `]` `to` $target `[` $target_index `]` `signals` $barriers `[` $barrier `]` attr-dict"
        " `:` type($target) `,` type($barriers)"
    )

    def verify_(self) -> None:
        if not (_is_shared(self.target.type) and _is_shared(self.barriers.type)):
            raise VerifyException("nv.tma_load copies to shared memory and signals a barrier there")
        _check_barriers(self.name, self.barriers.type)


def _check_barriers(name: str, held: Attribute) -> None:
    if not isinstance(held, MemRefType) or held.element_type != i64 or not _is_shared(held):
        raise VerifyException(f"{name}: barriers are i64 in shared memory")


class _OnBarrier(IRDLOperation):
    """What works on one of an array of barriers."""

    barriers = operand_def(MemRefType)
    barrier = operand_def(IndexType())

    def verify_(self) -> None:
        _check_barriers(self.name, self.barriers.type)


@irdl_op_definition
class MbarrierInitOp(_OnBarrier):
    """A barrier whose phases end after `count` arrivals (and all bytes that were announced)."""

    name = "nv.mbarrier_init"
    count = prop_def(IntegerAttr[I32])
    assembly_format = "$barriers `[` $barrier `]` `,` $count attr-dict `:` type($barriers)"


@irdl_op_definition
class MbarrierExpectOp(_OnBarrier):
    """An arrival that announces bytes of copies to come in this phase."""

    name = "nv.mbarrier_expect"
    bytes = prop_def(IntegerAttr[I32])
    assembly_format = "$barriers `[` $barrier `]` `,` $bytes attr-dict `:` type($barriers)"


@irdl_op_definition
class MbarrierArriveOp(_OnBarrier):
    """An arrival."""

    name = "nv.mbarrier_arrive"
    assembly_format = "$barriers `[` $barrier `]` attr-dict `:` type($barriers)"


@irdl_op_definition
class MbarrierWaitOp(IRDLOperation):
    """Until the phase of a parity (0 for the first, 1, 0, …) has ended; parity 1 of a fresh barrier has."""

    name = "nv.mbarrier_wait"
    barriers = operand_def(MemRefType)
    barrier = operand_def(IndexType())
    parity = operand_def(IndexType())
    assembly_format = "$barriers `[` $barrier `]` `phase` $parity attr-dict `:` type($barriers)"

    def verify_(self) -> None:
        _check_barriers(self.name, self.barriers.type)


@irdl_op_definition
class FenceBarrierInitOp(IRDLOperation):
    """Shows initialised barriers to the copy engine."""

    name = "nv.fence_barrier_init"
    assembly_format = "attr-dict"


@irdl_op_definition
class MatrixDescriptorOp(IRDLOperation):
    """Where wgmma finds a matrix in shared memory, in the 128-byte swizzle.

    leading: bytes from one 64-wide block of rows to the next, for matrices that lie turned (their rows side by side).
    `%d = nv.matrix_descriptor %s[%i] leading 8192 : memref<…, "shared">`
    """

    name = "nv.matrix_descriptor"
    memory = operand_def(MemRefType)
    index = operand_def(IndexType())
    leading = prop_def(IntegerAttr[I32])
    result = result_def(i64)
    assembly_format = "$memory `[` $index `]` `leading` $leading attr-dict `:` type($memory)"

    def verify_(self) -> None:
        if not _is_shared(self.memory.type) or not isinstance(self.memory.type.element_type, BFloat16Type | Float16Type):
            raise VerifyException("nv.matrix_descriptor is of 16-bit floats in shared memory")
        if self.leading.value.data % 16:
            raise VerifyException("nv.matrix_descriptor: bytes are a multiple of 16")


@irdl_op_definition
class WgmmaOp(IRDLOperation):
    """sums += a * b of a warpgroup, m64nNk16, under way until it is waited for.

    a is 64 x 16, b is N x 16, both read through descriptors; `a_turned`/`b_turned`: the matrix lies with its rows side by side.
    sums: f32[N / 2] in registers; thread 32w + l holds rows 16w + l/4 and that + 8, columns 8j + 2*(l%4) and the next, of every j:
    element 4j + 2*lower + right.
    """

    name = "nv.wgmma"
    sums = operand_def(MemRefType)
    a = operand_def(i64)
    b = operand_def(i64)
    kind = prop_def(BFloat16Type | Float16Type)
    a_turned = opt_prop_def(UnitAttr)
    b_turned = opt_prop_def(UnitAttr)
    assembly_format = (
        "$sums `,` $a (`turned` $a_turned^)? `,` $b (`turned` $b_turned^)? $kind attr-dict `:` type($sums)"
    )

    @property
    def columns(self) -> int:
        """N."""
        return 2 * self.sums.type.get_shape()[0]

    def verify_(self) -> None:
        held = self.sums.type
        if held.element_type != f32 or getattr(held.memory_space, "data", None) != "registers" or len(held.get_shape()) != 1:
            raise VerifyException("nv.wgmma sums f32 in registers")
        if self.columns % 8 or not 8 <= self.columns <= 256:
            raise VerifyException(f"nv.wgmma has 8 to 256 columns, a multiple of 8, got {self.columns}")


@irdl_op_definition
class WgmmaFenceOp(IRDLOperation):
    """Before the first nv.wgmma on registers the thread has written."""

    name = "nv.wgmma_fence"
    assembly_format = "attr-dict"


@irdl_op_definition
class WgmmaCommitOp(IRDLOperation):
    """The nv.wgmma since the last commit are one group."""

    name = "nv.wgmma_commit"
    assembly_format = "attr-dict"


@irdl_op_definition
class WgmmaWaitOp(IRDLOperation):
    """Until at most `pending` groups of the warpgroup are under way."""

    name = "nv.wgmma_wait"
    pending = prop_def(IntegerAttr[I32])
    assembly_format = "$pending attr-dict"


@irdl_op_definition
class SetRegistersOp(IRDLOperation):
    """The warpgroup's threads have `count` registers from here on: more (taken from the block's) or fewer (given back)."""

    name = "nv.set_registers"
    count = prop_def(IntegerAttr[I32])
    more = opt_prop_def(UnitAttr)
    assembly_format = "(`more` $more^)? $count attr-dict"

    def verify_(self) -> None:
        if self.count.value.data % 8 or not 24 <= self.count.value.data <= 256:
            raise VerifyException(f"nv.set_registers takes 24 to 256, a multiple of 8, got {self.count.value.data}")


HOPPER_OPS = [
    TensorMapOp, TmaLoadOp, MbarrierInitOp, MbarrierExpectOp, MbarrierArriveOp, MbarrierWaitOp, FenceBarrierInitOp,
    MatrixDescriptorOp, WgmmaOp, WgmmaFenceOp, WgmmaCommitOp, WgmmaWaitOp, SetRegistersOp,
]  # fmt: skip
HOPPER_TYPES = [TensorMapType]
HOPPER_EFFECTS = (TmaLoadOp, MbarrierInitOp, MbarrierExpectOp, MbarrierArriveOp, MbarrierWaitOp, WgmmaOp)
"""Ops whose operands are needed though they give no value."""
