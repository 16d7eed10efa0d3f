"""Special functions of the root namespace: the gamma family, error functions, Bessel functions, by stanzas of the book."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import recorder
from .arithmetic import nodes, unary
from .creation import of_array
from .definitions import define
from .function import Function
from .joining import cat
from .promote import Defaults, cast, full, untouched
from .recorder import record
from .returns import frexp_result
from .shaping import narrow
from .tensor import Tensor, dimension, wrap

for _names, _op in ((("lgamma",), "lgamma"), (("digamma",), "digamma"), (("erfinv",), "erfinv"), (("i0",), "i0")):
    define(*_names, in_place=True)(unary(_op))


@define("polygamma", method=False)
def polygamma(n: int, input: Tensor) -> Tensor:
    """Derivative ``n`` of digamma."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return input.digamma()
    x = input._read()
    x = x if x.type[1].kind == "f" else cast(x, Defaults.dtype)
    return wrap(record("polygamma", (x,), (int(n),)))


Tensor.polygamma = lambda self, n: polygamma(n, self)
Tensor.polygamma_ = lambda self, n: recorder.state.in_place(self, lambda *_: polygamma(n, self)._read(), (), {}, -1, None)


@define("mvlgamma", in_place=True)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p``."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = input if input.dtype.kind == "f" else input.to(Defaults.dtype)
    total = (x.unsqueeze(-1) - of_array(np.arange(p) / 2, like=x).to(x.dtype)).lgamma().sum(-1)
    return total + p * (p - 1) / 4 * math.log(math.pi)


# -- incomplete gamma functions: on the host, by series and continued fraction --------------------------------


class _IncompleteGamma(Function):
    """P(a, x), or Q(a, x) = 1 - P(a, x); the derivative to x is a density, that to ``a`` is not known to PyTorch."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, upper: bool) -> Tensor:
        ctx.save_for_backward(a, x)
        ctx.upper = upper
        found = _regularized(np.asarray(a._value(), np.float64), np.asarray(x._value(), np.float64), upper)
        return of_array(np.asarray(found, x.dtype.numpy), like=x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        if ctx.needs_input_grad[0]:
            name = "igammac" if ctx.upper else "igamma"
            raise NotImplementedError(f"the derivative for '{name}: input' is not implemented.")
        a, x = ctx.saved_tensors
        slope = g * ((a - 1) * x.log() - x - a.lgamma()).exp()
        return None, -slope if ctx.upper else slope, None


def _regularized(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    """float64: the series below x = a + 1, Lentz's continued fraction from there on."""
    a, x = np.broadcast_arrays(a, x)
    with np.errstate(all="ignore"):
        density = np.exp(a * np.log(x) - x - np.vectorize(_log_gamma, otypes=[float])(a))
        lower = density * lower_series(a, x)
        rest = density * upper_fraction(a, x)
        below = x < a + 1
        found = np.where(below, 1 - lower if upper else lower, rest if upper else 1 - rest)
        found = np.where((x == 0) | (a == math.inf), float(upper), found)
        found = np.where((a == 0) | (x == math.inf), float(not upper), found)
        wrong = (a < 0) | (x < 0) | np.isnan(a + x) | ((a == 0) & (x == 0)) | ((a == math.inf) & (x == math.inf))
        return np.where(wrong, math.nan, found)


def _log_gamma(a: float) -> float:
    return math.lgamma(a) if 0 < a < math.inf else math.nan


def lower_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """P(a, x) / (x^a e^-x / gamma(a)): converges below x = a + 1."""
    part = 1 / a
    total, k = part, a
    for _ in range(10000):
        k = k + 1
        part = part * x / k
        total = total + part
        if not (np.abs(part) > np.abs(total) * 1e-17)[x < a + 1].any():
            break
    return total


def upper_fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(1 - P(a, x)) / (x^a e^-x / gamma(a)): Lentz's continued fraction, from x = a + 1 on."""
    tiny = 1e-300
    b = x + 1 - a
    c, d = np.full(b.shape, 1 / tiny), 1 / b
    h = d
    for i in range(1, 10000):
        n = -i * (i - a)
        b = b + 2
        d = n * d + b
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + n / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        change = c * d
        h = h * change
        if not (np.abs(change - 1) > 1e-16)[x >= a + 1].any():
            break
    return h


def _incomplete(upper: bool) -> Any:
    def apply(input: Tensor, other: Tensor) -> Tensor:
        a, x = nodes(input, other, "float")
        return _IncompleteGamma.apply(wrap(a), wrap(x), upper)

    apply.__doc__ = f"The regularized {'upper' if upper else 'lower'} incomplete gamma function, element by element."
    return apply


igamma = define("igamma", in_place=True)(_incomplete(False))
igammac = define("igammac", in_place=True)(_incomplete(True))


# -- floating-point numbers taken apart -----------------------------------------------------------------------


@define("ldexp", in_place=True)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """``input * 2 ** other``."""
    power = other if other.dtype.kind == "f" else other.to(Defaults.dtype)
    return input * power.exp2()


@define("frexp")
def frexp(input: Tensor) -> Any:
    """Mantissas in ±[0.5, 1) and exponents (int32): ``input = mantissa * 2 ** exponent``."""
    if input.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    x = input._read()
    array = recorder.value(x)
    mantissa, exponent = np.frexp(array if array.dtype.kind == "f" else array.astype(np.float32))
    found, power = of_array(np.asarray(mantissa, array.dtype), like=input), of_array(np.asarray(exponent, np.int32), like=input)
    if x.requires_grad:
        history = input * (-power.to(input.dtype)).exp2()
        found = wrap(recorder.saved(history._read(), found._read()))
    return frexp_result(found, power)


@define("nextafter", in_place=True)
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number after ``input`` towards ``other``, with the gradient of ``input`` itself."""
    a, b = nodes(input, other, "any")
    if a.type[1].kind != "f":
        raise NotImplementedError(f"\"nextafter_cpu\" not implemented for '{a.type[1].name}'")
    found = of_array(np.asarray(np.nextafter(recorder.value(a), recorder.value(b))), like=input)
    if not a.requires_grad and not b.requires_grad:
        return found
    nothing = full(0, *a.type)
    history = record("select", (record("equal", (a, b)), nothing, a))  # what is equal does not move
    return wrap(recorder.saved(record("add", (history, untouched(nothing, b))), found._read()))


@define("logcumsumexp")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """``log(cumsum(exp(input)))`` without overflow: sums of 1, 2, 4, … neighbours, doubled until all are in."""
    at = dimension(dim, input.dim())
    total = input if input.dtype.kind == "f" else input.to(Defaults.dtype)
    if not input.dim():
        return total.clone()
    n, reach = input.shape[at], 1
    while reach < n:
        joined = narrow(total, at, reach, n - reach).logaddexp(narrow(total, at, 0, n - reach))
        total = cat([narrow(total, at, 0, reach), joined], at)
        reach *= 2
    return total.clone() if total is input else total
