"""Functions of torch.nn.functional whose calls are known: the same names of the backward, warnings and errors each time, and the same gradients."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import lamina
import pytest

F = lamina.nn.functional


def _calls() -> dict[str, Any]:
    lamina.manual_seed(0)
    x, w = lamina.rand(3, 4), lamina.rand(3, 4, requires_grad=True)
    classes = lamina.tensor([0, 2, 1])
    return {
        "linear": lambda: F.linear(x, w), "cross_entropy": lambda: F.cross_entropy(w, classes), "mse_loss": lambda: F.mse_loss(w, x), "relu": lambda: F.relu(w),
        "max_pool1d": lambda: F.max_pool1d(w[None], 2), "conv1d": lambda: F.conv1d(x[None], w[:, :3, None]),
        "layer_norm": lambda: F.layer_norm(w, (4,)), "embedding": lambda: F.embedding(classes, w), "gelu": lambda: F.gelu(w),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(_calls()))
def test_the_backward_has_the_same_name_each_time(name: str) -> None:
    call = _calls()[name]
    names = {call().grad_fn.name() for _ in range(4)}
    assert len(names) == 1


def test_a_warning_comes_each_time() -> None:
    x, y = lamina.rand(3, 4), lamina.rand(4)
    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            F.mse_loss(x, y)
        assert len(caught) == 1


def test_a_call_in_place_writes_each_time() -> None:
    x = lamina.tensor([-1.0, 2.0])
    for k in range(3):
        x[0] = -1.0
        before = x._version
        assert F.relu(x, inplace=True) is x and x._version == before + 1, k
        assert x.tolist() == [0.0, 2.0]


def test_random_numbers_are_drawn_each_time() -> None:
    x = lamina.ones(64)
    assert len({tuple(F.dropout(x, 0.5).tolist()) for _ in range(4)}) == 4


def test_statistics_move_each_time() -> None:
    x, mean, var = lamina.rand(8, 2), lamina.zeros(2), lamina.ones(2)
    seen = []
    for _ in range(3):
        F.batch_norm(x, mean, var, training=True)
        seen.append(mean.tolist())
    assert seen[0] != seen[1] != seen[2]


def test_an_index_outside_is_refused_each_time() -> None:
    w = lamina.rand(3, 4)
    for _ in range(3):
        F.embedding(lamina.tensor([0, 2]), w)
    with pytest.raises(IndexError):
        F.embedding(lamina.tensor([0, 3]), w)


def test_functions_are_pickled_by_name() -> None:
    for name in ("linear", "relu", "layer_norm", "cross_entropy"):
        assert pickle.loads(pickle.dumps(getattr(F, name))) is getattr(F, name)  # noqa: S301  # made here


def test_autocast_is_followed_after_a_call_without() -> None:
    x, w = lamina.rand(3, 4), lamina.rand(5, 4)
    for _ in range(3):
        assert F.linear(x, w).dtype is lamina.float32
    with lamina.autocast("cpu", dtype=lamina.bfloat16):
        assert F.linear(x, w).dtype is lamina.bfloat16
    assert F.linear(x, w).dtype is lamina.float32
