"""Draws and densities of LKJCholesky, VonMises, ContinuousBernoulli and Wishart: PyTorch's numbers for the same seed."""

import pytest

pytest.importorskip("torch")
import lamina
import torch
from lamina.pyfront import distributions as ours
from torch import distributions as theirs

CASES = (
    ("ContinuousBernoulli", lambda d, t: d.ContinuousBernoulli(t.tensor([0.1, 0.5, 0.7]))),
    ("LKJCholesky", lambda d, t: d.LKJCholesky(3, t.tensor([0.5, 1.5]))),
    ("VonMises", lambda d, t: d.VonMises(t.tensor([0.0, 1.0]), t.tensor([4.0, 0.5]))),
    ("Wishart", lambda d, t: d.Wishart(t.tensor([5.0, 6.0]), t.eye(3) + 0.3)),
)


@pytest.mark.filterwarnings("ignore:Singular")
@pytest.mark.parametrize(("name", "make"), CASES)
def test_draws_and_densities(name, make):
    lamina.manual_seed(0)
    torch.manual_seed(0)
    mine, reference = make(ours, lamina), make(theirs, torch)
    drawn, expected = mine.sample((4,)), reference.sample((4,))
    torch.testing.assert_close(torch.from_numpy(drawn.numpy()), expected)
    torch.testing.assert_close(torch.from_numpy(mine.log_prob(drawn).numpy()), reference.log_prob(expected), rtol=1e-4, atol=1e-5)
    for what in ("mean", "variance"):
        if name != "LKJCholesky":
            torch.testing.assert_close(torch.from_numpy(getattr(mine, what).numpy()), getattr(reference, what))
