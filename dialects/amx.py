"""The amx dialect: MLIR's ops on tiles, which a processor with AMX holds in eight registers of 16 rows of 64 bytes.

    %c = amx.tile_zero : !amx.tile<16x16xf32>
    %a = amx.tile_load %x[%i], %stride : memref<4096xbf16> into !amx.tile<16x32xbf16>
    %d = amx.tile_mulf %a, %b, %c : !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x16xf32>
    amx.tile_store %y[%j], %d, %stride : memref<256xf32>, !amx.tile<16x16xf32>

The right factor lies in pairs (bf16) or fours (i8) of depths: its row k holds, for every column, what is multiplied with the
elements 2k and 2k+1 of a row of the left one. `amx.tile_config` is our own: which shapes the registers have from there on is a
decision of the program (LLVM makes it when it gives out registers), as it costs time and clears them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import ArrayAttr, BFloat16Type, Float32Type, IndexType, IntAttr, MemRefType, UnitAttr, i8, i32
from xdsl.ir import Attribute, Dialect, ParametrizedAttribute, SSAValue, TypeAttribute
from xdsl.irdl import (
    BaseAttr,
    IRDLOperation,
    VarConstraint,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

REGISTERS = 8
ROWS, ROW_BYTES = 16, 64

_BYTES = {"f32": 4, "i32": 4, "bf16": 2, "i8": 1}


@irdl_attr_definition
class TileType(ParametrizedAttribute, TypeAttribute):
    """``!amx.tile<16x32xbf16>``: at most 16 rows of at most 64 bytes."""

    name = "amx.tile"
    rows: IntAttr
    columns: IntAttr
    element: Attribute

    @staticmethod
    def of(rows: int, columns: int, element: Attribute) -> TileType:
        """The type of these sizes."""
        return TileType(IntAttr(rows), IntAttr(columns), element)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.columns.data * _BYTES[str(self.element)]

    def verify(self) -> None:
        if str(self.element) not in _BYTES:
            raise VerifyException(f"a tile holds f32, i32, bf16 or i8, got {self.element}")
        if not 0 < self.rows.data <= ROWS or not 0 < self.row_bytes <= ROW_BYTES or self.row_bytes % 4:
            raise VerifyException(f"a tile has 1 to {ROWS} rows of 4, 8, … {ROW_BYTES} bytes, got {self.rows.data} of {self.row_bytes}")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        with parser.in_angle_brackets():
            sizes, element = parser.parse_shape()
        if sizes is None or len(sizes) != 2:
            parser.raise_error("a tile has rows and columns")
        return [IntAttr(sizes[0]), IntAttr(sizes[1]), element]

    def print_parameters(self, printer: Printer) -> None:
        printer.print_string(f"<{self.rows.data}x{self.columns.data}x")
        printer.print_attribute(self.element)
        printer.print_string(">")


@irdl_op_definition
class TileConfigOp(IRDLOperation):
    """The shapes of the registers from here on, in the thread that runs it: `amx.tile_config [!amx.tile<16x16xf32>, …]`.

    A tile is held in a register of its shape. All tiles there were are lost.
    """

    name = "amx.tile_config"
    tiles = prop_def(ArrayAttr)
    assembly_format = "$tiles attr-dict"

    def verify_(self) -> None:
        if not 0 < len(self.tiles.data) <= REGISTERS or not all(isinstance(t, TileType) for t in self.tiles.data):
            raise VerifyException(f"amx.tile_config gives up to {REGISTERS} registers the shapes of tiles")


@irdl_op_definition
class TileZeroOp(IRDLOperation):
    """A tile of zeros."""

    name = "amx.tile_zero"
    result = result_def(TileType)
    traits = traits_def(Pure())
    assembly_format = "attr-dict `:` type($result)"


def _check_memory(name: str, memory: MemRefType, tile: TileType) -> None:
    if len(memory.get_shape()) != 1 or memory.element_type != tile.element:
        raise VerifyException(f"{name} works on a 1-D memref of the tile's elements, got {memory} and {tile}")


@irdl_op_definition
class TileLoadOp(IRDLOperation):
    """The tile whose first element is at an index, its rows `stride` elements apart."""

    name = "amx.tile_load"
    base = operand_def(MemRefType)
    index = operand_def(IndexType())
    stride = operand_def(IndexType())
    result = result_def(TileType)
    assembly_format = "$base `[` $index `]` `,` $stride attr-dict `:` type($base) `into` type($result)"

    def verify_(self) -> None:
        _check_memory(self.name, self.base.type, self.result.type)


@irdl_op_definition
class TileStoreOp(IRDLOperation):
    """Writes a tile, its rows `stride` elements apart."""

    name = "amx.tile_store"
    base = operand_def(MemRefType)
    index = operand_def(IndexType())
    value = operand_def(TileType)
    stride = operand_def(IndexType())
    assembly_format = "$base `[` $index `]` `,` $value `,` $stride attr-dict `:` type($base) `,` type($value)"

    def verify_(self) -> None:
        _check_memory(self.name, self.base.type, self.value.type)


class _TileMulOp(IRDLOperation):
    """acc + lhs * rhs."""

    T: ClassVar = VarConstraint("T", BaseAttr(TileType))
    lhs = operand_def(TileType)
    rhs = operand_def(TileType)
    acc = operand_def(T)
    result = result_def(T)
    traits = traits_def(Pure())

    def check(self, factor: Attribute, total: Attribute) -> None:
        """Raises VerifyException unless the factors and sums have these elements and fitting sizes."""
        a, b, c = (value.type for value in (self.lhs, self.rhs, self.acc))
        assert isinstance(a, TileType) and isinstance(b, TileType) and isinstance(c, TileType)
        if a.element != factor or b.element != factor or c.element != total:
            raise VerifyException(f"{self.name} multiplies {factor} into {total}")
        if a.rows != c.rows or b.row_bytes != c.row_bytes or a.row_bytes != 4 * b.rows.data:
            raise VerifyException(f"{self.name}: {a} times {b} is not {c}")


@irdl_op_definition
class TileMulFOp(_TileMulOp):
    """Sums of products of bf16 in f32: those of even and of odd depths each by themselves, then added, then to the sum there was.
    Numbers below the smallest normal one count as zero.
    """

    name = "amx.tile_mulf"
    assembly_format = "$lhs `,` $rhs `,` $acc attr-dict `:` type($lhs) `,` type($rhs) `,` type($acc)"

    def __init__(self, lhs: SSAValue, rhs: SSAValue, acc: SSAValue) -> None:
        super().__init__(operands=[lhs, rhs, acc], result_types=[acc.type])

    def verify_(self) -> None:
        self.check(BFloat16Type(), Float32Type())


@irdl_op_definition
class TileMulIOp(_TileMulOp):
    """Sums of products of bytes in integers of 32 bits that wrap around. is_zext_lhs, is_zext_rhs: bytes without sign."""

    name = "amx.tile_muli"
    is_zext_lhs = opt_prop_def(UnitAttr, prop_name="isZextLhs")
    is_zext_rhs = opt_prop_def(UnitAttr, prop_name="isZextRhs")
    assembly_format = (
        "$lhs (`zext` $isZextLhs^)? `,` $rhs (`zext` $isZextRhs^)? `,` $acc attr-dict "
        "`:` type($lhs) `,` type($rhs) `,` type($acc)"
    )

    def __init__(self, lhs: SSAValue, rhs: SSAValue, acc: SSAValue, zext_lhs: bool = False, zext_rhs: bool = False) -> None:
        flags = {"isZextLhs": UnitAttr() if zext_lhs else None, "isZextRhs": UnitAttr() if zext_rhs else None}
        super().__init__(operands=[lhs, rhs, acc], result_types=[acc.type], properties=flags)

    def verify_(self) -> None:
        self.check(i8, i32)


Amx = Dialect("amx", [TileConfigOp, TileZeroOp, TileLoadOp, TileStoreOp, TileMulFOp, TileMulIOp], [TileType])
