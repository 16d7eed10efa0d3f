"""Segments, histograms of points and hashes, and functions of the root that give parts of a layer, against PyTorch."""

import lamina
import numpy as np
import pytest
import torch

BOTH = (lamina, torch)
R = np.random.default_rng(0)
X = R.standard_normal((3, 6, 2)).astype(np.float32)


def _near(mine, theirs, tolerance=2e-5):
    if isinstance(mine, tuple):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            _near(a, b, tolerance)
        return
    assert str(mine.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1] and tuple(mine.shape) == tuple(theirs.shape)
    a, b = (x.detach().float().numpy() if x.is_floating_point() else x.detach().numpy() for x in (mine, theirs))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def _with_gradients(call, *arrays, tolerance=2e-5):
    results, slopes = [], []
    for t in BOTH:
        parts = [t.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = call(t, *parts)
        results.append(y)
        first = y[0] if isinstance(y, tuple) else y
        t.where(first.isfinite(), first, t.zeros_like(first)).pow(2).sum().backward()
        slopes.append(tuple([p.grad for p in parts if p.grad is not None]))
    _near(*results, tolerance)
    _near(*slopes, tolerance)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("initial", [None, 0.5])
@pytest.mark.parametrize("axis,cuts", [(0, [1, 0, 2]), (1, [[2, 0, 4], [6, 0, 0], [1, 2, 3]])])
def test_segment_reduce(reduce, initial, axis, cuts):
    lengths = np.array(cuts)
    offsets = np.concatenate([np.zeros_like(lengths[..., :1]), lengths.cumsum(-1)], -1)
    for options in ({"lengths": lengths}, {"offsets": offsets}):
        _with_gradients(
            lambda t, x, options=options: t.segment_reduce(
                x, reduce, axis=axis, initial=initial, **{k: t.tensor(v) for k, v in options.items()}
            ),
            X,
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.segment_reduce(t.ones(6), "sum"),
        lambda t: t.segment_reduce(t.ones(6), "q", lengths=t.tensor([6])),
        lambda t: t.segment_reduce(t.ones(6), "sum", lengths=t.tensor([5])),
        lambda t: t.segment_reduce(t.ones(6), "sum", lengths=t.tensor([-1, 7])),
        lambda t: t.histogramdd(t.ones(5, 6), [1, 1]),
        lambda t: t.nn.functional.linear_cross_entropy(t.ones(2, 3), t.ones(2), t.zeros(2, dtype=t.int64)),
        lambda t: t.nn.functional.linear_cross_entropy(t.ones(2, 3), t.ones(4, 2), t.zeros(2, dtype=t.int64)),
        lambda t: t.native_layer_norm(t.ones(2, 3), (3,), t.ones(2), None, 1e-5),
    ],
)
def test_errors(call):
    words = []
    for t in BOTH:
        with pytest.raises(RuntimeError) as found:
            call(t)
        words.append(str(found.value).splitlines()[0][:60])
    assert words[0] == words[1]


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bins", [3, [2, 4], [np.array([-1.0, 0, 2]), np.array([-2.0, -0.5, 0.5, 3])]])
@pytest.mark.parametrize("range", [None, [-1.0, 1.0, -0.5, 2.0]])
def test_histograms_of_points(density, weighted, bins, range):
    if isinstance(bins, list) and isinstance(bins[0], np.ndarray) and range is not None:
        return
    results = []
    for t in BOTH:
        kept = [t.tensor(b.astype(np.float32)) if isinstance(b, np.ndarray) else b for b in bins] if isinstance(bins, list) else bins
        weight = t.arange(18.0).reshape(3, 6) if weighted else None
        found = t.histogramdd(t.tensor(X), kept, range=range, weight=weight, density=density)
        results.append((found.hist, *found.bin_edges))
    _near(*results)


@pytest.mark.parametrize("array", [X, X.astype(np.float64), (X * 9).astype(np.int64), (X * 9).astype(np.int8), X > 0])
def test_hashes(array):
    for options in ({}, {"dim": 1}, {"dim": (0, 2), "keepdim": True}):
        mine, theirs = [t.hash_tensor(t.tensor(array), **options) for t in BOTH]
        assert mine.dtype is lamina.uint64 and mine.numpy().tolist() == theirs.numpy().tolist()


def test_layers_and_what_they_were_computed_with():
    w, b = R.standard_normal(6).astype(np.float32), R.standard_normal(6).astype(np.float32)
    _with_gradients(lambda t, x, w, b: t.native_layer_norm(x, (2,), w, b, 1e-5), X, w[:2], b[:2])
    _with_gradients(lambda t, x: t.native_layer_norm(x, (6, 2), None, None, 1e-5), X, tolerance=1e-4)
    _with_gradients(lambda t, x, w, b: t.native_group_norm(x, w, b, 3, 6, 2, 3, 1e-5), X, w, b, tolerance=1e-4)
    _with_gradients(lambda t, x, w, b: t.native_batch_norm(x, w, b, t.zeros(6), t.ones(6), True, 0.1, 1e-5), X, w, b, tolerance=1e-4)
    _with_gradients(lambda t, x, w, b: t.native_batch_norm(x, w, b, t.zeros(6), t.ones(6), False, 0.1, 1e-5), X, w, b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_backward_of_softmax(dtype):
    for name, forward in (("_softmax_backward_data", "softmax"), ("_log_softmax_backward_data", "log_softmax")):
        results = []
        for t in BOTH:
            kind = getattr(t, dtype)
            y = getattr(t.tensor(X), forward)(1).to(kind)
            results.append(getattr(t, name)(t.tensor(X[::-1].copy()).to(kind), y, 1, kind))
        _near(*results, 2e-5 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize(
    "x,w,target,options",
    [
        ((4, 3), (5, 3), (4,), {}),
        ((3,), (5, 3), (), {"reduction": "none"}),
        ((4, 3), (5, 2, 3), (4, 2), {"reduction": "sum", "ignore_index": 1, "label_smoothing": 0.1}),
    ],
)
def test_linear_cross_entropy(x, w, target, options):
    a, b, classes = R.standard_normal(x), R.standard_normal(w), R.integers(0, 5, target)
    bias = R.standard_normal(w[:-1])
    _with_gradients(
        lambda t, a, b, bias: t.nn.functional.linear_cross_entropy(a, b, t.tensor(classes), linear_bias=bias, **options), a, b, bias
    )


@pytest.mark.parametrize("torch", BOTH)
def test_places_are_counted_from_the_front(torch):
    """gather, scatter and their like refuse negative indices; take and take_along_dim count them from the end."""
    x, last = torch.arange(6.0).reshape(2, 3), torch.tensor([[-1]])
    for call in (
        lambda: x.gather(1, last), lambda: x.scatter(1, last, 1.0), lambda: x.scatter_add(1, last, x), lambda: x.scatter_reduce(1, last, x, "amax"),
        lambda: x.index_add(0, last[0], x[:1]), lambda: torch.take_along_dim(x, last[0]),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="index -1 is out of bounds for dimension"):
            call()
    with pytest.raises(IndexError):
        x.index_select(0, last[0])
    assert torch.take_along_dim(x, last, 1).tolist() == [[2.0], [5.0]]
    assert x.take(last).tolist() == [[5.0]] and x[:, -1].tolist() == [2.0, 5.0]
