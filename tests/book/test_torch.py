"""The book against PyTorch: element-wise ops, composites, losses, reductions, optimizer steps."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.dialects.book import OPS, NumpyBuild
from lamina.dialects.types import bool_, float32, float64

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.torch
RNG = np.random.default_rng(3)
BUILD = NumpyBuild(OPS)
X = RNG.normal(size=(3, 4, 5, 6))
PAIR = (RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)))


def t(a):
    return torch.from_numpy(np.array(a))


NAMES = """neg abs sign exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos atan
sinh cosh asinh acosh atanh tanh sigmoid erf erfc floor ceil round trunc relu"""
UNARY = {name: getattr(torch, name) for name in NAMES.split()} | {
    "is_nan": torch.isnan,
    "is_inf": torch.isinf,
    "is_finite": torch.isfinite,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "mish": F.mish,
    "selu": F.selu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softsign": F.softsign,
    "log_sigmoid": F.logsigmoid,
}
SPECIAL = np.array(
    [0.0, -0.0, 1, -1, 0.3, -0.7, 2.5, -2.5, 3.5, 0.5, 1.5, -3, 3, 20, -20, 90, -90, np.inf, -np.inf, np.nan]
)
WITH_ATTRIBUTES = {
    "softplus": ((1, 20), lambda x: F.softplus(x)),
    "leaky_relu": ((0.2,), lambda x: F.leaky_relu(x, 0.2)),
    "elu": ((1.3,), lambda x: F.elu(x, 1.3)),
    "hardtanh": ((-1.0, 2.0), lambda x: F.hardtanh(x, -1.0, 2.0)),
    "clamp": ((-1.0, 2.0), lambda x: torch.clamp(x, -1.0, 2.0)),
}


@pytest.mark.parametrize("name", [*UNARY, *WITH_ATTRIBUTES])
def test_elementwise(name):
    """Values (special ones too) and gradients."""
    attrs, fn = WITH_ATTRIBUTES.get(name, ((), UNARY.get(name)))
    skip_infinities = name in ("mish", "hardswish", "gelu", "gelu_tanh", "silu", "softsign", "selu", "elu")
    x = SPECIAL[~np.isinf(SPECIAL)] if skip_infinities else SPECIAL
    s = OPS[name]
    (y,) = s.evaluate([x], attrs)
    leaf = t(x).requires_grad_()
    want = fn(leaf)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-12, atol=1e-300)
    if not want.dtype.is_floating_point or any(w in name for w in ("floor", "ceil", "round", "trunc")):
        return
    want.backward(torch.ones_like(want))
    (g,) = s.gradients(BUILD, [x], [y], [np.ones_like(y)], attrs, [True])
    inner = np.isfinite(y) & ~np.isin(x, (0, 1, -1, 3, -3)) & (np.abs(x) < 50)
    np.testing.assert_allclose(g[inner], leaf.grad.numpy()[inner], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("name", ["remainder", "fmod", "floor_divide", "pow", "maximum", "minimum"])
def test_binary(name, dtype):
    a, b = np.array([7, 7, 5, 6, 1, 2, 0], dtype), np.array([2, 3, 4, 6, 5, 1, 3], dtype)
    if np.dtype(dtype).kind != "u":
        a, b = np.concatenate([a, -a, a, -a]), np.concatenate([b, b, -b, -b])
        if name == "pow" and np.dtype(dtype).kind == "i":
            b = np.abs(b)
    (y,) = OPS[name].evaluate([a, b])
    np.testing.assert_allclose(y, getattr(torch, name)(t(a), t(b)).numpy())


def check(name, arrays, attrs, fn, wrt=(0,)):
    """Value and gradients of an op against a torch function of the same operands."""
    leaves = [t(a).requires_grad_(i in wrt) for i, a in enumerate(arrays)]
    want = fn(*leaves)
    results = OPS[name].evaluate(arrays, attrs)
    np.testing.assert_allclose(results[0], want.detach().numpy(), rtol=1e-10, atol=1e-12)
    g = RNG.normal(size=want.shape)
    want.backward(t(g))
    s = OPS[name]
    if s.has_derivative:
        cotangents = [g] + [None] * (len(results) - 1)
        found = s.gradients(BUILD, arrays, results, cotangents, attrs, [i in wrt for i in range(len(arrays))])
        for i in wrt:
            np.testing.assert_allclose(
                found[i], leaves[i].grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=f"{name} {i}"
            )


def grouped(x, k, stride, dilation):
    """Torch's convolution with the group dimension explicit."""
    y = F.conv2d(x.flatten(1, 2), k.flatten(0, 1), stride=stride, dilation=dilation, groups=k.shape[0])
    return y.unflatten(1, tuple(k.shape[:2]))


