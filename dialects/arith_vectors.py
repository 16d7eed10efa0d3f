"""Mends xDSL 0.74: comparisons, selects and integer casts of ``arith`` on vectors, which xDSL's definitions refuse.

Importing this module widens the definitions in place (``vector<16xi1>`` results and conditions, casts lane by lane) and
gives them MLIR's text: ``arith.select %c, %a, %b : vector<16xi1>, vector<16xf32>`` where the condition is a vector.
"""

from __future__ import annotations

from typing import Any

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, VectorType
from xdsl.ir import Attribute
from xdsl.irdl import AnyAttr, OperandDef, ResultDef
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

_I1 = IntegerType(1)


def condition_type(compared: Attribute) -> Attribute:
    """i1 for a scalar, ``vector<Nxi1>`` for ``vector<NxT>``."""
    return VectorType(_I1, compared.shape.data) if isinstance(compared, VectorType) else _I1


def _is_condition_of(condition: Attribute, value: Attribute) -> bool:
    return condition == _I1 or condition == condition_type(value)


def _parse_comparison(cls: type[Any]) -> Any:
    scalar_parse = cls.parse.__func__

    def parse(cls: type[Any], parser: Parser) -> Any:
        op = scalar_parse(cls, parser)
        wanted = condition_type(op.lhs.type)
        return op if wanted == _I1 else cls.create(operands=op.operands, result_types=[wanted], properties=op.properties)

    return classmethod(parse)


def _parse_select(cls: type[arith.SelectOp], parser: Parser) -> arith.SelectOp:
    names = [parser.parse_unresolved_operand()]
    for _ in range(2):
        parser.parse_punctuation(",")
        names.append(parser.parse_unresolved_operand())
    attributes = parser.parse_optional_attr_dict()
    parser.parse_punctuation(":")
    value, condition = parser.parse_type(), _I1
    if parser.parse_optional_punctuation(","):
        condition, value = value, parser.parse_type()
    operands = parser.resolve_operands(names, [condition, value, value], parser.pos)
    return cls.create(operands=operands, result_types=[value], attributes=attributes)


def _print_select(self: arith.SelectOp, printer: Printer) -> None:
    printer.print_string(" ")
    printer.print_list(self.operands, printer.print_operand)
    printer.print_op_attributes(self.attributes)
    printer.print_string(" : ")
    if self.cond.type != _I1:
        printer.print_attribute(self.cond.type)
        printer.print_string(", ")
    printer.print_attribute(self.result.type)


def _verify_comparison(self: Any) -> None:
    if self.lhs.type != self.rhs.type or self.result.type != condition_type(self.lhs.type):
        raise VerifyException(f"{self.name} of {self.lhs.type} and {self.rhs.type} gives {condition_type(self.lhs.type)}")


def _verify_select(self: arith.SelectOp) -> None:
    if not _is_condition_of(self.cond.type, self.result.type):
        raise VerifyException(f"arith.select of {self.result.type} takes i1 or one i1 per lane, got {self.cond.type}")


_GROWS = (arith.ExtSIOp, arith.ExtUIOp)
_CASTS = (
    *_GROWS, arith.TruncIOp, arith.SIToFPOp, arith.UIToFPOp, arith.FPToSIOp, arith.FPToUIOp, arith.IndexCastOp,
)  # fmt: skip


def _lanes_and_element(t: Attribute) -> tuple[object, Attribute]:
    return (t.shape, t.element_type) if isinstance(t, VectorType) else (None, t)


def _verify_cast(self: Any) -> None:
    (lanes, source), (made, target) = _lanes_and_element(self.input.type), _lanes_and_element(self.result.type)
    if lanes != made:
        raise VerifyException(f"{self.name} keeps the number of lanes, got {self.input.type} to {self.result.type}")
    if isinstance(self, (*_GROWS, arith.TruncIOp)):
        if not isinstance(source, IntegerType) or not isinstance(target, IntegerType):
            raise VerifyException(f"{self.name} is between integers, got {source} to {target}")
        grows = target.width.data > source.width.data
        if target.width.data == source.width.data or grows != isinstance(self, _GROWS):
            raise VerifyException(f"{self.name} cannot turn {source} into {target}")


def _widen(cls: type[Any], part: str, name: str, wide: Any) -> None:
    definitions = getattr(cls.get_irdl_definition(), part)
    at = next(i for i, (field, _) in enumerate(definitions) if field == name)
    definitions[at] = (name, wide)


def _mend() -> None:
    for cls in (arith.CmpfOp, arith.CmpiOp):
        _widen(cls, "results", "result", ResultDef(AnyAttr()))
        cls.parse = _parse_comparison(cls)
        cls.verify_ = _verify_comparison
    for cls in _CASTS:
        _widen(cls, "operands", "input", OperandDef(AnyAttr()))
        _widen(cls, "results", "result", ResultDef(AnyAttr()))
        cls.verify_ = _verify_cast
    _widen(arith.SelectOp, "operands", "cond", OperandDef(AnyAttr()))
    arith.SelectOp.parse = classmethod(_parse_select)
    arith.SelectOp.print = _print_select
    arith.SelectOp.verify_ = _verify_select


_mend()
