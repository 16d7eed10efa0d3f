"""torch's random numbers: generators, seeding, random tensors and in-place draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..dialects.errors import LaminaError
from ..dialects.types import DTYPES, DType, bool_, dtype_of, part_of, size_of
from . import draws, philox, recorder
from .assignment import check_in_place, store, title
from .definitions import define
from .mersenne import Engine, fresh_seed
from .node import Node
from .origin import origin, source_line
from .promote import Defaults, cast, untouched
from .philox import Sequence
from .placement import asked, meta_leaf, placed, placed_on_gpu
from .size import META, device, require
from .strides import like
from .tensor import Tensor, wrap


class Generator:
    """A source of random numbers with a state of its own."""

    def __init__(self, device: Any = "cpu") -> None:
        self._device = require(device)
        self.engine = Engine(67280421310721)  # PyTorch's default seed
        self.sequence = Sequence(67280421310721)  # of tensors on the GPU

    @property
    def device(self) -> device:
        """For tensors on which device."""
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence of `seed`."""
        self.engine.reseed(int(seed))
        self.sequence.reseed(int(seed))
        return self

    def seed(self) -> int:
        """Start a sequence nobody can guess; gives its seed."""
        return self.manual_seed(fresh_seed()).initial_seed()

    def initial_seed(self) -> int:
        """The seed the sequence started from."""
        return self.engine.initial_seed

    def get_state(self) -> Tensor:
        """The whole state, uint8[5056]; uint8[16] for the GPU."""
        return _tensor(self.engine.state() if self._device.type == "cpu" else self.sequence.state())

    def set_state(self, new_state: Tensor) -> None:
        """Go on from a state."""
        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        state = np.asarray(new_state._value())
        if self._device.type == "cpu":
            self.engine.restore(state)
        else:
            self.sequence.restore(state)

    def clone_state(self) -> Generator:
        """Another generator that goes on from here."""
        clone = Generator(self._device)
        clone.engine.restore(self.engine.state())
        clone.sequence.restore(self.sequence.state())
        return clone


default_generator = Generator().manual_seed(fresh_seed())


def _engine(generator: Generator | None) -> Engine:
    return default_generator.engine if generator is None else generator.engine


def _sequence(generator: Generator | None) -> Sequence:
    return default_generator.sequence if generator is None else generator.sequence


def _tensor(array: np.ndarray, requires_grad: bool = False) -> Tensor:
    return _tracked(wrap(_leaf(array)), requires_grad)


def _tracked(made: Tensor, requires_grad: bool) -> Tensor:
    return made.requires_grad_() if requires_grad else made


def _leaf(array: np.ndarray) -> Node:
    return recorder.leaf(array, (array.shape, dtype_of(array)))


def drawn(
    shape: Iterable[int], draw: Callable[[int], np.ndarray], anywhere: bool = False, *, where: Any = None,
    there: Callable[[tuple[int, ...]], Node] | None = None, said: tuple[Draw, tuple[float, ...]] | None = None,
) -> Node:  # fmt: skip
    """Random numbers as a value: ``draw(n)`` gives n of them. Inside of vmap its ``randomness`` says for whom.

    anywhere: they belong to an operation, and are on the device where that is. where: the device they are for; on a GPU
    ``there(shape)`` computes them, if it is given. said: what they are, so that a recorded program can draw others.
    """
    if recorder.state.noted is not None and said is None:
        recorder.state.noted.append(None)
    where = where if anywhere else asked(where)
    on_gpu = there is not None and where is not None and where.type == "cuda"

    def make(whole: tuple[int, ...]) -> Node:
        if where is META:
            return meta_leaf((whole, dtype_of(draw(0))))
        if on_gpu:
            return placed_on_gpu(there(whole))
        array = draw(size_of(whole))
        if array.shape != whole:
            array = array.reshape(whole)
        if recorder.state.draws is not None:
            return _drawn_anew(array, said)
        return recorder.constant(array, (whole, dtype_of(array))) if anywhere else _leaf(array)

    if not recorder.state.levels:
        return make(tuple(shape))
    return recorder.batches().sample(tuple(shape), make)


