"""Sampling: random numbers as values of a program, drawn on the host or computed on the GPU, and drawn anew where it is replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..dialects.errors import LaminaError
from ..dialects.types import DType, dtype_of, size_of
from . import draws, native_draws, philox, recorder
from .node import Node
from .origin import origin, source_line
from .placement import asked, gpu_leaf, meta_leaf, placed_on_gpu
from .promote import cast
from .random import Generator, engine_of, sequence_of
from .size import META
from .tensor import Tensor, wrap


def drawn(
    shape: Iterable[int], draw: Callable[[int], np.ndarray], anywhere: bool = False, *, where: Any = None,
    there: Callable[[tuple[int, ...]], Node] | None = None, said: tuple[Draw, tuple[float, ...]] | None = None,
) -> Node:  # fmt: skip
    """Random numbers as a value: ``draw(n)`` gives n of them. Inside of vmap its ``randomness`` says for whom.

    anywhere: they belong to an operation, and are on the device where that is. where: the device they are for; on a GPU
    ``there(shape)`` computes them, if it is given, else they are sent there. said: what they are, so that a recorded program can draw others.
    """
    recorder.state.asked += 1
    if recorder.state.noted is not None and said is None:
        recorder.state.noted.append(None)
    where = where if anywhere else asked(where)
    on_gpu = where is not None and where.type == "cuda"

    def make(whole: tuple[int, ...]) -> Node:
        if where is META:
            return meta_leaf((whole, dtype_of(draw(0))))
        if on_gpu and there is not None:
            return placed_on_gpu(there(whole))
        array = draw(size_of(whole))
        if array.shape != whole:
            array = array.reshape(whole)
        if recorder.state.draws is not None:
            return drawn_anew(array, said)
        if on_gpu:
            return gpu_leaf(array)
        return recorder.constant(array, (whole, dtype_of(array))) if anywhere else recorder.leaf(array, (whole, dtype_of(array)))

    if not recorder.state.levels:
        return make(tuple(shape))
    return recorder.batches().sample(tuple(shape), make)


def drawn_anew(array: np.ndarray, said: tuple[Draw, tuple[float, ...]] | None) -> Node:
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
    before = recorder.state.asked
    node = _sample(draw, shape, dtype, numbers, generator, where, anywhere)
    noted, told = recorder.state.noted, recorder.state.told
    if noted is not None or told is not None:
        options, again = {"where": where, "anywhere": anywhere}, generator is None and node.value is not None
        found = Drawn(draw, shape, dtype, numbers, options, node, recorder.state.asked - before) if again else None
        for notes in (noted, told):
            if notes is not None:
                notes.append(found)
    return node


def _sample(
    draw: Draw, shape: tuple[int, ...], dtype: DType, numbers: tuple[float, ...], generator: Generator | None, where: Any, anywhere: bool
) -> Node:
    state = recorder.state
    if where is None and not anywhere and state.placement is None and not state.levels and state.draws is None:
        state.asked += 1
        array = draw.host(engine_of(generator), size_of(shape), dtype.numpy, *numbers)
        return recorder.leaf(array if array.shape == shape else array.reshape(shape), (shape, dtype), state.origin(3))
    return drawn(
        shape, lambda n: draw.host(engine_of(generator), n, dtype.numpy, *numbers), anywhere, where=where,
        there=lambda whole: philox.drawn_from(sequence_of(generator), draw.name, draw.gpu, whole, dtype, numbers), said=(draw, numbers),
    )  # fmt: skip


_OFTEN = 1024  # draws after which more are expected


class Redraw:
    """A call that drew random numbers and did nothing else, made again: its tensor. few: what draws them in C. times: how often it was made."""

    __slots__ = ("drawn", "type", "few", "times")

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn._replace(leaf=None)
        self.type = drawn.shape, drawn.dtype
        self.few: Callable[[int, int], np.ndarray] | None = None
        self.times = 0

    def __call__(self) -> Tensor:
        """Numbers drawn now, by the default generator."""
        state, few = recorder.state, self.few
        if few is None or state.draws is not None or state.noted is not None or state.told is not None:
            return self._in_full()
        return state.holding(engine_of(None).draw_with(few), self.type, None)

    def _in_full(self) -> Tensor:
        draw, shape, dtype, numbers, options, _, _ = self.drawn
        self.times += 1
        if self.times % native_draws.TRIED_AGAIN == 0 and self.few is None:
            if not recorder.state.quick and self.times >= _OFTEN:
                recorder.quicken()
            self.few = native_draws.few(draw.name, shape, dtype.numpy, numbers)
        return wrap(sample(draw, shape, dtype, *numbers, **options))


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
