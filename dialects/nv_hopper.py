"""The nv dialect's ops of sm_90a: tensor maps and bulk copies (TMA), mbarriers, wgmma, registers handed between warpgroups.

Source: PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Instructions", "Tensor" and "mbarrier". A warpgroup is four warps,
threads 128*i to 128*i + 127 of a block. Tiles lie in shared memory in the 128-byte swizzle: rows of 128 bytes, eight of them
a pattern of 1024 bytes in which the 16-byte pieces of row r change places by r.
"""

from __future__ import annotations

from xdsl.dialects.builtin import (
    I32,
    I64,
    DenseArrayBase,
    IndexType,
    IntegerAttr,
    MemRefType,
    StringAttr,
    UnitAttr,
    bf16,
    f16,
    f32,
    i8,
    i32,
    i64,
)
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue, TypeAttribute
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
LARGEST_BOX, LARGEST_CLUSTER = 256, 8
LARGEST_EVERY = 8
"""How far apart the elements of a box may be along a dimension."""
WGMMA_ROWS = 64
DESCRIPTOR_BYTES = 16
"""What addresses in a descriptor are counted in."""
WGMMA_BYTES = 32
"""Of a row of an operand that one nv.wgmma multiplies: 16 elements of 16 bits, 8 of 32, 32 bytes."""
TILE_BYTES: dict[Attribute, int] = {bf16: 2, f16: 2, f32: 4, i8: 1}
"""Elements wgmma multiplies, and their size."""
_MAP_BYTES = {**TILE_BYTES, i32: 4}
_BYTE_KINDS = {"s8", "u8"}


