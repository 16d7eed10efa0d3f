"""torch.fx: the same programs traced by PyTorch and by lamina give the same text, and compute the same."""

import copy
import operator
import pickle

import pytest
import torch
import torch.fx

import lamina
import lamina.fx
import lamina.nn


def _both(make):
    """What ``make`` gives with each of the two under the name torch."""
    return make(lamina), make(torch)


def _model(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = torch.nn.Linear(4, 6)
            self.p = torch.nn.Parameter(torch.ones(4))
            self.register_buffer("scale", torch.full((6,), 2.0))
            self.seq = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU())

        def forward(self, x, y=None, *, k: int = 3):
            z = self.lin(x + self.p).clamp(min=0.0, max=1.0) * self.scale
            a, b = torch.split(z, [2, 4], dim=-1)
            z = self.seq(z) * 2
            z += 1
            z = torch.nn.functional.dropout(z, 0.0, self.training) + torch.nn.functional.relu(z)
            return {"a": a.sum() - b.mean(), "z": [-z, z.shape[0], torch.cat([z, z], dim=1), z @ z.T, z[:, :2], z[..., None]]}

    return Net()


def _leaves(found):
    return [found["a"], *[x for x in found["z"] if not isinstance(x, int)]]


def test_a_module_gives_pytorchs_graph_and_code():
    ours, theirs = _both(lambda t: t.fx.symbolic_trace(_model(t)))
    assert ours.code == theirs.code.replace("torch.functional.split", "torch.split")
    assert str(ours.graph) == str(theirs.graph).replace("torch.functional.split", "torch.split")
    assert repr(ours) == repr(theirs)
    x = lamina.arange(8.0).reshape(2, 4) / 8
    plain = _model(lamina)
    plain.load_state_dict(ours.state_dict())
    runs = [plain(x), ours(x), lamina.fx.Interpreter(ours).run(x), copy.deepcopy(ours)(x), lamina.fx.Transformer(ours).transform()(x)]
    for other in runs[1:]:
        for a, b in zip(_leaves(runs[0]), _leaves(other), strict=True):
            assert lamina.equal(a, b)


