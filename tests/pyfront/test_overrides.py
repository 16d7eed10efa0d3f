"""Subclasses of Tensor and __torch_function__, against what PyTorch 2.13 gives (values written down from it)."""

import lamina as torch
import pytest
from lamina import nn
from lamina.nn import functional as F
from lamina.pyfront import overrides


class Tagged(torch.Tensor):
    pass


class Logged(torch.Tensor):
    log: list[str] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.log.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


class Diagonal:
    """No tensor; says what products and sums do with it."""

    def __init__(self, value):
        self.value = value

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.matmul, torch.Tensor.matmul):
            return "product"
        return "sum" if func in (torch.add, torch.Tensor.add) else NotImplemented


def test_results_are_of_the_class():
    m = torch.ones(2, 3).as_subclass(Tagged)
    results = (
        m + 1, 1 - m, m.sum(), m[0], m.t(), torch.stack([m, m]), F.relu(m), nn.Linear(3, 2)(m), nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4))(m),
        m.max(0)[0], m.split(1)[0], m.detach(), m.to(torch.float64), m @ m.t(), m.mul_(2), m == 1, m.new_zeros(2), m.T,
    )  # fmt: skip
    assert [type(r) for r in results] == [Tagged] * len(results)
    assert type(m.as_subclass(torch.Tensor)) is torch.Tensor
    assert type(Tagged([1.0, 2.0])) is Tagged and repr(Tagged([1.0])) == "Tagged([1.])"


def test_a_class_is_told_the_functions():
    x = torch.ones(2, 2).as_subclass(Logged)
    Logged.log.clear()
    y = (x * 2 + 1).sum()
    x.add_(1)
    F.gelu(x)
    assert Logged.log == ["mul", "add", "sum", "add_", "gelu"] and type(y) is Logged
    with overrides.classes_off():
        assert type(x + 1) is torch.Tensor


def test_objects_that_are_no_tensors_answer():
    d, x = Diagonal(1), torch.ones(2, 2)
    assert torch.matmul(d, x) == x @ d == "product"
    assert torch.add(x, d) == x + d == "sum"
    with pytest.raises(TypeError, match="Multiple dispatch failed for 'torch.mul'"):
        torch.mul(d, d)


def test_history_goes_through_as_subclass():
    x = torch.ones(3, requires_grad=True)
    y = (x * 2).as_subclass(Tagged)
    (y * y).sum().backward()
    assert x.grad.tolist() == [8.0] * 3
    z = x.as_subclass(Tagged)
    assert z.requires_grad and not z.is_leaf


def test_parameters_are_ordinary():
    class Weight(nn.Parameter):
        pass

    assert type(Weight(torch.ones(2)) * 2) is torch.Tensor


def test_a_mode_is_asked_about_calls_that_are_known():
    x, asked = torch.ones(2), []

    class Mode(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            asked.append(func.__name__)
            return func(*args, **(kwargs or {}))

    def calls():
        torch.exp(x), x.exp(), torch.rand(2), torch.exp(x, out=torch.empty(2))

    for _ in range(3):
        calls()
    with Mode():
        for _ in range(3):
            calls()
    calls()
    assert asked == 3 * ["exp", "exp", "rand", "exp"]


def test_a_mode_is_asked_first():
    class Mode(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return "mode" if func is torch.add else func(*args, **(kwargs or {}))

    with Mode():
        assert torch.add(torch.ones(1), 1) == "mode"
        assert torch.sub(torch.ones(1), 1).tolist() == [0.0]
    assert torch.add(torch.ones(1), 1).tolist() == [2.0]
