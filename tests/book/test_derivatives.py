"""Every d line against central differences in float64; opened composites differentiate to the same."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.dialects.book import OPS, NumpyBuild
from lamina.dialects.types import float64

from .samples import IN_IR, samples

BUILD = NumpyBuild(OPS)
STEP = 1e-6


def differences(s, arrays, attrs, i, g):
    """d(sum(g * first result)) / d(operand i) by central differences."""
    found = np.zeros(arrays[i].shape)
    for at in np.ndindex(*arrays[i].shape):
        ends = []
        for step in (STEP, -STEP):
            moved = [a.copy() for a in arrays]
            moved[i][at] += step
            ends.append(np.sum(g * s.evaluate(moved, attrs)[0]))
        found[at] = (ends[0] - ends[1]) / (2 * STEP)
    return found


@pytest.mark.parametrize("name", [n for n in IN_IR if OPS[n].has_derivative and OPS[n].tensors])
def test_derivative(name):
    s = OPS[name]
    rng = np.random.default_rng(1)
    for arrays, attrs in samples(s):
        results = s.evaluate(arrays, attrs)
        if results[0].dtype != float64.numpy:
            continue
        g = rng.normal(size=results[0].shape)
        wanted = [True] * len(arrays)
        cotangents = [g] + [None] * (len(results) - 1)
        found = s.gradients(BUILD, arrays, results, cotangents, attrs, wanted)
        for i, (a, d) in enumerate(zip(arrays, found)):
            if d is None:
                continue
            assert d.shape == a.shape and d.dtype == a.dtype, f"{name}: operand {i}"
            np.testing.assert_allclose(
                d, differences(s, arrays, attrs, i, g), atol=2e-5, rtol=2e-5, err_msg=f"{name} operand {i}"
            )
