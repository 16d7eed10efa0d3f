"""Subgradients where functions have kinks, ties, poles and empty sums: PyTorch's choices, first and second derivatives."""

from __future__ import annotations

import pytest

from ..witness import agree

pytestmark = pytest.mark.torch

INF = float("inf")
POINTS = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -3.0, 6.0, 2.0]

EACH = {
    "abs": lambda t, x: x.abs(),
    "sign": lambda t, x: x.sign(),
    "relu": lambda t, x: x.relu(),
    "relu6": lambda t, x: t.nn.functional.relu6(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x, 0.1),
    "elu": lambda t, x: t.nn.functional.elu(x),
    "celu": lambda t, x: t.nn.functional.celu(x),
    "selu": lambda t, x: t.selu(x),
    "hardtanh": lambda t, x: t.nn.functional.hardtanh(x),
    "hardsigmoid": lambda t, x: t.nn.functional.hardsigmoid(x),
    "hardswish": lambda t, x: t.nn.functional.hardswish(x),
    "hardshrink": lambda t, x: t.nn.functional.hardshrink(x),
    "softshrink": lambda t, x: t.nn.functional.softshrink(x),
    "threshold": lambda t, x: t.nn.functional.threshold(x, 0.5, 7.0),
    "softplus": lambda t, x: t.nn.functional.softplus(x, threshold=1),
    "softsign": lambda t, x: t.nn.functional.softsign(x),
    "logsigmoid": lambda t, x: t.nn.functional.logsigmoid(x),
    "prelu": lambda t, x: t.nn.functional.prelu(x, t.tensor([0.25], dtype=x.dtype)),
    "clamp": lambda t, x: x.clamp(-1, 1),
    "clamp below": lambda t, x: x.clamp(min=0),
    "clamp by tensors": lambda t, x: x.clamp(t.full((9,), -1.0, dtype=x.dtype), t.full((9,), 1.0, dtype=x.dtype)),
    "clamp to one point": lambda t, x: x.clamp(1, 1),
    "maximum of equals": lambda t, x: t.maximum(x, x.detach()),
    "maximum of zero": lambda t, x: t.maximum(x, t.zeros(9, dtype=x.dtype)),
    "minimum of equals": lambda t, x: t.minimum(x, x.detach()),
    "fmax": lambda t, x: t.fmax(x, t.zeros(9, dtype=x.dtype)),
    "fmin": lambda t, x: t.fmin(x, t.zeros(9, dtype=x.dtype)),
    "sqrt": lambda t, x: x.abs().sqrt(),
    "rsqrt": lambda t, x: x.abs().rsqrt(),
    "log": lambda t, x: x.abs().log(),
    "reciprocal": lambda t, x: x.reciprocal(),
    "pow 0": lambda t, x: x**0,
    "pow 1": lambda t, x: x**1,
    "pow 2": lambda t, x: x**2,
    "pow half": lambda t, x: x.abs() ** 0.5,
    "pow of exponents": lambda t, x: x.abs() ** t.tensor(POINTS, dtype=x.dtype).abs(),
    "exponents of zero": lambda t, x: t.zeros(9, dtype=x.dtype) ** x.abs(),
    "exponents of two": lambda t, x: 2**x,
    "asin": lambda t, x: x.clamp(-1, 1).asin(),
    "acos": lambda t, x: (x / 6).acos(),
    "acosh": lambda t, x: (x.abs() + 1).acosh(),
    "atanh": lambda t, x: (x / 6).atanh(),
    "atan2": lambda t, x: t.atan2(x, t.zeros(9, dtype=x.dtype)),
    "hypot": lambda t, x: t.hypot(x, t.zeros(9, dtype=x.dtype)),
    "copysign": lambda t, x: t.copysign(x, t.full((9,), -1.0, dtype=x.dtype)),
    "copysign of the sign": lambda t, x: t.copysign(t.ones(9, dtype=x.dtype), x),
    "xlogy": lambda t, x: t.xlogy(x.abs(), x.abs()),
    "sinc": lambda t, x: t.sinc(x),
    "floor and round": lambda t, x: x.floor() + x.ceil() + x.trunc() + x.round(),
    "frac": lambda t, x: x.frac(),
    "remainder": lambda t, x: t.remainder(x, 2.0) + t.fmod(x, 2.0),
    "logaddexp": lambda t, x: t.logaddexp(x, x),
    "logit": lambda t, x: t.logit(x, eps=0.1),
    "nan_to_num": lambda t, x: t.nan_to_num(x / x),
    "where": lambda t, x: t.where(x > 0, x, x * 2),
    "huber": lambda t, x: t.nn.functional.huber_loss(x, t.zeros(9, dtype=x.dtype), reduction="none"),
    "smooth_l1": lambda t, x: t.nn.functional.smooth_l1_loss(x, t.zeros(9, dtype=x.dtype), reduction="none"),
    "l1": lambda t, x: t.nn.functional.l1_loss(x, t.zeros(9, dtype=x.dtype)),
    "hinge": lambda t, x: t.nn.functional.hinge_embedding_loss(x, t.tensor([1, -1, 1, -1, 1, -1, 1, -1, 1]), reduction="none"),
    "margin": lambda t, x: t.nn.functional.margin_ranking_loss(x, x.detach(), t.ones(9, dtype=x.dtype), reduction="none"),
    "bce": lambda t, x: t.nn.functional.binary_cross_entropy(x.clamp(0, 1), t.ones(9, dtype=x.dtype), reduction="none"),
    "kl": lambda t, x: t.nn.functional.kl_div(x, t.zeros(9, dtype=x.dtype), reduction="none"),
}

