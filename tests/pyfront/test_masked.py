"""torch.masked against PyTorch: values, dtypes and gradients over what a mask holds true."""

import lamina
import numpy as np
import pytest
import torch
import torch.masked

BOTH = (lamina, torch)
X = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
MASK = np.random.default_rng(1).random((4, 5)) > 0.4
MASK[1] = False

REDUCTIONS = ["sum", "prod", "mean", "amax", "amin", "logsumexp", "norm", "var", "std"]
ALONG = ["cumsum", "cumprod", "softmax", "log_softmax", "softmin", "median"]


def _plain(x):
    return str(x.dtype), tuple(x.shape), np.asarray(x.detach().numpy(), np.float64)


def _same(found, wanted):
    (dtype, shape, mine), (dtype2, shape2, theirs) = _plain(found), _plain(wanted)
    assert (dtype.split(".")[-1], shape) == (dtype2.split(".")[-1], shape2)
    np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5)


def _both(call):
    """The call's result and, where there is one, the gradient, of both."""
    results, slopes = [], []
    for t in BOTH:
        x = t.tensor(X, requires_grad=True)
        y = call(t, x, t.tensor(MASK))
        results.append(y)
        if y.requires_grad:
            kept = y.isfinite()
            t.where(kept, y, t.zeros_like(y)).sum().backward()
            slopes.append(x.grad)
    _same(*results)
    if slopes:
        _same(*[t.nan_to_num(g, 7.0) for t, g in zip(BOTH, slopes, strict=True)])


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dim", [None, 2, (0, -1), ()])
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions(name, dim, keepdim):
    _both(lambda t, x, m: getattr(t.masked, name)(x, dim=dim, keepdim=keepdim, mask=m))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_without_a_mask(name):
    _both(lambda t, x, m: getattr(t.masked, name)(x, dim=1))


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_along_a_dimension(name, dim):
    _both(lambda t, x, m: getattr(t.masked, name)(x, dim, mask=m))


@pytest.mark.parametrize("ord", [2.0, 1, float("inf"), float("-inf"), 0])
def test_normalize(ord):
    _both(lambda t, x, m: t.masked.normalize(x, ord, -1, mask=m))


def test_logaddexp_and_positions():
    _both(lambda t, x, m: t.masked.logaddexp(x, x * 2, input_mask=m, other_mask=m.logical_not()))
    for name in ("argmax", "argmin"):
        _both(lambda t, x, m, name=name: getattr(t.masked, name)(x, mask=m))
        _both(lambda t, x, m, name=name: getattr(t.masked, name)(x, 0, keepdim=True, mask=m))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float64"])
@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "amax", "argmin"])
def test_dtypes(name, dtype):
    if dtype == "bool" and name not in ("sum", "prod"):
        return
    mine, theirs = [
        getattr(t.masked, name)(t.tensor([[3, 1, 2], [5, 0, 4]]).to(getattr(t, dtype)), 1, mask=t.tensor([True, False, True]))
        for t in BOTH
    ]
    _same(mine, theirs)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.masked.mean(t.arange(4), mask=t.ones(4) > 0),
        lambda t: t.masked.median(t.arange(4), 0, mask=t.zeros(4) > 0),
        lambda t: t.masked.sum(t.ones(2, 3), (0, 0)),
        lambda t: t.masked.sum(t.ones(2, 3), 2),
        lambda t: t.masked.sum(t.ones(3), mask=t.ones(2, 3) > 0),
        lambda t: t.masked.var(t.ones(3), unbiased=True, correction=1),
    ],
)
def test_errors(call):
    kinds = []
    for t in BOTH:
        with pytest.raises(Exception) as found:
            call(t)
        kinds.append((found.type, str(found.value).replace("lamina.", "torch.")))
    assert kinds[0][0] is kinds[1][0]
    assert kinds[0][1][:40] == kinds[1][1][:40]


@pytest.mark.parametrize("shape,dim", [((0,), 0), ((5, 0), 1), ((5, 0, 3), 1), ((0, 3), 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax_of_nothing(name, shape, dim):
    for t in BOTH:
        x = t.zeros(shape, requires_grad=True)
        y = getattr(t.nn.functional, name)(x, dim)
        y.sum().backward()
        assert tuple(y.shape) == tuple(x.grad.shape) == shape
        if name != "softmin":
            assert tuple(getattr(t, name)(x, dim).shape) == shape
