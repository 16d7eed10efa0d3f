"""Element by element and folds: scalar expressions of stanzas as ONNX nodes.

An op that ONNX has under a name of its own is that node (`NAMES`); any other `each` op is its scalar expression, function by
function. Narrow integers are computed in int32, which runtimes have kernels for, and wrap when they are cast back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import numpy as np

from ...dialects.book import OPS
from ...dialects.book.expr import Call, Expr, Name, Number
from ...dialects.errors import UnsupportedError
from ...dialects.types import DType, Type, bool_, float16, float32, int8, int16, int32, int64, uint8
from .writer import FAMILIES, Use, Value, Writer, element_type, rule, same_shape

NAMES = {"relu": "Relu", "sigmoid": "Sigmoid", "sign": "Sign", "reciprocal": "Reciprocal", "is_nan": "IsNaN"}
"""Ops of floating-point numbers that ONNX has whole."""

_ALIKE = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "neg": "Neg", "abs": "Abs", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
    "tanh": "Tanh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf", "floor": "Floor", "ceil": "Ceil",
    "round": "Round", "maximum": "Max", "minimum": "Min",
}  # fmt: skip
_COMPARISONS = {
    "equal": ("Equal", False), "not_equal": ("Equal", True), "less": ("Less", False), "less_equal": ("LessOrEqual", False),
    "greater": ("Greater", False), "greater_equal": ("GreaterOrEqual", False),
}  # fmt: skip
_LOGICAL = {
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not", "bitwise_and": "And", "bitwise_or": "Or",
    "bitwise_xor": "Xor", "bitwise_not": "Not", "maximum": "Or", "minimum": "And",
}  # fmt: skip
_BITWISE = {"bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor", "bitwise_not": "BitwiseNot"}
_NARROW = (int8, int16, uint8)
_LN2, _LN10 = log(2), log(10)


def broadcast(w: Writer, operands: tuple[Value, ...], shape: tuple) -> tuple[Value, ...]:
    """Operands of one shape as ONNX may read them: expanded ones and full ones narrow, if together they still give the shape."""
    narrow = [_narrow(w, v) for v in operands]
    if not same_shape(together([v.shape for v in narrow], len(shape)), shape):
        narrow[0] = operands[0]
    return tuple(narrow)


def _narrow(w: Writer, value: Value) -> Value:
    while value.array is None and value.made_by("expand"):
        (value,) = value.step[1]
    return w.scalar(value.step[2][1], value.dtype) if value.made_by("full") else value


def together(shapes: Sequence[tuple], rank: int) -> tuple:
    """The shape that shapes give when they are broadcast."""
    wide: list[Any] = [1] * rank
    for shape in shapes:
        for i, d in enumerate(shape, rank - len(shape)):
            wide[i] = d if isinstance(wide[i], int) and wide[i] == 1 else wide[i]
    return tuple(wide)


def each(w: Writer, use: Use) -> Value:
    """An op that is a scalar expression."""
    shape, dtype = use.types[0]
    operands = broadcast(w, use.operands, shape)
    kind = NAMES.get(use.op) if operands[0].dtype.kind == "f" else None
    if kind:
        return w.emit(kind, operands, use.types[0])
    stanza = OPS[use.op]
    names = {p.name: v for p, v in zip(stanza.tensors, operands, strict=True)}
    value = _Expression(w, {**names, **use.attrs}, shape, use.operands[0].dtype).value(stanza.scalar)
    return value if same_shape(value.shape, shape) and value.dtype is dtype else _finished(w, value, use.types[0])


FAMILIES["each"] = each


def _finished(w: Writer, value: Value, t: Type) -> Value:
    value = w.cast(value, t[1])
    return value if same_shape(value.shape, t[0]) else w.op("expand", w.op("reshape", value, (1,) * len(t[0])), t[0])


class _Expression:
    """A scalar expression in nodes. Values are broadcast; bare numbers take the dtype of what they meet."""

    def __init__(self, w: Writer, names: dict[str, Any], shape: tuple, dtype: DType) -> None:
        self.w, self.names, self.shape, self.dtype = w, names, shape, dtype

    def value(self, tree: Expr) -> Value:
        """The value of a tree."""
        if isinstance(tree, Name):
            return self.names[tree.name]
        if isinstance(tree, Number):
            return self.w.scalar(tree.value, self.dtype)
        assert isinstance(tree, Call)
        args = [None if isinstance(a, Number) else self.value(a) for a in tree.args]
        dtype = next((v.dtype for v in args[tree.fn == "select" :] if v is not None), self.dtype)
        met = [self.w.scalar(a.value, dtype) if v is None else v for a, v in zip(tree.args, args, strict=True)]
        return function(self.w, tree.fn, met, tuple(self.shape))


def function(w: Writer, fn: str, args: list[Value], shape: tuple) -> Value:
    """A scalar function of broadcast values; the result is taken to have the shape."""
    dtype = args[-1].dtype
    if fn in _COMPARISONS:
        kind, negated = _COMPARISONS[fn]
        same = kind == "Equal" and dtype not in _NARROW
        found = w.emit(kind, args if same else _widened(w, args, (bool_,)), (shape, bool_))
        return w.emit("Not", (found,), (shape, bool_)) if negated else found
    if fn == "select":
        return w.emit("Where", args, (shape, dtype)) if dtype is not bool_ else _chosen(_Spelling(w, (shape, bool_)), *args)
    if dtype is bool_:
        return w.emit(_LOGICAL[fn], args, (shape, bool_))
    if dtype in _NARROW and fn not in _BITWISE:
        return w.cast(function(w, fn, _widened(w, args), shape), dtype)
    if fn in _ALIKE:
        return w.emit(_ALIKE[fn], args, (shape, dtype))
    if fn in _BITWISE:
        if w.opset < 18:
            raise UnsupportedError(f"ONNX's opset {w.opset} has no {fn} of {dtype.name}", at=w.origin, help="opset_version=18 has")
        return w.emit(_BITWISE[fn], args, (shape, dtype))
    return SPELLED[fn](_Spelling(w, (shape, dtype)), *args)


def wide(dtype: DType) -> DType:
    """What numbers are combined in: int32 for bools and narrow integers, float32 for float16."""
    return int32 if dtype is bool_ or dtype in _NARROW else float32 if dtype is float16 else dtype


def _widened(w: Writer, args: list[Value], more: tuple[DType, ...] = ()) -> list[Value]:
    return [w.cast(v, int32) if v.dtype in (*_NARROW, *more) else v for v in args]


class _Spelling:
    """Nodes on broadcast values of one type, for functions ONNX has no node for."""

    def __init__(self, w: Writer, t: Type) -> None:
        self.w, self.t = w, t

    @property
    def is_float(self) -> bool:
        return self.t[1].kind == "f"

    def number(self, value: float) -> Value:
        return self.w.scalar(value, self.t[1])

    def __call__(self, kind: str, *args: Value | float, **attributes: Any) -> Value:
        values = [a if isinstance(a, Value) else self.number(a) for a in args]
        return self.w.emit(kind, values, self.t, **attributes)

    def test(self, kind: str, *args: Value | float) -> Value:
        values = [a if isinstance(a, Value) else self.number(a) for a in args]
        return self.w.emit(kind, values, (self.t[0], bool_))


def _chosen(s: _Spelling, c: Value, a: Value, b: Value) -> Value:
    """Of bools: runtimes have no Where of them."""
    return s("Or", s("And", c, a), s("And", s("Not", c), b))


def _divide(s: _Spelling, a: Value, b: Value) -> Value:
    return s("Div", a, b)


def _remainder(s: _Spelling, a: Value, b: Value) -> Value:
    """Of the divisor's sign: ONNX has it for integers."""
    if not s.is_float:
        return s("Mod", a, b)
    rest = s("Mod", a, b, fmod=1)
    other = s.test("And", s.test("Xor", s.test("Less", rest, 0), s.test("Less", b, 0)), s.test("Not", s.test("Equal", rest, 0)))
    return s("Where", other, s("Add", rest, b), rest)


