"""Sinking unwindows: random elementwise programs behind windows mean the same, and no unwindow is left that only sums read."""

from __future__ import annotations

import random

import numpy as np
import pytest
from graphs import Recorder, inputs_for

from lamina.backends import oracle
from lamina.dialects.text import verify
from lamina.dialects.types import float32
from lamina.lowering.capture import capture
from lamina.passes.dce import RemoveDead
from lamina.passes.sink_unwindow import SinkUnwindow


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_mean_the_same(seed: int) -> None:
    chance = random.Random(seed)
    positions, size = ((2, 3), (3, 2)) if seed % 3 else ((1, 4), (1, 3))
    to = tuple(p * u + (u > 1 and not chance.randrange(6)) for p, u in zip(positions, size, strict=True))
    r = Recorder()
    values = [r.input((2, 3, *to)) for _ in range(2)]
    windows = [r.input((2, 3, *positions, *size)) for _ in range(chance.randint(1, 2))]
    values += [r("unwindow", w, attrs=(to, size, size, (1, 1))) for w in windows]
    for _ in range(chance.randint(1, 6)):
        a, b = chance.choice(values), chance.choice(values[-3:])
        op = chance.choice(["add", "mul", "maximum", "neg", "full", "select"])
        if op == "neg":
            values.append(r("neg", b))
        elif op == "full":
            values.append(r("sub", b, r.full((2, 3, *to), 0.5)))
        elif op == "select":
            values.append(r("select", r("greater", a, b), b, values[2]))
        else:
            values.append(r(op, a, b))
    results = [r(chance.choice(["sum", "max"]), v, attrs=(chance.choice([(2, 3), (0, 2, 3), (1,), (0, 1, 2, 3)]),)) for v in values[2:]]
    results += chance.sample(values[2:], chance.randint(0, 1))
    if not seed % 4:
        results.append(r("cumsum", r("cast", r("greater", values[-1], values[0]), attrs=(float32,)), attrs=(3,)))
        results.append(r("greater", values[2], values[1]))
    graph = r.graph(*results)
    module = capture(graph)
    arrays = inputs_for(graph, seed)
    expected = oracle.evaluate(module, arrays)
    SinkUnwindow().run(module)
    RemoveDead().run(module)
    verify(module)
    for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_nothing_is_put_together_for_sums_alone() -> None:
    r = Recorder()
    w, x = r.input((2, 3, 4, 4, 2, 2)), r.input((2, 3, 8, 8))
    g = r("unwindow", w, attrs=((8, 8), (2, 2), (2, 2), (1, 1)))
    module = capture(r.graph(r("sum", g, attrs=((0, 2, 3),)), r("sum", r("mul", g, x), attrs=((0, 2, 3),))))
    assert SinkUnwindow().run(module) == 1
    RemoveDead().run(module)
    assert "unwindow" not in str(module)
