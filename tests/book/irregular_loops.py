"""Irregular ops written as loops: what their numpy lines are checked against."""

from __future__ import annotations

import itertools

import numpy as np


def full(shape, value, t):
    y = np.empty(shape, t.numpy)
    for i in np.ndindex(*shape):
        y[i] = value
    return y


def iota(shape, axis, t):
    y = np.empty(shape, t.numpy)
    for i in np.ndindex(*shape):
        y[i] = i[axis]
    return y


def _first(better):
    def run(x, axis):
        y = np.zeros([1 if k == axis else d for k, d in enumerate(x.shape)], np.int64)
        for i in np.ndindex(*y.shape):
            for k in range(x.shape[axis]):
                best = (*i[:axis], y[i], *i[axis + 1 :])
                if better(x[(*i[:axis], k, *i[axis + 1 :])], x[best]):
                    y[i] = k
        return y

    return run


argmax = _first(lambda a, b: a > b)
argmin = _first(lambda a, b: a < b)


def gather(x, index, axis):
    y = np.empty(index.shape, x.dtype)
    for i in np.ndindex(*index.shape):
        y[i] = x[(*i[:axis], index[i], *i[axis + 1 :])]
    return y


def scatter_add(x, index, src, axis):
    y = x.copy()
    for i in np.ndindex(*index.shape):
        y[(*i[:axis], index[i], *i[axis + 1 :])] += src[i]
    return y


_ARRIVE = {"set": lambda a, b: b, "mul": lambda a, b: a * b, "max": max, "min": min}


def scatter(x, index, src, axis, by):
    y = x.copy()
    for i in np.ndindex(*index.shape):
        to = (*i[:axis], index[i], *i[axis + 1 :])
        y[to] = _ARRIVE[by](y[to], src[i])
    return y


def take(x, index, axis):
    y = np.empty(x.shape[:axis] + index.shape + x.shape[axis + 1 :], x.dtype)
    for i in np.ndindex(*y.shape):
        row = index[i[axis : axis + index.ndim]]
        y[i] = x[(*i[:axis], row, *i[axis + index.ndim :])]
    return y


def put_add(x, index, src, axis):
    y = x.copy()
    for i in np.ndindex(*src.shape):
        row = index[i[axis : axis + index.ndim]]
        y[(*i[:axis], row, *i[axis + index.ndim :])] += src[i]
    return y


def put(x, index, src, axis):
    y = x.copy()
    for i in np.ndindex(*src.shape):
        y[(*i[:axis], index[i[axis : axis + index.ndim]], *i[axis + index.ndim :])] = src[i]
    return y


def update(x, y, start, step):
    z = x.copy()
    for i in np.ndindex(*y.shape):
        z[tuple(a + k * j for a, k, j in zip(start, step, i))] = y[i]
    return z


def unwindow(y, to, size, stride, dilation):
    n = len(to)
    lead = y.shape[: y.ndim - 2 * n]
    x = np.zeros((*lead, *to), y.dtype)
    for i in np.ndindex(*y.shape):
        b, p, u = i[: len(lead)], i[len(lead) : len(lead) + n], i[len(lead) + n :]
        x[(*b, *(a * s + c * d for a, s, c, d in zip(p, stride, u, dilation)))] += y[i]
    return x


def concat(*operands):
    *xs, axis = operands
    rows = [np.moveaxis(x, axis, 0)[k] for x in xs for k in range(x.shape[axis])]
    return np.stack(rows, axis)


def scan(h, xs, w, body, carried, scanned, steps, reverse):
    """samples.BODY, spelled out; the first result only."""
    for t in reversed(range(steps)) if reverse else range(steps):
        h = np.tanh(h @ w + xs[t])
    return h


def sort(x, axis, descending):
    y = np.empty_like(x)
    for i in itertools.product(*(range(d) for k, d in enumerate(x.shape) if k != axis)):
        at = (*i[:axis], slice(None), *i[axis:])
        y[at] = sorted(x[at], reverse=descending)
    return y


def topk(x, k, largest):
    return np.array(sort(x, x.ndim - 1, largest)[..., :k])


def dft_parts(x, roots, axis, sign, scale):
    z, n = np.moveaxis(x[..., 0] + 1j * x[..., 1], axis, 0), x.shape[axis]
    y = np.stack([sum(z[j] * np.exp(sign * 2j * np.pi * j * k / n) for j in range(n)) for k in range(n)]) * scale
    y = np.moveaxis(y, 0, axis)
    return np.stack((y.real, y.imag), -1)


def real_dft(x, roots, scale):
    whole = dft_parts(np.stack((x, 0 * x), -1), roots, x.ndim - 1, -1, scale)
    return whole[..., : x.shape[-1] // 2 + 1, :]


def dft_to_real(x, roots, scale):
    ends = x * np.array([1, 0])
    half = np.concatenate((ends[..., :1, :], x[..., 1:-1, :], ends[..., -1:, :]), -2)
    back = (half * np.array([1, -1]))[..., -2:0:-1, :]
    return dft_parts(np.concatenate((half, back), -2), roots, x.ndim - 2, 1, scale)[..., 0]


def _running(combine):
    def run(x, axis):
        y = x.copy()
        for i in np.ndindex(*x.shape):
            if i[axis]:
                y[i] = combine(y[(*i[:axis], i[axis] - 1, *i[axis + 1 :])], x[i])
        return y

    return run


cumsum = _running(lambda a, b: a + b)
cumprod = _running(lambda a, b: a * b)


def running(x, axis, largest):
    return _running(max if largest else min)(x, axis)
