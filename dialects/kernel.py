"""The kernel dialect: `kernel.fused`, one pass over memory, `kernel.yield`, two scalar functions, dots of narrow numbers, a cast of memory, a
prefetch and the number of a thread's run upstream lacks.

    %y = kernel.fused(%x, %w) {layouts = [array<i64: 0, 2, 3, 1>], origin = "net.py:12"}
        : (tensor<8x4x9x9xf32>, tensor<4xf32>) -> tensor<8x4x9x9xf32> {
    ^bb0(%a: tensor<8x4x9x9xf32>, %b: tensor<4xf32>):
      ...
      kernel.yield %r : tensor<8x4x9x9xf32>
    }

The region sees nothing but its arguments, which are the operands. `layouts` has one entry per result: its
dims from outermost to innermost in memory; without it every result is row-major.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    Float32Type,
    FunctionType,
    IndexType,
    IntegerType,
    MemRefType,
    StringAttr,
    TensorType,
    UnitAttr,
    VectorType,
    i32,
    i64,
)
from xdsl.ir import Attribute, Block, Dialect, Region, SSAValue
from xdsl.irdl import (
    AnyAttr,
    BaseAttr,
    IRDLOperation,
    VarConstraint,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    opt_prop_def,
    prop_def,
    region_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from . import linalg_syntax  # noqa: F401  # kernels hold linalg.generic ops of several results


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Ends the region of a kernel.fused: the kernel's results."""

    name = "kernel.yield"
    arguments = var_operand_def()
    traits = traits_def(IsTerminator(), Pure())
    assembly_format = "($arguments^ `:` type($arguments))? attr-dict"


@irdl_op_definition
class FusedOp(IRDLOperation):
    """One kernel: tensors in, tensors out; its region is a list of stages (docs/architecture.md, section 4)."""

    name = "kernel.fused"
    arguments = var_operand_def()
    outputs = var_result_def()
    body = region_def("single_block")
    layouts = opt_attr_def(ArrayAttr)
    origin = opt_attr_def(StringAttr)
    traits = traits_def(IsolatedFromAbove(), Pure())

    @staticmethod
    def make(
        operands: Sequence[SSAValue],
        result_types: Sequence[Attribute],
        region: Region,
        layouts: Sequence[tuple[int, ...] | None] = (),
        origin: str | None = None,
    ) -> FusedOp:
        """A kernel around `region`. layouts: a permutation or None (row-major) per result, or nothing at all."""
        attributes: dict[str, Attribute] = {}
        if any(order is not None for order in layouts):
            attributes["layouts"] = layouts_attribute(layouts, result_types)
        if origin:
            attributes["origin"] = StringAttr(origin)
        op = FusedOp.create(
            operands=operands, result_types=result_types, regions=[region], attributes=attributes
        )
        return op

    def result_layouts(self) -> tuple[tuple[int, ...], ...]:
        """One permutation per result: dims from outermost to innermost in memory."""
        attribute = self.attributes.get("layouts")
        if attribute is None:
            return tuple(tuple(range(len(r.type.get_shape()))) for r in self.results)
        return tuple(tuple(entry.get_values()) for entry in attribute.data)

    def verify_(self) -> None:
        block = self.body.block
        if [a.type for a in block.args] != [o.type for o in self.operands]:
            raise VerifyException("kernel.fused: block arguments must have the operands' types, in order")
        last = block.last_op
        if not isinstance(last, YieldOp):
            raise VerifyException("kernel.fused: the region must end in kernel.yield")
        if [v.type for v in last.operands] != [r.type for r in self.results]:
            raise VerifyException("kernel.fused: kernel.yield must give the results' types, in order")
        if "layouts" in self.attributes:
            self._verify_layouts()

    def _verify_layouts(self) -> None:
        layouts = self.attributes["layouts"]
        if not isinstance(layouts, ArrayAttr) or len(layouts.data) != len(self.results):
            raise VerifyException("kernel.fused: layouts needs one entry per result")
        for entry, result in zip(layouts.data, self.results, strict=True):
            held = result.type
            rank = len(held.get_shape()) if isinstance(held, TensorType) else -1
            if not isinstance(entry, DenseArrayBase) or sorted(entry.get_values()) != list(range(rank)):
                raise VerifyException(f"kernel.fused: layout {entry} is not an order of the dims of {held}")

    def print(self, printer: Printer) -> None:
        with printer.in_parens():
            printer.print_list(self.operands, printer.print_ssa_value)
        printer.print_op_attributes(self.attributes)
        printer.print_string(" : ")
        printer.print_function_type([o.type for o in self.operands], [r.type for r in self.results])
        printer.print_string(" ")
        printer.print_region(self.body)

    @classmethod
    def parse(cls, parser: Parser) -> FusedOp:
        position = parser.pos
        operands = parser.parse_comma_separated_list(
            parser.Delimiter.PAREN, parser.parse_unresolved_operand
        )
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        function_type = parser.parse_type()
        if not isinstance(function_type, FunctionType):
            parser.raise_error("kernel.fused: expected (operand types) -> result types")
        resolved = parser.resolve_operands(operands, function_type.inputs.data, position)
        region = parser.parse_region()
        return cls.create(
            operands=resolved,
            result_types=function_type.outputs.data,
            attributes=attributes,
            regions=[region],
        )


