"""``torch.special``: functions of the main namespace that PyTorch also offers here, and those it has of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import bessel, public
from .arithmetic import number, unary
from .definitions import Definition, as_function
from .known_calls import KnownCalls
from .precision import in_single
from .promote import Defaults, cast
from .recorder import record, state
from .selection import where
from .tensor import Tensor, wrap

_names = public.names()
_OF_THE_ROOT = {
    "digamma": "digamma", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "exp2": "exp2", "expit": "sigmoid",
    "expm1": "expm1", "gammainc": "igamma", "gammaincc": "igammac", "gammaln": "lgamma", "i0": "i0", "log1p": "log1p",
    "log_softmax": "log_softmax", "logit": "logit", "logsumexp": "logsumexp", "multigammaln": "mvlgamma",
    "polygamma": "polygamma", "psi": "digamma", "round": "round", "sinc": "sinc", "softmax": "softmax", "xlogy": "xlogy",
}  # fmt: skip
globals().update({name: _names[root] for name, root in _OF_THE_ROOT.items()})


def _public(name: str, function: Callable) -> Callable:
    return as_function(Definition(name, function, f"special_{name}", False, True, False, False, KnownCalls(function), {}))


for _op in ("erfcx", "i0e", "i1", "i1e", "log_ndtr", "ndtri"):
    globals()[_op] = _public(_op, unary(_op))


def _operands(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors of one floating dtype."""
    like = input if isinstance(input, Tensor) else other
    if not isinstance(like, Tensor):
        raise TypeError("expected a Tensor among the arguments")
    pair = [t if isinstance(t, Tensor) else like.new_full((), number(t)) for t in (input, other)]
    both = public.result_type(*pair)
    both = both if both.kind == "f" else Defaults.dtype
    return pair[0].to(both), pair[1].to(both)


@in_single
def _xlog1py(input: Any, other: Any) -> Tensor:
    """``input * log1p(other)``, 0 where ``input`` is 0 and ``other`` not NaN."""
    x, y = _operands(input, other)
    zero = (x == 0).logical_and(y.isnan().logical_not())
    return x * y.masked_fill(zero, 0.0).log1p() if x.shape == y.shape else x * where(zero, 0.0, y).log1p()


@in_single
def _entr(input: Tensor) -> Tensor:
    """``-x log x``, 0 at 0, minus infinity below."""
    return (-_names["xlogy"](input, input)).masked_fill(input < 0, -math.inf)


def _ndtr(input: Tensor) -> Tensor:
    """The normal distribution function."""
    x = input._read()
    x = x if x.type[1].kind == "f" else cast(x, Defaults.dtype)
    return in_single(lambda t: (t * -0.7071067811865476).erfc() * 0.5)(wrap(x))


def _zeta(input: Any, other: Any) -> Tensor:
    """Hurwitz's zeta of two arguments. PyTorch knows its derivative to the second only."""
    x, q = _operands(input, other)
    if state.grad and x.requires_grad:
        raise NotImplementedError("the derivative for 'zeta' is not implemented.")
    shape = public.broadcast_shapes(tuple(x.shape), tuple(q.shape))
    return wrap(record("zeta", (x.expand(shape)._read(), q.expand(shape)._read())))


for _name, _function in (("xlog1py", _xlog1py), ("entr", _entr), ("ndtr", _ndtr), ("zeta", _zeta)):
    globals()[_name] = _public(_name, _function)
for _name in (
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0", "modified_bessel_i1",
    "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0",
):  # fmt: skip
    globals()[_name] = _public(_name, getattr(bessel, _name))
globals().update({name: _public(name, function) for name, function in bessel.POLYNOMIALS.items()})
