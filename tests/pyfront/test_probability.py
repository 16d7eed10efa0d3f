"""torch.distributions: every method of every distribution against PyTorch, with the same seeds and the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def checked_distributions():
    """PyTorch's compiler, which other tests of a process load, turns the checks of its distributions off."""
    torch.distributions.Distribution.set_default_validate_args(True)


CASES: dict[str, tuple[str, list[Any], str]] = {  # constructor over D and parameters p, parameters, a value
    "normal": ("D.Normal(p[0], p[1])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, -0.7]"),
    "normal of numbers": ("D.Normal(0, 1 + p[0])", [0.5], "0.3"),
    "normal, wide": ("D.Normal(p[0].expand(5, 20), p[1])", [0.5, 2.0], "0.25"),
    "uniform": ("D.Uniform(p[0], p[1])", [[0.0, -1.0], [1.0, 2.0]], "[0.25, 1.5]"),
    "categorical": ("D.Categorical(p[0])", [[[0.2, 0.3, 0.5], [1.0, 4.0, 2.0]]], "[2, 0]"),
    "categorical of logits": ("D.Categorical(logits=p[0])", [[0.2, -0.3, 0.5, 1.0]], "[2, 0, 3]"),
    "bernoulli": ("D.Bernoulli(p[0])", [[0.2, 0.7, 0.5]], "[0.0, 1.0, 1.0]"),
    "bernoulli of logits": ("D.Bernoulli(logits=p[0])", [[0.2, -3.0]], "[0.0, 1.0]"),
    "one-hot": ("D.OneHotCategorical(p[0])", [[[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]], "[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]"),
    "straight-through": ("D.OneHotCategoricalStraightThrough(logits=p[0])", [[0.2, 0.3, 0.5]], "[0.0, 1.0, 0.0]"),
    "exponential": ("D.Exponential(p[0])", [[0.5, 3.0]], "[0.25, 1.5]"),
    "laplace": ("D.Laplace(p[0], p[1])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, -0.7]"),
    "independent": ("D.Independent(D.Normal(p[0], p[1]), 1)", [[[0.5, -1.0]], [1.5, 0.3]], "[[0.2, -0.7]]"),
}
DERIVED: dict[str, tuple[str, list[Any], str]] = {
    "transformed": ("D.TransformedDistribution(D.Normal(p[0], p[1]), [D.AffineTransform(0.5, p[1]), D.TanhTransform()])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, -0.7]"),
    "squashed": ("D.TransformedDistribution(D.Independent(D.Normal(p[0], p[1]), 1), [D.TanhTransform(cache_size=1)])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, -0.7]"),
    "logistic": ("D.TransformedDistribution(D.Uniform(p[0], 1 + p[0].detach()), [D.SigmoidTransform().inv, D.AffineTransform(0.1, 2.0)])", [[0.0, 0.0]], "[0.2, -0.7]"),
    "log-normal": ("D.LogNormal(p[0], p[1])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, 0.7]"),
    "half-normal": ("D.HalfNormal(p[0])", [[0.5, 3.0]], "[0.25, 1.5]"),
    "half-cauchy": ("D.HalfCauchy(p[0])", [[0.5, 3.0]], "[0.25, 1.5]"),
    "cauchy": ("D.Cauchy(p[0], p[1])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, -0.7]"),
    "gumbel": ("D.Gumbel(p[0], p[1])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, -0.7]"),
    "weibull": ("D.Weibull(p[0], p[1])", [[0.5, 1.0], [1.5, 0.8]], "[0.2, 0.7]"),
    "pareto": ("D.Pareto(p[0], p[1])", [[0.5, 1.0], [1.5, 2.8]], "[0.7, 1.7]"),
    "kumaraswamy": ("D.Kumaraswamy(p[0], p[1])", [[0.5, 1.5], [1.5, 2.8]], "[0.7, 0.2]"),
    "logistic normal": ("D.LogisticNormal(p[0], p[1])", [[0.5, -1.0], [1.5, 0.3]], "[0.2, 0.7, 0.1]"),
    "gamma": ("D.Gamma(p[0], p[1])", [[0.5, 3.0, 20.0], [1.5, 0.3, 2.0]], "[0.25, 1.5, 9.0]"),
    "chi-square": ("D.Chi2(p[0])", [[0.5, 3.0]], "[0.25, 1.5]"),
    "inverse gamma": ("D.InverseGamma(p[0], p[1])", [[2.5, 3.0], [1.5, 0.3]], "[0.25, 1.5]"),
    "student": ("D.StudentT(p[0], p[1], p[2])", [[3.5, 0.9, 1.5], [0.3, 0.1, -1.0], [1.0, 2.0, 0.5]], "[0.25, 1.5, -1.0]"),
    "fisher": ("D.FisherSnedecor(p[0], p[1])", [[3.5, 0.9], [5.0, 3.0]], "[0.25, 1.5]"),
    "beta": ("D.Beta(p[0], p[1])", [[0.5, 3.0, 12.0], [1.5, 0.3, 8.0]], "[0.25, 0.5, 0.6]"),
    "dirichlet": ("D.Dirichlet(p[0])", [[[0.5, 3.0, 1.0], [9.0, 2.0, 4.0]]], "[[0.25, 0.25, 0.5], [0.5, 0.1, 0.4]]"),
    "poisson": ("D.Poisson(p[0])", [[0.5, 30.0]], "[2.0, 27.0]"),
    "geometric": ("D.Geometric(p[0])", [[0.2, 0.7]], "[2.0, 0.0]"),
    "geometric of logits": ("D.Geometric(logits=p[0])", [[0.2, -0.7]], "[2.0, 0.0]"),
    "binomial": ("D.Binomial(8, p[0])", [[0.2, 0.7]], "[2.0, 6.0]"),
    "binomial of logits": ("D.Binomial(5, logits=p[0])", [[0.2, -0.7]], "[2.0, 5.0]"),
    "negative binomial": ("D.NegativeBinomial(5, p[0])", [[0.2, 0.7]], "[2.0, 6.0]"),
    "multinomial": ("D.Multinomial(6, p[0])", [[[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]], "[[1.0, 2.0, 3.0], [0.0, 6.0, 0.0]]"),
    "mixture": ("D.MixtureSameFamily(D.Categorical(p[0]), D.Normal(p[1], p[2]))", [[0.3, 0.7], [-1.0, 2.0], [0.5, 1.0]], "[0.1]"),
    "mixture of vectors": ("D.MixtureSameFamily(D.Categorical(logits=p[0]), D.Independent(D.Normal(p[1], 1.5), 1))", [[0.3, 0.7], [[-1.0, 2.0, 0.0], [1.0, 0.5, 3.0]]], "[0.1, 0.2, 0.3]"),
    "relaxed one-hot": ("D.RelaxedOneHotCategorical(torch.tensor(0.5), logits=p[0])", [[0.2, 0.3, 0.5]], "[0.2, 0.7, 0.1]"),
    "relaxed bernoulli": ("D.RelaxedBernoulli(torch.tensor(0.7), p[0])", [[0.2, 0.3]], "[0.2, 0.7]"),
    "multivariate": ("D.MultivariateNormal(p[0], p[1] @ p[1].T)", [[0.5, -1.0], [[1.5, 0.0], [0.3, 0.8]]], "[0.2, -0.7]"),
    "multivariate by factor": ("D.MultivariateNormal(p[0], scale_tril=p[1].tril())", [[[0.5, -1.0], [0.1, 0.2]], [[1.5, 0.0], [0.3, 0.8]]], "[[0.2, -0.7], [0.3, 0.1]]"),
    "multivariate by precision": ("D.MultivariateNormal(p[0], precision_matrix=p[1] @ p[1].T)", [[0.5, -1.0], [[1.5, 0.0], [0.3, 0.8]]], "[0.2, -0.7]"),
    "low rank": ("D.LowRankMultivariateNormal(p[0], p[1], p[2])", [[0.5, -1.0, 0.2], [[1.5], [0.3], [0.8]], [0.5, 1.0, 0.7]], "[0.2, -0.7, 0.1]"),
}  # fmt: skip
IMPLICIT = ("gamma", "chi-square", "inverse gamma", "student", "fisher", "beta", "dirichlet")
FACTORED = ("multivariate", "multivariate by precision")
ASKED: dict[str, str] = {
    "repr": "repr(d)",
    "shapes": "tuple(d.batch_shape), tuple(d.event_shape), d.has_rsample",
    "support": "repr(d.support), repr(d.arg_constraints)",
    "enumerable": "d.has_enumerate_support, list(d.enumerate_support().shape), d.enumerate_support(expand=False)",
    "moments": "d.mean, d.variance, d.stddev, d.mode",
    "entropy": "d.entropy(), d.perplexity()",
    "log_prob": "d.log_prob(v)",
    "cdf": "d.cdf(v)",
    "icdf": "d.icdf(d.cdf(v))",
    "sample": "d.sample(), d.sample((3, 2)), d.sample_n(20), torch.rand(1)",
    "rsample": "d.rsample((4,)), d.rsample(), torch.rand(1)",
    "expand": "d.expand((3, *d.batch_shape)).log_prob(v), d.expand((3, *d.batch_shape)), d.expand((3, *d.batch_shape)).sample()",
    "lazy": "d.log_prob(v), d.entropy(), repr(d)",
    "kl": "D.kl_divergence(d, make([0.9 * q + 0.05 for q in p]))",
}  # fmt: skip


def answer(module: Any, case: str, question: str) -> Any:
    """What a module's distribution says, with the gradient of it, as plain values; an error as its class and text."""
    build, numbers, value = (CASES | DERIVED)[case]
    make: Callable[..., Any] = eval(f"lambda p: {build}", {"D": module.distributions, "torch": module})
    p = [module.tensor(n, requires_grad=True) for n in numbers]
    module.manual_seed(5)
    scope = {"D": module.distributions, "torch": module, "p": p, "make": make, "v": module.tensor(eval(value))}
    try:
        scope["d"] = make(p)
        got = eval(question, scope)
        return _plain(module, got, p)
    except Exception as error:
        return type(error).__name__, str(error).replace("lamina.pyfront", "torch")


def _plain(module: Any, got: Any, p: list[Any]) -> list[Any]:
    parts = got if isinstance(got, tuple) else (got,)
    tracked = [t for t in parts if isinstance(t, module.Tensor) and t.requires_grad]
    grads: list[Any] = []
    if tracked:
        grads = list(module.autograd.grad(sum((t * t).sum() for t in tracked), p, allow_unused=True))
    plain = [t.detach().numpy() if isinstance(t, module.Tensor) else t for t in [*parts, *grads]]
    return [str(t) if not isinstance(t, (np.ndarray, str, tuple, bool, list, type(None))) else t for t in plain]


@pytest.mark.parametrize("question", ASKED)
@pytest.mark.parametrize("case", [*CASES, *[pytest.param(c, marks=pytest.mark.slow) for c in DERIVED]])
def test_as_pytorch_answers(case: str, question: str) -> None:
    ours, theirs = answer(lamina, case, ASKED[question]), answer(torch, case, ASKED[question])
    assert type(ours) is type(theirs), (ours, theirs)
    assert len(ours) == len(theirs), (ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype
            # PyTorch approximates the slopes of gamma and Beta draws: within 5e-4, it says
            rtol = 5e-4 if "rsample" in ASKED[question] and case in IMPLICIT else 2e-5
            # the gradient by a covariance sums terms of its inverse's size: what should be 0 is their rounding
            cancelled = 2e-7 * np.abs(b).max() if question == "entropy" and case in FACTORED else 0.0
            np.testing.assert_allclose(a, b, rtol, 2e-6 + cancelled)
        else:
            assert a == b


WRONG = r"""
D.Normal(0.0, -1.0)
D.Normal(T([0.0, 1.0]), T([-1.0, 1.0]))
D.Normal(T([0.0, float("nan")]), 1.0)
D.Normal("a", 1)
D.Normal(T([0.0, 1.0]), 1.0).log_prob(T([0.0, 1.0, 2.0]))
D.Normal(0.0, 1.0).log_prob(1.0)
D.Normal(0.0, 1.0).log_prob(T([float("nan")]))
D.Normal(0.0, 1.0).enumerate_support()
D.Categorical()
D.Categorical(T(0.3))
D.Categorical(T([-0.1, 0.2]))
D.Categorical(T([0.3, 0.2])).log_prob(T(5))
D.Categorical(T([0.3, 0.2])).log_prob(T([0.5]))
D.Categorical(T([0.3, 0.2])).rsample()
D.Bernoulli(1.3)
D.Bernoulli(0.3, 0.2)
D.Bernoulli(0.3).log_prob(T(0.5))
D.Uniform(1.0, 0.0)
D.Uniform(0.0, 1.0).log_prob(T(2.0))
D.Independent(D.Normal(torch.zeros(3), torch.ones(3)), 2)
D.OneHotCategorical(T([0.3, 0.2])).log_prob(T([1.0, 1.0]))
D.OneHotCategorical(T([0.3, 0.2])).log_prob(T([1.0, 0.0, 0.0]))
D.Exponential(1.0).log_prob(T(-1.0))
D.kl_divergence(D.Normal(0.0, 1.0), D.Categorical(T([0.3])))
D.Gamma(T([1.0, -1.0]), 1.0)
D.HalfNormal(-1.0)
D.Geometric(0.0)
D.Poisson(T([-1.0]))
D.Beta(1.0, 2.0).log_prob(T(1.5))
D.MultivariateNormal(torch.zeros(2))
D.MultivariateNormal(torch.zeros(2), T([[1.0, 2.0], [2.0, 1.0]]))
D.MultivariateNormal(torch.zeros(2), scale_tril=torch.ones(2, 2))
D.TransformedDistribution(D.Normal(0.0, 1.0), [1])
D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform())
D.MixtureSameFamily(D.Normal(0.0, 1.0), D.Normal(0.0, 1.0))
D.MixtureSameFamily(D.Categorical(T([0.5, 0.5])), D.Normal(torch.zeros(3), 1.0))
"""


@pytest.mark.parametrize("line", WRONG.strip().splitlines())
def test_errors_are_pytorchs(line: str) -> None:
    said = []
    for module in (lamina, torch):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # which one it is, is what the test compares
            eval(line, {"D": module.distributions, "T": module.tensor, "torch": module})
        said.append((caught.type.__name__, str(caught.value)))
    assert said[0] == said[1]


REGIONS = ("real", "positive", "unit_interval", "simplex", "greater_than(2.0)", "less_than(2.0)", "interval(-1.0, 3.0)", "lower_cholesky")


@pytest.mark.parametrize("region", REGIONS)
def test_regions_are_reached(region: str) -> None:
    said = []
    for module in (lamina, torch):
        c = module.distributions.constraints
        there = module.distributions.transform_to(eval(f"c.{region}"))
        x = module.tensor([[0.3, -1.2], [0.7, 2.0]])
        y = there(x)
        said.append((str(y), str(there.inv(y)), repr(there), bool(eval(f"c.{region}").check(y).all())))
    assert said[0] == said[1]


def test_xlogy_has_a_slope_at_zero() -> None:
    slopes = []
    for module in (lamina, torch):
        x = module.zeros(5, requires_grad=True)
        y = module.tensor([0.5, 2.0, 0.0, float("nan"), float("inf")])
        module.xlogy(x, y)[:3].sum().backward()
        slopes.append((str(x.grad), str(module.xlogy(x, y))))
    assert slopes[0] == slopes[1]


def test_checks_can_be_switched_off() -> None:
    assert lamina.distributions.Normal(0.0, -1.0, validate_args=False).log_prob(1.0).isnan()


def test_a_registered_divergence_serves_subclasses() -> None:
    D = lamina.distributions

    class Mine(D.Normal):
        pass

    p, q = Mine(0.0, 1.0), D.Normal(1.0, 1.0)
    assert D.kl_divergence(p, q).item() == 0.5
    D.register_kl(Mine, D.Normal)(lambda p, q: "mine")
    assert D.kl_divergence(p, q) == "mine"
    assert D.kl_divergence(q, p).item() == 0.5


def test_factors_that_do_not_exist_are_counted() -> None:
    said = []
    for module in (lamina, torch):
        a = module.tensor([[[1.0, 2.0], [2.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]]])
        found = module.linalg.cholesky_ex(a)
        with pytest.raises(RuntimeError) as caught:
            module.linalg.cholesky(a)
        said.append((str(found.info), str(found.L[1]), str(caught.value)))
    assert said[0] == said[1]
