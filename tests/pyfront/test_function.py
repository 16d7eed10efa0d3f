"""autograd.Function against PyTorch: results, gradients, second derivatives and errors of the same programs."""

from __future__ import annotations

import gc
import weakref
from types import ModuleType
from typing import Any

import pytest

import lamina

torch = pytest.importorskip("torch")


def both(program: Any) -> None:
    """The program gives the same numbers and sentences with either framework."""
    ours, theirs = outcome(program, lamina), outcome(program, torch)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
    else:
        assert flat(ours) == pytest.approx(flat(theirs), rel=1e-5)


def outcome(program: Any, lib: ModuleType) -> Any:
    try:
        return program(lib)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {str(error)[:60]}"


def flat(found: Any) -> list[float]:
    if found is None:
        return [-12345.0]
    if isinstance(found, (tuple, list)):
        return [x for part in found for x in flat(part)]
    if hasattr(found, "detach"):
        return flat(found.detach().tolist())
    return [float(found)]


def leaves(lib: ModuleType) -> tuple[Any, Any]:
    return (
        lib.tensor([0.5, -1.0, 2.0], requires_grad=True),
        lib.tensor([3.0, 0.25, -0.5], requires_grad=True),
    )


def cube(lib: ModuleType) -> Any:
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    return Cube


def test_one_input_and_grad_fn() -> None:
    def program(lib):
        x, _ = leaves(lib)
        y = cube(lib).apply(x)
        assert y.requires_grad and not y.is_leaf and type(y.grad_fn).__name__ and "CubeBackward" in repr(y)
        (y * 2).sum().backward()
        return y, x.grad

    both(program)


def test_inside_a_larger_program_and_used_twice() -> None:
    def program(lib):
        x, w = leaves(lib)
        f = cube(lib).apply
        h = f(x.sin() * w)
        loss = (f(h + x) * h).sum() + h.exp().sum()
        loss.backward()
        return loss, x.grad, w.grad

    both(program)


def test_second_derivative() -> None:
    def program(lib):
        x, _ = leaves(lib)
        y = cube(lib).apply(x).sum()
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        (h,) = lib.autograd.grad((g * x).sum(), x)
        return g, h

    both(program)