def _floor_divide(s: _Spelling, a: Value, b: Value) -> Value:
    quotient = s("Div", s("Sub", a, _remainder(s, a, b)), b)
    return s("Round", quotient) if s.is_float else quotient


def _expm1(s: _Spelling, x: Value) -> Value:
    """tanh(x / 2) * (exp(x) + 1), which loses no digits near 0."""
    return s("Mul", s("Tanh", s("Mul", x, 0.5)), s("Add", s("Exp", x), 1))


def _log1p(s: _Spelling, x: Value) -> Value:
    """log(u) * (x / (u - 1)) for u = 1 + x: the rounding of u takes itself back. x itself where u is 1, log(u) where it is infinite."""
    u = s("Add", x, 1)
    exact = s("Mul", s("Log", u), s("Div", x, s("Sub", u, 1)))
    special = s("Where", s.test("Equal", u, 1), x, s("Log", u))
    return s("Where", s.test("Or", s.test("Equal", u, 1), s.test("Equal", u, np.inf)), special, exact)


def _trunc(s: _Spelling, x: Value) -> Value:
    return s("Where", s.test("Less", x, 0), s("Ceil", x), s("Floor", x))


def _atan2(s: _Spelling, a: Value, b: Value) -> Value:
    """atan(a / b), turned by pi where b is negative; a quarter turn where b is 0. What is divided by a zero tells its sign."""
    turn = s("Where", s.test("Less", a, 0), -np.pi, s("Where", s.test("Less", s("Div", 1, a), 0), -np.pi, np.pi))
    nothing = s("Where", s.test("Less", s("Div", 1, b), 0), turn, a)
    quarter = s("Where", s.test("Equal", a, 0), nothing, s("Mul", s("Sign", a), np.pi / 2))
    slanted = s("Atan", s("Div", a, s("Where", s.test("Equal", b, 0), 1, b)))
    beyond = s("Where", s.test("Less", b, 0), s("Add", slanted, turn), slanted)
    return s("Where", s.test("Equal", b, 0), quarter, beyond)


