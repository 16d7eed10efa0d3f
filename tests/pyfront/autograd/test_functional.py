"""torch.autograd.functional and forward_ad against PyTorch: values, structures, tracking and errors."""

from __future__ import annotations

import pytest

from ..witness import agree

pytestmark = pytest.mark.torch


def data(t):
    t.manual_seed(0)
    return t.randn(2, 3, dtype=t.float64), t.randn(3, dtype=t.float64)


def F(t):
    return t.autograd.functional


def cube(x):
    return x.pow(3).sum()


def two(x, y):
    return (x @ y).sin(), (x * y).sum()


def loss(x, y):
    return (x @ y).sin().sum() + (x**3).sum() + (y**4).sum()


PROGRAMS = {
    "jacobian": lambda t, x, y: F(t).jacobian(lambda x: (x**2).sum(0), x),
    "jacobian of several": lambda t, x, y: F(t).jacobian(two, (x, y)),
    "jacobian vectorized": lambda t, x, y: F(t).jacobian(two, (x, y), vectorize=True),
    "jacobian forward": lambda t, x, y: F(t).jacobian(two, (x, y), vectorize=True, strategy="forward-mode"),
    "jacobian forward of one": lambda t, x, y: F(t).jacobian(lambda x: x**2, x, vectorize=True, strategy="forward-mode"),
    "jacobian with a graph": lambda t, x, y: F(t).jacobian(two, (x.requires_grad_(), y), create_graph=True),
    "jacobian of what is not used": lambda t, x, y: F(t).jacobian(lambda x, y: x * 2, (x, y)),
    "jacobian of a linear function with a graph": lambda t, x, y: F(t).jacobian(lambda x: x * 2, x, create_graph=True),
    "hessian": lambda t, x, y: F(t).hessian(cube, x),
    "hessian of several": lambda t, x, y: F(t).hessian(loss, (x, y)),
    "hessian vectorized": lambda t, x, y: F(t).hessian(loss, (x, y), vectorize=True),
    "hessian forward": lambda t, x, y: [
        [part.detach() for part in row]
        for row in F(t).hessian(loss, (x, y), vectorize=True, outer_jacobian_strategy="forward-mode")
    ],
    "hessian of a linear function": lambda t, x, y: F(t).hessian(lambda x: x.sum(), x),
    "hessian with a graph": lambda t, x, y: F(t).hessian(cube, x.requires_grad_(), create_graph=True),
    "vjp": lambda t, x, y: F(t).vjp(two, (x, y), (t.ones(2, dtype=t.float64), y.sum())),
    "vjp of a number": lambda t, x, y: F(t).vjp(cube, x),
    "jvp": lambda t, x, y: F(t).jvp(two, (x, y), (x, y)),
    "jvp with a graph": lambda t, x, y: F(t).jvp(two, (x.requires_grad_(), y), (x, y), create_graph=True),
    "vhp": lambda t, x, y: F(t).vhp(loss, (x, y), (x, y)),
    "hvp": lambda t, x, y: F(t).hvp(loss, (x, y), (x, y)),
    "hvp of a linear function": lambda t, x, y: F(t).hvp(lambda x: x.sum(), x, x),
    "inside no_grad": lambda t, x, y: silent(t, x),
    "vjp strict": lambda t, x, y: F(t).vjp(lambda x, y: x, (x, y), x, strict=True),
    "jvp strict": lambda t, x, y: F(t).jvp(lambda x: t.ones(2), x, x, strict=True),
    "jacobian strict": lambda t, x, y: F(t).jacobian(lambda x, y: x * 2, (x, y), strict=True),
    "jacobian strict with a graph": lambda t, x, y: F(t).jacobian(lambda x: x * 2, x, strict=True, create_graph=True),
    "hessian strict": lambda t, x, y: F(t).hessian(lambda x: x.sum(), x, strict=True),
    "vhp strict": lambda t, x, y: F(t).vhp(lambda x: x.sum(), x, x, strict=True),
    "hvp strict": lambda t, x, y: F(t).hvp(lambda x: x.sum(), x, x, strict=True),
    "vectorized strict": lambda t, x, y: F(t).jacobian(cube, x, strict=True, vectorize=True),
    "strategy": lambda t, x, y: F(t).jacobian(cube, x, strategy="sideways"),
    "forward without vectorize": lambda t, x, y: F(t).jacobian(cube, x, strategy="forward-mode"),
    "input that is a number": lambda t, x, y: F(t).jacobian(cube, 3.0),
    "inputs that are numbers": lambda t, x, y: F(t).jacobian(two, (x, 3.0)),
    "output that is a number": lambda t, x, y: F(t).jacobian(lambda x: 3.0, x),
    "no vector": lambda t, x, y: F(t).vjp(lambda x: x, x),
    "no vector for jvp": lambda t, x, y: F(t).jvp(cube, x),
    "vector of another shape": lambda t, x, y: F(t).jvp(cube, x, y),
    "vector of another length": lambda t, x, y: F(t).jvp(two, (x, y), x),
    "entry of another shape": lambda t, x, y: F(t).jvp(two, (x, y), (x, x)),
    "hessian of several numbers": lambda t, x, y: F(t).hessian(lambda x: x, x),
    "hvp of two": lambda t, x, y: F(t).hvp(two, (x, y), (x, y)),
}


