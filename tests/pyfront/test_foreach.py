"""torch._foreach_…: lists of tensors give what PyTorch gives, in place too, and the same errors."""

from __future__ import annotations

from typing import Any

import pytest

import lamina
from lamina.pyfront import foreach

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

CALLS = """
torch._foreach_add(a, 1) | torch._foreach_add(a, [1, 2.5]) | torch._foreach_add(a, b, alpha=2) | torch._foreach_add(a, one) | torch._foreach_add(n, 1.5)
torch._foreach_sub(a, b) | torch._foreach_mul(a, one) | torch._foreach_div(a, b) | torch._foreach_pow(a, [2, 3]) | torch._foreach_pow(2, a) | torch._foreach_pow(a, b)
torch._foreach_lerp(a, b, 0.5) | torch._foreach_lerp(a, b, [0.5, 0.1]) | torch._foreach_lerp(a, b, weights=b) | torch._foreach_maximum(a, 1.5) | torch._foreach_minimum(a, b)
torch._foreach_addcmul(a, b, b, 3) | torch._foreach_addcdiv(a, b, b, value=3) | torch._foreach_addcdiv(a, b, b, [1, 2.0]) | torch._foreach_addcmul(a, b, b, torch.tensor([1.0, 2]))
torch._foreach_norm(a) | torch._foreach_norm(a, float("inf")) | torch._foreach_norm(a, 1, dtype=torch.float64) | torch._foreach_powsum(a, 3) | torch._foreach_max(a) | torch._foreach_clone(a)
torch._foreach_mm([m], [m]) | torch._foreach_sqrt(tuple(a)) | torch._foreach_neg(n)
torch._foreach_add_(a, 1) | torch._foreach_mul_(a, [2, 3]) or a | torch._foreach_lerp_(a, b, 0.25) | torch._foreach_maximum_(a, 1.5) or a | torch._foreach_zero_(b) or b
torch._foreach_copy_(a, b, non_blocking=True) or a | torch._foreach_addcdiv_(a, b, b, value=-0.5) | torch._foreach_sigmoid_(a) | torch._foreach_clamp_min_(a, 1)
"""
REFUSED = """
torch._foreach_add(a, [1.0]) | torch._foreach_add(a, b[:1]) | torch._foreach_add([], 1) | torch._foreach_mul(a, torch.ones(2)) | torch._foreach_abs(a[0]) | torch._foreach_abs(3)
torch._foreach_add(a, "x") | torch._foreach_add(a) | torch._foreach_add(a, None) | torch._foreach_sqrt(a, 2) | torch._foreach_add(a, [torch.ones(7), b[1]]) | torch._foreach_add_(n, 1.5)
torch._foreach_mul_([leaf], 2) | torch._foreach_abs([a[0], 1])
"""


def parts(text: str) -> list[str]:
    return [call.strip() for line in text.strip().splitlines() for call in line.split(" | ")]


def outcome(module: Any, source: str) -> Any:
    a, b = ([module.arange(1.0, 1 + k) * f for k in (2, 3)] for f in (1, 0.5))
    scope = {"torch": module, "a": a, "b": b, "n": [module.ones(2, dtype=module.int64)], "m": module.ones(2, 2), "one": module.tensor(2.0)}
    found = eval(source, scope | {"leaf": module.ones(2, requires_grad=True)})  # noqa: S307  # our own expressions
    return type(found).__name__, found is a, [(str(t.dtype), t.tolist()) for t in found]


@pytest.mark.parametrize("source", parts(CALLS))
def test_is_what_pytorch_gives(source: str) -> None:
    kind, same, want = outcome(torch, source)
    found = outcome(lamina, source)
    assert found[:2] == (kind, same) and [t for t, _ in found[2]] == [t for t, _ in want]
    for (_, ours), (_, theirs) in zip(found[2], want, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6) if not isinstance(theirs, list) or not isinstance(theirs[0], list) else ours == theirs


@pytest.mark.parametrize("source", parts(REFUSED))
def test_is_refused_as_pytorch_refuses(source: str) -> None:
    with pytest.raises((TypeError, RuntimeError)) as want:
        outcome(torch, source)
    with pytest.raises((TypeError, RuntimeError)) as found:
        outcome(lamina, source)
    assert issubclass(found.type, want.type)
    assert str(found.value).splitlines()[0][:60].replace("ShapeError: ", "")[:24] == str(want.value).splitlines()[0][:24]


def test_every_name_of_pytorch_is_there() -> None:
    assert sorted(foreach.PUBLIC) == sorted(name for name in dir(torch) if name.startswith("_foreach_"))


def test_gradients_go_through_a_list() -> None:
    x = lamina.tensor([1.0, 2.0], requires_grad=True)
    sum(t.sum() for t in lamina._foreach_mul([x, x], [2, 3])).backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_groups_are_those_of_one_device_and_dtype() -> None:
    one, two, three = lamina.ones(1), lamina.ones(1).double(), lamina.zeros(1)
    groups = foreach._group_tensors_by_device_and_dtype([[one, two, three], [None, 1, 2], []], with_indices=True)
    assert [(k[1], v) for k, v in groups.items()] == [(lamina.float32, ([[one, three], [None, 2], []], [0, 2])), (lamina.float64, ([[two], [1], []], [1]))]
