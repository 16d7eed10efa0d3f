"""Random tensors: new ones of a distribution, and draws whose chances, rates and weights are tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects.types import DTYPES, DType, bool_, part_of
from . import draws, recorder
from .assignment import title
from .creation import full, of_array
from .definitions import define
from .doubts import refuse_where
from .placement import placed
from .promote import Defaults, cast, untouched
from .random import Generator, engine_of
from .sampling import BERNOULLI, EXPONENTIAL, INTEGERS, NORMAL, UNIFORM, drawn, drawn_anew, sample
from .strides import is_ordered, like
from .tensor import Tensor, wrap


def _tracked(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


def _shape(sizes: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    if size is None:
        if len(sizes) == 1 and type(sizes[0]) is int and sizes[0] >= 0:
            return sizes
        size = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], (int, np.integer, Tensor)) else sizes
    shape = tuple([int(n) for n in ((size,) if isinstance(size, int) else size)])
    if shape and min(shape) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


NO_CHANCES = "probability tensor contains either `inf`, `nan` or element < 0"
ALL_ZERO = "invalid multinomial distribution (sum of probabilities <= 0)"
HALF_DEVIATION = 0.5**0.5
"""Of each part of a complex number of variance 1."""


def floating(dtype: DType | None, what: str) -> DType:
    """A floating dtype, the default one if None. NotImplementedError, as PyTorch words it for its kernel `what`, for others."""
    dtype = Defaults.dtype if dtype is None else dtype
    if not dtype.is_floating_point:
        raise NotImplementedError(f'"{what}" not implemented for \'{title(dtype)}\'')
    return dtype


def _independent(kind: Any, shape: tuple[int, ...], dtype: DType | None, what: str, generator: Any, where: Any) -> Tensor:
    """A new tensor of draws; of complex numbers, real and imaginary part one after the other."""
    if dtype is None or not dtype.is_complex:
        return wrap(sample(kind, shape, floating(dtype, what), generator=generator, where=where))
    parts = wrap(sample(kind, (*shape, 2), part_of(dtype), generator=generator, where=where))
    return wrap(cast((parts * HALF_DEVIATION if kind is NORMAL else parts)._through(("from_parts", (dtype,)))._read(), dtype))


@define("rand", method=False)
def rand(
    *sizes: Any, size: Any = None, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform in [0, 1); so are both parts of complex numbers."""
    return _tracked(_independent(UNIFORM, _shape(sizes, size), dtype, "check_uniform_bounds", generator, device), requires_grad)


