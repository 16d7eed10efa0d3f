"""torch.distributions: every method of every distribution against PyTorch, with the same seeds and the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

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
    build, numbers, value = CASES[case]
    make: Callable[..., Any] = eval(f"lambda p: {build}", {"D": module.distributions})
    p = [module.tensor(n, requires_grad=True) for n in numbers]
    module.manual_seed(5)
    scope = {"D": module.distributions, "torch": module, "p": p, "make": make, "v": module.tensor(eval(value))}
    try:
        scope["d"] = make(p)
        got = eval(question, scope)
    except Exception as error:
        return type(error).__name__, str(error)
    parts = got if isinstance(got, tuple) else (got,)
    tracked = [t for t in parts if isinstance(t, module.Tensor) and t.requires_grad]
    grads: list[Any] = []
    if tracked:
        grads = list(module.autograd.grad(sum((t * t).sum() for t in tracked), p, allow_unused=True))
    plain = [t.detach().numpy() if isinstance(t, module.Tensor) else t for t in [*parts, *grads]]
    return [str(t) if not isinstance(t, (np.ndarray, str, tuple, bool, list, type(None))) else t for t in plain]


@pytest.mark.parametrize("question", ASKED)
@pytest.mark.parametrize("case", CASES)
def test_as_pytorch_answers(case: str, question: str) -> None:
    ours, theirs = answer(lamina, case, ASKED[question]), answer(torch, case, ASKED[question])
    assert type(ours) is type(theirs), (ours, theirs)
    assert len(ours) == len(theirs), (ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
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
"""


@pytest.mark.parametrize("line", WRONG.strip().splitlines())
def test_errors_are_pytorchs(line: str) -> None:
    said = []
    for module in (lamina, torch):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # which one it is, is what the test compares
            eval(line, {"D": module.distributions, "T": module.tensor, "torch": module})
        said.append((caught.type.__name__, str(caught.value)))
    assert said[0] == said[1]


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