TIES = [[1.0, 3.0, 3.0], [0.0, 0.0, 0.0], [2.0, 2.0, 1.0]]
FOLDS = {
    "max": lambda t, x: x.max(),
    "max of rows": lambda t, x: x.max(1).values,
    "min of rows": lambda t, x: x.min(1).values,
    "amax": lambda t, x: x.amax(1),
    "amin": lambda t, x: x.amin((0, 1)),
    "aminmax": lambda t, x: t.stack(list(x.aminmax())),
    "median": lambda t, x: x.median(1).values,
    "median of all": lambda t, x: x.median(),
    "mode": lambda t, x: x.mode(1).values,
    "kthvalue": lambda t, x: x.kthvalue(2, 1).values,
    "sort": lambda t, x: x.sort(1).values * t.arange(3, dtype=x.dtype),
    "topk": lambda t, x: x.topk(2, 1).values,
    "cummax": lambda t, x: x.cummax(1).values,
    "cummin": lambda t, x: x.cummin(1).values,
    "prod": lambda t, x: x.prod(),
    "prod of rows": lambda t, x: x.prod(1),
    "cumprod": lambda t, x: x.cumprod(1),
    "norm": lambda t, x: x.norm(dim=1),
    "norm 1": lambda t, x: x.norm(1, dim=1),
    "norm 3": lambda t, x: x.norm(3, dim=1),
    "norm inf": lambda t, x: x.norm(INF, dim=1),
    "norm -inf": lambda t, x: x.norm(-INF, dim=1),
    "norm 0": lambda t, x: x.norm(0, dim=1),
    "norm half": lambda t, x: (x + 0.5).norm(0.5, dim=1),
    "norm of zeros": lambda t, x: (x * 0).norm(),
    "vector_norm of zeros": lambda t, x: t.linalg.vector_norm(x * 0, dim=1),
    "std of equals": lambda t, x: (x * 0).std(1),
    "var": lambda t, x: x.var(1),
    "logsumexp": lambda t, x: x.logsumexp(1),
    "logsumexp of nothing": lambda t, x: t.full((2, 3), -INF, dtype=x.dtype).add(x[:2] * 0).logsumexp(1),
    "softmax of -inf": lambda t, x: (x + t.tensor([0.0, -INF, 0.0], dtype=x.dtype)).softmax(1),
    "normalize": lambda t, x: t.nn.functional.normalize(x, dim=1),
    "cosine_similarity": lambda t, x: t.nn.functional.cosine_similarity(x, x.flip(1)),
    "cdist": lambda t, x: t.cdist(x, x),
    "pairwise_distance": lambda t, x: t.nn.functional.pairwise_distance(x, x.detach()),
    "max_pool": lambda t, x: t.nn.functional.max_pool1d(x[None], 2, 1),
    "adaptive_max_pool": lambda t, x: t.nn.functional.adaptive_max_pool1d(x[None], 2),
    "scatter amax": lambda t, x: t.zeros(2, 3, dtype=x.dtype).scatter_reduce(0, t.tensor([[0, 1, 0], [0, 1, 1], [1, 0, 0]]), x, "amax"),
    "scatter prod": lambda t, x: t.ones(2, 3, dtype=x.dtype).scatter_reduce(0, t.tensor([[0, 1, 0], [0, 1, 1], [1, 0, 0]]), x, "prod"),
    "index of the same": lambda t, x: x[t.tensor([0, 0, 1])],
    "put of the same": lambda t, x: t.zeros(3, dtype=x.dtype).index_put((t.tensor([0, 0, 1]),), x[0]),
    "sum of nothing": lambda t, x: x[:0].sum() + x[:0].prod(),
    "quantile": lambda t, x: x.quantile(0.5, dim=1),
    "renorm": lambda t, x: x.renorm(2, 0, 1.0),
    "trapezoid": lambda t, x: t.trapezoid(x, dim=1),
}
# PyTorch computes with constants of single precision.
ROUGH = {"hardsigmoid", "bce"}
# Which of several equal elements it is, is nobody's promise; xlogy(x, x) at 0 is 0 here, NaN there.
OTHERWISE = {"kthvalue", "xlogy"}
# Second derivatives at a kink that PyTorch does not have (hardsigmoid, cdist, l1, abs, norms of order 1 and inf), or as NaN
# where they are numbers here. cumprod is the other way round: with two zeros before it, a product's second derivative is
# taken for 0 here.
FIRST_ONLY = OTHERWISE | ROUGH | {
    "atan2", "cosine_similarity", "cdist", "norm", "norm of zeros", "vector_norm of zeros", "normalize", "renorm", "pow 0", "exponents of zero", "sinc",
    "logit", "abs", "l1", "norm 1", "norm inf", "norm -inf", "cumprod", "pairwise_distance",
}  # fmt: skip


