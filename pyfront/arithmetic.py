"""Arithmetic: unary and binary operations element by element, and comparisons.

Promotion and broadcasting happen here; what reaches the recorder has equal shapes and dtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.errors import DTypeError
from ..dialects.types import DType, bool_, complex128, float64, int64
from . import recorder
from .assignment import title
from .definitions import define
from .doubts import refuse_zeros
from .node import Node
from .old_forms import factors_in_front
from .origin import origin, source_line
from .promote import Defaults, Scalar, broadcast, cast, full, operand, result_type, scalar_dtype
from .recorder import record
from .tensor import Tensor, wrap

Operand = Tensor | Scalar
_NUMBERS = (bool, int, float, complex)


def number(value: Any) -> Scalar | None:
    """A Python number out of Python's or numpy's scalars, or None."""
    if isinstance(value, _NUMBERS):
        return value
    return value.item() if isinstance(value, (np.number, np.bool_)) else None


def nodes(a: Operand, b: Operand, kind: str) -> tuple[Node, Node]:
    """Both operands as Nodes of one shape and dtype.

    kind: "any" (the promoted dtype), "float" (integers become the default float), "bool" (truth values).
    """
    if not isinstance(a, Tensor):
        if not isinstance(b, Tensor):
            raise TypeError(f"expected a Tensor among the operands, got {type(a).__name__} and {type(b).__name__}")
        y, x = nodes(b, a, kind)
        return x, y
    x = a._read()
    if isinstance(b, Tensor):
        y = b._read()
        if x.type[1] is not y.type[1] or kind != "any":
            dtype = result_dtype(result_type([x.type, y.type]), kind)
            x, y = cast(x, dtype), cast(y, dtype)
        if x.type[0] != y.type[0]:
            x, y = broadcast([x, y])
        return x, y
    value = number(b)
    if value is None:
        raise TypeError(f"unsupported operand type(s): 'Tensor' and '{type(b).__name__}'")
    shape, own = x.type
    if kind != "bool" and (own.kind == "f" and not isinstance(value, complex) or own.kind == "c"):  # no number raises the dtype
        return x, operand(value, shape, own)
    dtype = result_dtype(result_type([x.type], [value]), kind)
    return cast(x, dtype), operand(value, shape, dtype)


def _dividend(input: Operand, other: Operand) -> tuple[Node, Node]:
    """Dividend and divisor of one shape and dtype. RuntimeError for an integer divisor of 0."""
    x, y = nodes(input, other, "any")
    if y.type[1].kind in "iu":
        refuse_zeros(y)
    return x, y


def result_dtype(dtype: DType, kind: str) -> DType:
    """What ``kind`` makes of a promoted dtype."""
    if kind == "bool":
        return bool_
    return Defaults.dtype if kind == "float" and dtype.kind not in "fc" else dtype


def binary(op: str, kind: str = "any", numbers: str = "both") -> Callable[[Operand, Operand], Tensor]:
    """A function of two operands that is one book op. numbers: where PyTorch takes them: both, other or none."""

    divides = op in ("floor_divide", "fmod", "remainder")

    def apply(input: Operand, other: Operand) -> Tensor:
        if divides:
            return wrap(record(op, _dividend(input, other)))
        if kind == "any" and isinstance(input, Tensor) and isinstance(other, Tensor):
            x, y = input._read(), other._read()
            if x.type == y.type:
                return wrap(record(op, (x, y)))
        return wrap(record(op, nodes(input, other, kind)))

    apply.__name__ = op
    apply.__doc__ = f"``{op}``, element by element, with broadcasting and promotion."
    if numbers != "both":
        apply.__annotations__["input"] = Tensor
    if numbers == "none":
        apply.__annotations__["other"] = Tensor
    return apply


def unary(op: str, floats: bool = True) -> Callable[[Tensor], Tensor]:
    """A function of one tensor that is one book op; integers become floats first when ``floats``."""

    def apply(input: Tensor) -> Tensor:
        x = input._read()
        if floats and x.type[1].kind not in "fc":
            x = cast(x, Defaults.dtype)
        return wrap(record(op, (x,)))

    apply.__name__ = op
    apply.__doc__ = f"``{op}``, element by element."
    return apply


# -- tables: public names, book op, kind
# ----------------------------------------------------------------------------

_div = binary("div", "float")
_add, _sub, _mul = binary("add"), binary("sub"), binary("mul")
_floor_divide = binary("floor_divide")
_or, _and = binary("logical_or", "bool"), binary("logical_and", "bool")

# Where PyTorch does not take a Python number.
_TENSORS_ONLY = {"maximum", "minimum", "atan2", "logical_and", "logical_or", "logical_xor"}
_TENSOR_FIRST = {"fmod", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}

for _names, _op, _kind in (
    (("maximum",), "maximum", "any"),
    (("minimum",), "minimum", "any"),
    (("fmod",), "fmod", "any"),
    (("atan2", "arctan2"), "atan2", "float"),
    (("logical_and",), "logical_and", "bool"),
    (("logical_or",), "logical_or", "bool"),
    (("logical_xor",), "logical_xor", "bool"),
    (("bitwise_and",), "bitwise_and", "any"),
    (("bitwise_or",), "bitwise_or", "any"),
    (("bitwise_xor",), "bitwise_xor", "any"),
    (("bitwise_left_shift",), "shift_left", "any"),
    (("bitwise_right_shift",), "shift_right", "any"),
    (("eq",), "equal", "any"),
    (("ne", "not_equal"), "not_equal", "any"),
    (("lt", "less"), "less", "any"),
    (("le", "less_equal"), "less_equal", "any"),
    (("gt", "greater"), "greater", "any"),
    (("ge", "greater_equal"), "greater_equal", "any"),
):
    _numbers = "none" if _op in _TENSORS_ONLY else "other" if _op in _TENSOR_FIRST else "both"
    define(*_names, in_place=True)(binary(_op, _kind, _numbers))

for _names, _op in (
    (("exp",), "exp"),
    (("exp2",), "exp2"),
    (("expm1",), "expm1"),
    (("log",), "log"),
    (("log2",), "log2"),
    (("log10",), "log10"),
    (("log1p",), "log1p"),
    (("sqrt",), "sqrt"),
    (("rsqrt",), "rsqrt"),
    (("reciprocal",), "reciprocal"),
    (("sin",), "sin"),
    (("cos",), "cos"),
    (("tan",), "tan"),
    (("asin", "arcsin"), "asin"),
    (("acos", "arccos"), "acos"),
    (("atan", "arctan"), "atan"),
    (("sinh",), "sinh"),
    (("cosh",), "cosh"),
    (("asinh", "arcsinh"), "asinh"),
    (("acosh", "arccosh"), "acosh"),
    (("atanh", "arctanh"), "atanh"),
    (("tanh",), "tanh"),
    (("sigmoid",), "sigmoid"),
    (("erf",), "erf"),
    (("erfc",), "erfc"),
):
    define(*_names, in_place=True)(unary(_op))


def _of_numbers(input: Operand, other: Operand) -> Operand:
    """The first of two operands; of two Python numbers as a tensor without dimensions, as PyTorch's arithmetic takes them."""
    if isinstance(input, Tensor) or isinstance(other, Tensor) or number(other) is None:
        return input
    value = number(input)
    return input if value is None else wrap(full(value, (), scalar_dtype(value)))


