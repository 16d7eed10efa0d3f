"""Random fills: a tensor's contents drawn anew, in place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..dialects.types import part_of
from . import draws, recorder
from .assignment import check_in_place, store, title
from .definitions import define
from .random import Generator, engine_of
from .random_tensors import HALF_DEVIATION, chances_of, floating, probability
from .sampling import BERNOULLI, EXPONENTIAL, INTEGERS, NORMAL, SCATTERED_NORMAL, UNIFORM, Draw, drawn, in_order, memory_order, sample
from .tensor import Tensor


def _fill(tensor: Tensor, draw: Callable[[int], np.ndarray]) -> Tensor:
    """Make values drawn on the host the contents of a tensor."""
    check_in_place(tensor)
    start = recorder.state.order
    kind = tensor.dtype.numpy
    order = memory_order(tensor)
    node = drawn([tensor.shape[d] for d in order], lambda n: draw(n).astype(kind, copy=False), anywhere=True, where=tensor.device)
    store(tensor, in_order(node, order), start)
    return tensor


def _sampled(tensor: Tensor, draw: Draw, generator: Generator | None, *numbers: float) -> Tensor:
    """Make numbers of a distribution the contents of a tensor."""
    check_in_place(tensor)
    start, order = recorder.state.order, memory_order(tensor)
    shape, where = [tensor.shape[d] for d in order], tensor.device
    made = sample(draw, shape, tensor.dtype, *numbers, generator=generator, where=where, anywhere=True)
    store(tensor, in_order(made, order), start)
    return tensor


@define("uniform_", function=False)
def uniform_(input: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None, **ends: float) -> Tensor:
    """Fill with uniform numbers in [from, to)."""
    low, high = float(ends.get("from", a)), float(ends.get("to", b))
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    if input.dtype.is_complex:
        uniform_(input._through(("as_parts", (part_of(input.dtype),))), low, high, generator=generator)
        return input
    floating(input.dtype, "check_uniform_bounds")
    return _sampled(input, UNIFORM, generator, low, high)


@define("normal_", function=False)
def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers."""
    if std < 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if input.dtype.is_complex:
        normal_(input._through(("as_parts", (part_of(input.dtype),))), mean, std * HALF_DEVIATION, generator=generator)
        return input
    floating(input.dtype, "normal_kernel_cpu")
    whole = not input._chain or input.is_contiguous()
    return _sampled(input, NORMAL if whole else SCATTERED_NORMAL, generator, mean, std)


@define("bernoulli_", function=False)
def bernoulli_(input: Tensor, p: Tensor | float = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 0 and 1."""
    if isinstance(p, Tensor):
        spread = np.broadcast_to(chances_of(p), input.shape).transpose(memory_order(input))
        chances = np.ascontiguousarray(spread)
        return _fill(input, lambda _: draws.bernoulli_each(engine_of(generator), chances))
    return _sampled(input, BERNOULLI, generator, probability(p))


@define("random_", function=False)
def random_(input: Tensor, *bounds: int, generator: Generator | None = None, **ends: int) -> Tensor:
    """Fill with integers: all the dtype holds, below `to`, or in [from, to)."""
    engine = engine_of(generator)
    low = ends.get("from", bounds[0] if len(bounds) == 2 else 0)
    high = ends.get("to", bounds[-1] if bounds else None)
    if high is None:
        return _fill(input, lambda n: draws.any_integers(engine, n, input.dtype.numpy))
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return _sampled(input, INTEGERS, generator, int(low), int(high))


def _check_continuous(input: Tensor, name: str) -> None:
    if input.dtype.kind != "f":
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {title(input.dtype)}"
        )


@define("exponential_", function=False)
def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponential numbers of rate lambd."""
    _check_continuous(input, "Exponential")
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _sampled(input, EXPONENTIAL, generator, lambd)


@define("geometric_", function=False)
def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of trials up to the first success."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(input, lambda n: draws.geometric(engine_of(generator), n, input.dtype.numpy, p))


@define("cauchy_", function=False)
def cauchy_(input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with Cauchy numbers."""
    _check_continuous(input, "Cauchy")
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return _fill(input, lambda n: draws.cauchy(engine_of(generator), n, input.dtype.numpy, median, sigma))


@define("log_normal_", function=False)
def log_normal_(input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponentials of normal numbers."""
    floating(input.dtype, "log_normal_cpu")
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return _fill(input, lambda n: draws.log_normal(engine_of(generator), n, input.dtype.numpy, mean, std))