@pytest.mark.parametrize("stride, dilation", [((1, 1), (1, 1)), ((2, 3), (1, 2)), ((3, 1), (2, 1))])
def test_convolution(stride, dilation):
    x, k = RNG.normal(size=(2, 2, 3, 9, 8)), RNG.normal(size=(2, 4, 3, 3, 2))
    check("conv", [x, k], (stride, dilation), lambda x, k: grouped(x, k, stride, dilation), wrt=(0, 1))


def test_pooling():
    for size, stride, dilation in [((2, 2), (2, 2), (1, 1)), ((3, 2), (1, 2), (1, 2))]:
        check(
            "max_pool",
            [X],
            (size, stride, dilation),
            lambda x, a=(size, stride), d=dilation: F.max_pool2d(x, *a, dilation=d),
        )
    ties = np.round(X)  # the gradient goes to the first maximum
    check("max_pool", [ties], ((3, 3), (2, 2), (1, 1)), lambda x: F.max_pool2d(x, 3, 2))
    check("avg_pool", [X], ((2, 3), (2, 1)), lambda x: F.avg_pool2d(x, (2, 3), (2, 1)))


def test_normalisation():
    w, b = RNG.normal(size=4), RNG.normal(size=4)
    check(
        "batch_norm",
        [X, w, b],
        (1e-5,),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, 1e-5),
        wrt=(0, 1, 2),
    )
    mean, var = RNG.normal(size=4), RNG.uniform(0.5, 2, size=4)
    check(
        "batch_norm_infer",
        [X, w, b, mean, var],
        (1e-5,),
        lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, False, 0.1, 1e-5),
    )
    w, b = RNG.normal(size=(5, 6)), RNG.normal(size=(5, 6))
    check(
        "layer_norm", [X, w, b], (2, 1e-5), lambda x, w, b: F.layer_norm(x, (5, 6), w, b, 1e-5), wrt=(0, 1, 2)
    )


def test_softmax_and_reductions():
    check("softmax", [X], ((1,),), lambda x: x.softmax(1))
    check("log_softmax", [X], ((3,),), lambda x: x.log_softmax(3))
    check("logsumexp", [X], ((1,),), lambda x: x.logsumexp(1, keepdim=True))
    check("var", [X], ((1, 2), 1), lambda x: x.var((1, 2), keepdim=True))
    check("mean", [X], ((0, 3),), lambda x: x.mean((0, 3), keepdim=True))
    check("prod", [np.array([[2.0, 0, 3], [1, 2, 4], [0, 0, 5]])], ((1,),), lambda x: x.prod(1, keepdim=True))
    check("max", [np.round(X)], ((2,),), lambda x: x.amax(2, keepdim=True))
    check("cumsum", [X], (1,), lambda x: x.cumsum(1))
    check("sort", [X], (3, True), lambda x: x.sort(dim=3, descending=True, stable=True).values)


def test_linear_and_losses():
    check(
        "linear",
        [RNG.normal(size=(2, 3, 4)), RNG.normal(size=(5, 4)), RNG.normal(size=5)],
        (),
        F.linear,
        wrt=(0, 1, 2),
    )
    logits, target = RNG.normal(size=(6, 4)), RNG.integers(0, 4, 6)
    check("cross_entropy", [logits, target], (), F.cross_entropy)
    check("nll", [logits, target], (), lambda x, i: F.nll_loss(x, i, reduction="none"))
    check("mse_loss", list(PAIR), (), F.mse_loss, wrt=(0, 1))
    check("l1_loss", list(PAIR), (), F.l1_loss, wrt=(0, 1))
    check("huber", list(PAIR), (0.7,), lambda x, y: F.huber_loss(x, y, "none", 0.7))
    p = RNG.uniform(size=(3, 4))
    check(
        "binary_cross_entropy",
        [p, RNG.uniform(size=(3, 4))],
        (),
        lambda x, y: F.binary_cross_entropy(x, y, reduction="none"),
        (0, 1),
    )
    with_logits = F.binary_cross_entropy_with_logits
    check(
        "binary_cross_entropy_with_logits",
        list(PAIR),
        (),
        lambda x, y: with_logits(x, y, reduction="none"),
        (0, 1),
    )
    check("kl_div", [np.log(p), RNG.uniform(size=(3, 4))], (), lambda x, y: F.kl_div(x, y, reduction="none"))
    (y,) = OPS["one_hot"].evaluate([target], (4,))
    assert (y == F.one_hot(t(target), 4).numpy()).all()