def _drawn_anew(array: np.ndarray, said: tuple[Draw, tuple[float, ...]] | None) -> Node:
    """Numbers a recorded program draws each time it is called: they have no value while it is recorded. LaminaError for numbers
    that can only be drawn on the way."""
    if said is None:
        raise LaminaError(
            "a program of its own cannot draw random numbers of this kind", at=source_line(origin()),
            help="give them to the model as an argument; uniform, normal, exponential numbers, integers and dropout can be drawn",
        )  # fmt: skip
    leaf = recorder.leaf(array, (array.shape, dtype_of(array)))
    assert recorder.state.draws is not None
    recorder.state.draws.append((leaf.value, said[0].name, said[1]))
    node = recorder.alias(leaf)
    node.value = None
    return node


class Draw(NamedTuple):
    """One distribution: n numbers drawn on the host, or those of a shape computed on the GPU."""

    name: str
    host: Callable[..., np.ndarray]  # (engine, n, numpy's dtype, *numbers)
    gpu: Callable[..., Node]  # (sequence, shape, dtype, *numbers)


class Drawn(NamedTuple):
    """Numbers that were drawn, to be drawn anew. asks: see `doubts.Look`."""

    draw: Draw
    shape: tuple[int, ...]
    dtype: DType
    numbers: tuple[float, ...]
    options: dict[str, Any]
    leaf: Any
    asks: int = 0


UNIFORM = Draw("uniform", draws.uniform, philox.uniform)
NORMAL = Draw("normal", draws.normal, philox.normal)
SCATTERED_NORMAL = Draw("scattered_normal", lambda *given: draws.normal(*given, is_contiguous=False), philox.normal)
BERNOULLI = Draw(
    "bernoulli",
    draws.mask,
    lambda sequence, shape, dtype, p: cast(philox.bernoulli(sequence, shape, p), dtype),
)
INTEGERS = Draw(
    "integers",
    lambda engine, n, kind, low, high: draws.integers(engine, n, low, high).astype(kind, copy=False),
    lambda sequence, shape, dtype, low, high: cast(philox.integers(sequence, shape, low, high), dtype),
)
EXPONENTIAL = Draw("exponential", draws.exponential, philox.exponential)
KEPT = Draw("kept", draws.kept, philox.kept)
DRAWS = {draw.name: draw for draw in (UNIFORM, NORMAL, SCATTERED_NORMAL, BERNOULLI, INTEGERS, EXPONENTIAL, KEPT)}
"""By name: what recorded programs may draw."""


def sample(
    draw: Draw, shape: Iterable[int], dtype: DType, *numbers: float, generator: Generator | None = None, where: Any = None,
    anywhere: bool = False,
) -> Node:  # fmt: skip
    """Numbers of a distribution, drawn where the device is."""
    shape = tuple(shape)
    node = _sample(draw, shape, dtype, numbers, generator, where, anywhere)
    noted = recorder.state.noted
    if noted is not None:
        options = {"where": where, "anywhere": anywhere}
        noted.append(Drawn(draw, shape, dtype, numbers, options, node) if generator is None and node.value is not None else None)
    return node


def _sample(
    draw: Draw, shape: tuple[int, ...], dtype: DType, numbers: tuple[float, ...], generator: Generator | None, where: Any, anywhere: bool
) -> Node:
    state = recorder.state
    if where is None and not anywhere and state.placement is None and not state.levels and state.draws is None:
        array = draw.host(_engine(generator), size_of(shape), dtype.numpy, *numbers)
        return recorder.leaf(array if array.shape == shape else array.reshape(shape), (shape, dtype), state.origin(3))
    return drawn(
        shape, lambda n: draw.host(_engine(generator), n, dtype.numpy, *numbers), anywhere, where=where,
        there=lambda whole: draw.gpu(_sequence(generator), whole, dtype, *numbers), said=(draw, numbers),
    )  # fmt: skip


def manual_seed(seed: int) -> Generator:
    """Seed all random numbers."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed all random numbers with something nobody can guess."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed in force."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """State of the default generator, uint8[5056]."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator into a state."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """Random numbers drawn inside do not count outside."""
    state = default_generator.engine.state()
    try:
        yield
    finally:
        if enabled:
            default_generator.engine.restore(state)


# -- new tensors ------------------------------------------------------------------------------------------------


