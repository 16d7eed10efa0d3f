"""Composites: public element-by-element functions spelled with other ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dialects.types import bool_, promote_types
from . import recorder
from .arithmetic import nodes
from .assignment import title
from .complex_numbers import complex_
from .definitions import define
from .old_forms import factors_in_front
from .precision import in_single
from .promote import Defaults, broadcast, full
from .recorder import record
from .tensor import Tensor, dimension, wrap


@define("square", in_place=True)
def square(input: Tensor) -> Tensor:
    """``input ** 2``."""
    return input * input if input.dtype is not bool_ else input.long()


@define("lerp", in_place=True)
@in_single
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """From ``input`` to ``end`` by ``weight``, from the nearer end as PyTorch computes it."""
    for name, given in (("end", end), ("weight", weight)):
        if isinstance(given, Tensor) and given.dtype is not input.dtype:
            raise RuntimeError(f"expected dtype {input.dtype} for `{name}` but got dtype {given.dtype}")
    if isinstance(weight, Tensor):
        near = weight.abs() < 0.5
        from .selection import where

        return where(near, input + weight * (end - input), end - (end - input) * (1 - weight))
    if not (input.is_floating_point() and isinstance(weight, (int, float))):
        return input + (end - input) * weight if abs(weight) < 0.5 else end - (end - input) * (1 - weight)
    weight = float(input.dtype.numpy.type(weight))  # rounded before it is taken from 1, as PyTorch does
    return wrap(record("lerp", tuple(broadcast([input._read(), end._read()])), (weight,)))


@define("addcmul", in_place=True)
@factors_in_front("value", tensors=3)
@in_single
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return input + (tensor1 * tensor2 if value == 1 else tensor1 * value * tensor2)


@define("addcdiv", in_place=True)
@factors_in_front("value", tensors=3)
@in_single
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return input + (tensor1 / tensor2 if value == 1 else tensor1 * value / tensor2)


@define("hypot", in_place=True)
@in_single
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """The length of the hypotenuse."""
    return (input * input + other * other).sqrt()


@define("logaddexp")
@in_single
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """``log(exp(input) + exp(other))`` without overflow."""
    top = input.maximum(other)
    same = input == other
    gap = (-(input - other).abs()).masked_fill(same, 0.0)
    return top + gap.exp().log1p()


@define("logaddexp2")
@in_single
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """``log2(2 ** input + 2 ** other)`` without overflow."""
    top = input.maximum(other)
    return top + ((-(input - other).abs()).exp2() + 1).log2()


@define("logit", in_place=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``, with x kept ``eps`` away from 0 and 1."""
    input = input if input.dtype.has_gradient else input.to(Defaults.dtype)
    x = input if eps is None else input.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()


@define("xlogy", in_place=True)
@in_single
def xlogy(input: Any, other: Any) -> Tensor:
    """``input * log(other)``, 0 where ``input`` is 0."""
    x, y = nodes(input, other, "float")
    zero = record("logical_and", (record("equal", (x, full(0.0, *x.type))), record("logical_not", (record("is_nan", (y,)),))))
    # Only where the logarithm is infinite it is left out: elsewhere its value is the derivative by ``input``.
    inside = record("logical_and", (record("less", (full(0.0, *y.type), y)), record("less", (y, full(math.inf, *y.type)))))
    left_out = record("logical_and", (zero, record("logical_not", (inside,))))
    product = record("mul", (x, record("log", (record("select", (left_out, full(1.0, *y.type), y)),))))
    return wrap(record("select", (zero, record("add", (product, full(0.0, *product.type))), product)))  # -0 + 0 is 0


@define("nan_to_num", in_place=True)
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN and infinities replaced by numbers (0 and the largest ones)."""
    if input.dtype.is_complex:
        return complex_(*[nan_to_num(part, nan, posinf, neginf) for part in (input.real, input.imag)])
    if input.dtype.kind != "f":
        return input.clone()
    x = input._read()
    import ml_dtypes

    info = ml_dtypes.finfo(input.dtype.numpy)
    for test, value in (
        (record("is_nan", (x,)), 0.0 if nan is None else nan),
        (record("equal", (x, full(math.inf, *x.type))), float(info.max) if posinf is None else posinf),
        (record("equal", (x, full(-math.inf, *x.type))), float(info.min) if neginf is None else neginf),
    ):
        x = record("select", (test, full(value, *x.type), x))
    return wrap(x)


@define("deg2rad", in_place=True)
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return input * (math.pi / 180)


@define("rad2deg", in_place=True)
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return input * (180 / math.pi)


@define("sinc", in_place=True)
@in_single
def sinc(input: Tensor) -> Tensor:
    """``sin(pi x) / (pi x)``, 1 at 0."""
    zero = input == 0
    x = input.masked_fill(zero, 1.0) * math.pi
    return (x.sin() / x).masked_fill(zero, 1.0)


@define("heaviside", in_place=True)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, ``values`` at zero."""
    from .selection import where

    return where(input == 0, values, (input > 0).to(input.dtype))