def _scaled(input: Operand, other: Operand, alpha: Any) -> Operand:
    """``alpha * other`` in the dtype of the sum. RuntimeError for a factor that would change it."""
    factor = number(alpha)
    if factor is None:
        return mul(other, alpha)
    both = input, other
    dtype = result_type([x._read().type for x in both if isinstance(x, Tensor)], [x for x in both if not isinstance(x, Tensor)])
    if isinstance(factor, bool) and dtype is not bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if dtype.kind not in "fc" and not isinstance(factor, int):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if dtype.kind != "c" and isinstance(factor, complex):
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    if not isinstance(other, Tensor):
        return other and bool(factor) if dtype is bool_ else other * factor
    return mul(wrap(cast(other._read(), dtype)), bool(factor) if dtype is bool_ else factor)


@define("add", in_place=True)
@factors_in_front("alpha", tensors=2)
def add(input: Operand, other: Operand, *, alpha: Scalar = 1) -> Tensor:
    """``input + alpha * other``; bools are or-ed."""
    input = _of_numbers(input, other)
    if type(alpha) is not int or alpha != 1:
        other = _scaled(input, other, alpha)
    return _or(input, other) if _both_bool(input, other) else _add(input, other)


@define("sub", "subtract", in_place=True)
@factors_in_front("alpha", tensors=2)
def sub(input: Operand, other: Operand, *, alpha: Scalar = 1) -> Tensor:
    """``input - alpha * other``. RuntimeError for bools."""
    input = _of_numbers(input, other)
    if _both_bool(input, other):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. "
            "Use the `^` or `logical_xor()` operator instead."
        )
    if any([isinstance(x, bool) or isinstance(x, Tensor) and x.dtype is bool_ for x in (input, other)]):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )
    return _sub(input, other if type(alpha) is int and alpha == 1 else _scaled(input, other, alpha))


