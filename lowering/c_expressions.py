"""Expressions: one C expression for each arith, math and vector op of the loops level.

``EXPRESSIONS[op class](scope, op) -> text``. A scope names values (``scope.name``), types them (``scope.type``), gives a
vector condition as a mask of some width (``scope.mask``) and collects helper functions (``scope.prelude``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from xdsl.dialects import arith, math, memref, vector
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IndexType,
    IntegerAttr,
    UnrealizedConversionCastOp,
)
from xdsl.ir import Operation, SSAValue

from ..dialects import kernel
from ..dialects.attributes import SizesAttr
from ..dialects.errors import BackendError
from ..dialects.sizes import Real, Size
from .c_helpers import Prelude
from .c_types import CType, c_type, float_literal, int_literal, scalar_name, vector_name


class Scope(Protocol):
    """What an expression may ask of the function being printed."""

    prelude: Prelude

    def name(self, value: SSAValue) -> str: ...
    def mask_bits(self, value: SSAValue) -> int: ...
    def mask(self, value: SSAValue, bits: int) -> str: ...
    def set_mask_bits(self, value: SSAValue, bits: int) -> None: ...


Expression = Callable[[Scope, Operation], str]
EXPRESSIONS: dict[type[Operation], Expression] = {}
BY_INVERSE = "lamina.by_inverse"  # on a division: the divisor stays the same, its inverse may be made in front of the loop


def type_name(scope: Scope, t: CType) -> str:
    """The C type a value of this (not i1 vector) type is declared with."""
    return scope.prelude.vector(t.carrier, t.lanes) if t.lanes else scalar_name(t.carrier)


def call(scope: Scope, name: str, t: CType, *arguments: str) -> str:
    """A helper function called on a value type."""
    return f"{scope.prelude.function(name, t.carrier, t.lanes)}({', '.join(arguments)})"


def rounded(scope: Scope, op: Operation, text: str) -> str:
    """The result of an operation; where it is of f16 or bf16, rounded to what the type holds, unless only its bits are wanted, which rounds."""
    result = op.results[0]
    t = c_type(result.type)
    stored = all(isinstance(use.operation, (memref.StoreOp, vector.StoreOp, vector.MaskedStoreOp, arith.BitcastOp)) for use in result.uses)
    return call(scope, f"round_{t.code}", t, text) if t.is_half and not stored else text


def convert(scope: Scope, text: str, source: CType, target: CType) -> str:
    """A numeric conversion between two types that are not i1 and not half. Vectors of short integers become floats, and the other way round, by way of
    32 bits, and wider ones in steps of twice the width, as instructions do it: gcc would go lane by lane."""
    if not source.lanes:
        return f"({type_name(scope, target)}){text}"
    short, other = (source, target) if source.bits < target.bits else (target, source)
    if short.kind != "f" and other.kind == "f" and short.bits < 32:
        whole = source._replace(code="i32", kind="i", bits=32)
        return convert(scope, convert(scope, text, source, whole), whole, target)
    if source.kind != "f" and target.kind != "f" and target.bits > 2 * source.bits:
        wider = source._replace(code=f"{source.kind}{2 * source.bits}", bits=2 * source.bits)
        return convert(scope, convert(scope, text, source, wider), wider, target)
    return f"__builtin_convertvector({text}, {type_name(scope, target)})"


def unsigned(t: CType) -> CType:
    """The same width without sign."""
    return t._replace(code=f"u{t.bits}", kind="u")


def _operands(scope: Scope, op: Operation) -> list[str]:
    return [scope.name(value) for value in op.operands]


def _same_masks(scope: Scope, op: Operation) -> tuple[int, list[str]]:
    """The operands of an op on i1 vectors, as masks of one width, which is also the result's."""
    bits = max(scope.mask_bits(value) for value in op.operands if c_type(value.type).kind == "b")
    scope.set_mask_bits(op.results[0], bits)
    return bits, [scope.mask(value, bits) for value in op.operands]


def _float_binary(symbol: str) -> Expression:
    def expression(scope: Scope, op: Operation) -> str:
        a, b = _operands(scope, op)
        return rounded(scope, op, f"{a} {symbol} {b}")

    return expression


_plain_quotient = _float_binary("/")


def _quotient(scope: Scope, op: Operation) -> str:
    if BY_INVERSE not in op.attributes:
        return _plain_quotient(scope, op)
    a, b = _operands(scope, op)
    t = c_type(op.results[0].type)
    return call(scope, "quotient", t, a, b, call(scope, "inverse", t, b))