def test_second_derivative_through_a_saved_result() -> None:
    def program(lib):
        class Exp(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y = x.exp()
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx, g):
                return g * ctx.saved_tensors[0]

        x, _ = leaves(lib)
        y = Exp.apply(x)
        (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
        (h,) = lib.autograd.grad((g * g).sum(), x)
        return y, g, h

    both(program)


def several(lib: ModuleType, materialize: bool = True) -> Any:
    class Several(lib.autograd.Function):
        @staticmethod
        def forward(ctx, a, factor, b):
            ctx.set_materialize_grads(materialize)
            ctx.factor = factor
            ctx.save_for_backward(a, b)
            order = a.argsort()
            ctx.mark_non_differentiable(order)
            return a * b, a + factor * b, order

        @staticmethod
        def backward(ctx, g, h, _):
            a, b = ctx.saved_tensors
            assert ctx.needs_input_grad[1] is False
            assert materialize or g is None or h is None
            g = 0 if g is None else g
            h = 0 if h is None else h
            return g * b + h, None, g * a + ctx.factor * h

    return Several


@pytest.mark.parametrize("which", ["first", "second", "both"])
def test_several_results(which: str) -> None:
    def program(lib):
        a, b = leaves(lib)
        y, z, order = several(lib, which == "both").apply(a, 3.0, b)
        assert not order.requires_grad
        used = {"first": y * y, "second": z * b, "both": (y * z).exp() * 0.1 + y}[which]
        used.sum().backward()
        return y, z, order, a.grad, b.grad

    both(program)


def test_what_is_needed() -> None:
    def program(lib):
        seen = []

        class Product(lib.autograd.Function):
            @staticmethod
            def forward(ctx, a, b):
                ctx.save_for_backward(a, b)
                return a * b

            @staticmethod
            def backward(ctx, g):
                seen.extend(ctx.needs_input_grad)
                a, b = ctx.saved_tensors
                return (g * b if ctx.needs_input_grad[0] else None), (g * a if ctx.needs_input_grad[1] else None)

        a, b = leaves(lib)
        Product.apply(a, b.detach()).sum().backward()
        with lib.no_grad():
            assert not Product.apply(a, b).requires_grad
        assert not Product.apply(a.detach(), b.detach()).requires_grad
        return seen, a.grad, b.grad

    both(program)


def test_setup_context_and_module() -> None:
    def program(lib):
        class Scale(lib.autograd.Function):
            @staticmethod
            def forward(x, k):
                return x * k

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.k = inputs[1]

            @staticmethod
            def backward(ctx, g):
                return g * ctx.k, None

        lib.manual_seed(0)
        layer = lib.nn.Linear(3, 2)
        x, _ = leaves(lib)
        Scale.apply(layer(x), -0.5).tanh().sum().backward()
        return x.grad, layer.weight.grad, layer.bias.grad

    both(program)


def test_in_place() -> None:
    def program(lib):
        class Double(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                x.mul_(2)
                ctx.mark_dirty(x)
                return x

            @staticmethod
            def backward(ctx, g):
                return g * 2

        x, w = leaves(lib)
        h = x * w
        y = Double.apply(h)
        assert y is h
        (y * y).sum().backward()
        return y, x.grad, w.grad

    both(program)


def test_straight_through_and_hooks() -> None:
    def program(lib):
        class Round(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.round()

            @staticmethod
            def backward(ctx, g):
                return g

        x, w = leaves(lib)
        seen = []
        y = Round.apply(x * w)
        y.register_hook(lambda g: seen.append(g.tolist()))
        (y * w).sum().backward()
        return y, x.grad, w.grad, seen

    both(program)


def test_once_differentiable() -> None:
    def program(lib, twice=False):
        from importlib import import_module

        once = import_module(f"{lib.__name__}.autograd.function").once_differentiable

        class Square(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            @once
            def backward(ctx, g):
                return 2 * ctx.saved_tensors[0] * g

        x, _ = leaves(lib)
        (g,) = lib.autograd.grad(Square.apply(x).exp().sum(), x, create_graph=twice)
        if twice:
            g.sum().backward()
        return g

    both(program)
    both(lambda lib: program(lib, twice=True))


def returning(lib: ModuleType, gradients: Any) -> Any:
    class Returning(lib.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a * b

        @staticmethod
        def backward(ctx, g):
            return gradients(lib, g)

    a, b = leaves(lib)
    Returning.apply(a, b).sum().backward()
    return a.grad, b.grad


@pytest.mark.parametrize(
    "gradients",
    [
        lambda lib, g: g,
        lambda lib, g: (g, g, g),
        lambda lib, g: (g, g, None),
        lambda lib, g: (g, None),
        lambda lib, g: (g[:2], None),
        lambda lib, g: (g.expand(2, 3), g.double()),
        lambda lib, g: (g, 1.0),
    ],
)
def test_what_backward_returns(gradients: Any) -> None:
    both(lambda lib: returning(lib, gradients))


def test_no_backward() -> None:
    def program(lib):
        class Forward(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1

        x, _ = leaves(lib)
        Forward.apply(x).sum().backward()

    both(program)


def test_overwritten_since() -> None:
    def program(lib):
        x, w = leaves(lib)
        h = x * w
        y = cube(lib).apply(h)
        h.add_(1)
        y.sum().backward()

    both(program)


def test_hooks_of_what_a_function_is_given_are_called():
    said = []
    for module in (lamina, torch):

        class Twice(module.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            def backward(ctx, g):
                return g * 2

        w, heard = module.ones(3, requires_grad=True), []
        x = w * 3
        x.register_hook(lambda g, heard=heard: heard.append(g.tolist()) or g * 10)
        x.retain_grad()
        (Twice.apply(x).sum() + (x * 5).sum()).backward()
        said.append((heard, w.grad.tolist(), x.grad.tolist()))
    assert said[0] == said[1]


def test_instances_cannot_be_called():
    """Programs for PyTorch before 1.3 make an instance and call it."""

    def program(lib):
        class Double(lib.autograd.Function):
            def forward(self, x):
                return x * 2

        return Double()(lib.ones(2))

    both(program)
    assert outcome(program, lamina).startswith("RuntimeError: Legacy autograd function")


@pytest.mark.slow
def test_without_history_nothing_is_kept() -> None:
    """No hook is asked to pack what nobody unpacks, and what forward saved goes when its result does."""
    class Doubled(lamina.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * 2
            ctx.save_for_backward(x, y)
            saved.append(weakref.ref(y))
            return y

        @staticmethod
        def backward(ctx, g):
            return g * 2

    saved: list[weakref.ref] = []
    packed: list[lamina.Tensor] = []
    gc.collect()
    gc.disable()
    try:
        with lamina.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
            Doubled.apply(lamina.ones(3))
            assert not packed and saved[0]() is None
            Doubled.apply(lamina.ones(3, requires_grad=True))
            assert len(packed) == 2
    finally:
        gc.enable()