@define("rsub")
def rsub(input: Tensor, other: Operand, *, alpha: Scalar = 1) -> Tensor:
    """``other - alpha * input``."""
    return sub(other, input, alpha=alpha)


@define("mul", "multiply", in_place=True)
def mul(input: Operand, other: Operand) -> Tensor:
    """``input * other``; bools are and-ed."""
    input = _of_numbers(input, other)
    return _and(input, other) if _both_bool(input, other) else _mul(input, other)


def _both_bool(a: Operand, b: Operand) -> bool:
    return _is_bool(a) and _is_bool(b)


def _is_bool(a: Operand) -> bool:
    return a._node.type[1] is bool_ if isinstance(a, Tensor) else isinstance(a, (bool, np.bool_))


@define("div", "divide", "true_divide", in_place=True)
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """True division; "floor" and "trunc" round the quotient and keep integers."""
    input = _of_numbers(input, other)
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    x, y = _dividend(input, other)
    if x.type[1].kind == "f":
        return wrap(record("trunc", (record("div", (x, y)),)))
    rest = record("fmod", (x, y))
    return wrap(record("floor_divide", (record("sub", (x, rest)), y)))


@define("floor_divide", in_place=True)
def floor_divide(input: Operand, other: Operand) -> Tensor:
    """The quotient rounded down; integers stay integers."""
    return _floor_divide(_of_numbers(input, other), other)


@define("remainder", in_place=True)
def remainder(input: Operand, other: Operand) -> Tensor:
    """The rest of floor division: it has the sign of ``other``."""
    return wrap(record("remainder", _dividend(input, other)))


@define("pow", in_place=True, label="pow")
def pow(input: Operand, exponent: Operand) -> Tensor:
    """``input ** exponent``. RuntimeError for integers to negative integer powers."""
    if not isinstance(exponent, Tensor) and isinstance(input, Tensor):
        value = number(exponent)
        if isinstance(value, int) and not input.dtype.has_gradient and value < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        if input.dtype.is_complex and value == 2:
            return mul(input, input)
        if input.dtype is bool_ and isinstance(value, int):
            return wrap(record("pow", nodes(wrap(cast(input._read(), int64)), value, "any")))
    return wrap(record("pow", nodes(input, exponent, "any")))


@define("float_power", label="pow")
def float_power(input: Operand, exponent: Operand) -> Tensor:
    """``pow`` in float64, of complex numbers in complex128."""
    wide = [complex128 if (v.dtype.is_complex if isinstance(v, Tensor) else isinstance(v, complex)) else float64 for v in (input, exponent)]
    a, b = [wrap(cast(v._read(), t)) if isinstance(v, Tensor) else v + 0.0 for v, t in zip((input, exponent), wide, strict=True)]
    return pow(a, b)


