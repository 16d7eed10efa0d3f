"""Parts made in their place: values side by side, padded, phase by phase, read elsewhere too, returned, or better made elsewhere."""

from __future__ import annotations

import random

import numpy as np
import pytest
from xdsl.dialects import func

from graphs import Recorder, inputs_for

from lamina.backends import oracle
from lamina.backends.executor import execute
from lamina.dialects.graph import Graph
from lamina.dialects.text import parse, print_module, verify
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.capture import capture
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.lowering.linalg_to_loops import LinalgToLoops
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout

ONE = ((1, 1), (1, 1))


def calls(graph: Graph, seed: int = 0) -> list[str]:
    """The kernels the buffered program calls, after it was compared with the oracle, buffered and as loops."""
    module = capture(graph)
    arrays = inputs_for(graph, seed)
    expected = oracle.evaluate(module, arrays)
    for step in (Fuse(), ChooseLayout(), KernelToLinalg(), Bufferize("avx512")):
        step.run(module)
    verify(module)
    text = print_module(module)
    assert print_module(parse(text)) == text
    found = [op.callee.string_value() for op in module.walk() if isinstance(op, func.CallOp)]
    for _ in range(2):
        for a, b in zip(expected, execute(module, [a.copy() for a in arrays]), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=2e-6 * max(1.0, float(np.abs(a).max())))
        LinalgToLoops("avx512").run(module)
    return found


def begun(shape: tuple[int, ...]) -> tuple[Recorder, int]:
    """A graph with an input, and one that all kernels are parts of."""
    r = Recorder()
    x = r.input(shape)
    assert r.input((1, 48, 208, 1, 1)) == 1
    return r, x


def convolved(r: Recorder, x: int, channels: int, act: bool = True) -> int:
    """A convolution of [1, c, h, w], by 1 x 1; its kernel is a part of the second input."""
    _, c, h, w = r.types[x][0]
    kernel = r("slice", 1, attrs=((0,) * 5, (1, channels, c, 1, 1), (1,) * 5))
    y = r("conv", r("reshape", x, attrs=((1, 1, c, h, w),)), kernel, attrs=ONE)
    y = r("reshape", y, attrs=((1, channels, h, w),))
    return r("relu", y) if act else y


def padded(r: Recorder, x: int, low: int, high: int) -> int:
    return r("pad", x, attrs=((0, 0, low, low), (0, 0, high, high), (0, 0, 0, 0), 0.0))


def test_what_is_put_side_by_side_is_not_copied() -> None:
    r, x = begun((1, 4, 5, 6))
    both = r("concat", convolved(r, x, 16), convolved(r, x, 32), attrs=(1,))
    assert len(calls(r.graph(convolved(r, both, 16)))) == 3, "the products"


def test_around_what_is_put_side_by_side_there_is_one_fill() -> None:
    r, x = begun((1, 4, 5, 6))
    both = r("concat", convolved(r, x, 16), convolved(r, x, 32), attrs=(1,))
    assert len(calls(r.graph(convolved(r, padded(r, both, 1, 2), 16)))) == 3 + 1


def test_phases_that_are_padded_are_made_in_the_padded_buffer() -> None:
    r, x = begun((1, 4, 3, 5))
    whole = r.full((1, 16, 6, 10), 0.0)
    for k in range(4):
        whole = r("update", whole, convolved(r, x, 16), attrs=((0, 0, k // 2, k % 2), (1, 1, 2, 2)))
    both = r("concat", whole, convolved(r, whole, 16), attrs=(1,))
    assert len(calls(r.graph(convolved(r, padded(r, both, 1, 1), 16)))) == 4 + 1 + 1, "what the last part is computed by puts zeros around all"


def test_a_returned_part_and_short_runs_are_copied() -> None:
    r, x = begun((1, 4, 5, 6))
    part, short = convolved(r, x, 16), convolved(r, x, 8)
    both = r("concat", part, short, attrs=(1,))
    assert len(calls(r.graph(convolved(r, both, 16), part))) == 3 + 1


@pytest.mark.parametrize("seed", range(12))
def test_random(seed: int) -> None:
    rng = random.Random(seed)
    r, x = begun((1, rng.choice((3, 8, 16)), rng.randint(2, 6), rng.randint(2, 6)))
    outputs: list[int] = []
    parts = [convolved(r, x, rng.choice((16, 24, 32, 48)), rng.random() < 0.5) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.5:
        parts.append(x if rng.random() < 0.5 else parts[0])
    for part in parts:
        if part != x and rng.random() < 0.3:
            outputs.append(part if rng.random() < 0.3 else r("sum", part, attrs=((2, 3),)))
    both = r("concat", *parts, attrs=(1,)) if len(parts) > 1 else parts[0]
    if rng.random() < 0.5:
        both = r("concat", both, convolved(r, both, 16), attrs=(1,))
    if rng.random() < 0.7:
        both = padded(r, both, rng.randint(0, 2), rng.randint(0, 2))
    if rng.random() < 0.3:
        outputs.append(r("mul", both, both))
    outputs.append(convolved(r, both, 16))
    calls(r.graph(*outputs), seed)
