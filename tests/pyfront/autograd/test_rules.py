"""Leaf rules, hooks, retained gradients, edges, modes and errors of autograd against PyTorch."""

from __future__ import annotations

import warnings

import pytest

from ..witness import agree

pytestmark = pytest.mark.torch


def leaf(t):
    return t.tensor([0.5, -1.0, 2.0], dtype=t.float64, requires_grad=True)


def hook_after_use(t, x):
    y = x * 2
    z = (y * y).sum()
    seen = []
    y.register_hook(lambda g: seen.append(g.clone()) or g * 10)
    z.backward()
    return seen, x.grad


def hooks_in_order(t, x):
    y = x.exp()
    seen = []
    y.register_hook(lambda g: seen.append(("a", g.clone())) or g + 1)
    handle = y.register_hook(lambda g: seen.append(("removed", None)))
    y.register_hook(lambda g: seen.append(("b", g.clone())))
    handle.remove()
    (y.sum() + (y * y).sum()).backward()
    return seen, x.grad


def hook_beside_another_way(t, x):
    z = x * 2
    y = z.view(3)
    y.register_hook(lambda g: g * 2)
    w = z.sin()
    w.register_hook(lambda g: g * 3)
    (y.sin().sum() + w.sum() + z.cos().sum()).backward()
    return x.grad


def hook_on_one_of_several_results(t, x):
    values, _ = t.sort(x * x)
    values.register_hook(lambda g: g * 2)
    (values.sin().sum() + (x * values).sum()).backward()
    return x.grad


def hook_on_the_root(t, x):
    y = (x * 2).sum()
    y.register_hook(lambda g: g * 3)
    y.backward()
    return x.grad


def hook_outlives_its_tensor(t, x):
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.clone()))
    z = y.sum()
    del y
    z.backward()
    return seen


def hook_and_grad_of_the_same(t, x):
    y = x * 2
    y.register_hook(lambda g: g * 5)
    z = y.sin().sum()
    x.register_hook(lambda g: g * 7)
    return t.autograd.grad(z, y, retain_graph=True), t.autograd.grad(z, x), t.autograd.grad((x * 1).sum(), x)


def hook_before_a_write(t, x):
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.clone()))
    y.mul_(3)
    y.sum().backward()
    return seen, x.grad


def retained(t, x):
    y = x * 2
    z = y.sin()
    y.retain_grad()
    y.retain_grad()
    z.sum().backward(retain_graph=True)
    first = y.grad.clone()
    z.sum().backward()
    return first, y.grad, x.grad, y.retains_grad, x.retains_grad, z.retains_grad


def retained_then_written(t, x):
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    return y.grad, x.grad


def hooks_on_a_leaf(t, x):
    seen = []
    x.register_hook(lambda g: g * 2)
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    (x * x).sum().backward()
    (x * x).sum().backward()
    return seen, x.grad


def step_in_backward(t, x):
    def update(p):
        with t.no_grad():
            p.add_(p.grad, alpha=-0.1)
        p.grad = None

    x.register_post_accumulate_grad_hook(update)
    (x * x).sum().backward()
    return x.detach(), x.grad


def several_hooks(t, x):
    w = t.ones(3, dtype=t.float64, requires_grad=True)
    unused = t.ones(1, requires_grad=True)
    seen = []
    handle = t.autograd.graph.register_multi_grad_hook([x, w, unused], lambda grads: seen.append([None if g is None else g.clone() for g in grads]))
    (x * w).sum().backward()
    handle.remove()
    (x * w).sum().backward()
    t.autograd.graph.register_multi_grad_hook([x, w], lambda g: seen.append("any"), mode="any")
    (x * w).sum().backward()
    return seen


def at_inputs(t, x):
    y = x * 2
    w = t.ones(3, dtype=t.float64, requires_grad=True)
    (y * w).sum().backward(inputs=[y, w])
    return x.grad, y.grad, w.grad


def edges(t, x):
    y = (x * 2).exp()
    z = y.sum()
    edge = t.autograd.graph.get_gradient_edge(y)
    node = y.grad_fn
    names = [node.name(), node.next_functions[0][0].name(), node.next_functions[0][0].next_functions[0][0].name()]
    owner = node.next_functions[0][0].next_functions[0][0].variable is x
    names += [(x * 2).sum(0).grad_fn.next_functions[0][0].name(), ((x + 1).mean() * 3).grad_fn.next_functions[0][0].next_functions[0][0].name()]
    return t.autograd.grad(z, edge, retain_graph=True), t.autograd.grad(edge, x, t.ones(3, dtype=t.float64)), names, owner, node.metadata


def linear_gradients_have_no_history(t, x):
    w = t.ones(3, dtype=t.float64, requires_grad=True)
    found = [
        t.autograd.grad((x * 2).sum(), x, create_graph=True)[0],
        t.autograd.grad((x * w).sum(), x, create_graph=True)[0],
        t.autograd.grad((x * 2).sum() + (w**2).sum(), [x, w], create_graph=True)[0],
        t.autograd.grad((x * 2).sum() + (w**2).sum(), [x, w], create_graph=True)[1],
        t.autograd.grad(x.relu().sum(), x, create_graph=True)[0],
        t.autograd.grad((x[1:] - x[:-1]).reshape(2, 1).expand(2, 3).sum(), x, create_graph=True)[0],
        t.autograd.grad((x * 2).sum(), x, w.sum(), create_graph=True)[0],
    ]
    return found


def versions(t, x):
    y = x.exp()
    t.autograd.graph.increment_version(y)
    y.sum().backward()


