"""Tensor types as programs of PyTorch's first years use them: constructors, conversions, `isinstance`."""

from __future__ import annotations

import lamina as ours
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

NAMES = ("FloatTensor", "DoubleTensor", "HalfTensor", "BFloat16Tensor", "LongTensor", "IntTensor", "ShortTensor", "CharTensor", "ByteTensor", "BoolTensor")


@pytest.mark.parametrize("name", NAMES)
def test_a_type_and_its_name_convert(name: str) -> None:
    def said(torch):
        x, kind = torch.tensor([[0.0, 1.0], [2.5, 100.0]]), getattr(torch, name)
        found = x.type(kind)
        assert x.type(f"torch.{name}").dtype == found.dtype and found.type(kind) is found
        made = kind([1, 0, 1])
        return found.tolist(), found.type(), isinstance(found, kind), isinstance(x, kind), made.tolist(), made.type(), kind(2, 3).shape, kind.__name__, kind.__module__

    assert said(ours) == said(torch)


def test_the_default_type() -> None:
    x = ours.ones(2, dtype=ours.int32)
    assert x.type(ours.Tensor).dtype is ours.float32 and x.type("torch.Tensor").dtype is ours.float32


@pytest.mark.parametrize("wrong", (float, "float", "FloatTensor", 3))
def test_what_is_no_type(wrong: object) -> None:
    said = []
    for module in (ours, torch):
        with pytest.raises((ValueError, TypeError)) as found:
            module.ones(1).type(wrong)
        said.append((found.type, str(found.value)))
    assert said[0] == said[1]


def test_modules_take_types() -> None:
    assert ours.nn.Linear(2, 2).type(ours.DoubleTensor).weight.dtype is ours.float64
