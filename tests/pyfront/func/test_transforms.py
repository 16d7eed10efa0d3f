"""torch.func against PyTorch: values, shapes, dtypes and tracking of every transformation and their compositions."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from ..witness import agree

pytestmark = pytest.mark.torch


def data(t: ModuleType) -> tuple[Any, Any]:
    t.manual_seed(0)
    return t.randn(3, 4, dtype=t.float64), t.randn(4, 2, dtype=t.float64)


def f(t: ModuleType) -> Any:
    return lambda w, x: (t.tanh(x @ w) ** 2).sum()


def gradients(t):
    x, w = data(t)
    return t.func.grad(f(t))(w, x), t.func.grad_and_value(f(t), argnums=(0, 1))(w, x), t.func.grad(f(t), -1)(w, x)


def aux(t):
    x, w = data(t)
    inner = lambda w: (f(t)(w, x), {"pre": x @ w})  # noqa: E731
    return (
        t.func.grad(inner, has_aux=True)(w), t.func.grad_and_value(inner, has_aux=True)(w),
        t.func.vjp(lambda w: (w.sin(), w.cos()), w, has_aux=True)[2], t.func.jacrev(lambda w: (w[0].sin(), w), has_aux=True)(w),
        t.func.jacfwd(lambda w: (w[0].sin(), w), has_aux=True)(w),
        t.func.jvp(lambda w: (w.sin(), w.cos()), (w,), (w,), has_aux=True),
    )  # fmt: skip


def per_sample(t):
    x, w = data(t)
    return t.func.vmap(t.func.grad(f(t)), in_dims=(None, 0))(w, x)


def jacobians(t):
    x, w = data(t)
    g = lambda w, x: t.tanh(x @ w)  # noqa: E731
    return (
        t.func.jacrev(g, argnums=(0, 1))(w, x), t.func.jacfwd(g, argnums=(0, 1))(w, x), t.func.jacrev(g, chunk_size=2)(w, x),
        t.func.jacrev(lambda d: {"u": d["a"].sin(), "v": (d["b"].sum(),)})({"a": w, "b": x}),
        t.func.jacfwd(lambda d: {"u": d["a"].sin(), "v": (d["b"].sum(),)})({"a": w, "b": x}),
    )  # fmt: skip


def hessians(t):
    x, w = data(t)
    return (
        t.func.hessian(f(t))(w, x), t.func.jacrev(t.func.jacrev(f(t)))(w, x), t.func.jacfwd(t.func.jacfwd(f(t)))(w, x),
        t.func.hessian(f(t), argnums=(0, 1))(w, x),
    )  # fmt: skip


def products(t):
    x, w = data(t)
    out, pull = t.func.vjp(lambda a, b: {"u": a @ b, "v": (a.sum(),)}, x, w)
    one = t.tensor(3.0, dtype=t.float64)
    value, push = t.func.linearize(lambda a: t.softmax(a @ w, -1), x)
    return (
        out, pull({"u": t.ones(3, 2, dtype=t.float64), "v": (one,)}), value, push(x), push(2 * x),
        t.func.jvp(lambda w: t.tanh(x @ w), (w,), (t.ones_like(w),)), t.func.jvp(lambda a: t.ones(2), (x,), (x,)),
    )  # fmt: skip


def nested(t):
    x, w = data(t)
    two = t.tensor(2.0, dtype=t.float64)
    grad, jvp = t.func.grad, t.func.jvp
    return (
        grad(lambda a: grad(lambda b: (b * a * b).sum().sin())(a).sum())(w),
        grad(lambda a: a * grad(lambda b: a + b)(a))(two), grad(lambda a: a * grad(lambda b: a * b)(a))(two),
        jvp(lambda a: jvp(lambda b: a * b**3, (a,), (t.ones_like(a),))[1], (w,), (w,)),
        jvp(lambda a: grad(lambda b: (a * b**3).sum())(a), (w,), (w,)),
        grad(lambda a: jvp(lambda b: (b**3).sum(), (a,), (a,))[1])(w),
    )  # fmt: skip


def batches_of_derivatives(t):
    x, w = data(t)
    v = t.func.vmap
    return (
        v(lambda a, d: t.func.jvp(lambda b: (b * x.sum()).sin(), (a,), (d,))[1])(w, w * 2),
        v(t.func.jacrev(lambda a: (a**2).cumsum(0)))(w), v(t.func.jacfwd(lambda a: (a**2).cumsum(0)))(w),
        v(t.func.hessian(lambda a: (a**3).sum() * a[0]))(w), v(v(t.func.grad(lambda a: a**3)))(w),
        t.func.grad(lambda w: v(lambda a: (a @ w).sin().sum())(x).sum())(w),
        t.func.jacrev(lambda w: v(lambda a: (a @ w).sin().sum())(x))(w),
    )  # fmt: skip


def tracked_outside(t):
    x, w = data(t)
    w = w.requires_grad_()
    g = t.func.grad(f(t))(w, x)
    g.pow(2).sum().backward()
    first, w.grad = w.grad, None
    h = t.func.grad(lambda x: f(t)(w, x))(x)
    h.pow(2).sum().backward()
    with t.no_grad():
        silent = t.func.grad(f(t))(w, x)
    return g, first, h, w.grad, silent, t.func.grad(lambda a: (a * w[:, 0]).sum())(w[:, 0].detach()), t.func.vmap(f(t), (None, 0))(w, x)


def shared_memory_of_leaves(t):
    a = t.tensor([1.0, 2.0], requires_grad=True)
    b = a.detach().requires_grad_()
    (a * b).sum().backward()
    return a.grad, b.grad


def modules(t):
    x, _ = data(t)
    m = t.nn.Linear(4, 2).double()
    p = dict(m.named_parameters())
    loss = lambda p, x: t.func.functional_call(m, p, (x,)).pow(2).mean()  # noqa: E731
    many = [t.nn.Linear(4, 2).double() for _ in range(3)]
    stacked, buffers = t.func.stack_module_state(many)
    norm = t.nn.BatchNorm1d(4).double().eval()
    through_norm = lambda p, x: t.func.functional_call(norm, p, (x[None],)).pow(2).sum()  # noqa: E731
    return (
        t.func.grad(loss)(p, x), t.func.vmap(t.func.grad(loss), in_dims=(None, 0))(p, x), stacked, buffers,
        t.func.vmap(lambda p, x: t.func.functional_call(many[0], p, (x,)), in_dims=(0, None))(stacked, x),
        t.func.vmap(t.func.grad(through_norm), in_dims=(None, 0))(dict(norm.named_parameters()), x),
    )  # fmt: skip


def convolutions(t):
    t.manual_seed(0)
    w, b, x = (t.randn(*s, dtype=t.float64) for s in ((3, 2, 2, 2), (3,), (4, 2, 5, 5)))
    net = lambda w, b, x: t.nn.functional.conv2d(x[None], w, b, stride=2, padding=1).relu().pow(2).sum()  # noqa: E731
    return t.func.vmap(t.func.grad(net, (0, 1, 2)), in_dims=(None, None, 0))(w, b, x)


def functions(t):
    class Cube(t.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return 3 * ctx.saved_tensors[0] ** 2 * g

    x, _ = data(t)
    tracked = x.clone().requires_grad_()
    t.func.vmap(lambda a: Cube.apply(a).sum())(tracked).sum().backward()
    first, tracked.grad = tracked.grad, None
    t.func.vmap(lambda a: Cube.apply(tracked[0]).sum() * a.sum())(tracked).sum().backward()
    second, tracked.grad = tracked.grad, None
    hooked = tracked * 1
    hooked.register_hook(lambda g: g * 2)
    t.func.vmap(lambda a: (a * hooked[0]).sum())(hooked).sum().backward()
    return (
        t.func.vmap(t.func.grad(lambda a: Cube.apply(a).sum()))(x), t.func.grad(lambda a: Cube.apply(a).sum())(x), first, second,
        tracked.grad, t.func.jacrev(Cube.apply)(x[0]),
    )  # fmt: skip


def recurrent(t):
    t.manual_seed(0)
    net, x = t.nn.LSTM(3, 4).double(), t.randn(5, 2, 3, dtype=t.float64)
    p = {k: v.detach() for k, v in net.named_parameters()}
    call = lambda p, x: t.func.functional_call(net, p, (x,))[0]  # noqa: E731
    return t.func.grad(lambda p: call(p, x).pow(2).sum())(p), t.func.jacrev(lambda x: call(p, x)[-1])(x)


PROGRAMS = [
    recurrent, gradients, aux, per_sample, jacobians, hessians, products, nested, batches_of_derivatives, tracked_outside,
    shared_memory_of_leaves, modules, convolutions, functions,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_values(program):
    agree(program)


ERRORS = {
    "loss with dimensions": lambda t, x: t.func.grad(lambda a: a)(x),
    "loss of several": lambda t, x: t.func.grad(lambda a: (a.sum(), a))(x),
    "loss that is a number": lambda t, x: t.func.grad(lambda a: 2.0)(x),
    "integers": lambda t, x: t.func.grad(lambda a: a.sum())(t.tensor(1)),
    "argument that is not there": lambda t, x: t.func.grad(lambda a: a.sum(), argnums=2)(x),
    "argument twice": lambda t, x: t.func.grad(lambda a: a.sum(), argnums=(0, 0))(x),
    "no aux": lambda t, x: t.func.grad(lambda a: a.sum(), has_aux=True)(x),
    "write to an argument": lambda t, x: t.func.grad(lambda a: a.add_(1).sum())(x),
    "backward inside": lambda t, x: t.func.grad(lambda a: (a.sum().backward(), a.sum())[1])(x),
    "cotangent of another shape": lambda t, x: t.func.vjp(lambda a: a.sin(), x)[1](t.ones(2)),
    "cotangent of another structure": lambda t, x: t.func.vjp(lambda a: (a, a), x)[1](x),
    "cotangent of a dict": lambda t, x: t.func.vjp(lambda a: {"a": a.sin()}, x)[1](x),
    "tangent of another shape": lambda t, x: t.func.jvp(lambda a: a.sin(), (x,), (t.ones(2),)),
    "primals that are no tuple": lambda t, x: t.func.jvp(lambda a: a.sin(), x, x),
    "too many tangents": lambda t, x: t.func.jvp(lambda a: a.sin(), (x,), (x, x)),
    "jacobian of numbers": lambda t, x: t.func.jacrev(lambda a: 2.0)(x),
    "forward jacobian of numbers": lambda t, x: t.func.jacfwd(lambda a: 2.0)(x),
    "tangent for linearize": lambda t, x: t.func.linearize(lambda a: a.sin(), t.ones(2))[1](t.ones(3)),
    "strict call": lambda t, x: t.func.functional_call(t.nn.Linear(2, 2), {"weight": x}, (x,), strict=True),
    "no models": lambda t, x: t.func.stack_module_state([]),
    "models of two classes": lambda t, x: t.func.stack_module_state([t.nn.Linear(1, 1), t.nn.ReLU()]),
    "models in two modes": lambda t, x: t.func.stack_module_state([t.nn.Linear(1, 1), t.nn.Linear(1, 1).eval()]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    agree(lambda t: ERRORS[name](t, t.ones(3, 4)), sentence=60)


def test_write_to_captured_memory_is_refused():
    def program(t):
        z = t.zeros(())

        def loss(a):
            z.add_(a.sum())
            return z * 1

        return t.func.grad(loss)(t.ones(2))

    agree(program, sentence=100)


def test_recurrent_layers_per_sample():
    """PyTorch has no batching rule for its LSTM; here a scan of a batch is a scan."""
    import lamina as t

    t.manual_seed(0)
    net, x = t.nn.LSTM(3, 4).double(), t.randn(5, 2, 3, dtype=t.float64)
    p = {k: v.detach() for k, v in net.named_parameters()}
    loss = lambda p, x: t.func.functional_call(net, p, (x,))[0].pow(2).sum()  # noqa: E731
    each = t.func.vmap(t.func.grad(loss), in_dims=(None, 1))(p, x.unsqueeze(2))
    whole = t.func.grad(loss)(p, x)
    for name in p:
        assert (each[name].sum(0) - whole[name]).abs().max().item() < 1e-12


def test_jacobians_of_detached_parameters_are_untracked():
    """Several gradients of one pull-back, of which one alone (the last bias) depends on no parameter."""

    def program(t):
        t.manual_seed(0)
        net = t.nn.Sequential(t.nn.Linear(2, 3), t.nn.ReLU(), t.nn.Linear(3, 4))
        p = {k: v.detach() for k, v in net.named_parameters()}
        jacobians = t.func.jacrev(lambda p, x: t.func.functional_call(net, p, (x,)))(p, t.ones(2))
        return list(jacobians.values()), [j.requires_grad for j in jacobians.values()]

    agree(program)
