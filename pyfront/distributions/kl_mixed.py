"""Divergences between distributions of different kinds, from moments: KL(p || q) is minus p's entropy minus p's mean of q's log density."""

from __future__ import annotations

import math
from typing import Any

from .. import linalg
from ..creation import full_like
from ..selection import where
from ..tensor import Tensor
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .continuous_bernoulli import ContinuousBernoulli
from .exponential import Exponential
from .gamma import Gamma
from .gumbel import Gumbel
from .kl import register_kl
from .laplace import Laplace
from .normal import Normal
from .pareto import Pareto
from .poisson import Poisson
from .uniform import Uniform
from .wishart import Wishart

_HALF_LINE = (Exponential, Gamma)
_PART = (Beta, ContinuousBernoulli, Uniform, Pareto)
# p has values where q has no density: all of them, or too many of them.
_INFINITE = [
    *[(p, q) for p in (Exponential, Gamma) for q in _PART],
    *[(p, q) for p in (Gumbel, Laplace, Normal) for q in (*_PART, *_HALF_LINE)],
    *[(Pareto, q) for q in (Beta, ContinuousBernoulli, Uniform)],
    (Beta, Pareto), (ContinuousBernoulli, Pareto), (Poisson, Bernoulli), (Poisson, Binomial),
]  # fmt: skip


def _infinite(p: Any, q: Any) -> Tensor:
    return full_like(p.mean, math.inf)


for _pair in _INFINITE:
    register_kl(*_pair)(_infinite)


def _outside(divergence: Tensor, wrong: Tensor) -> Tensor:
    return where(wrong, math.inf, divergence)


# -- minus the mean of q's log density, by moments of p
# -------------------------------------------------------------------------------------


def _surprise_exponential(mean: Tensor, q: Exponential) -> Tensor:
    return q.rate * mean - q.rate.log()


def _surprise_gamma(mean: Tensor, mean_log: Tensor, q: Gamma) -> Tensor:
    return q.concentration.lgamma() - q.concentration * q.rate.log() - (q.concentration - 1) * mean_log + q.rate * mean


def _surprise_normal(mean: Tensor, variance: Tensor, q: Normal) -> Tensor:
    return (q.scale * math.sqrt(2 * math.pi)).log() + (variance + (mean - q.loc).pow(2)) / (2 * q.scale.pow(2))


def _surprise_gumbel(mean: Tensor, mean_of_exp: Tensor, q: Gumbel) -> Tensor:
    """mean_of_exp: of exp(-x / scale)."""
    return q.scale.log() + (mean - q.loc) / q.scale + (q.loc / q.scale).exp() * mean_of_exp


def _surprise_continuous(mean: Tensor, q: ContinuousBernoulli) -> Tensor:
    return -(mean * q.logits + (-q.probs).log1p() + q._log_normalizer_of_density())


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous(p: Beta, q: ContinuousBernoulli) -> Tensor:
    return -p.entropy() + _surprise_continuous(p.mean, q)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    return _surprise_continuous(p.mean, q) - _surprise_continuous(p.mean, p)


@register_kl(Beta, Exponential)
@register_kl(ContinuousBernoulli, Exponential)
def _to_exponential(p: Any, q: Exponential) -> Tensor:
    return -p.entropy() + _surprise_exponential(p.mean, q)


@register_kl(Beta, Normal)
@register_kl(ContinuousBernoulli, Normal)
@register_kl(Exponential, Normal)
@register_kl(Gamma, Normal)
@register_kl(Gumbel, Normal)
def _to_normal(p: Any, q: Normal) -> Tensor:
    return -p.entropy() + _surprise_normal(p.mean, p.variance, q)


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _unit_to_uniform(p: Any, q: Uniform) -> Tensor:
    return _outside(-p.entropy() + (q.high - q.low).log(), (q.low > 0) | (q.high < 1))


