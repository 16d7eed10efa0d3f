"""Index maps and adjoints on arbitrary shapes (hypothesis): views against numpy, and <A x, y> = <x, A* y>."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lamina.dialects.book import OPS, NumpyBuild
from lamina.dialects.book.shapes import regrouped
from lamina.dialects.types import float64, size_of
from xdsl.ir.affine import AffineExpr

BUILD = NumpyBuild(OPS)
QUICK = settings(max_examples=60, deadline=None)
SIZES = st.integers(1, 5)
SHAPES = st.lists(SIZES, min_size=1, max_size=4).map(tuple)


def adjoint(name, shape, attrs):
    """The d line of a linear op is its transpose."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    s = OPS[name]
    (y,) = s.evaluate([x], attrs)
    g = rng.normal(size=y.shape)
    (back,) = s.gradients(BUILD, [x], [y], [g], attrs, [True])
    assert back.shape == x.shape
    np.testing.assert_allclose(np.sum(y * g), np.sum(x * back), atol=1e-9)


def same_elements(name, shape, attrs):
    """The index map reads what the numpy line gives."""
    x = np.arange(size_of(shape)).reshape(shape)
    s = OPS[name]
    (y,) = s.evaluate([x], attrs)
    for at in np.ndindex(*y.shape):
        source, fill = s.index_map(shape, y.shape, attrs, at)
        inside = all(0 <= i < d for i, d in zip(source, shape, strict=True))
        assert y[at] == (x[tuple(source)] if inside else fill)


def affine_agrees(name, shape, attrs):
    """The index map on affine expressions is the index map on ints."""
    s = OPS[name]
    ((out, _),) = s.infer(((shape, float64),), attrs)
    dims = [AffineExpr.dimension(k) for k in range(len(out))]
    exprs, _ = s.index_map(shape, out, attrs, dims)
    for at in np.ndindex(*out):
        want, _ = s.index_map(shape, out, attrs, at)
        got = [e if isinstance(e, int) else e.eval(at, ()) for e in exprs]
        assert got == list(want)


def check_view(name, shape, attrs):
    adjoint(name, shape, attrs)
    same_elements(name, shape, attrs)
    affine_agrees(name, shape, attrs)


@QUICK
@given(SHAPES, st.data())
def test_reshape(shape, data):
    """Any regrouping of the factors."""
    factors = [f for d in shape for f in _factors(d)] + [1] * data.draw(st.integers(0, 2))
    factors = data.draw(st.permutations(factors))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(factors)), max_size=3)))
    to = tuple(size_of(tuple(factors[a:b])) for a, b in zip([0, *cuts], [*cuts, len(factors)], strict=True))
    check_view("reshape", shape, (to,))
    for at in np.ndindex(*to):
        flat = np.ravel_multi_index(at, to)
        assert np.ravel_multi_index(regrouped(at, to, shape), shape) == flat


def _factors(n):
    return [p for p in (2, 3, 5) for _ in range(4) if n % p == 0 and not (n := n // p) < 0]


def test_plain_splits_need_no_division():
    """Merging dimensions in the index (a split in the program) is affine; unit dimensions never divide."""
    i = [AffineExpr.dimension(k) for k in range(4)]
    assert [str(e) for e in regrouped(tuple(i), (2, 3, 4, 5), (6, 20))] == [
        "((d0 * 3) + d1)",
        "((d2 * 5) + d3)",
    ]
    assert [str(e) for e in regrouped(tuple(i), (2, 1, 4, 1), (2, 4))] == ["d0", "d2"]
    assert [str(e) for e in regrouped(tuple(i[:2]), (2, 4), (1, 2, 4, 1))] == ["0", "d0", "d1", "0"]


@QUICK
@given(SHAPES, st.data())
def test_expand(shape, data):
    x = tuple(1 if data.draw(st.booleans()) else d for d in shape)
    check_view("expand", x, (shape,))


@QUICK
@given(SHAPES, st.data())
def test_permute_and_flip(shape, data):
    check_view("permute", shape, (tuple(data.draw(st.permutations(range(len(shape))))),))
    check_view("flip", shape, (tuple(k for k in range(len(shape)) if data.draw(st.booleans())),))


@QUICK
@given(SHAPES, st.data())
def test_slice(shape, data):
    start = tuple(data.draw(st.integers(0, d - 1)) for d in shape)
    step = tuple(data.draw(st.integers(1, 3)) for _ in shape)
    size = tuple(
        data.draw(st.integers(1, (d - a - 1) // k + 1)) for d, a, k in zip(shape, start, step, strict=True)
    )
    check_view("slice", shape, (start, size, step))


@QUICK
@given(SHAPES, st.data())
def test_pad(shape, data):
    draw = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in shape)  # noqa: E731
    low, high, interior = draw(-2, 2), draw(-2, 2), draw(0, 2)
    spread = [d + (d - 1) * k for d, k in zip(shape, interior, strict=True)]
    assume(all(a + b + d >= 0 and -a <= d and -b <= d for a, b, d in zip(low, high, spread, strict=True)))
    adjoint("pad", shape, (low, high, interior, 0))
    if not any(interior):
        same_elements("pad", shape, (low, high, interior, -7))


@QUICK
@given(st.integers(1, 2), st.data())
def test_window(n, data):
    draw = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(n))  # noqa: E731
    size, stride, dilation = draw(1, 3), draw(1, 3), draw(1, 2)
    shape = (
        2,
        *(a * (u - 1) + 1 + data.draw(st.integers(0, 4)) for u, a in zip(size, dilation, strict=True)),
    )
    check_view("window", shape, (size, stride, dilation))


@QUICK
@given(st.integers(1, 2), st.data())
def test_convolution_gradients(n, data):
    """conv is bilinear: its gradients are its two transposes, and so on for the gradients' own."""
    draw = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(n))  # noqa: E731
    size, stride, dilation, groups = draw(1, 3), draw(1, 3), draw(1, 2), data.draw(st.integers(1, 2))
    d = tuple(a * (u - 1) + 1 + data.draw(st.integers(0, 4)) for u, a in zip(size, dilation, strict=True))
    rng = np.random.default_rng(1)
    x, k = rng.normal(size=(2, groups, 3, *d)), rng.normal(size=(groups, 2, 3, *size))
    s = OPS["conv"]
    (y,) = s.evaluate([x, k], (stride, dilation))
    g = rng.normal(size=y.shape)
    dx, dk = s.gradients(BUILD, [x, k], [y], [g], (stride, dilation), [True, True])
    for operand, gradient in ((x, dx), (k, dk)):
        assert gradient.shape == operand.shape
        np.testing.assert_allclose(np.sum(y * g), np.sum(operand * gradient), rtol=1e-9)