@define("randn", method=False)
def randn(
    *sizes: Any, size: Any = None, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Standard normal; both parts of complex numbers have half the variance."""
    return _tracked(_independent(NORMAL, _shape(sizes, size), dtype, "normal_kernel_cpu", generator, device), requires_grad)


@define("randint", method=False)
def randint(
    *args: Any, low: int = 0, high: int | None = None, size: Any = None, generator: Generator | None = None,
    dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``."""
    numbers = list(args)
    if numbers and size is None:
        size = numbers.pop()
    if len(numbers) == 2:
        low, high = numbers
    elif len(numbers) == 1:
        high, low = (numbers[0], low) if high is None else (high, numbers[0])
    if high is None or size is None:
        raise TypeError("randint() needs high and size")
    low, high = int(low), int(high)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    shape = _shape((), size)
    made = sample(INTEGERS, shape, dtype or DTYPES["int64"], low, high, generator=generator, where=device)
    return _tracked(wrap(made), requires_grad)


@define("randperm", method=False)
@placed
def randperm(
    n: int, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The integers below n in random order."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    kind, n = (dtype or DTYPES["int64"]).numpy, int(n)

    def draw(count: int) -> np.ndarray:
        rows = [draws.permutation(engine_of(generator), n) for _ in range(count // n if n else 0)]
        return np.concatenate(rows or [np.zeros(0)]).astype(kind)

    return _tracked(wrap(drawn((n,), draw)), requires_grad)


@define("rand_like", method=False)
@placed
def rand_like(
    input: Tensor, *, dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Uniform in [0, 1), of the input's shape and dtype."""
    made = like(input, lambda shape: rand(size=shape, dtype=dtype or input.dtype, device=device))
    return made.requires_grad_() if requires_grad else made


@define("randn_like", method=False)
@placed
def randn_like(
    input: Tensor, *, dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Standard normal, of the input's shape and dtype."""
    kind = dtype or input.dtype
    made = like(input, lambda shape: full(shape, 0, dtype=kind, device=device)) if is_ordered(input) else None
    if made is not None and made._chain:
        made.normal_()  # drawn one after the other, as PyTorch does where memory is not row-major
    else:
        made = randn(size=tuple(input.shape), dtype=kind, device=device)
    return _tracked(made, requires_grad)


@define("randint_like", method=False)
@placed
def randint_like(input: Tensor, *bounds: int, dtype: DType | None = None, memory_format: Any = None, **options: Any) -> Tensor:
    """Integers in [low, high), of the input's shape and dtype."""
    return like(input, lambda shape: randint(*bounds, size=shape, dtype=dtype or input.dtype, **options))


@define("normal", method=False)
def normal(
    mean: Tensor | float = 0.0, std: Tensor | float = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with means and deviations given per element or for all."""
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if size is not None:
        shape, kind = _shape((), size), floating(dtype, "normal_kernel_cpu")
        return _tracked(wrap(sample(NORMAL, shape, kind, float(mean), float(std), generator=generator, where=device)), requires_grad)
    like = mean if isinstance(mean, Tensor) else std
    if not isinstance(like, Tensor):
        raise TypeError("normal() needs a size when mean and std are numbers")
    shape = np.broadcast_shapes(*[tuple(t.shape) for t in (mean, std) if isinstance(t, Tensor)])
    noise = wrap(sample(NORMAL, shape, like.dtype, generator=generator, where=like.device, anywhere=True))
    drawn = noise * (std.detach() if isinstance(std, Tensor) else std) + (mean.detach() if isinstance(mean, Tensor) else mean)
    for given in (mean, std):  # draws follow neither: gradients are 0
        if isinstance(given, Tensor) and given.requires_grad and recorder.state.grad:
            everywhere = recorder.record("full", (), (shape, True, bool_))
            drawn = wrap(recorder.record("select", (everywhere, drawn._read(), given.to(drawn.dtype).expand(shape)._read())))
    return drawn


@define("bernoulli")
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability each element (or p) gives, else 0."""
    if p is not None:
        chance = probability(p)
        hits = sample(
            BERNOULLI, input.shape, input.dtype, chance, generator=generator, where=input.device, anywhere=True
        )
    elif input.is_cuda:  # nobody waits for the chances
        hits = cast((_beside(input, UNIFORM, generator) < input)._read(), input.dtype)
    else:
        chances, kind = chances_of(input), input.dtype.numpy

        def draw(n: int) -> np.ndarray:
            each = np.ascontiguousarray(np.broadcast_to(chances, (n // max(chances.size, 1), *chances.shape)))
            return draws.bernoulli_each(engine_of(generator), each).astype(kind)

        hits = drawn(input.shape, draw, True)
    return wrap(untouched(hits, input._read()))


def _beside(input: Tensor, draw: Any, generator: Generator | None, *numbers: float) -> Tensor:
    """Numbers of a distribution, one for each element, where the tensor is; in float32 at least, which tells enough of them apart."""
    dtype = input.dtype if input.dtype.numpy.itemsize >= 4 else DTYPES["float32"]
    return wrap(sample(draw, input.shape, dtype, *numbers, generator=generator, where=input.device, anywhere=True))


def probability(p: float) -> float:
    """A chance. RuntimeError outside of 0 to 1."""
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return p


def chances_of(p: Tensor) -> np.ndarray:
    """A tensor's elements, each a chance. RuntimeError outside of 0 to 1."""
    values = np.asarray(p._value())
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return values


@define("poisson", method=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers with the rate each element gives. RuntimeError for negative rates."""
    rates = np.asarray(input._value())
    if rates.size and not rates.min() >= 0:
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    made = drawn(input.shape, lambda _: draws.poisson(engine_of(generator), rates.astype(np.float64)).astype(rates.dtype), where=input.device)
    return wrap(untouched(made, input._read()))


def gamma_numbers(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of rate 1, at least the smallest normal number."""

    def draw(_: int) -> np.ndarray:
        made = draws.gamma(engine_of(generator), shapes).astype(shapes.dtype)
        return np.maximum(made, np.finfo(shapes.dtype).tiny)

    shapes = np.asarray(concentration._value())
    return wrap(untouched(drawn(concentration.shape, draw, where=concentration.device), concentration._read()))


def dirichlet_numbers(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers, drawn in double precision, as shares of their sum along the last dimension."""

    def draw(_: int) -> np.ndarray:
        made = draws.gamma(engine_of(generator), shapes.astype(np.float64))
        shares = (made / made.sum(-1, keepdims=True)).astype(shapes.dtype)
        below_one = np.nextafter(np.ones((), shapes.dtype), shapes.dtype.type(0))
        return np.clip(shares, np.finfo(shapes.dtype).tiny, below_one)

    shapes = np.asarray(concentration._value())
    return wrap(untouched(drawn(concentration.shape, draw, where=concentration.device), concentration._read()))


@define("binomial", method=False)
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes among ``count`` trials of chance ``prob``."""
    trials, chances = [np.asarray(t._value()) for t in (count, prob)]
    shape = np.broadcast_shapes(trials.shape, chances.shape)
    made = drawn(shape, lambda _: draws.binomial(engine_of(generator), trials, chances).astype(trials.dtype), where=prob.device)
    return wrap(made)


@define("multinomial")
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Indices drawn with the weights of each row, int64[..., num_samples]."""
    if input.dim() not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if input.dtype.kind != "f":
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {title(input.dtype)}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if input.is_cuda and (num_samples == 1 or not replacement):  # nobody waits for the weights
        weights = input.detach()
        refuse_where((~((weights >= 0) & (weights < np.inf)))._read(), lambda: RuntimeError(NO_CHANCES))
        refuse_where((weights.sum(-1) <= 0)._read(), lambda: RuntimeError(ALL_ZERO))
        waits = _beside(input, EXPONENTIAL, generator, 1.0)  # of rate 1: weight / wait is largest where a wait of rate weight is shortest
        return (weights / waits.clamp(min=float(np.finfo(np.float32).tiny))).topk(num_samples)[1]
    weights = np.atleast_2d(np.asarray(input._value()))
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise RuntimeError(NO_CHANCES)
    if (weights.sum(1) <= 0).any():
        raise RuntimeError(ALL_ZERO)
    if recorder.state.draws is not None:
        drawn_anew(weights, None)
    picked = draws.multinomial(engine_of(generator), weights, num_samples, replacement)
    picked = picked[0] if input.dim() == 1 else picked
    return of_array(picked, like=input)