def test_first_hits_and_casts():
    x = np.array([[1.0, 3, 3, np.nan], [2, 2, 1, 0]])
    assert OPS["argmax"].evaluate([x], (1,))[0].ravel().tolist() == t(x).argmax(1).tolist()
    assert OPS["argmin"].evaluate([x[1:]], (1,))[0].ravel().tolist() == t(x[1:]).argmin(1).tolist()
    values = np.array([0.5, -0.5, 2.9, -2.9, 0.0])
    for dtype in (float32, bool_):
        (y,) = OPS["cast"].evaluate([values], (dtype,))
        assert y.tolist() == t(values).to(getattr(torch, dtype.name)).tolist()
    (y,) = OPS["cumsum"].evaluate([np.ones(4, np.int32)], (0,))
    assert y.dtype == np.int32


def steps(make, run, rounds=4):
    """Largest difference from torch's optimizer (which fuses multiply-adds), in units of rounding at 1."""
    p0 = RNG.normal(size=(7, 5)).astype(np.float32)
    leaf = torch.nn.Parameter(t(p0.copy()))
    optimizer = make([leaf])
    state = {"p": p0}
    worst = 0.0
    for n in range(1, rounds + 1):
        g = RNG.normal(size=p0.shape).astype(np.float32)
        leaf.grad = t(g.copy())
        optimizer.step()
        run(state, g, n)
        want = leaf.detach().numpy()
        worst = max(
            worst, float(np.max(np.abs(state["p"] - want) / (np.abs(want) + 1)) / np.finfo(np.float32).eps)
        )
    return worst


def scalar(value):
    return np.array(value, np.float64)


@pytest.mark.parametrize(
    "momentum, dampening, decay, nesterov",
    [(0, 0, 0, False), (0.9, 0, 0.01, False), (0.9, 0, 0, True), (0.9, 0.5, 0.1, False)],
)
def test_sgd(momentum, dampening, decay, nesterov):
    def run(state, g, n):
        buf = state.setdefault("buf", np.zeros_like(g))
        attrs = (momentum != 0, dampening, decay, nesterov, False, n == 1)
        state["p"], state["buf"] = OPS["sgd"].evaluate([state["p"], g, buf, scalar(0.1), scalar(momentum)], attrs)

    make = lambda ps: torch.optim.SGD(ps, 0.1, momentum, dampening, decay, nesterov, foreach=False)  # noqa: E731
    assert steps(make, run) <= 4


@pytest.mark.parametrize("name", ["adam", "adam_amsgrad", "adamw", "adamw_amsgrad"])
def test_adam(name):
    amsgrad, decoupled = name.endswith("amsgrad"), name.startswith("adamw")
    lr, b1, b2, eps, decay = 0.01, 0.9, 0.999, 1e-8, 0.02

    def run(state, g, n):
        keys = ["m", "v", "top"] if amsgrad else ["m", "v"]
        held = [state.setdefault(k, np.zeros_like(g)) for k in keys]
        scalars = [scalar(lr / (1 - b1**n)), scalar((1 - b2**n) ** 0.5)] + (
            [scalar(1 - lr * decay)] if decoupled else []
        )
        scalars.append(scalar(1 - b1))
        attrs = (b2, eps, False) if decoupled else (b2, eps, decay, False)
        state["p"], *new = OPS[name].evaluate([state["p"], g, *held, *scalars], attrs)
        state.update(zip(keys, new))

    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    assert steps(lambda ps: kind(ps, lr, (b1, b2), eps, decay, amsgrad, foreach=False), run) <= 4


@pytest.mark.parametrize("momentum, centered", [(0, False), (0.9, True)])
def test_rmsprop(momentum, centered):
    def run(state, g, n):
        held = [state.setdefault(k, np.zeros_like(g)) for k in ("v", "buf", "mean")]
        attrs = (0.99, 1e-8, 0.01, momentum, centered, False)
        state["p"], state["v"], state["buf"], state["mean"] = OPS["rmsprop"].evaluate(
            [state["p"], g, *held, scalar(0.01)], attrs
        )

    make = lambda ps: torch.optim.RMSprop(ps, 0.01, 0.99, 1e-8, 0.01, momentum, centered, foreach=False)  # noqa: E731
    assert steps(make, run) <= 64  # centered: v - mean^2 cancels


def test_adagrad():
    def run(state, g, n):
        total = state.setdefault("total", np.zeros_like(g))
        state["p"], state["total"] = OPS["adagrad"].evaluate(
            [state["p"], g, total, scalar(0.1 / (1 + (n - 1) * 0.01))], (1e-10, 0.02, False)
        )

    assert steps(lambda ps: torch.optim.Adagrad(ps, 0.1, 0.01, 0.02, foreach=False), run) <= 4


def test_half_precision_rounds_once():
    x = RNG.normal(size=(4, 300)).astype(np.float16)
    (y,) = OPS["softmax"].evaluate([x], ((1,),))
    np.testing.assert_allclose(y, torch.softmax(t(x), 1).numpy(), rtol=2e-3)
    assert y.dtype == np.float16 and OPS["sum"].infer((((2,), float64),), ((0,),))[0][1] is float64