def _functions(torch):
    from math import inf

    t = torch.ones(3)
    yield lambda x: (t + x, t * x, t - x, t / x, t @ x, t**x, 2 - x, 2 / x, x > t, t > x, t.matmul(x), abs(x), ~x, x // 2, 2 // x, x % 2)
    yield lambda x: x.to(torch.float16).to(torch.device("cpu")) + inf
    yield lambda x: torch.nn.functional.interpolate(x, scale_factor=2.0)
    yield lambda x, w: torch.conv2d(x, w, stride=2).size(0) + torch.zeros(x)
    yield lambda x, y: operator.getitem(x, (y, slice(y, None, 2)))

    def rest(x, *args, **kw):
        return x + args[0] + kw["a"]

    yield rest

    def unpacked(x):
        a, (b, c) = x.split(2)
        return a.add(b, alpha=c.item())

    yield unpacked


@pytest.mark.parametrize("i", range(7))
def test_functions_give_pytorchs_code(i):
    ours, theirs = _both(lambda t: t.fx.symbolic_trace(list(_functions(t))[i]))
    assert ours.code == theirs.code and str(ours.graph) == str(theirs.graph)


REFUSED = [
    lambda x: x if x.sum() > 0 else -x, lambda x: [i for i in x], lambda x: len(x), lambda x: {**x}, lambda x: 1 in x, lambda x: int(x),
]  # fmt: skip


@pytest.mark.parametrize("function", REFUSED)
def test_what_needs_values_is_refused_as_in_pytorch(function):
    found = []
    for t in (lamina, torch):
        with pytest.raises(Exception) as raised:  # noqa: PT011  # the two are compared
            t.fx.symbolic_trace(function)
        found.append(([c.__name__ for c in type(raised.value).__mro__], str(raised.value)))
    assert found[0] == found[1]


def test_nothing_stays_exchanged():
    before = lamina.nn.functional.relu, lamina.cat, lamina.Tensor.__add__, lamina.Tensor.matmul, lamina.nn.Module.__call__
    lamina.fx.symbolic_trace(_model(lamina))
    with pytest.raises(ValueError):
        lamina.fx.symbolic_trace(REFUSED[0])
    assert before == (lamina.nn.functional.relu, lamina.cat, lamina.Tensor.__add__, lamina.Tensor.matmul, lamina.nn.Module.__call__)


def _edited(t):
    gm = t.fx.symbolic_trace(lambda x, y: t.relu(x + y) * 2)
    for node in gm.graph.nodes:
        if node.op == "call_function" and node.target is operator.add:
            with gm.graph.inserting_after(node):
                new = gm.graph.call_function(t.sub, (node.args[0], node.args[1]), {"alpha": 2})
            node.replace_all_uses_with(new)
            dead = node
    with pytest.raises(RuntimeError, match="Tried to erase Node add|Tried to erase Node sub"):
        gm.graph.erase_node(new)
    assert not dead.users and gm.graph.eliminate_dead_code()
    gm.graph.lint()
    gm.recompile()
    return gm


def test_editing():
    ours, theirs = _both(_edited)
    assert ours.code == theirs.code and len(ours.graph.nodes) == len(theirs.graph.nodes) == 6
    x, y = lamina.tensor([3.0, 1.0]), lamina.tensor([1.0, 1.0])
    assert ours(x, y).tolist() == [2.0, 0.0]
    with ours.graph.inserting_before(list(ours.graph.nodes)[0]):
        wrong = ours.graph.call_function(lamina.neg, (list(ours.graph.nodes)[0],))
    list(ours.graph.nodes)[0].prepend(wrong)
    with pytest.raises(RuntimeError, match="used before it has been defined"):
        ours.graph.lint()


def _replaced(t):
    gm = t.fx.symbolic_trace(lambda x, a, b: t.sum(t.cat([a, b])) + t.sum(t.cat([x, b])) + (x * a + b))
    found = [t.fx.replace_pattern(gm, lambda a, b: t.cat([a, b]), lambda a, b: t.stack([a, b]))]
    found.append(t.fx.replace_pattern(gm, lambda x, y, z: x * y + z, lambda x, y, z: t.addcmul(z, x, y)))
    found.append(t.fx.replace_pattern(gm, lambda x: t.sum(x, dim=7), lambda x: x))
    return found, gm


def test_replacing_patterns():
    (found, ours), (expected, theirs) = _both(_replaced)
    assert str(found) == str(expected) and ours.code == theirs.code


def test_shapes_and_text():
    def shapes(t):
        class Net(t.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = t.nn.Sequential(t.nn.Linear(4, 5), t.nn.ReLU())

            def forward(self, x: t.Tensor) -> t.Tensor:
                return self.body(x).t()

        gm = t.fx.symbolic_trace(Net())
        if t is lamina:
            from lamina.fx.passes.shape_prop import ShapeProp
        else:
            from torch.fx.passes.shape_prop import ShapeProp
        ShapeProp(gm).propagate(t.zeros(3, 4))
        return [str(n.meta.get("tensor_meta")) for n in gm.graph.nodes], gm.print_readable(print_output=False), str(gm)

    ours, theirs = _both(shapes)
    assert ours == theirs


def test_concrete_arguments_and_a_module_of_a_graph():
    gm = lamina.fx.symbolic_trace(lambda x, double: x * 2 if double else x, concrete_args={"double": True})
    assert gm(lamina.ones(1), True).item() == 2
    with pytest.raises(AssertionError, match="double has been specialized to have value True"):
        gm(lamina.ones(1), False)
    graph = lamina.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("body.0", (x,)))
    made = lamina.fx.GraphModule({"body.0": lamina.nn.ReLU()}, graph)
    assert made(lamina.tensor([-1.0, 2.0])).tolist() == [0, 2]
    with pytest.raises(Exception, match="is not pickled"):
        pickle.dumps(made)


def test_gradients_go_through():
    gm = lamina.fx.symbolic_trace(_model(lamina))
    gm(lamina.ones(2, 4))["a"].backward()
    assert gm.p.grad is not None and [n for n, p in gm.named_parameters()] == ["p", "lin.weight", "lin.bias", "seq.0.weight", "seq.0.bias"]


def test_a_proxy_of_a_graph_that_is_there():
    def grown(torch):
        graph = torch.fx.Graph()
        x = torch.fx.Proxy(graph.placeholder("x"))
        y = torch.fx.Proxy(graph.placeholder("y"), torch.fx.proxy.GraphAppendingTracer(graph))
        graph.output(((x + y).float() * 2).node)
        module = torch.fx.GraphModule(torch.nn.Module(), graph)
        return module.code.strip(), module(torch.ones(2), torch.ones(2)).tolist()

    ours, theirs = _both(grown)
    assert ours == theirs


def test_functions_are_told_of_proxies_outside_of_a_trace():
    def grown(torch):
        f = torch.nn.functional
        graph = torch.fx.Graph()
        tracer = torch.fx.proxy.GraphAppendingTracer(graph)
        x, y = torch.fx.Proxy(graph.placeholder("x"), tracer), torch.fx.Proxy(graph.placeholder("y"), tracer)
        z = torch.einsum("ij,jk->ik", x, y) + torch.einsum("ij,jk->ik", [x, y])
        z = torch.cat([z, torch.broadcast_tensors(x, z)[1]], dim=1)
        z = f.softmax(f.relu(z), dim=-1) + f.layer_norm(z, (6,)) + torch.nn.GELU()(z) + torch.nn.LeakyReLU(0.1)(z.sum())
        torch._assert(z.dim() == 2, "a matrix")
        graph.output(torch.where(z > 0, z * 0, torch.sigmoid(z)).node)
        module = torch.fx.GraphModule(torch.nn.Module(), graph)
        return module.code.replace("torch._C._nn", "torch.nn.functional"), module(torch.arange(9.0).reshape(3, 3), torch.eye(3)), [n.target for n in graph.nodes]

    ours, theirs = _both(grown)
    assert ours[0].replace("torch.functional.", "torch.") == theirs[0].replace("torch.functional.", "torch.").replace(" _stacklevel = 3,", "")
    torch.testing.assert_close(torch.tensor(ours[1].tolist()), theirs[1])
    assert {lamina.einsum, lamina.nn.functional.relu, lamina.nn.functional.softmax} <= set(ours[2])


LAYERS = [
    "Linear(3, 4)", "ReLU()", "Dropout(0.5)", "Softmax(-1)", "MaxPool2d(2)", "LeakyReLU(0.1)", "SiLU()", "ELU()", "Hardtanh()",
    "MSELoss()", "CrossEntropyLoss(label_smoothing=0.1)", "TripletMarginLoss()", "LogSoftmax(-1)", "AlphaDropout(0.2)", "AdaptiveAvgPool2d(1)", "MaxPool1d(2)", "Mish()", "LPPool2d(2, 2)", "GLU()",
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_a_single_layer_is_the_root(layer):
    ours, theirs = _both(lambda t: t.fx.symbolic_trace(eval(f"t.nn.{layer}", {"t": t})).graph)
    steps = [[(n.op, n.name, [str(a) for a in n.args], {k: str(v) for k, v in n.kwargs.items() if k != "_stacklevel"}) for n in g.nodes] for g in (ours, theirs)]
    assert steps[0] == steps[1]
