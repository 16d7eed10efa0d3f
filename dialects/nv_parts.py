"""The nv dialect's ops of a launch that does the same to several parts: which part a block is of, and what that part has.

Parts are numbered; a part's blocks are neighbours in the grid. What parts differ in, arrays and lengths, is looked up by the
number of the part: the same for all threads of a block.
"""

from __future__ import annotations

from xdsl.dialects.builtin import I64, DenseArrayBase, IndexType, MemRefType
from xdsl.irdl import IRDLOperation, irdl_op_definition, operand_def, prop_def, result_def, traits_def, var_operand_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException


@irdl_op_definition
class PartOp(IRDLOperation):
    """The part a block is of: the last one whose first block is not behind it. `%p = nv.part %block of [0, 1, 4]`"""

    name = "nv.part"
    block = operand_def(IndexType())
    starts = prop_def(DenseArrayBase[I64])
    part = result_def(IndexType())
    traits = traits_def(Pure())
    assembly_format = "$block `of` $starts attr-dict"

    def verify_(self) -> None:
        starts = list(self.starts.get_values())
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise VerifyException("nv.part: first blocks ascend from 0")


@irdl_op_definition
class PartNumberOp(IRDLOperation):
    """A number each part has its own of: `%n = nv.part_number %p of [144, 16, 16]`."""

    name = "nv.part_number"
    part = operand_def(IndexType())
    numbers = prop_def(DenseArrayBase[I64])
    result = result_def(IndexType())
    traits = traits_def(Pure())
    assembly_format = "$part `of` $numbers attr-dict"


@irdl_op_definition
class PartMemoryOp(IRDLOperation):
    """An array each part has its own of, all arguments of the kernel, one after the other; seen as long as the longest.

    `%x = nv.part_memory %p of %a, %b : memref<4x4xf32>, memref<5xf32> -> memref<16xf32>`
    """

    name = "nv.part_memory"
    part = operand_def(IndexType())
    arrays = var_operand_def(MemRefType)
    result = result_def(MemRefType)
    traits = traits_def(Pure())
    assembly_format = "$part `of` $arrays attr-dict `:` type($arrays) `->` type($result)"

    def verify_(self) -> None:
        held = self.result.type
        if len(held.get_shape()) != 1 or any(a.type.element_type != held.element_type for a in self.arrays):
            raise VerifyException("nv.part_memory gives a 1-D memref of the arrays' element type")


PART_OPS = (PartOp, PartNumberOp, PartMemoryOp)