def _shape(sizes: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    if size is None:
        if len(sizes) == 1 and type(sizes[0]) is int and sizes[0] >= 0:
            return sizes
        size = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], (int, np.integer, Tensor)) else sizes
    shape = tuple([int(n) for n in ((size,) if isinstance(size, int) else size)])
    if shape and min(shape) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


_HALF_DEVIATION = 0.5**0.5  # of each part of a complex number of variance 1


def _float(dtype: DType | None, what: str) -> DType:
    dtype = Defaults.dtype if dtype is None else dtype
    if not dtype.is_floating_point:
        raise NotImplementedError(f'"{what}" not implemented for \'{title(dtype)}\'')
    return dtype


def _independent(kind: Any, shape: tuple[int, ...], dtype: DType | None, what: str, generator: Any, where: Any) -> Tensor:
    """A new tensor of draws; of complex numbers, real and imaginary part one after the other."""
    if dtype is None or not dtype.is_complex:
        return wrap(sample(kind, shape, _float(dtype, what), generator=generator, where=where))
    parts = wrap(sample(kind, (*shape, 2), part_of(dtype), generator=generator, where=where))
    return wrap(cast((parts * _HALF_DEVIATION if kind is NORMAL else parts)._through(("from_parts", (dtype,)))._read(), dtype))


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
        rows = [draws.permutation(_engine(generator), n) for _ in range(count // n if n else 0)]
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
    made = like(input, lambda shape: randn(size=shape, dtype=dtype or input.dtype, device=device))
    return made.requires_grad_() if requires_grad else made


@define("randint_like", method=False)
@placed
def randint_like(input: Tensor, *bounds: int, dtype: DType | None = None, **options: Any) -> Tensor:
    """Integers in [low, high), of the input's shape and dtype."""
    return like(input, lambda shape: randint(*bounds, size=shape, dtype=dtype or input.dtype, **options))


@define("normal", method=False)
@placed
def normal(
    mean: Tensor | float = 0.0, std: Tensor | float = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with means and deviations given per element or for all."""
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if size is not None:
        shape, kind = _shape((), size), _float(dtype, "normal_kernel_cpu")
        return _tracked(wrap(sample(NORMAL, shape, kind, float(mean), float(std), generator=generator)), requires_grad)
    like = mean if isinstance(mean, Tensor) else std
    if not isinstance(like, Tensor):
        raise TypeError("normal() needs a size when mean and std are numbers")
    shape = np.broadcast_shapes(*[tuple(t.shape) for t in (mean, std) if isinstance(t, Tensor)])
    noise = wrap(sample(NORMAL, shape, like.dtype, generator=generator, anywhere=True))
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
        chance = _probability(p)
        hits = sample(
            BERNOULLI, input.shape, input.dtype, chance, generator=generator, where=input.device, anywhere=True
        )
    else:
        chances, kind = _chances(input), input.dtype.numpy

        def draw(n: int) -> np.ndarray:
            each = np.ascontiguousarray(np.broadcast_to(chances, (n // max(chances.size, 1), *chances.shape)))
            return draws.bernoulli_each(_engine(generator), each).astype(kind)

        hits = drawn(input.shape, draw, True)
    return wrap(untouched(hits, input._read()))


def _probability(p: float) -> float:
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return p


def _chances(p: Tensor) -> np.ndarray:
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
    made = drawn(input.shape, lambda _: draws.poisson(_engine(generator), rates.astype(np.float64)).astype(rates.dtype))
    return wrap(untouched(made, input._read()))


def gamma_numbers(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of rate 1, at least the smallest normal number."""

    def draw(_: int) -> np.ndarray:
        made = draws.gamma(_engine(generator), shapes).astype(shapes.dtype)
        return np.maximum(made, np.finfo(shapes.dtype).tiny)

    shapes = np.asarray(concentration._value())
    return wrap(untouched(drawn(concentration.shape, draw), concentration._read()))


def dirichlet_numbers(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers, drawn in double precision, as shares of their sum along the last dimension."""

    def draw(_: int) -> np.ndarray:
        made = draws.gamma(_engine(generator), shapes.astype(np.float64))
        shares = (made / made.sum(-1, keepdims=True)).astype(shapes.dtype)
        below_one = np.nextafter(np.ones((), shapes.dtype), shapes.dtype.type(0))
        return np.clip(shares, np.finfo(shapes.dtype).tiny, below_one)

    shapes = np.asarray(concentration._value())
    return wrap(untouched(drawn(concentration.shape, draw), concentration._read()))


@define("binomial", method=False)
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes among ``count`` trials of chance ``prob``."""
    trials, chances = [np.asarray(t._value()) for t in (count, prob)]
    shape = np.broadcast_shapes(trials.shape, chances.shape)
    made = drawn(shape, lambda _: draws.binomial(_engine(generator), trials, chances).astype(trials.dtype))
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
    weights = np.atleast_2d(np.asarray(input._value()))
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if recorder.state.draws is not None:
        _drawn_anew(weights, None)
    picked = draws.multinomial(_engine(generator), weights, num_samples, replacement)
    return _tensor(picked[0] if input.dim() == 1 else picked)


# -- in place ---------------------------------------------------------------------------------------------------


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


def memory_order(tensor: Tensor) -> list[int]:
    """Dimensions from the outermost to the innermost in memory: numbers are drawn along it."""
    if not tensor._chain or recorder.state.levels:
        return list(range(tensor.dim()))
    return sorted(range(tensor.dim()), key=lambda d: -tensor.stride(d))


def in_order(node: Node, order: list[int]) -> Node:
    """What was drawn along memory, as the tensor's dimensions have it."""
    if order == sorted(order):
        return node
    return recorder.record("permute", (node,), (tuple([order.index(d) for d in range(len(order))]),))


@define("uniform_", function=False)
def uniform_(input: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None, **ends: float) -> Tensor:
    """Fill with uniform numbers in [from, to)."""
    low, high = float(ends.get("from", a)), float(ends.get("to", b))
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    if input.dtype.is_complex:
        uniform_(input._through(("as_parts", (part_of(input.dtype),))), low, high, generator=generator)
        return input
    _float(input.dtype, "check_uniform_bounds")
    return _sampled(input, UNIFORM, generator, low, high)


@define("normal_", function=False)
def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers."""
    if std < 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if input.dtype.is_complex:
        normal_(input._through(("as_parts", (part_of(input.dtype),))), mean, std * _HALF_DEVIATION, generator=generator)
        return input
    _float(input.dtype, "normal_kernel_cpu")
    whole = not input._chain or input.is_contiguous()
    return _sampled(input, NORMAL if whole else SCATTERED_NORMAL, generator, mean, std)


@define("bernoulli_", function=False)
def bernoulli_(input: Tensor, p: Tensor | float = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 0 and 1."""
    if isinstance(p, Tensor):
        spread = np.broadcast_to(_chances(p), input.shape).transpose(memory_order(input))
        chances = np.ascontiguousarray(spread)
        return _fill(input, lambda _: draws.bernoulli_each(_engine(generator), chances))
    return _sampled(input, BERNOULLI, generator, _probability(p))


@define("random_", function=False)
def random_(input: Tensor, *bounds: int, generator: Generator | None = None, **ends: int) -> Tensor:
    """Fill with integers: all the dtype holds, below `to`, or in [from, to)."""
    engine = _engine(generator)
    low = ends.get("from", bounds[0] if len(bounds) == 2 else 0)
    high = ends.get("to", bounds[-1] if bounds else None)
    if high is None:
        return _fill(input, lambda n: draws.any_integers(engine, n, input.dtype.numpy))
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return _sampled(input, INTEGERS, generator, int(low), int(high))


@define("exponential_", function=False)
def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponential numbers of rate lambd."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _sampled(input, EXPONENTIAL, generator, lambd)


@define("geometric_", function=False)
def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of trials up to the first success."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(input, lambda n: draws.geometric(_engine(generator), n, input.dtype.numpy, p))


@define("cauchy_", function=False)
def cauchy_(input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with Cauchy numbers."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return _fill(input, lambda n: draws.cauchy(_engine(generator), n, input.dtype.numpy, median, sigma))


@define("log_normal_", function=False)
def log_normal_(input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponentials of normal numbers."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return _fill(input, lambda n: draws.log_normal(_engine(generator), n, input.dtype.numpy, mean, std))