def float_power_(self: Tensor, exponent: Operand) -> Tensor:
    """`float_power`, written into this tensor. RuntimeError unless it has that dtype."""
    wide = complex128 if isinstance(exponent, complex) or self.dtype.is_complex else float64
    if self.dtype is not wide:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {title(self.dtype)} but the operation's result requires dtype {title(wide)}"
        )
    return recorder.state.in_place(self, lambda operands, _: float_power(*operands)._read(), (exponent,), {}, -1, None)


Tensor.float_power_ = float_power_


@define("neg", "negative", in_place=True)
def neg(input: Tensor) -> Tensor:
    """``-input``. RuntimeError for bools."""
    if input.dtype is bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the "
            "`~` or `logical_not()` operator instead."
        )
    return wrap(record("neg", (input._read(),)))


@define("positive")
def positive(input: Tensor) -> Tensor:
    """The tensor itself. RuntimeError for bools."""
    if input.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@define("abs", "absolute", in_place=True)
def absolute(input: Tensor) -> Tensor:
    """The magnitude."""
    return _keeps(input, "abs")


@define("sign", "sgn", in_place=True)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return _keeps(input, "sign")


@define("relu", in_place=True)
def relu(input: Tensor) -> Tensor:
    """``max(input, 0)``."""
    if input.dtype is bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    return _keeps(input, "relu")


def _keeps(input: Tensor, op: str) -> Tensor:
    return wrap(
        alias_or(op, input._read(), input.dtype is bool_ or (input.dtype.kind == "u" and op == "abs"))
    )


def alias_or(op: str, x: Node, unchanged: bool) -> Node:
    """``op`` on ``x``, or a copy where it changes nothing."""
    return recorder.alias(x) if unchanged else record(op, (x,))


def _rounding(op: str) -> Callable[[Tensor], Tensor]:
    def apply(input: Tensor) -> Tensor:
        return wrap(alias_or(op, input._read(), input.dtype.kind not in "fc"))

    apply.__doc__ = f"``{op}``, element by element; integers stay as they are."
    return apply


for _name in ("floor", "ceil"):
    define(_name, in_place=True)(_rounding(_name))
define("trunc", "fix", in_place=True)(_rounding("trunc"))
_round = _rounding("round")


@define("round", in_place=True)
def round_(input: Tensor, *, decimals: int = 0) -> Tensor:
    """To the nearest integer, halves to even; ``decimals`` places."""
    if decimals == 0:
        return _round(input)
    factor = 10.0 ** abs(decimals)
    return _round(input * factor) / factor if decimals > 0 else _round(input / factor) * factor


@define("frac", in_place=True)
def frac(input: Tensor) -> Tensor:
    """The part behind the point, with the sign of the number."""
    return input - input.trunc()


@define("logical_not", in_place=True)
def logical_not(input: Tensor) -> Tensor:
    """True where the element is zero."""
    return wrap(record("logical_not", (cast(input._read(), bool_),)))


@define("bitwise_not", in_place=True)
def bitwise_not(input: Tensor) -> Tensor:
    """Every bit turned; ``logical_not`` for bools. DTypeError for floats."""
    if input.dtype.kind == "f":
        raise DTypeError(
            f"bitwise_not is for integers and bools, got {input.dtype.name}", at=source_line(origin())
        )
    return wrap(record("bitwise_not", (input._read(),)))


def _test(op: str, of_int: bool) -> Callable[[Tensor], Tensor]:
    def apply(input: Tensor) -> Tensor:
        x = input._read()
        return wrap(record(op, (x,)) if x.type[1].kind in "fc" else full(of_int, x.type[0], bool_))

    apply.__doc__ = f"``{op}``, element by element."
    return apply


define("isnan")(_test("is_nan", False))
define("isinf")(_test("is_inf", False))
define("isfinite")(_test("is_finite", True))