def silent(t, x):
    with t.no_grad():
        return F(t).jacobian(lambda x: x**2, x[0]), F(t).hvp(cube, x, x)


@pytest.mark.parametrize("name", PROGRAMS)
def test_functional(name):
    agree(lambda t: PROGRAMS[name](t, *data(t)))


def tangent(t, x, f):
    fw = t.autograd.forward_ad
    with fw.dual_level():
        return fw.unpack_dual(f(fw.make_dual(x, x.cos())))[:]


DUALS = {
    "tangent": lambda t, x, y: tangent(t, x, lambda d: (d @ y).sin() * d[:, 0]),
    "own tangent": lambda t, x, y: tangent(t, x, lambda d: d),
    "no tangent": lambda t, x, y: tangent(t, x, lambda d: d.detach() * 2),
    "of a Function": lambda t, x, y: tangent(t, x, lambda d: square(t).apply(d)),
    "without dual": lambda t, x, y: tangent(t, x, lambda d: y)[:1],
    "of what is tracked": lambda t, x, y: tracked_dual(t, x),
    "tracking": lambda t, x, y: tangent_tracking(t, x),
    "outside": lambda t, x, y: t.autograd.forward_ad.make_dual(x, x),
    "shape": lambda t, x, y: tangent_of(t, x, y),
    "integers": lambda t, x, y: tangent_of(t, t.ones(2, dtype=t.int64), t.ones(2)),
    "nested": lambda t, x, y: nested(t),
    "left twice": lambda t, x, y: t.autograd.forward_ad.exit_dual_level(),
}


def square(t):
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_forward(a)
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

        @staticmethod
        def jvp(ctx, v):
            return 2 * v * ctx.saved_tensors[0]

    return Square


def tangent_of(t, x, v):
    with t.autograd.forward_ad.dual_level():
        t.autograd.forward_ad.make_dual(x, v)


def nested(t):
    with t.autograd.forward_ad.dual_level(), t.autograd.forward_ad.dual_level():
        pass


def tracked_dual(t, x):
    fw = t.autograd.forward_ad
    w = x.clone().requires_grad_()
    with fw.dual_level():
        found = fw.unpack_dual((fw.make_dual(w, x) ** 3).sum()).tangent
    found.backward()
    return found, w.grad


def tangent_tracking(t, x):
    fw = t.autograd.forward_ad
    with fw.dual_level():
        d = fw.make_dual(x, x)
        return d.requires_grad, (d * 2).requires_grad, (d * x.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("name", DUALS)
def test_forward_ad(name):
    agree(lambda t: DUALS[name](t, *data(t)))