def _wrapping(symbol: str) -> Expression:
    """Integer add, sub, mul: defined on overflow, so computed without sign; index arithmetic never overflows."""

    def expression(scope: Scope, op: Operation) -> str:
        a, b = _operands(scope, op)
        t = c_type(op.results[0].type)
        if isinstance(op.results[0].type, IndexType):
            return f"{a} {symbol} {b}"
        if t.kind == "b":
            return _on_bools(scope, op, {"+": "^", "-": "^", "*": "&"}[symbol])
        if not t.lanes and t.bits < 32:
            return f"({type_name(scope, t)})({a} {symbol} {b})"
        plain, other = type_name(scope, t), type_name(scope, unsigned(t))
        return f"({plain})(({other}){a} {symbol} ({other}){b})"

    return expression


def _on_bools(scope: Scope, op: Operation, symbol: str) -> str:
    a, b = _same_masks(scope, op)[1] if c_type(op.results[0].type).lanes else _operands(scope, op)
    return f"{a} {symbol} {b}"


def _bitwise(symbol: str) -> Expression:
    def expression(scope: Scope, op: Operation) -> str:
        t = c_type(op.results[0].type)
        if t.kind == "b":
            return _on_bools(scope, op, symbol)
        a, b = _operands(scope, op)
        return f"{a} {symbol} {b}" if t.lanes else f"({type_name(scope, t)})({a} {symbol} {b})"

    return expression


def _helper(name: str, *, as_unsigned: bool = False) -> Expression:
    """A call of a helper function on the operands' type."""

    def expression(scope: Scope, op: Operation) -> str:
        t = c_type(op.results[0].type)
        arguments = _operands(scope, op)
        if as_unsigned and t.kind == "i":
            cast = type_name(scope, unsigned(t))
            return f"({type_name(scope, t)}){call(scope, name, unsigned(t), *(f'({cast}){a}' for a in arguments))}"
        return rounded(scope, op, call(scope, name, t, *arguments))

    return expression


def _extreme(name: str, comparing: str) -> Expression:
    """The larger or smaller of two floats, NaN if one is; beside a constant what is compared second already is the other one then.
    Where NaN does not matter (nnan) a comparison is all."""
    general = _helper(name)

    def expression(scope: Scope, op: Operation) -> str:
        a, b = op.operands
        if _is_number(a):
            a, b = b, a
        flags = op.properties.get("fastmath")
        if not _is_number(b) and not (isinstance(flags, arith.FastMathFlagsAttr) and arith.FastMathFlag.NO_NANS in flags.data):
            return general(scope, op)
        return rounded(scope, op, call(scope, comparing, c_type(a.type), scope.name(b), scope.name(a)))

    return expression


def _is_number(value: SSAValue) -> bool:
    """Whether a value is a constant, the same in all lanes, other than NaN."""
    owner = value.owner
    number = constant_of(owner.operands[0] if isinstance(owner, vector.BroadcastOp) else value)
    return isinstance(number, int | float) and number == number


def _division(symbol: str, name: str) -> Expression:
    """Plain C where the divisor is a positive constant, a helper that never traps elsewhere."""
    general = _helper(name)

    def expression(scope: Scope, op: Operation) -> str:
        divisor = constant_of(op.operands[1])
        t = c_type(op.results[0].type)
        if not t.lanes and isinstance(divisor, int) and divisor > 0:
            return f"{scope.name(op.operands[0])} {symbol} {divisor}"
        return general(scope, op)

    return expression


def constant_of(value: SSAValue) -> int | float | None:
    """The number an ``arith.constant`` holds (scalar or splat), or None."""
    op = value.owner
    if not isinstance(op, arith.ConstantOp):
        return None
    attribute = op.value
    if isinstance(attribute, IntegerAttr | FloatAttr):
        return attribute.value.data
    if isinstance(attribute, SizesAttr):
        return attribute.data[0]
    if isinstance(attribute, DenseIntOrFPElementsAttr) and attribute.is_splat():
        return next(iter(attribute.get_values()))
    return None


def constant(scope: Scope, op: Operation) -> str:
    """The literal of an ``arith.constant``; vectors are splats or written lane by lane."""
    result = op.results[0]
    t = c_type(result.type)
    number = constant_of(result)
    if not t.lanes:
        if number is None:
            raise BackendError(f"the C backend cannot print the constant {op}")
        return _literal(number, t)
    if t.kind == "b":
        scope.set_mask_bits(result, 32)
        t = CType("i32", "i", 32, t.lanes)
        number = None if number is None else -int(bool(number))
    if number is not None:
        return call(scope, "splat", t, _literal(number, t))
    values = [_literal(v, t) for v in op.properties["value"].get_values()]
    return f"({type_name(scope, t)}){{{', '.join(values)}}}"