def is_shared(held: Attribute) -> bool:
    """Whether a memref lies in shared memory."""
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
    one. box: how many of each dimension one copy moves; the innermost 128 bytes. every: how far apart those are, in elements of the
    dimension (a convolution that steps over pixels); next to each other where it is not given. offset: elements before the first.
    What lies outside the sizes is read as zero. tf32: f32 are rounded to 10 bits of mantissa on the way.
    """

    name = "nv.tensor_map"
    source = operand_def(MemRefType)
    sizes = prop_def(DenseArrayBase[I64])
    strides = prop_def(DenseArrayBase[I64])
    box = prop_def(DenseArrayBase[I64])
    offset = prop_def(IntegerAttr[I64])
    every = opt_prop_def(DenseArrayBase[I64])
    tf32 = opt_prop_def(UnitAttr)
    result = result_def(TensorMapType)
    traits = traits_def(Pure())
    assembly_format = (
        "$source `offset` $offset `sizes` $sizes `strides` $strides `box` $box (`every` $every^)? (`tf32` $tf32^)? attr-dict"
        " `:` type($source) `to` type($result)"
    )

    def verify_(self) -> None:
        held = self.source.type
        sizes, strides, box = (tuple(a.get_values()) for a in (self.sizes, self.strides, self.box))
        size = _MAP_BYTES.get(held.element_type)
        if is_shared(held) or size is None:
            raise VerifyException("nv.tensor_map describes bf16, f16, f32, i32 or i8 in global memory")
        if self.tf32 is not None and held.element_type != f32:
            raise VerifyException("nv.tensor_map rounds f32 to tf32, nothing else")
        if not 2 <= len(sizes) <= 5 or len(box) != len(sizes) or len(strides) != len(sizes) - 1:
            raise VerifyException(
                f"nv.tensor_map has two to five sizes, as many of box, one stride less, got {len(sizes)}, {len(box)}, {len(strides)}"
            )
        if any(s * size % 16 for s in strides) or self.offset.value.data * size % 16:
            raise VerifyException("nv.tensor_map: strides and offset are multiples of 16 bytes")
        if any(s <= 0 for s in (*sizes, *strides)) or self.offset.value.data < 0:
            raise VerifyException("nv.tensor_map: sizes and strides are positive, and the offset is not negative")
        last = self.offset.value.data + sum((n - 1) * s for n, s in zip(sizes, (1, *strides), strict=True))
        steps = held.get_strides()
        if steps is not None and None not in steps and last > sum((n - 1) * s for n, s in zip(held.get_shape(), steps, strict=True)):
            raise VerifyException(f"nv.tensor_map: what its sizes go over is within the array, got element {last}")
        if box[0] * size != SWIZZLE_BYTES or not all(0 < b <= LARGEST_BOX for b in box):
            raise VerifyException(f"nv.tensor_map: a box is 128 bytes wide and at most 256 elements in the others, got {box}")
        every = tuple(self.every.get_values()) if self.every is not None else (1,) * len(box)
        if len(every) != len(box) or every[0] != 1 or not all(0 < e <= LARGEST_EVERY and b * e <= LARGEST_BOX for b, e in zip(box, every, strict=True)):
            raise VerifyException(f"nv.tensor_map: elements of a box are 1 to 8 apart, the innermost 1, and a box reaches over 256 at most, got {every}")


@irdl_op_definition
class TmaLoadOp(IRDLOperation):
    """One thread has the copy engine bring a box to shared memory (a multiple of 1024 bytes, in the 128-byte swizzle).

    The barrier is told of its bytes when they are there: `nv.tma_load %map[%k, %m] to %s[%i] signals %b[%stage] : ...`
    `cluster`: a bit for each block of the cluster that gets it, at the same place, and whose barrier there is told.
    """

    name = "nv.tma_load"
    map = operand_def(TensorMapType)
    places = var_operand_def(IndexType())
    target = operand_def(MemRefType)
    target_index = operand_def(IndexType())
    barriers = operand_def(MemRefType)
    barrier = operand_def(IndexType())
    cluster = opt_prop_def(IntegerAttr[I32])
    assembly_format = (
        "$map `[` $places `]` `to` $target `[` $target_index `]` `signals` $barriers `[` $barrier `]` (`cluster` $cluster^)? attr-dict"
        " `:` type($target) `,` type($barriers)"
    )

    def verify_(self) -> None:
        if not (is_shared(self.target.type) and is_shared(self.barriers.type)):
            raise VerifyException("nv.tma_load copies to shared memory and signals a barrier there")
        _check_barriers(self.name, self.barriers.type)
        check_places(self.name, self.map, len(self.places))
        if self.cluster is not None and not 0 < self.cluster.value.data < 1 << LARGEST_CLUSTER:
            raise VerifyException(f"nv.tma_load: a bit for each of at most {LARGEST_CLUSTER} blocks of a cluster, got {self.cluster.value.data}")


def check_places(name: str, map: SSAValue, count: int) -> None:
    """A box has a place along every dimension of its map. VerifyException where it has not."""
    made = map.owner
    if isinstance(made, TensorMapOp) and len(made.sizes) != count:
        raise VerifyException(f"{name}: a box has a place along each of its map's {len(made.sizes)} dimensions, got {count}")


def _check_barriers(name: str, held: Attribute) -> None:
    if not isinstance(held, MemRefType) or held.element_type != i64 or not is_shared(held):
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
class MbarrierArriveAtOp(IRDLOperation):
    """An arrival at the barrier that another block of the cluster has at this place: `nv.mbarrier_arrive_at %b[%i] of %rank`.

    It says that what the thread waited for has been read; what it wrote is not handed over.
    """

    name = "nv.mbarrier_arrive_at"
    barriers = operand_def(MemRefType)
    barrier = operand_def(IndexType())
    rank = operand_def(IndexType())
    assembly_format = "$barriers `[` $barrier `]` `of` $rank attr-dict `:` type($barriers)"

    def verify_(self) -> None:
        _check_barriers(self.name, self.barriers.type)


@irdl_op_definition
class ClusterBarrierOp(IRDLOperation):
    """All threads of the blocks of a cluster wait for each other."""

    name = "nv.cluster_barrier"
    assembly_format = "attr-dict"


@irdl_op_definition
class MbarrierWaitOp(IRDLOperation):
    """Until the phase of a parity (0 for the first, 1, 0, …) has ended; parity 1 of a fresh barrier has. cluster: other blocks arrive, too,
    and what comes behind it are copies to memory they have read."""

    name = "nv.mbarrier_wait"
    barriers = operand_def(MemRefType)
    barrier = operand_def(IndexType())
    parity = operand_def(IndexType())
    cluster = opt_prop_def(UnitAttr)
    assembly_format = "$barriers `[` $barrier `]` `phase` $parity (`cluster` $cluster^)? attr-dict `:` type($barriers)"

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
        if not is_shared(self.memory.type) or self.memory.type.element_type not in TILE_BYTES:
            raise VerifyException("nv.matrix_descriptor is of bf16, f16, f32 or i8 in shared memory")
        if self.leading.value.data % 16:
            raise VerifyException("nv.matrix_descriptor: bytes are a multiple of 16")


@irdl_op_definition
class WgmmaOp(IRDLOperation):
    """sums += a * b of a warpgroup, 64 rows, N columns and 32 bytes deep, under way until it is waited for.

    a is 64 x depth, b is N x depth, both read through descriptors; `left`, `right`: "bf16", "f16" or "tf32" for both, or "s8" and "u8" as
    they come. 16-bit elements may lie `turned`, the matrix with its rows side by side. sums: [N / 2] of f32 (i32 of bytes) in registers;
    thread 32w + l holds rows 16w + l/4 and that + 8, columns 8j + 2*(l%4) and the next, of every j: element 4j + 2*lower + right.
    `fresh`: sums = a * b.
    """

    name = "nv.wgmma"
    sums = operand_def(MemRefType)
    a = operand_def(i64)
    b = operand_def(i64)
    left = prop_def(StringAttr)
    right = prop_def(StringAttr)
    a_turned = opt_prop_def(UnitAttr)
    b_turned = opt_prop_def(UnitAttr)
    fresh = opt_prop_def(UnitAttr)
    assembly_format = (
        "$sums `,` $a (`turned` $a_turned^)? `,` $b (`turned` $b_turned^)? $left $right (`fresh` $fresh^)? attr-dict `:` type($sums)"
    )

    @property
    def columns(self) -> int:
        """N."""
        return 2 * self.sums.type.get_shape()[0]

    def verify_(self) -> None:
        kinds, turned = {self.left.data, self.right.data}, self.a_turned is not None or self.b_turned is not None
        if not (kinds <= _BYTE_KINDS or len(kinds) == 1 and kinds <= {"bf16", "f16", "tf32"}):
            raise VerifyException('nv.wgmma multiplies two of "bf16", of "f16", of "tf32", or "s8" and "u8"')
        if turned and not kinds <= {"bf16", "f16"}:
            raise VerifyException("nv.wgmma: only elements of 16 bits may lie turned")
        _check_sums(self.name, self.sums.type, i32 if kinds <= _BYTE_KINDS else f32)


@irdl_op_definition
class WgmmaRegistersOp(IRDLOperation):
    """sums += a * b like nv.wgmma, a from registers: four i32 from an index on, two 16-bit floats in each, or the bits of an f32 ("tf32").

    A thread has a[16w + l/4][2*(l%4)] and the next, the same of row 8 further, and both of depth 8 further, as nv.mma_sync wants them; of
    TF32 a[16w + l/4][l%4], row 8 further, and both of depth 4 further. They stay as they are until the product is waited for.
    """

    name = "nv.wgmma_registers"
    sums = operand_def(MemRefType)
    a = operand_def(MemRefType)
    a_index = operand_def(IndexType())
    b = operand_def(i64)
    kind = prop_def(StringAttr)
    b_turned = opt_prop_def(UnitAttr)
    assembly_format = (
        "$sums `,` $a `[` $a_index `]` `,` $b (`turned` $b_turned^)? $kind attr-dict `:` type($sums) `,` type($a)"
    )

    @property
    def columns(self) -> int:
        """N."""
        return 2 * self.sums.type.get_shape()[0]

    def verify_(self) -> None:
        held = self.a.type
        if self.kind.data not in ("bf16", "f16", "tf32") or self.kind.data == "tf32" and self.b_turned is not None:
            raise VerifyException('nv.wgmma_registers multiplies "bf16", "f16" or, not turned, "tf32"')
        if held.element_type != i32 or getattr(held.memory_space, "data", None) != "registers":
            raise VerifyException("nv.wgmma_registers takes i32 in registers, with the bits of one or two elements")
        _check_sums(self.name, self.sums.type, f32)


def _check_sums(name: str, held: MemRefType, element: Attribute) -> None:
    shape = held.get_shape()
    if held.element_type != element or getattr(held.memory_space, "data", None) != "registers" or len(shape) != 1:
        raise VerifyException(f"{name} sums {element} in registers")
    columns = 2 * shape[0]
    step = 16 if element == i32 and columns > 32 else 8
    if columns % step or not 8 <= columns <= 256:
        raise VerifyException(f"{name} has 8 to 256 columns, a multiple of {step}, got {columns}")


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
    """Until at most `pending` groups of the warpgroup are under way. held: registers of those that have ended, which may be read or
    written from here on; without any, those of the products since the wait before, in its block.
    """

    name = "nv.wgmma_wait"
    pending = prop_def(IntegerAttr[I32])
    held = var_operand_def(MemRefType)
    assembly_format = "$pending (`,` $held^ `:` type($held))? attr-dict"


@irdl_op_definition
class HoldOp(IRDLOperation):
    """What a thread's array holds is computed before what follows; without it a compiler may compute it behind a wait that comes first."""

    name = "nv.hold"
    registers = operand_def(MemRefType)
    assembly_format = "$registers `:` type($registers) attr-dict"


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
    TensorMapOp, TmaLoadOp, MbarrierInitOp, MbarrierExpectOp, MbarrierArriveOp, MbarrierArriveAtOp, ClusterBarrierOp, MbarrierWaitOp, FenceBarrierInitOp,
    MatrixDescriptorOp, WgmmaOp, WgmmaRegistersOp, WgmmaFenceOp, WgmmaCommitOp, WgmmaWaitOp, HoldOp, SetRegistersOp,
]  # fmt: skip
HOPPER_TYPES = [TensorMapType]
