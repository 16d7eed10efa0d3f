"""Philox: random numbers of tensors on the GPU, computed there from their own place.

Every draw of n numbers takes the next n places of a sequence; the seed and the first place are numbers of the program's run, so
the program is the same for every draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..dialects.types import DType, Shape, bool_, float32, int64, size_of
from . import recorder
from .node import Node
from .phrases import Phrases
from .promote import cast, expand, full
from .recorder import record

_WORD = 0xFFFFFFFF
_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
"""Random bits of a uniform number: as many as the dtype tells apart below 1."""


class Sequence:
    """A seed, and how many places were taken."""

    def __init__(self, seed: int = 0) -> None:
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the sequence of a seed."""
        self.seed, self.taken = seed & (1 << 64) - 1, 0

    def state(self) -> np.ndarray:
        """The seed and the places taken, uint8[16]."""
        return np.array([self.seed, self.taken], np.uint64).view(np.uint8)

    def restore(self, state: np.ndarray) -> None:
        """Go on from a state. RuntimeError for one of another size."""
        if state.dtype != np.uint8 or state.size != 16:
            raise RuntimeError(f"RNG state is wrong size: expected 16 bytes, got {state.size} of {state.dtype}")
        self.seed, self.taken = (int(n) for n in np.ascontiguousarray(state).view(np.uint64))

    def words(self, shape: Shape) -> Node:
        """64 random bits per element, int64."""
        return words_at(*self.next(size_of(shape)), shape)

    def next(self, count: int) -> tuple[Node, Node]:
        """First place and key of this many words, which are taken: int64, a number each."""
        if recorder.state.captured is not None:
            raise RuntimeError(
                "numbers of this generator are drawn while a CUDA graph is captured, and every replay would draw the same ones: "
                "call register_generator_state(generator) of the CUDAGraph before"
            )
        key, first = self.place()
        self.skip(count)
        return _number(first), _number(key)

    def place(self) -> np.ndarray:
        """Key and next place as programs take them, int64[2]."""
        first = (self.taken + (self.seed >> 32 << 32)) & (1 << 64) - 1
        return np.array([self.seed & _WORD, first], np.uint64).view(np.int64)

    def skip(self, count: int) -> None:
        """Leave out this many places."""
        self.taken = (self.taken + count) & _WORD


class Places(Sequence):
    """A sequence whose key and next place are values of the program. state: of both, int64[2]."""

    def __init__(self, state: Node) -> None:
        super().__init__()
        self.key, self.first = (record("slice", (state,), ((i,), (1,), (1,))) for i in (0, 1))

    def next(self, count: int) -> tuple[Node, Node]:
        """First place and key of this many words, which are taken: int64, an element each."""
        first = record("add", (self.first, full(self.taken, (1,), int64)))
        self.taken += count
        return first, self.key

    def moved(self) -> Node:
        """Key and place behind all that were taken."""
        return record("concat", (self.key, record("add", (self.first, full(self.taken, (1,), int64)))), (0,))


class _Next(Sequence):
    """Words from a place that is given."""

    def __init__(self, first: Node, key: Node) -> None:
        super().__init__()
        self.given = first, key

    def next(self, count: int) -> tuple[Node, Node]:
        """What was given."""
        return self.given


_DRAWS = Phrases()


def drawn_from(sequence: Sequence, name: str, draw: Callable[..., Node], shape: Shape, dtype: DType, numbers: tuple[float, ...]) -> Node:
    """``draw(sequence, shape, dtype, *numbers)``, which asks for words of this shape, as one phrase of a place and a key. name: of the draw."""
    given = sequence.next(size_of(shape))
    key = name, tuple(shape), dtype, tuple([repr(n) for n in numbers])
    return _DRAWS.recorded(key, given, lambda first, key: (draw(_Next(first, key), shape, dtype, *numbers),))[0]


def words_at(first: Node, key: Node, shape: Shape) -> Node:
    """The words of a key from a place on, both of one element."""
    flat = (size_of(shape),)
    first, key = (expand(record("reshape", (n,), ((1,),)) if n.type[0] != (1,) else n, flat) for n in (first, key))
    place = record("add", (record("iota", (), (flat, 0, int64)), first))
    return record("reshape", (record("philox", (place, key)),), (tuple(shape),))


