"""Powers that PyTorch multiplies out are multiplied out: the same bits, special values included, compiled and on the oracle."""

from __future__ import annotations

from collections.abc import Callable

import lamina
import numpy as np
import pytest
from fresh_programs import fresh_programs  # noqa: F401  # a fixture
from needs import needs_compiler

torch = pytest.importorskip("torch")

POWERS = (  # each at a line of its own: what changes at a line is an input of the program
    lambda x: x**3,
    lambda x: x**0.5,
    lambda x: x**-0.5,
    lambda x: x**-1,
    lambda x: x**-2,
    lambda x: x.pow(3.0),
)
VALUES = np.array([-np.inf, -2.5, -1, -0.0, 0, 1e-20, 0.3, 1.7, 7.1, 1e20, np.inf, np.nan], np.float32).repeat(8)


def _same(power: Callable, dtype: str) -> None:
    def run(t):
        x = t.from_numpy(VALUES.copy()).to(getattr(t, dtype)).requires_grad_()
        y = power(x)
        return y.detach().numpy(), t.autograd.grad(y.sum(), x)[0].numpy()

    (ours, slope), (theirs, their_slope) = run(lamina), run(torch)
    np.testing.assert_array_equal(ours, theirs)  # NaN equals NaN
    assert np.array_equal(np.signbit(ours[theirs == 0]), np.signbit(theirs[theirs == 0]))
    np.testing.assert_allclose(slope, their_slope, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power", POWERS, ids=range(len(POWERS)))
def test_on_the_oracle(power: Callable, dtype: str) -> None:
    _same(power, dtype)


@needs_compiler
@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize("power", POWERS, ids=range(len(POWERS)))
def test_compiled(power: Callable) -> None:
    _same(power, "float32")
