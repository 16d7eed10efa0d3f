"""The nv dialect's ops of sm_90a that bring results to global memory: stmatrix, and the copy engine from shared memory.

Source: PTX ISA 9.0, "stmatrix", "cp.async.bulk.tensor" and "Async Proxy". A box lies in shared memory as nv.tma_load brings it, in
the 128-byte swizzle.
"""

from __future__ import annotations

from xdsl.dialects.builtin import I32, BFloat16Type, Float16Type, IndexType, IntegerAttr, MemRefType, i32
from xdsl.irdl import IRDLOperation, irdl_op_definition, operand_def, prop_def, var_operand_def
from xdsl.utils.exceptions import VerifyException

from .nv_hopper import TensorMapType, check_places, is_shared


@irdl_op_definition
class StmatrixOp(IRDLOperation):
    """Four 8x8 matrices of 16-bit elements from a warp's registers to shared memory: what nv.ldmatrix reads, written.

    Lane i gives the place of row i%8 of matrix i/8 (16 bytes, aligned); of each matrix it has row i/4, columns 2*(i%4) and the next.
    `nv.stmatrix %a, %b, %c, %d to %s[%i] : memref<4096xbf16, "shared">`
    """

    name = "nv.stmatrix"
    a = operand_def(i32)
    b = operand_def(i32)
    c = operand_def(i32)
    d = operand_def(i32)
    memory = operand_def(MemRefType)
    index = operand_def(IndexType())
    assembly_format = "$a `,` $b `,` $c `,` $d `to` $memory `[` $index `]` attr-dict `:` type($memory)"

    def verify_(self) -> None:
        held = self.memory.type
        if not is_shared(held) or not isinstance(held.element_type, BFloat16Type | Float16Type):
            raise VerifyException("nv.stmatrix writes 16-bit floats to shared memory")


@irdl_op_definition
class TmaStoreOp(IRDLOperation):
    """One thread has the copy engine write a box of shared memory (a multiple of 1024 bytes) to global memory.

    What lies outside the map's sizes is not written: `nv.tma_store %s[%i] to %map[%n, %m] : memref<…, "shared">`
    """

    name = "nv.tma_store"
    source = operand_def(MemRefType)
    source_index = operand_def(IndexType())
    map = operand_def(TensorMapType)
    places = var_operand_def(IndexType())
    assembly_format = "$source `[` $source_index `]` `to` $map `[` $places `]` attr-dict `:` type($source)"

    def verify_(self) -> None:
        if not is_shared(self.source.type):
            raise VerifyException("nv.tma_store copies from shared memory")
        check_places(self.name, self.map, len(self.places))


@irdl_op_definition
class TmaStoreCommitOp(IRDLOperation):
    """The thread's nv.tma_store since the last commit are one group."""

    name = "nv.tma_store_commit"
    assembly_format = "attr-dict"


@irdl_op_definition
class TmaStoreWaitOp(IRDLOperation):
    """Until the shared memory of all but `pending` groups of the thread has been read."""

    name = "nv.tma_store_wait"
    pending = prop_def(IntegerAttr[I32])
    assembly_format = "$pending attr-dict"


@irdl_op_definition
class FenceAsyncOp(IRDLOperation):
    """Shows what the thread wrote to shared memory to the copy engine."""

    name = "nv.fence_async"
    assembly_format = "attr-dict"


@irdl_op_definition
class GroupBarrierOp(IRDLOperation):
    """The threads of a warpgroup wait for each other and see each other's writes; its number in the block, from 0: `nv.group_barrier %g`."""

    name = "nv.group_barrier"
    group = operand_def(IndexType())
    assembly_format = "$group attr-dict"


STORE_OPS = [StmatrixOp, TmaStoreOp, TmaStoreCommitOp, TmaStoreWaitOp, FenceAsyncOp, GroupBarrierOp]