@define("copysign", in_place=True)
def copysign(input: Tensor, other: Any) -> Tensor:
    """The magnitude of one number with the sign of another."""
    return wrap(record("copysign", nodes(input, other, "float")))


@define("signbit")
def signbit(input: Tensor) -> Tensor:
    """True for negative numbers, -0.0 among them."""
    if input.dtype.kind != "f":
        return input < 0
    return (input < 0).logical_or((input == 0).logical_and(input.reciprocal() < 0))


@define("isposinf")
def isposinf(input: Tensor) -> Tensor:
    """True for infinity."""
    return input == math.inf


@define("isneginf")
def isneginf(input: Tensor) -> Tensor:
    """True for minus infinity."""
    return input == -math.inf


@define("isreal")
def isreal(input: Tensor) -> Tensor:
    """True where there is no imaginary part: everywhere in a real tensor."""
    if input.dtype.is_complex:
        return input.imag == 0
    return input.new_full(tuple(input.shape), True, dtype=bool_)


@define("isclose")
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether the difference is at most ``atol + rtol * |other|``."""
    for name, given in (("rtol", rtol), ("atol", atol)):
        if given < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {given}")
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{title(input.dtype)} did not match {title(other.dtype)}")
    close = input == other
    if input.dtype.has_gradient:
        within = (input - other).abs() <= atol + rtol * other.abs()
        close = close.logical_or(within.logical_and((input - other).isfinite()))
        if equal_nan:
            close = close.logical_or(input.isnan().logical_and(other.isnan()))
    return close


@define("allclose")
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@define("equal")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are the same."""
    if input._node.type[0] != other._node.type[0]:
        return False
    known, others = _small_array(input), _small_array(other)
    if known is None or others is None or known.dtype != others.dtype or recorder.state.traces:
        return bool((input == other).all())
    return bool((known == others).all())  # the host has them: nothing is to be recorded


_MOST_BYTES = 1 << 12


def _small_array(tensor: Tensor) -> np.ndarray | None:
    """What the host has of a few elements that numpy compares as they are."""
    storage = tensor._storage
    node = storage.node if storage.host is None and not tensor._chain else None
    array = None if node is None or node.type[1].kind not in "buif" or node.type[1].itemsize < 4 and node.type[1].kind == "f" else recorder.known(node)
    return array if array is not None and array.nbytes <= _MOST_BYTES else None


def _ignoring_nan(op: str, first: str) -> Any:
    """first: when the first operand is the result, and has the gradient."""

    def apply(input: Tensor, other: Tensor) -> Tensor:
        x, y = nodes(input, other, "any")
        if x.type[1].kind != "f":
            return wrap(record(op, (x, y)))
        taken = record("logical_or", (record(first, (x, y)), record("is_nan", (y,))))
        return wrap(record("select", (taken, x, y)))

    apply.__doc__ = f"``{op}`` that prefers numbers to NaN."
    return apply


define("fmax")(_ignoring_nan("maximum", "greater_equal"))
define("fmin")(_ignoring_nan("minimum", "less_equal"))


def _integers(op: str) -> Any:
    def apply(input: Tensor, other: Tensor) -> Tensor:
        from .creation import of_array

        kind = promote_types(input.dtype, other.dtype)
        if kind.kind not in "iu":
            raise NotImplementedError(f'"{op}_cpu" not implemented for \'{title(kind)}\'')
        return of_array(np.asarray(getattr(np, op)(input._value(), other._value()), kind.numpy), like=input)

    apply.__doc__ = f"``{op}`` of integers."
    return apply


define("gcd", in_place=True)(_integers("gcd"))
define("lcm", in_place=True)(_integers("lcm"))


@define("renorm", in_place=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Entries along a dimension whose p-norm is beyond ``maxnorm`` scaled down to it."""
    from .reductions import vector_norm

    if input.dim() < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.dim()} dimensions")
    if p <= 0:
        raise RuntimeError("renorm: non-positive norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    at = dimension(dim, input.dim())
    length = vector_norm(input, p, [d for d in range(input.dim()) if d != at], True)
    factor = (maxnorm / (length + 1e-7)).masked_fill(length <= maxnorm, 1.0)
    return input * factor


@define("cdist", method=False)
@in_single
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """Distances between all pairs of rows."""
    from .reductions import vector_norm

    return vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)