def derivatives(t, f, values, second):
    t.manual_seed(0)
    x = t.tensor(values, dtype=t.float64, requires_grad=True)
    y = f(t, x)
    weights = t.arange(1.0, y.numel() + 1, dtype=t.float64).reshape(y.shape)
    (g,) = t.autograd.grad((y * weights).sum(), x, create_graph=second, materialize_grads=True)
    if not second:
        return y.detach(), g.detach()
    if not g.requires_grad:
        return g, t.zeros_like(x).detach()
    loss = (g * t.arange(1.0, g.numel() + 1, dtype=t.float64).reshape(g.shape)).sum()
    return g.detach(), t.autograd.grad(loss, x, materialize_grads=True)[0].detach()


@pytest.mark.parametrize("name", [n for n in EACH if n not in OTHERWISE])
def test_element_by_element(name):
    agree(lambda t: derivatives(t, EACH[name], POINTS, False), 1e-7 if name in ROUGH else 1e-9)


@pytest.mark.parametrize("name", [n for n in FOLDS if n not in OTHERWISE])
def test_over_dimensions(name):
    agree(lambda t: derivatives(t, FOLDS[name], TIES, False))


@pytest.mark.parametrize("name", sorted({*EACH, *FOLDS} - FIRST_ONLY))
def test_second_derivatives(name):
    f, values = (EACH[name], POINTS) if name in EACH else (FOLDS[name], TIES)
    agree(lambda t: derivatives(t, f, values, True))
