"""What arith and math ops mean element by element: the bodies of linalg.generic under the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    BFloat16Type,
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
    VectorType,
)
from xdsl.ir import Attribute, Operation

from ..dialects.book import OPS
from ..dialects.errors import UnsupportedError

Array = np.ndarray

_FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64}


def numpy_type(element: Attribute) -> np.dtype[Any]:
    """The numpy dtype of a scalar IR type or of a vector's lanes; index is int64, i1 is bool."""
    if isinstance(element, VectorType):
        element = element.element_type
    if isinstance(element, IntegerType):
        width = element.width.data
        sign = "uint" if element.signedness.data.name == "UNSIGNED" else "int"
        return np.dtype(bool) if width == 1 else np.dtype(f"{sign}{width}")
    if isinstance(element, IndexType):
        return np.dtype(np.int64)
    if isinstance(element, BFloat16Type):
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(_FLOATS[str(element)])


def _unsigned(x: Array) -> Array:
    return x.view(f"u{x.dtype.itemsize}") if x.dtype.kind == "i" else x


def _unsigned_op(fn: Callable[..., Array]) -> Callable[[Array, Array], Array]:
    def apply(a: Array, b: Array) -> Array:
        result = fn(_unsigned(a), _unsigned(b))
        return result.view(a.dtype) if result.dtype.kind == "u" and a.dtype.kind == "i" else result

    return apply


def _truncated_division(a: Array, b: Array) -> Array:
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a))


def _book(name: str) -> Callable[..., Array]:
    """The numpy line of an op of the book: one meaning, said once."""
    return lambda *arrays: OPS[name].evaluate(arrays, ())[0]


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "arith.addf": np.add, "arith.subf": np.subtract, "arith.mulf": np.multiply, "arith.divf": np.divide,
    "kernel.fmod": np.fmod, "arith.maximumf": np.maximum, "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax, "arith.minnumf": np.fmin, "arith.addi": np.add, "arith.subi": np.subtract,
    "arith.muli": np.multiply, "arith.divsi": _truncated_division, "arith.remsi": np.fmod,
    "arith.floordivsi": np.floor_divide, "arith.ceildivsi": lambda a, b: -np.floor_divide(-a, b),
    "arith.divui": _unsigned_op(np.floor_divide), "arith.remui": _unsigned_op(np.remainder),
    "arith.maxsi": np.maximum, "arith.minsi": np.minimum, "arith.maxui": _unsigned_op(np.maximum),
    "arith.minui": _unsigned_op(np.minimum), "arith.andi": np.bitwise_and, "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor, "arith.shli": np.left_shift, "arith.shrsi": np.right_shift,
    "arith.shrui": _unsigned_op(np.right_shift), "math.powf": np.power, "math.atan2": np.arctan2,
    "math.copysign": np.copysign,
}  # fmt: skip

UNARY: dict[str, Callable[[Array], Array]] = {
    "arith.negf": np.negative, "math.absf": np.abs, "math.absi": np.abs, "math.ceil": np.ceil,
    "math.floor": np.floor, "math.trunc": np.trunc, "math.roundeven": np.rint, "math.sqrt": np.sqrt,
    "math.rsqrt": lambda x: 1 / np.sqrt(x), "math.exp": np.exp, "math.exp2": np.exp2, "math.expm1": np.expm1,
    "math.log": np.log, "math.log2": np.log2, "math.log10": np.log10, "math.log1p": np.log1p,
    "math.sin": np.sin, "math.cos": np.cos, "math.tan": np.tan, "math.asin": np.arcsin,
    "math.acos": np.arccos, "math.atan": np.arctan, "math.sinh": np.sinh, "math.cosh": np.cosh,
    "math.tanh": np.tanh, "math.asinh": np.arcsinh, "math.acosh": np.arccosh, "math.atanh": np.arctanh,
    "math.cbrt": np.cbrt, "math.erf": _book("erf"), "kernel.erfc": _book("erfc"), "kernel.exp_low": np.exp, "math.isnan": np.isnan,
    "math.isinf": np.isinf, "math.isfinite": np.isfinite,
}  # fmt: skip

_COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_CMPI = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
_CMPF = (
    "false",
    "oeq",
    "ogt",
    "oge",
    "olt",
    "ole",
    "one",
    "ord",
    "ueq",
    "ugt",
    "uge",
    "ult",
    "ule",
    "une",
    "uno",
    "true",
)


def _compare_integers(predicate: str, a: Array, b: Array) -> Array:
    if predicate[0] == "u":
        a, b = _unsigned(a), _unsigned(b)
    return _COMPARE[predicate[-2:]](a, b)


def _compare_floats(predicate: str, a: Array, b: Array) -> Array:
    if predicate in ("false", "true"):
        return np.full(np.broadcast_shapes(a.shape, b.shape), predicate == "true")
    unordered = np.isnan(a) | np.isnan(b)
    if predicate in ("ord", "uno"):
        return unordered if predicate == "uno" else ~unordered
    found = _COMPARE[predicate[1:]](a, b)
    return found | unordered if predicate[0] == "u" else found & ~unordered


def _integer_from_float(x: Array, to: np.dtype[Any]) -> Array:
    return np.trunc(x).astype(to)


def _cast(op: Operation, x: Array) -> Array:
    to = numpy_type(op.results[0].type)
    if op.name in ("arith.extui", "arith.uitofp"):
        x = _unsigned(x)
    elif op.name == "arith.extsi" and x.dtype.kind == "b":
        return -x.astype(to)
    elif op.name == "arith.sitofp" and x.dtype.kind == "b":
        return -x.astype(to)
    elif op.name == "arith.trunci" and to.kind == "b":
        return (x & 1).astype(bool)
    elif op.name in ("arith.fptosi", "arith.fptoui"):
        return _integer_from_float(x, to)
    elif op.name == "arith.index_cast" and x.dtype.kind == "b":
        return -x.astype(to)
    return x.astype(to)


CASTS = frozenset(
    "arith.extf arith.truncf arith.extsi arith.extui arith.trunci arith.sitofp arith.uitofp "
    "arith.fptosi arith.fptoui arith.index_cast arith.index_castui".split()
)


def constant_value(attribute: Attribute) -> Array:
    """The value of an arith.constant: a rank-0 array, or a whole tensor for a dense attribute."""
    if isinstance(attribute, FloatAttr):
        return np.asarray(attribute.value.data, dtype=numpy_type(attribute.type))
    if isinstance(attribute, IntegerAttr):
        dtype = numpy_type(attribute.type)
        value = attribute.value.data
        if dtype.kind == "u":
            value %= 1 << (8 * dtype.itemsize)
        return np.asarray(bool(value) if dtype.kind == "b" else value, dtype=dtype)
    if isinstance(attribute, DenseIntOrFPElementsAttr):
        dtype = numpy_type(attribute.get_element_type())
        values = np.asarray(
            [bool(v) if dtype.kind == "b" else v for v in attribute.get_values()], dtype=dtype
        )
        shape = attribute.get_shape() or ()
        return np.broadcast_to(values, shape) if values.size == 1 else values.reshape(shape)
    raise UnsupportedError(f"the oracle cannot read the constant {attribute}")


def evaluate_scalar(op: Operation, operands: list[Array]) -> Array | None:
    """The result of an arith or math op on arrays that broadcast together; None for an op that is neither."""
    name = op.name
    if name in BINARY:
        return np.asarray(BINARY[name](*operands))
    if name in UNARY:
        return np.asarray(UNARY[name](*operands))
    if name in CASTS:
        return _cast(op, operands[0])
    if name == "arith.constant":
        return constant_value(op.properties["value"])
    if name == "arith.select":
        return np.where(*operands)
    if name == "arith.cmpi":
        return _compare_integers(_CMPI[op.properties["predicate"].value.data], *operands)
    if name == "arith.cmpf":
        return _compare_floats(_CMPF[op.properties["predicate"].value.data], *operands)
    if name == "math.fma":
        a, b, c = (x.astype(np.float64) for x in operands)
        return (a * b + c).astype(operands[0].dtype)
    if name in ("arith.bitcast", "vector.bitcast"):
        return operands[0].view(numpy_type(op.results[0].type))
    if name == "builtin.unrealized_conversion_cast":
        return operands[0].astype(numpy_type(op.results[0].type))
    return None
