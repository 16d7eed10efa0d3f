"""Derivatives of derivatives: d lines differentiated again by the autodiff pass, against differences."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.backends.oracle import evaluate
from lamina.dialects.book import OPS
from lamina.dialects.book.expr import Name
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import dtype_of, float64
from lamina.lowering.capture import capture
from lamina.passes.autodiff import Differentiate

from .samples import IN_IR, samples

STEP = 1e-5
KINKED = ("max", "min", "prod")  # differences of second order cross ties


def program(s, arrays, attrs, seed, twice=None):
    """First derivatives of sum(seed * y); with `twice`, the derivatives of sum(twice * first of them)."""
    types = [(a.shape, dtype_of(a)) for a in arrays]
    wrt = [i for i, t in enumerate(types) if t[1] is float64]
    inputs = [*arrays, seed] + ([] if twice is None else [twice])
    values = [(a.shape, dtype_of(a)) for a in inputs]
    steps = [Step(s.name, attrs, tuple(range(len(arrays))))]
    y = len(values)
    values += s.infer(tuple(types), attrs)
    steps.append(Step("autodiff.grad", (), (y, len(arrays), *wrt)))
    outputs = range(len(values), len(values) + len(wrt))
    values += [types[i] for i in wrt]
    if twice is not None:
        steps.append(Step("autodiff.grad", (), (outputs[0], len(arrays) + 1, *wrt)))
        outputs = range(len(values), len(values) + len(wrt))
        values += [types[i] for i in wrt]
    known = tuple((a.shape, dtype_of(a)) for a in inputs)
    names, origins = (None,) * len(inputs), ("a.py:1",) * len(steps)
    module = capture(Graph(known, tuple(steps), tuple(outputs), origins, names, tuple(values)))
    Differentiate().run(module)
    return evaluate(module, inputs), wrt


DIFFERENTIABLE = [n for n in IN_IR if OPS[n].has_derivative and OPS[n].tensors and n not in KINKED]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_derivative(name):
    s, rng = OPS[name], np.random.default_rng(2)
    for arrays, attrs in samples(s)[:2]:
        shape, dtype = s.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)[0]
        if dtype is not float64 or not any(a.dtype == np.float64 for a in arrays):
            continue
        seed = rng.normal(size=shape)
        first, wrt = program(s, arrays, attrs, seed)
        twice = rng.normal(size=first[0].shape)
        second, _ = program(s, arrays, attrs, seed, twice)
        for i, found in zip(wrt, second, strict=True):
            if i < len(s.tensors) and s.derivatives.get(s.tensors[i].name) == Name("none"):  # a table
                continue
            direction = rng.normal(size=arrays[i].shape)
            ends = []
            for step in (STEP, -STEP):
                moved = [a + step * direction if k == i else a for k, a in enumerate(arrays)]
                ends.append(np.sum(twice * program(s, moved, attrs, seed)[0][0]))
            want = (ends[0] - ends[1]) / (2 * STEP)
            np.testing.assert_allclose(
                np.sum(found * direction), want, rtol=1e-4, atol=1e-4, err_msg=f"{name} {i}"
            )
