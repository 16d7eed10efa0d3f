"""LAMINA_CHECK=2 finds nothing: every stage of a sample of the operator and snippet tests agrees with the oracle."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
from lamina.dialects import flags

from . import snippets
from .test_operators import EXPRESSIONS, agrees_with_the_oracle
from .test_snippets import blocks, printed

pytestmark = [pytest.mark.slow, pytest.mark.torch]
BLOCKS = [b for name in ("SHAPES", "INDEXING", "REDUCTIONS", "IN_PLACE", "AUTOGRAD") for b in blocks(getattr(snippets, name))]


@pytest.mark.parametrize("source", EXPRESSIONS[::5])
def test_operators_agree_at_every_stage(source: str) -> None:
    agrees_with_the_oracle(source, 2)


@pytest.mark.parametrize("source", BLOCKS[::8])
def test_snippets_agree_at_every_stage(source: str) -> None:
    with flags.device("numpy"):
        want = printed(lamina, source)
    with flags.device("c"), flags.check(2):
        assert printed(lamina, source) == want


@pytest.mark.parametrize("op", ["tanh", "exp", "sqrt", "sigmoid"])
def test_derivatives_of_values_computed_before_agree(op: str) -> None:
    """The saved contents are made up for a check, but they are those of the value."""
    x = lamina.tensor([0.3, 0.5, 1.2], requires_grad=True)
    with flags.device("c"), flags.check(2):
        y = getattr(x, op)()
        y.detach().numpy()
        y.backward(lamina.ones(3))
        assert np.isfinite(x.grad.numpy()).all()