_LAYOUT: dict[tuple[int, ...], DenseArrayBase] = {}


def layouts_attribute(layouts: Sequence[tuple[int, ...] | None], types: Sequence[Attribute]) -> ArrayAttr:
    """The `layouts` attribute; None stands for row-major. types: the results', for their ranks."""
    entries = []
    for order, tensor in zip(layouts, types, strict=True):
        key = tuple(range(len(tensor.get_shape()))) if order is None else tuple(order)
        if key not in _LAYOUT:
            _LAYOUT[key] = DenseArrayBase.from_list(i64, key)
        entries.append(_LAYOUT[key])
    return ArrayAttr(entries)


def fused_block(types: Sequence[Attribute]) -> tuple[Region, Block]:
    """An empty region for a kernel whose operands have these types, and its block."""
    block = Block(arg_types=types)
    return Region(block), block


@irdl_op_definition
class FmodOp(IRDLOperation):
    """C's fmod on floats, or vectors of them: the remainder of a truncated division (MLIR's arith.remf)."""

    name = "kernel.fmod"
    T: ClassVar = VarConstraint("T", AnyAttr())
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(T)
    traits = traits_def(Pure())
    assembly_format = "$lhs `,` $rhs attr-dict `:` type($result)"


class _FunctionOp(IRDLOperation, ABC):
    """A function of one float, or of a vector of them."""

    T: ClassVar = VarConstraint("T", AnyAttr())
    operand = operand_def(T)
    result = result_def(T)
    traits = traits_def(Pure())
    assembly_format = "$operand attr-dict `:` type($result)"


@irdl_op_definition
class ErfcOp(_FunctionOp):
    """1 - erf(x) without losing the tail (MLIR's math.erfc)."""

    name = "kernel.erfc"


@irdl_op_definition
class ExpLowOp(_FunctionOp):
    """exp of an f32 that is at most 0, or NaN: one that is known not to overflow."""

    name = "kernel.exp_low"


def _width(held: MemRefType) -> int:
    return getattr(held.element_type, "bitwidth", 0)


@irdl_op_definition
class BitsOp(IRDLOperation):
    """The same memory, its elements seen as integers of their size: `%b = kernel.bits %x : memref<8xbf16> to memref<8xi16>`."""

    name = "kernel.bits"
    source = operand_def(MemRefType)
    result = result_def(MemRefType)
    traits = traits_def(Pure())
    assembly_format = "$source attr-dict `:` type($source) `to` type($result)"

    def verify_(self) -> None:
        a, b = self.source.type, self.result.type
        if not isinstance(b.element_type, IntegerType) or a.get_shape() != b.get_shape() or _width(a) != b.element_type.bitwidth:
            raise VerifyException("kernel.bits keeps shape and element size")
        if a.memory_space != b.memory_space:
            raise VerifyException("kernel.bits keeps the memory space")