def _shift_left(s: _Spelling, a: Value, b: Value) -> Value:
    return s("Mul", a, s("Pow", 2, b))


def _shift_right(s: _Spelling, a: Value, b: Value) -> Value:
    return _floor_divide(s, a, s("Pow", 2, b))


SPELLED: dict[str, Callable[..., Value]] = {
    "div": _divide,
    "fmod": lambda s, a, b: s("Mod", a, b, fmod=1),
    "remainder": _remainder,
    "floor_divide": _floor_divide,
    "exp2": lambda s, x: s("Exp", s("Mul", x, _LN2)),
    "expm1": _expm1,
    "log2": lambda s, x: s("Div", s("Log", x), _LN2),
    "log10": lambda s, x: s("Div", s("Log", x), _LN10),
    "log1p": _log1p,
    "erfc": lambda s, x: s("Sub", 1, s("Erf", x)),
    "trunc": _trunc,
    "atan2": _atan2,
    "shift_left": _shift_left,
    "shift_right": _shift_right,
}

_FOLDS = {"add": "ReduceSum", "mul": "ReduceProd", "maximum": "ReduceMax", "minimum": "ReduceMin", "and": "ReduceMin", "or": "ReduceMax"}


def fold(w: Writer, use: Use) -> Value:
    """A reduction: dimensions stay, with size 1. Narrow numbers are folded in wider ones."""
    (x,) = use.operands
    if not use["axes"]:
        return x
    in_ = wide(x.dtype)
    made = reduced(w, _FOLDS[OPS[use.op].fold.combiner], w.cast(x, in_), use["axes"], (use.types[0][0], in_))
    return w.cast(made, x.dtype)


FAMILIES["fold"] = fold


def reduced(w: Writer, kind: str, x: Value, axes: tuple[int, ...], t: Type) -> Value:
    """A reduction node: its axes are an input from opset 18 on, of ReduceSum from 13."""
    if kind == "ReduceSum" or w.opset >= 18:
        return w.emit(kind, (x, w.ints(axes)), t, keepdims=1)
    return w.emit(kind, (x,), t, keepdims=1, axes=list(axes))


@rule("mean")
def _mean(w: Writer, use: Use) -> Value | None:
    (x,) = use.operands
    return reduced(w, "ReduceMean", x, use["axes"], use.types[0]) if use["axes"] and wide(x.dtype) is x.dtype else None


@rule("cast")
def _cast(w: Writer, use: Use) -> Value:
    (x,) = use.operands
    return w.emit("Cast", (x,), use.types[0], to=element_type(use["t"]))


@rule("bitcast")
def _bitcast(w: Writer, use: Use) -> Value:
    raise UnsupportedError("ONNX has no bitcast", at=w.origin, help="export a model that does not look at the bits of numbers")


@rule("argmax", "argmin")
def _extreme_place(w: Writer, use: Use) -> Value:
    (x,) = use.operands
    return w.emit("ArgMax" if use.op == "argmax" else "ArgMin", (w.cast(x, wide(x.dtype)),), (use.types[0][0], int64), axis=use["axis"], keepdims=1)
