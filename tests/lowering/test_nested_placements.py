"""Placements of placements are one kernel: updates of a constant or of each other, what is put side by side and then padded."""

from __future__ import annotations

import random

import numpy as np
import pytest

from graphs import Recorder, inputs_for

from lamina.backends import oracle
from lamina.backends.executor import execute
from lamina.dialects.graph import Graph
from lamina.dialects.kernel import FusedOp
from lamina.dialects.text import verify
from lamina.dialects.types import float32
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.capture import capture
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.lowering.linalg_to_loops import LinalgToLoops
from lamina.passes.access import MOST_PLACED
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout
from lamina.passes.program import main_block


def kernels(graph: Graph, seed: int = 0) -> list[FusedOp]:
    """The kernels of a graph, which means the same at every level."""
    module = capture(graph)
    arrays = inputs_for(graph, seed)
    expected = oracle.evaluate(module, arrays)
    Fuse().run(module)
    ChooseLayout().run(module)
    verify(module)
    found = [op for op in main_block(module).ops if isinstance(op, FusedOp)]
    for step in (None, KernelToLinalg()):
        if step is not None:
            step.run(module)
        for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
            np.testing.assert_array_equal(a, b)
    Bufferize("avx512").run(module)
    LinalgToLoops("avx512").run(module)
    for a, b in zip(expected, execute(module, [a.copy() for a in arrays]), strict=True):
        np.testing.assert_array_equal(a, b)
    return found


def phases(r: Recorder, base: int, parts: list[int], shape: tuple[int, int]) -> int:
    for k, part in enumerate(parts):
        base = r("update", base, part, attrs=((0, k // 2, k % 2), (1, 2, 2)))
    return base


def test_phases_of_a_constant_are_one_kernel_and_the_constant_is_written_nowhere() -> None:
    r = Recorder()
    parts = [r.input((3, 8, 16)) for _ in range(4)]
    graph = r.graph(r("neg", phases(r, r.full((3, 16, 32), 0.0), parts, (16, 32))))
    module = capture(graph)
    Fuse().run(module)
    KernelToLinalg().run(module)
    assert "linalg.fill" not in str(module), "every place is written"
    assert len(kernels(graph)) == 2, "the phases, and what reads them"


@pytest.mark.parametrize(("to", "fills"), [((4, 6), 0), ((5, 6), 1), ((4, 7), 1)])
def test_windows_that_cover_everything_leave_nothing_to_fill(to: tuple[int, int], fills: int) -> None:
    r = Recorder()
    graph = r.graph(r("unwindow", r.input((3, 2, 2, 2, 3)), attrs=(to, (2, 3), (2, 3), (1, 1))))
    module = capture(graph)
    Fuse().run(module)
    KernelToLinalg().run(module)
    assert str(module).count("linalg.fill") == fills
    kernels(graph)


def test_a_constant_with_gaps_stays_where_nothing_is_written() -> None:
    r = Recorder()
    part = r.input((3, 8, 16))
    (kernel,) = kernels(r.graph(r("update", r.full((3, 16, 33), 7.0), part, attrs=((0, 1, 2), (1, 2, 2)))))
    assert len(kernel.operands) == 1


def test_what_is_put_side_by_side_and_padded_is_written_once() -> None:
    r = Recorder()
    a, b = r.input((2, 4, 6, 5)), r.input((2, 3, 6, 5))
    joined = r("concat", a, b, attrs=(1,))
    padded = r("pad", joined, attrs=((0, 0, 1, 1), (0, 0, 2, 1), (0, 0, 0, 0), 0.5))
    assert len(kernels(r.graph(padded))) == 1


def test_what_others_read_too_is_placed_in_two_kernels() -> None:
    r = Recorder()
    a, b = r.input((2, 4)), r.input((2, 3))
    joined = r("concat", a, b, attrs=(1,))
    padded = r("pad", joined, attrs=((0, 1), (0, 1), (0, 0), 0.0))
    assert len(kernels(r.graph(padded, joined))) == 2


def test_a_cropping_pad_is_a_kernel_of_its_own() -> None:
    r = Recorder()
    a, b = r.input((2, 4)), r.input((2, 3))
    joined = r("concat", a, b, attrs=(1,))
    assert len(kernels(r.graph(r("pad", joined, attrs=((0, -1), (0, 1), (0, 0), 0.0))))) == 2


def test_long_chains_of_updates_are_several_kernels() -> None:
    r = Recorder()
    base, part = r.input((3 * MOST_PLACED, 3)), r.input((1, 3))
    for k in range(3 * MOST_PLACED):
        base = r("update", base, part, attrs=((k, 0), (1, 1)))
    assert len(kernels(r.graph(base))) == 2 * MOST_PLACED, "the first ones are one"


@pytest.mark.parametrize("seed", range(40))
def test_random_placements_mean_the_same(seed: int) -> None:
    """Updates that overlap, over constants, inputs, pads and concats; interior and negative padding around them."""
    draw = random.Random(seed)
    r = Recorder()
    shape = tuple(draw.randint(2, 9) for _ in range(draw.randint(1, 3)))
    inner = tuple(draw.randint(1, n) for n in shape)
    parts = [r.input(tuple(draw.randint(1, (n + 1) // 2) for n in shape)) for _ in range(draw.randint(1, 4))]
    whole, small, half = r.input(shape), r.input(inner), r.input(shape)
    start = draw.choice(("full", "input", "pad", "concat"))
    if start == "full":
        base = r.full(shape, 2.5, float32)
    elif start == "input":
        base = whole
    elif start == "pad":
        low = tuple(draw.randint(0, n - m) for n, m in zip(shape, inner, strict=True))
        high = tuple(n - m - k for n, m, k in zip(shape, inner, low, strict=True))
        base = r("pad", small, attrs=(low, high, (0,) * len(shape), 1.5))
    else:
        base = r("concat", whole, half, attrs=(draw.randrange(len(shape)),))
    outputs = []
    for part in parts if start != "concat" else parts[:2]:
        sizes, room = r.types[part][0], r.types[base][0]
        step = tuple(draw.randint(1, max(1, (n - 1) // max(1, m - 1))) if m > 1 else 1 for n, m in zip(room, sizes, strict=True))
        first = tuple(draw.randint(0, n - (m - 1) * s - 1) for n, m, s in zip(room, sizes, step, strict=True))
        base = r("update", base, part, attrs=(first, step))
        if draw.random() < 0.2:
            outputs.append(base)
    if draw.random() < 0.6:
        rank = len(shape)
        low, high = ([draw.randint(-1, 2) for _ in range(rank)] for _ in range(2))
        base = r("pad", base, attrs=(tuple(low), tuple(high), tuple(draw.randint(0, 1) for _ in range(rank)), 0.25))
    kernels(r.graph(r("neg", base) if draw.random() < 0.5 else base, *outputs), seed)