def mutation_allowed(t, x):
    with t.autograd.graph.allow_mutation_on_saved_tensors():
        y = x.exp()
        z = (y * y).sum()
        y.mul_(2)
        z.backward()
    return x.grad


def square(t):
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    return Square.apply


def packed(t, x):
    with t.autograd.graph.saved_tensors_hooks(lambda a: a * 10, lambda a: a):
        y = square(t)(x)
    y.sum().backward()
    return x.grad


def freed_function(t, x):
    y = square(t)(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    y.backward()


def inference(t, x):
    with t.inference_mode():
        z = t.ones(3)
        inside = z.is_inference(), (x * 2).requires_grad, x.view(3, 1).is_inference(), t.is_inference_mode_enabled(), t.is_grad_enabled()
        with t.inference_mode(False):
            outer = t.is_inference_mode_enabled(), t.is_grad_enabled()
    return inside, outer, z.is_inference(), z.clone().is_inference(), x.is_inference(), t.is_inference_mode_enabled()


def nan_of_zero(t, x):
    with t.autograd.detect_anomaly():
        y = (x * 0).sqrt() * 0
        y.sum().backward()


def no_anomaly(t, x):
    with t.autograd.set_detect_anomaly(True):
        y = (x.exp() / (1 + x.exp())).prod()
        y.backward()
    return x.grad, t.is_anomaly_enabled()


PROGRAMS = [
    hook_after_use, hooks_in_order, hook_beside_another_way, hook_on_one_of_several_results, hook_on_the_root,
    hook_outlives_its_tensor, hook_and_grad_of_the_same, hook_before_a_write,
    retained, retained_then_written, hooks_on_a_leaf, step_in_backward, several_hooks, at_inputs, edges,
    linear_gradients_have_no_history, versions, mutation_allowed, packed, freed_function, inference, no_anomaly,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.filterwarnings("ignore")
def test_rules(program):
    agree(lambda t: program(t, leaf(t)))


ERRORS = {
    "twice through a product with a number": lambda t, x: (y := (x * 2).sum(), y.backward(), y.backward()),
    "no inputs of grad": lambda t, x: t.autograd.grad(x * 2, [], t.ones(3)),
    "no inputs of backward": lambda t, x: (x * 2).sum().backward(inputs=[]),
    "input without grad": lambda t, x: (x * 2).sum().backward(inputs=[t.ones(2)]),
    "batched shape": lambda t, x: t.autograd.grad(x * 2, x, t.ones(2, 4), is_grads_batched=True),
    "too few seeds": lambda t, x: t.autograd.backward([x * 2, x * 3], [t.ones(3, dtype=t.float64)]),
    "a seed that is a number": lambda t, x: (x.sum() * 1).backward(3.0),
    "seed shape": lambda t, x: (x * 2).backward(t.ones(2, dtype=t.float64)),
    "implicit seed": lambda t, x: (x * 2).backward(),
    "no history": lambda t, x: t.autograd.grad(t.ones(3), t.ones(3)),
    "materialized and not allowed": lambda t, x: t.autograd.grad(x.sum(), x, allow_unused=False, materialize_grads=True),
    "unused": lambda t, x: t.autograd.grad(x.sum(), [x, t.ones(2, requires_grad=True)]),
    "twice": lambda t, x: (y := x.exp().sum(), y.backward(), y.backward()),
    "write to a leaf": lambda t, x: x.add_(1),
    "write to a view of a leaf": lambda t, x: x[0].add_(1),
    "not a leaf": lambda t, x: (x * 2).requires_grad_(False),
    "integers": lambda t, x: t.ones(3, dtype=t.int64).requires_grad_(),
    "not a bool": lambda t, x: setattr(t.ones(3), "requires_grad", 1),
    "retain without grad": lambda t, x: t.ones(3).retain_grad(),
    "hook without grad": lambda t, x: t.ones(3).register_hook(print),
    "post hook on computed": lambda t, x: (x * 2).register_post_accumulate_grad_hook(print),
    "grad of another size": lambda t, x: setattr(x, "grad", t.ones(2, dtype=t.float64)),
    "grad of another dtype": lambda t, x: setattr(x, "grad", t.ones(3)),
    "grad that is a number": lambda t, x: setattr(x, "grad", 3),
    "grad that is itself": lambda t, x: setattr(x, "grad", x),
    "detach_ of a view": lambda t, x: (x * 2)[0].detach_(),
    "numpy of tracked": lambda t, x: x.numpy(),
    "write to inference tensor": lambda t, x: inference_tensor(t).add_(1),
    "track inference tensor": lambda t, x: inference_tensor(t).requires_grad_(),
    "version of inference tensor": lambda t, x: inference_tensor(t)._version,
    "anomaly": nan_of_zero,
    "hook mode": lambda t, x: t.autograd.graph.register_multi_grad_hook([x], print, mode="some"),
    "hooks refused": lambda t, x: refused(t),
}


def inference_tensor(t):
    with t.inference_mode():
        return t.ones(3)


def refused(t):
    with t.autograd.graph.disable_saved_tensors_hooks("not here"), t.autograd.graph.saved_tensors_hooks(id, id):
        pass


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.filterwarnings("ignore")
def test_errors(name):
    agree(lambda t: ERRORS[name](t, leaf(t)), sentence=30)


def test_anomaly_names_the_forward_line():
    import lamina

    x = lamina.tensor([0.0], requires_grad=True)
    with warnings.catch_warnings(record=True) as heard, pytest.raises(RuntimeError, match=r"test_rules.py:\d+"):
        warnings.simplefilter("always")
        with lamina.autograd.detect_anomaly():
            y = x.sqrt()
            (y * 0).sum().backward()
    assert any("x.sqrt()" in str(w.message) for w in heard)