def _literal(number: int | float | Size | Real, t: CType) -> str:
    if isinstance(number, Size | Real):
        return f"({scalar_name(t.carrier)}){number.c_text()}" if t.kind == "f" else number.c_text()
    if t.kind == "f":
        return float_literal(float(number), t.carrier)
    number = int(number)
    if t.kind == "u" or t.kind == "b":
        return int_literal(number & ((1 << t.bits) - 1), t.code)
    half = 1 << (t.bits - 1)
    return int_literal((number + half) % (2 * half) - half, t.code)


_CMPI = ["==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">="]  # the last four without sign

_CMPI_MASKS = {  # lanes of i1: true is 1 without sign and -1 with it
    2: "{a} & ~{b}", 3: "{a} | ~{b}", 4: "~{a} & {b}", 5: "~{a} | {b}",
    6: "~{a} & {b}", 7: "~{a} | {b}", 8: "{a} & ~{b}", 9: "{a} | ~{b}",
}  # fmt: skip


def _cmpi(scope: Scope, op: arith.CmpiOp) -> str:
    predicate = op.predicate.value.data
    t = c_type(op.operands[0].type)
    if t.kind == "b":
        a, b = _same_masks(scope, op)[1] if t.lanes else _operands(scope, op)
        if predicate > 1 and t.lanes:
            return _CMPI_MASKS[predicate].format(a=a, b=b)
        return f"{a} {_CMPI[predicate]} {b}"
    a, b = _operands(scope, op)
    if t.lanes:
        scope.set_mask_bits(op.results[0], t.bits)
    if predicate > 5 and t.kind == "i":
        cast = type_name(scope, unsigned(t))
        a, b = f"({cast}){a}", f"({cast}){b}"
    return f"{a} {_CMPI[predicate]} {b}"


_CMPF = {
    1: "{a} == {b}", 2: "{a} > {b}", 3: "{a} >= {b}", 4: "{a} < {b}", 5: "{a} <= {b}", 6: "({a} < {b}) | ({a} > {b})",
    7: "({a} == {a}) & ({b} == {b})", 8: "{no}(({a} < {b}) | ({a} > {b}))", 9: "{no}({a} <= {b})",
    10: "{no}({a} < {b})", 11: "{no}({a} >= {b})", 12: "{no}({a} > {b})", 13: "{a} != {b}",
    14: "({a} != {a}) | ({b} != {b})", 0: "{a} != {a} & {a} == {a}", 15: "({a} == {a}) | ({a} != {a})",
}  # fmt: skip


def _cmpf(scope: Scope, op: arith.CmpfOp) -> str:
    t = c_type(op.operands[0].type)
    a, b = _operands(scope, op)
    if t.lanes:
        scope.set_mask_bits(op.results[0], 64 if t.carrier == "f64" else 32)
    return _CMPF[op.predicate.value.data].format(a=a, b=b, no="~" if t.lanes else "!")


def _select(scope: Scope, op: arith.SelectOp) -> str:
    condition, a, b = op.operands
    t = c_type(op.results[0].type)
    if not c_type(condition.type).lanes:
        if t.kind == "b" and t.lanes:
            bits = max(scope.mask_bits(a), scope.mask_bits(b))
            scope.set_mask_bits(op.results[0], bits)
            return f"{scope.name(condition)} ? {scope.mask(a, bits)} : {scope.mask(b, bits)}"
        return f"{scope.name(condition)} ? {scope.name(a)} : {scope.name(b)}"
    if t.kind == "b":
        bits, (mask, x, y) = _same_masks(scope, op)
        return call(scope, "select", CType(f"i{bits}", "i", bits, t.lanes), mask, x, y)
    bits = 32 if t.is_half else t.bits
    return call(scope, "select", t, scope.mask(condition, bits), scope.name(a), scope.name(b))


def _convert_int(signed: bool) -> Expression:
    """extsi, extui, trunci, index_cast: between integers, with i1 as 0 and 1 (or 0 and -1 when extended with sign)."""

    def expression(scope: Scope, op: Operation) -> str:
        value = op.operands[0]
        source, target = c_type(value.type), c_type(op.results[0].type)
        text = scope.name(value)
        if target.kind == "b":
            if target.lanes:
                scope.set_mask_bits(op.results[0], source.bits)
                return f"-({text} & 1)"
            return f"{text} & 1"
        if source.kind == "b":
            text = scope.mask(value, target.bits) if source.lanes else f"({type_name(scope, target)}){text}"
            return text if signed == bool(source.lanes) else f"-{text}"
        if not signed and source.kind == "i":
            text, source = f"({type_name(scope, unsigned(source))}){text}", unsigned(source)
        return convert(scope, text, source, target)

    return expression


def _int_to_float(signed: bool) -> Expression:
    def expression(scope: Scope, op: Operation) -> str:
        value = op.operands[0]
        source, target = c_type(value.type), c_type(op.results[0].type)
        text = scope.name(value)
        if source.kind == "b":
            if source.lanes:
                bits = 64 if target.carrier == "f64" else 32
                text, source = scope.mask(value, bits), CType(f"i{bits}", "i", bits, source.lanes)
            if signed != bool(source.lanes):
                text = f"(-{text})"
        elif not signed and source.kind == "i":
            text, source = f"({type_name(scope, unsigned(source))}){text}", unsigned(source)
        return rounded(scope, op, convert(scope, text, source, target))

    return expression


def _float_to_int(scope: Scope, op: Operation) -> str:
    source, target = c_type(op.operands[0].type), c_type(op.results[0].type)
    text = scope.name(op.operands[0])
    if target.kind == "b":
        raise BackendError(f"the C backend compares with 0 instead of converting to i1: {op}")
    if isinstance(op, arith.FPToUIOp) and target.bits >= 32:
        return f"({type_name(scope, target)}){convert(scope, text, source, unsigned(target))}"
    if target.bits < 32:  # through int32, so that a scalar and a lane agree outside the range too
        middle = CType("i32", "i", 32, source.lanes)
        return convert(scope, convert(scope, text, source, middle), middle, target)
    return convert(scope, text, source, target)


def _float_to_float(scope: Scope, op: Operation) -> str:
    source, target = c_type(op.operands[0].type), c_type(op.results[0].type)
    text = scope.name(op.operands[0])
    if source.carrier != target.carrier:
        text = convert(scope, text, source, target)
    return rounded(scope, op, text)


def _bitcast(scope: Scope, op: Operation) -> str:
    source, target = c_type(op.operands[0].type), c_type(op.results[0].type)
    text = scope.name(op.operands[0])
    if source.is_half and not target.is_half:
        return f"({type_name(scope, target)}){call(scope, f'to_{source.code}', source, text)}"
    if target.is_half and not source.is_half:
        narrow = vector_name("u16", target.lanes) if target.lanes else "uint16_t"
        return call(scope, f"from_{target.code}", target, f"({narrow}){text}")
    if source.lanes or source.kind in "iu" and target.kind in "iu":
        return f"({type_name(scope, target)}){text}"
    return f"((union {{ {type_name(scope, source)} from; {type_name(scope, target)} to; }}){{{text}}}).to"


def _broadcast(scope: Scope, op: vector.BroadcastOp) -> str:
    source, target = c_type(op.operands[0].type), c_type(op.results[0].type)
    text = scope.name(op.operands[0])
    if source.lanes:
        raise BackendError(f"the C backend broadcasts scalars, got {op}")
    if target.kind == "b":
        scope.set_mask_bits(op.results[0], 32)
        return call(scope, "splat", CType("i32", "i", 32, target.lanes), f"-(int32_t){text}")
    return call(scope, "splat", target, text)


def _extract(scope: Scope, op: vector.ExtractOp) -> str:
    positions = op.get_mixed_position()
    where = positions[0] if isinstance(positions[0], int) else scope.name(positions[0])
    return f"{scope.name(op.vector)}[{where}]"


def _shuffle(scope: Scope, op: vector.ShuffleOp) -> str:
    a, b = op.operands[0], op.operands[1]
    left, right, target = c_type(a.type), c_type(b.type), c_type(op.results[0].type)
    lanes = list(op.mask.get_values())
    if target.kind == "b":
        bits, (x, y) = _same_masks(scope, op)
        target = CType(f"i{bits}", "i", bits, target.lanes)
    else:
        x, y = scope.name(a), scope.name(b)
    scope.prelude.vector(target.carrier, target.lanes)
    if left.lanes == right.lanes:
        return f"__builtin_shufflevector({x}, {y}, {', '.join(map(str, lanes))})"
    picked = (f"{x}[{i}]" if i < left.lanes else f"{y}[{i - left.lanes}]" for i in lanes)
    return f"({type_name(scope, target)}){{{', '.join(picked)}}}"


def _dot(scope: Scope, op: kernel.DotOp) -> str:
    return call(scope, f"dot_{op.kind.data}", c_type(op.result.type), *_operands(scope, op))


def _negf(scope: Scope, op: Operation) -> str:
    return f"-({scope.name(op.operands[0])})"


def _absi(scope: Scope, op: Operation) -> str:
    t = c_type(op.results[0].type)
    x = scope.name(op.operands[0])
    if t.lanes:
        return call(scope, "imax", t, x, f"({type_name(scope, t)})-({type_name(scope, unsigned(t))}){x}")
    return f"{x} < 0 ? ({type_name(scope, t)})(0 - ({type_name(scope, unsigned(t))}){x}) : {x}"


EXPRESSIONS |= {
    arith.ConstantOp: constant,
    arith.AddfOp: _float_binary("+"), arith.SubfOp: _float_binary("-"), arith.MulfOp: _float_binary("*"),
    arith.DivfOp: _quotient, arith.NegfOp: _negf,
    arith.MaximumfOp: _extreme("maximum", "larger"), arith.MinimumfOp: _extreme("minimum", "smaller"),
    arith.MaxnumfOp: _helper("maxnum"), arith.MinnumfOp: _helper("minnum"),
    arith.AddiOp: _wrapping("+"), arith.SubiOp: _wrapping("-"), arith.MuliOp: _wrapping("*"),
    arith.DivSIOp: _division("/", "divide"), arith.RemSIOp: _division("%", "remainder"),
    arith.DivUIOp: _helper("divide", as_unsigned=True), arith.RemUIOp: _helper("remainder", as_unsigned=True),
    arith.FloorDivSIOp: _helper("floordiv"), arith.CeilDivSIOp: _helper("ceildiv"),
    arith.CeilDivUIOp: _helper("ceildiv", as_unsigned=True),
    arith.MaxSIOp: _helper("imax"), arith.MinSIOp: _helper("imin"),
    arith.MaxUIOp: _helper("imax", as_unsigned=True), arith.MinUIOp: _helper("imin", as_unsigned=True),
    arith.AndIOp: _bitwise("&"), arith.OrIOp: _bitwise("|"), arith.XOrIOp: _bitwise("^"),
    arith.ShLIOp: _helper("shl"), arith.ShRSIOp: _helper("shr"), arith.ShRUIOp: _helper("shr", as_unsigned=True),
    arith.CmpiOp: _cmpi, arith.CmpfOp: _cmpf, arith.SelectOp: _select,
    arith.IndexCastOp: _convert_int(True), arith.ExtSIOp: _convert_int(True), arith.ExtUIOp: _convert_int(False),
    arith.TruncIOp: _convert_int(True),
    arith.SIToFPOp: _int_to_float(True), arith.UIToFPOp: _int_to_float(False),
    arith.FPToSIOp: _float_to_int, arith.FPToUIOp: _float_to_int,
    arith.ExtFOp: _float_to_float, arith.TruncFOp: _float_to_float, arith.BitcastOp: _bitcast,
    UnrealizedConversionCastOp: _bitcast,
    vector.BroadcastOp: _broadcast, vector.FMAOp: _helper("fma"), vector.ExtractOp: _extract,
    vector.ShuffleOp: _shuffle, vector.BitcastOp: _bitcast,
    math.FmaOp: _helper("fma"), math.AbsIOp: _absi, math.AbsFOp: _helper("fabs"), math.RsqrtOp: _helper("rsqrt"),
    math.CopySignOp: _helper("copysign"), math.PowFOp: _helper("pow"), math.Atan2Op: _helper("atan2"),
    math.RoundEvenOp: _helper("roundeven"), kernel.FmodOp: _helper("fmod"), kernel.ErfcOp: _helper("erfc"), kernel.ExpLowOp: _helper("exp_low"),
    kernel.DotOp: _dot,
}  # fmt: skip

for _op in (
    math.AcosOp, math.AcoshOp, math.AsinOp, math.AsinhOp, math.AtanOp, math.AtanhOp, math.CbrtOp, math.CeilOp,
    math.CosOp, math.CoshOp, math.ErfOp, math.ExpOp, math.Exp2Op, math.ExpM1Op, math.FloorOp, math.LogOp,
    math.Log10Op, math.Log1pOp, math.Log2Op, math.RoundOp, math.SinOp, math.SinhOp, math.SqrtOp, math.TanOp,
    math.TanhOp, math.TruncOp,
):  # fmt: skip
    EXPRESSIONS[_op] = _helper(_op.name.removeprefix("math."))
