"""Views of what the host has: parts that lie side by side are the same memory, found at once; others are steps, as before."""

from __future__ import annotations

import itertools

import lamina
import numpy as np
import pytest

from lamina.pyfront import recorder, views

INDICES = [0, -1, slice(1, 3), slice(0, 1), slice(2, 2), slice(None, None, 2), (slice(None), 1), (1, slice(0, 2)), (0, 1), (1, slice(1, 2)), (slice(1, 2), 0), ..., (..., 0), None]


@pytest.mark.parametrize("first", INDICES, ids=str)
def test_the_same_elements(first) -> None:
    array = np.arange(24.0, dtype=np.float32).reshape(3, 2, 4)
    for rest in itertools.product(INDICES[:8], repeat=2):
        x, expected = lamina.tensor(array), array
        for index in (first, *rest):
            if isinstance(index, int) and not expected.ndim or isinstance(index, tuple) and expected.ndim < 2 or isinstance(index, int) and not expected.shape[0]:
                break
            if isinstance(index, slice) and not expected.ndim or isinstance(index, tuple) and any(type(i) is int and n <= i for i, n in zip(index, expected.shape)):
                break
            x, expected = x[index], expected[index]
        node, chain = x._node, x._chain
        indices = views._selection(chain)
        assert node.type[0] == expected.shape and np.array_equal(x.numpy(), expected)
        if indices is not None and chain and expected.flags.c_contiguous:
            assert node.op is None and node.value is not None and np.array_equal(node.value, expected)
            shown = views.host_view(array, chain)
            for k in indices:
                array_now = array[k] if k is indices[0] else array_now[k]
            assert array_now.shape == shown.shape and array_now.ctypes.data == shown.ctypes.data


def test_what_is_found_at_once() -> None:
    x = lamina.tensor(np.arange(24.0, dtype=np.float32).reshape(3, 2, 4))
    assert [views._selection(v._chain) is None for v in (x[0], x[0][0], x[0][1][2], x[1:], x[1:2, 0], x.view(6, 4)[0], x.t() if x.dim() < 3 else x.permute(2, 0, 1)[0], x[None])] == [
        False, False, False, False, False, True, True, True,
    ]  # fmt: skip
    assert x[:, 0]._node.op is not None  # not side by side: a step


@pytest.mark.parametrize("write", [lambda x: x.copy_(lamina.full((3,), 2.0)), lambda x: x.copy_(2), lambda x: x.fill_(2.0), lambda x: x.mul_(0).add_(2)])
def test_constants_that_are_written_are_memory(write) -> None:
    x = lamina.rand(3)
    write(x)
    assert x[1].item() == 2.0 and x._storage.node.value.tolist() == [2.0, 2.0, 2.0]


def test_writes_and_history() -> None:
    """A view found at once is read anew after a write, sees writes through it, and has none where there is history, a graph that is watched or kept."""
    x = lamina.arange(6.0).reshape(2, 3).clone()
    x.tolist()
    row, one = x[1], x[1][2]
    assert one._node.value is not None and one._node.op is None
    x.add_(1.0)
    assert row.tolist() == [4.0, 5.0, 6.0] and one.item() == 6.0
    one.mul_(2.0)
    assert x.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 12.0]] and row.tolist() == [4.0, 5.0, 12.0]
    w = lamina.arange(6.0).reshape(2, 3).clone().requires_grad_()
    (3 * w[1][2]).backward()
    assert w.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]
    with lamina.no_grad():
        assert w[1][2].item() == 5.0 and not w[1][2].requires_grad
    y = lamina.rand(2, 3)
    recorder.state.noted = []
    try:
        assert y[1][2]._node.op is not None
    finally:
        recorder.state.noted = None
    f = lamina.compile(lambda t: t[1][2] * 2)
    assert [f(lamina.full((2, 3), float(k))).item() for k in range(5)] == [0.0, 2.0, 4.0, 6.0, 8.0] and f.compiled.replays