@irdl_op_definition
class LoadWordsOp(IRDLOperation):
    """Neighbouring narrow elements from an index on as words of 32 bits, at any address:
    `%w = kernel.load_words %x[%i] : memref<64xi8> to vector<16xi32>`, or `to i32` for one word.
    """

    name = "kernel.load_words"
    memory = operand_def(MemRefType)
    index = operand_def(IndexType)
    result = result_def()
    assembly_format = "$memory `[` $index `]` attr-dict `:` type($memory) `to` type($result)"

    def verify_(self) -> None:
        held = self.result.type
        word = held.element_type if isinstance(held, VectorType) else held
        if word != i32 or _width(self.memory.type) not in (8, 16):
            raise VerifyException("kernel.load_words makes i32 of elements of 8 or 16 bits")


@irdl_op_definition
class RunOp(IRDLOperation):
    """The first of the iterations of a `scf.parallel` that a thread does in one go: `%r = kernel.run %i : index`.

    Memory of that number nobody else uses meanwhile, and the next iteration finds it in the cache. That an iteration is a run of its own
    is a right answer, too.
    """

    name = "kernel.run"
    iteration = operand_def(IndexType)
    result = result_def(IndexType)
    assembly_format = "$iteration attr-dict `:` type($result)"


DOTS = {"bf16": Float32Type(), "i16": i32, "u8s8": i32}
"""Kinds of kernel.dot, and what they sum in."""


@irdl_op_definition
class DotOp(IRDLOperation):
    """Adds, lane by lane, the products of two words' elements to a sum: `%s = kernel.dot "u8s8" %a, %b, %sum : vector<16xi32>, vector<16xi32>`.

    `u8s8`: four bytes each, those of the first operand without sign; `i16`: two integers; both exact, sums wrap around. `bf16`: two
    floats; the upper product is added first, each rounded once, and numbers below the smallest normal one count as zero.
    """

    name = "kernel.dot"
    W: ClassVar = VarConstraint("W", BaseAttr(VectorType))
    T: ClassVar = VarConstraint("T", BaseAttr(VectorType))
    kind = prop_def(StringAttr)
    lhs = operand_def(W)
    rhs = operand_def(W)
    total = operand_def(T)
    result = result_def(T)
    traits = traits_def(Pure())
    assembly_format = "$kind $lhs `,` $rhs `,` $total attr-dict `:` type($lhs) `,` type($total)"

    @classmethod
    def of(cls, kind: str, lhs: SSAValue, rhs: SSAValue, total: SSAValue) -> DotOp:
        """The op, without checks."""
        return cls.create(operands=(lhs, rhs, total), result_types=(total.type,), properties={"kind": StringAttr(kind)})

    def verify_(self) -> None:
        lhs, total = self.lhs.type, self.total.type
        if self.kind.data not in DOTS:
            raise VerifyException(f"kernel.dot is one of {', '.join(DOTS)}, got {self.kind.data}")
        assert isinstance(lhs, VectorType) and isinstance(total, VectorType)
        if total.element_type != DOTS[self.kind.data]:
            raise VerifyException(f"kernel.dot {self.kind.data} sums in {DOTS[self.kind.data]}")
        if lhs.element_type != i32 or lhs.get_shape() != total.get_shape():
            raise VerifyException("kernel.dot multiplies vectors of words, one for each sum")


@irdl_op_definition
class PrefetchOp(IRDLOperation):
    """The line of memory at an index will be wanted soon: to be written, or to be read from the first cache (`near`) or the second
    (MLIR's memref.prefetch)."""

    name = "kernel.prefetch"
    memory = operand_def(MemRefType)
    index = operand_def(IndexType)
    written = opt_prop_def(UnitAttr)
    near = opt_prop_def(UnitAttr)
    assembly_format = "(`written` $written^)? (`near` $near^)? $memory `[` $index `]` attr-dict `:` type($memory)"

    @classmethod
    def of(cls, memory: SSAValue, index: SSAValue, written: bool = False, near: bool = False) -> PrefetchOp:
        """The op, without checks."""
        asked = {name: UnitAttr() for name, so in (("written", written), ("near", near)) if so}
        return cls.create(operands=(memory, index), properties=asked)


Kernel = Dialect("kernel", [FusedOp, YieldOp, FmodOp, ErfcOp, ExpLowOp, BitsOp, LoadWordsOp, RunOp, DotOp, PrefetchOp], [])
