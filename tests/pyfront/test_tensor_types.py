"""Tensor types as programs of PyTorch's first years use them: constructors, conversions, `isinstance`."""

from __future__ import annotations

import lamina as ours
import numpy as np
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


TAKES_A_DTYPE = {
    "zeros": lambda t, kind: t.zeros(2, dtype=kind),
    "full": lambda t, kind: t.full((2,), 1, dtype=kind),
    "tensor": lambda t, kind: t.tensor([1, 2], dtype=kind),
    "as_tensor": lambda t, kind: t.as_tensor([1, 2], dtype=kind),
    "asarray": lambda t, kind: t.asarray([1, 2], dtype=kind),
    "arange": lambda t, kind: t.arange(3, dtype=kind),
    "linspace": lambda t, kind: t.linspace(0, 1, 3, dtype=kind),
    "eye": lambda t, kind: t.eye(2, dtype=kind),
    "ones_like": lambda t, kind: t.ones_like(t.zeros(2), dtype=kind),
    "new_zeros": lambda t, kind: t.zeros(2).new_zeros(2, dtype=kind),
    "new_tensor": lambda t, kind: t.zeros(2).new_tensor([1], dtype=kind),
    "to": lambda t, kind: t.zeros(2).to(kind),
    "to by name": lambda t, kind: t.zeros(2).to(dtype=kind),
    "view": lambda t, kind: t.zeros(2).view(kind),
    "sum": lambda t, kind: t.ones(3).sum(dtype=kind),
    "cumsum": lambda t, kind: t.cumsum(t.ones(3), 0, dtype=kind),
    "softmax": lambda t, kind: t.softmax(t.ones(3), 0, kind),
    "functional.softmax": lambda t, kind: t.nn.functional.softmax(t.ones(3), 0, dtype=kind),
    "rand": lambda t, kind: t.rand(2, dtype=kind),
    "randint": lambda t, kind: t.randint(0, 3, (2,), dtype=kind),
    "window": lambda t, kind: t.hann_window(3, dtype=kind),
    "Linear": lambda t, kind: t.nn.Linear(2, 3, dtype=kind).weight,
    "Module.to": lambda t, kind: t.nn.Linear(2, 3).to(kind).weight,
    "finfo": lambda t, kind: t.finfo(kind),
    "iinfo": lambda t, kind: t.iinfo(kind),
}


@pytest.mark.parametrize("name", TAKES_A_DTYPE)
def test_a_type_of_python_is_a_dtype(name: str) -> None:
    found = {}
    for kind in (float, int, complex):
        try:
            found[kind] = str(TAKES_A_DTYPE[name](torch, kind).dtype)
        except (TypeError, RuntimeError, ValueError, NotImplementedError):
            continue  # which dtypes a function computes in is its own matter
    assert found
    assert {kind: str(TAKES_A_DTYPE[name](ours, kind).dtype) for kind in found} == found


def test_other_types_are_no_dtypes() -> None:
    assert ours.zeros(2, dtype=bool).dtype is ours.bool and ours.zeros(2).to(bool).dtype is ours.bool
    for wrong in (np.float32, str, "float32"):
        with pytest.raises(TypeError, match="must be torch.dtype"):
            ours.zeros(2, dtype=wrong)
        with pytest.raises(TypeError):
            torch.zeros(2, dtype=wrong)


LISTS = (
    lambda: [np.arange(3.0), np.arange(3.0)], lambda: [np.arange(3, dtype=np.int32)] * 2, lambda: [[np.arange(2.0, dtype=np.float32)]], lambda: [1, np.float64(2)],
    lambda: [2.0, np.float64(2)], lambda: [True, np.int32(2)], lambda: [np.float32(1), 2.5], lambda: [[1, 2], [3, np.float64(4)]], lambda: [0, np.complex64(1)],
    lambda: [np.float16(1), 2], lambda: [True, 2.5], lambda: [[], []],
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(LISTS)))
def test_lists_with_numbers_of_numpy(number: int) -> None:
    ours_, theirs = ours.tensor(LISTS[number]()), torch.tensor(LISTS[number]())
    assert str(ours_.dtype) == str(theirs.dtype) and ours_.tolist() == theirs.tolist()


def test_dimensions_are_numbers_of_numpy() -> None:
    def said(torch, dim):
        x = torch.tensor([[1.0, 4.0, 2.0], [3.0, 0.0, 5.0]])
        return [f(x, dim).tolist() for f in (torch.sum, torch.argmax, torch.softmax, torch.cumsum, torch.amax)] + [x.max(dim)[0].tolist(), x.unsqueeze(dim).shape]

    for dim in (np.int64(0), np.int32(1), np.int64(-1)):
        for mine, its in zip(said(ours, dim), said(torch, dim)):
            np.testing.assert_allclose(mine, its, rtol=1e-6)


GIVEN_NUMBERS = (
    lambda t, x, n: x.topk(n).values, lambda t, x, n: x.roll(n, n - n), lambda t, x, n: x.chunk(n)[1], lambda t, x, n: x.diagonal(n), lambda t, x, n: x.movedim(n - n, n // n),
    lambda t, x, n: t.tensor_split(x, n)[0], lambda t, x, n: x.unfold(n - n, n, n // n), lambda t, x, n: x.norm(p=n), lambda t, x, n: t.sum(x, dim=(n - n, n // n)),
    lambda t, x, n: t.nn.Conv2d(1, 2, n, padding=n)(x[None, None]) * 0, lambda t, x, n: t.nn.MaxPool2d(n)(x[None]), lambda t, x, n: t.nn.LayerNorm(n * n)(x),
    lambda t, x, n: t.nn.GroupNorm(n, 4)(x), lambda t, x, n: t.nn.functional.softmax(x, dim=n // n), lambda t, x, n: t.nn.functional.unfold(x[None, None], n),
    lambda t, x, n: t.nn.functional.one_hot(t.tensor([1]), n),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(GIVEN_NUMBERS)))
def test_numbers_of_numpy_are_arguments(number: int) -> None:
    def said(torch):
        return GIVEN_NUMBERS[number](torch, torch.arange(12.0).reshape(3, 4), np.int64(2)).detach().numpy()

    np.testing.assert_allclose(said(ours), said(torch), rtol=1e-5, atol=1e-5)