def _number(value: np.int64) -> Node:
    """A number of this run, sent along to the GPU."""
    made = recorder.constant(np.array(value), ((), int64))
    if recorder.state.placement is not None:
        recorder.state.placement.send(made)
    return made


def _low(words: Node) -> Node:
    return record("bitwise_and", (words, full(_WORD, *words.type)))


def _high(words: Node) -> Node:
    return _low(record("shift_right", (words, full(32, *words.type))))


def _unit(word: Node, dtype: DType, bits: int, of: int) -> Node:
    """The first bits of a word of `of` bits as a number in [0, 1)."""
    kept = record("bitwise_and", (record("shift_right", (word, full(of - bits, *word.type))), full((1 << bits) - 1, *word.type)))
    number = cast(kept, dtype)
    return record("mul", (number, full(2.0**-bits, *number.type)))


def _scaled(number: Node, factor: float, start: float) -> Node:
    if factor != 1.0:
        number = record("mul", (number, full(factor, *number.type)))
    return record("add", (number, full(start, *number.type))) if start else number


def uniform(sequence: Sequence, shape: Shape, dtype: DType, low: float = 0.0, high: float = 1.0) -> Node:
    """Uniform in [low, high)."""
    words, bits = sequence.words(shape), _BITS[dtype.name]
    number = _unit(words, dtype, bits, 64) if bits > 32 else _unit(_low(words), dtype, bits, 32)
    return _scaled(number, high - low, low)


def normal(sequence: Sequence, shape: Shape, dtype: DType, mean: float = 0.0, std: float = 1.0) -> Node:
    """Normal, by both words of a place. Source: Box and Muller, A note on the generation of random normal deviates (1958)."""
    words = sequence.words(shape)
    kind = dtype if dtype.itemsize > 4 else float32
    radius = record("neg", (_unit(_low(words), kind, 24, 32),))
    radius = record("sqrt", (record("mul", (record("log1p", (radius,)), full(-2.0, *radius.type))),))
    angle = _unit(_high(words), kind, 24, 32)
    angle = record("mul", (angle, full(2.0 * math.pi, *angle.type)))
    return cast(_scaled(record("mul", (radius, record("cos", (angle,)))), std, mean), dtype)


def bernoulli(sequence: Sequence, shape: Shape, p: float) -> Node:
    """True with probability p."""
    if p >= 1.0:
        return full(True, tuple(shape), bool_)
    number = uniform(sequence, shape, float32)
    return record("less", (number, full(p, *number.type)))


def kept(sequence: Sequence, shape: Shape, dtype: DType, p: float) -> Node:
    """What dropout multiplies by: 1 / p with probability p, else 0."""
    return record("select", (bernoulli(sequence, shape, p), full(1 / p, tuple(shape), dtype), full(0.0, tuple(shape), dtype)))


def exponential(sequence: Sequence, shape: Shape, dtype: DType, rate: float = 1.0) -> Node:
    """Exponential numbers of a rate, by inversion."""
    kind = dtype if dtype.itemsize > 4 else float32
    number = record("neg", (uniform(sequence, shape, kind),))
    number = record("log1p", (number,))
    return cast(record("mul", (number, full(-1.0 / rate, *number.type))), dtype)


def integers(sequence: Sequence, shape: Shape, low: int, high: int) -> Node:
    """Integers in [low, high), int64: 32 random bits times the range, or 63 modulo a range of more."""
    words, span = sequence.words(shape), high - low
    if span <= 1 << 31:
        number = record("mul", (_low(words), full(span, *words.type)))
        number = record("shift_right", (number, full(32, *number.type)))
    else:
        positive = record("bitwise_and", (words, full((1 << 63) - 1, *words.type)))
        number = record("remainder", (positive, full(min(span, (1 << 63) - 1), *words.type)))
    return record("add", (number, full(low, *number.type))) if low else number