@register_kl(Beta, Gamma)
def _beta_gamma(p: Beta, q: Gamma) -> Tensor:
    mean_log = p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    return -p.entropy() + _surprise_gamma(p.mean, mean_log, q)


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Exponential, q: Gumbel) -> Tensor:
    steep = p.rate * q.scale
    return -p.entropy() + _surprise_gumbel(p.mean, steep / (steep + 1), q)


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Gamma, q: Gumbel) -> Tensor:
    return -p.entropy() + _surprise_gumbel(p.mean, (1 + 1 / (p.rate * q.scale)).pow(-p.concentration), q)


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Normal, q: Gumbel) -> Tensor:
    return -p.entropy() + _surprise_gumbel(p.mean, ((p.scale / q.scale).pow(2) / 2 - p.loc / q.scale).exp(), q)


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    apart = p.loc - q.loc
    far = apart / p.scale
    distance = math.sqrt(2 / math.pi) * p.scale * (-far.pow(2) / 2).exp() + apart * (far / math.sqrt(2)).erf()
    return -p.entropy() + (2 * q.scale).log() + distance / q.scale


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Pareto, q: Exponential) -> Tensor:
    return _outside(-p.entropy() + _surprise_exponential(p.mean, q), p.alpha <= 1)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Pareto, q: Gamma) -> Tensor:
    return _outside(-p.entropy() + _surprise_gamma(p.mean, p.scale.log() + 1 / p.alpha, q), p.alpha <= 1)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Pareto, q: Normal) -> Tensor:
    return _outside(-p.entropy() + _surprise_normal(p.mean, p.variance, q), p.alpha <= 2)


def _mean_log(p: Uniform) -> Tensor:
    """Of log x, x between low >= 0 and high."""
    return (_x_log_x(p.high) - _x_log_x(p.low)) / (p.high - p.low) - 1


def _x_log_x(x: Tensor) -> Tensor:
    return where(x == 0, 0.0, x * x.log())


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> Tensor:
    log_beta = q.concentration1.lgamma() + q.concentration0.lgamma() - (q.concentration1 + q.concentration0).lgamma()
    mirrored = ((_x_log_x(1 - p.low) - _x_log_x(1 - p.high)) / (p.high - p.low)) - 1
    expected = (q.concentration1 - 1) * _mean_log(p) + (q.concentration0 - 1) * mirrored - log_beta
    return _outside(-p.entropy() - expected, (p.high > 1) | (p.low < 0))


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous(p: Uniform, q: ContinuousBernoulli) -> Tensor:
    return _outside(-p.entropy() + _surprise_continuous(p.mean, q), (p.high >= 1) | (p.low <= 0))  # the ends, too, as PyTorch has it


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    return _outside(-p.entropy() + _surprise_exponential(p.mean, q), p.low < 0)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Uniform, q: Gamma) -> Tensor:
    return _outside(-p.entropy() + _surprise_gamma(p.mean, _mean_log(p), q), p.low < 0)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Uniform, q: Gumbel) -> Tensor:
    fallen = ((-p.low / q.scale).exp() - (-p.high / q.scale).exp()) * q.scale / (p.high - p.low)
    return -p.entropy() + _surprise_gumbel(p.mean, fallen, q)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Uniform, q: Pareto) -> Tensor:
    expected = q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * _mean_log(p)
    return _outside(-p.entropy() - expected, p.low < q.scale)


@register_kl(Wishart, Wishart)
def _wishart(p: Wishart, q: Wishart) -> Tensor:
    """Of the matrices' determinants, trace and multivariate gamma functions of the degrees of freedom."""
    n = p.event_shape[-1]
    trace = linalg.cholesky_solve(p.covariance_matrix, q._factor).diagonal(dim1=-2, dim2=-1).sum(-1)
    gammas = (q.df / 2).mvlgamma(n) - (p.df / 2).mvlgamma(n)  # type: ignore[attr-defined]  # a definition
    slopes = sum([((p.df - i) / 2).digamma() for i in range(n)])
    return q.df * (q._log_diagonal() - p._log_diagonal()) + 0.5 * p.df * (trace - n) + gammas + 0.5 * (p.df - q.df) * slopes
