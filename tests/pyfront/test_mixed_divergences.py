"""Divergences between distributions of different kinds, and the distributions and transforms beside them, as PyTorch has them."""

from __future__ import annotations

import pytest

from .witness import agree

MADE = {
    "Bernoulli": lambda t: {"probs": [0.3, 0.8]},
    "Beta": lambda t: {"concentration1": [1.5, 2.0], "concentration0": [0.7, 3.0]},
    "Binomial": lambda t: {"total_count": [5.0, 5.0], "probs": [0.3, 0.8]},
    "Chi2": lambda t: {"df": [3.0, 4.5]},
    "ContinuousBernoulli": lambda t: {"probs": [0.3, 0.8]},
    "Exponential": lambda t: {"rate": [0.5, 2.0]},
    "Gamma": lambda t: {"concentration": [1.5, 2.0], "rate": [0.7, 3.0]},
    "Gumbel": lambda t: {"loc": [0.5, -1.0], "scale": [0.7, 2.0]},
    "Laplace": lambda t: {"loc": [0.5, -1.0], "scale": [0.7, 2.0]},
    "Normal": lambda t: {"loc": [0.5, -1.0], "scale": [0.7, 2.0]},
    "Pareto": lambda t: {"scale": [0.2, 1.0], "alpha": [2.5, 1.5]},
    "Poisson": lambda t: {"rate": [0.5, 2.0]},
    "Uniform": lambda t: {"low": [0.25, 0.5], "high": [0.75, 3.0]},
}


def made(t, name):
    options = {key: t.tensor(value, dtype=t.float64) for key, value in MADE[name](t).items()}
    return getattr(t.distributions, name)(**options)


@pytest.mark.parametrize("left", MADE)
def test_divergences_of_every_pair(left):
    def program(t):
        found = {}
        for right in MADE:
            try:
                found[right] = t.distributions.kl_divergence(made(t, left), made(t, right))
            except NotImplementedError:
                found[right] = None
        return found

    agree(program)


def test_divergence_of_wishart():
    def program(t):
        a = t.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=t.float64)
        p = t.distributions.Wishart(t.tensor(4.0, dtype=t.float64), a)
        q = t.distributions.Wishart(t.tensor(5.0, dtype=t.float64), scale_tril=t.linalg.cholesky(a + t.eye(2, dtype=t.float64)))
        return t.distributions.kl_divergence(p, q).detach()

    agree(program)


def test_generalized_pareto():
    def program(t):
        loc, scale = t.tensor([0.5, -1.0, 0.0]), t.tensor([0.7, 2.0, 1.0])
        d = t.distributions.GeneralizedPareto(loc, scale, t.tensor([0.2, 0.0, -0.5]))
        t.manual_seed(0)
        drawn = d.sample((3,))
        bounds = d.support
        return [
            drawn, d.log_prob(drawn), d.cdf(drawn), d.icdf(d.cdf(drawn)), d.log_cdf(drawn), d.mean, d.variance, d.mode, d.entropy(),
            d.expand((2, 3)).mean, bounds.check(drawn), t.distributions.GeneralizedPareto(0.0, 1.0, 0.7).variance,
        ]  # fmt: skip

    agree(program, rtol=1e-5)


@pytest.mark.parametrize("dim", [-1, -2])
def test_parts_by_transforms_of_their_own(dim):
    def program(t):
        d = t.distributions
        x = t.linspace(-1, 1, 12, dtype=t.float64).reshape(4, 3)
        x = x if dim == -1 else x.T
        parts = d.CatTransform([d.ExpTransform(), d.SigmoidTransform()], dim, [1, 2])
        places = d.StackTransform([d.ExpTransform(), d.SigmoidTransform(), d.AffineTransform(1.0, 2.0)], dim, cache_size=1)
        into = d.biject_to(d.constraints.cat([d.constraints.positive, d.constraints.real], dim, [1, 2]))
        found = []
        for transform in (parts, places, into):
            y = transform(x)
            found += [y, transform.inv(y), transform.log_abs_det_jacobian(x, y), transform.codomain.check(y), repr(transform.domain)]
        return [*found, parts.length, parts.event_dim, parts.bijective]

    agree(program)


def test_parts_of_wrong_lengths():
    def program(t):
        d = t.distributions
        return d.CatTransform([d.ExpTransform()], 0, [1, 2])

    agree(program, sentence=30)


def test_drawing_normal_numbers_is_not_differentiated():
    def program(t):
        mean, std = t.tensor([0.5, 1.0], requires_grad=True), t.tensor([1.0, 2.0], requires_grad=True)
        x = t.normal(mean, std)
        return [x.requires_grad, *t.autograd.grad((x * x).sum(), [mean, std])]

    agree(program)
