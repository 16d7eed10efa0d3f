"""Module and its containers against PyTorch: every expression gives the same text, or the same error, in both."""

from __future__ import annotations

import copy
import importlib
import pickle
import warnings
from collections import OrderedDict
from typing import Any

import pytest

import lamina

torch = pytest.importorskip("torch")

EXPRESSIONS = """
names(Net().named_parameters()), names(Net().named_parameters(remove_duplicate=False)), names(Net().named_modules(prefix='x'))
names(Net().named_modules(remove_duplicate=False)), names(Net().named_buffers(prefix='p')), names(Net().named_children())
names(Net().named_parameters(prefix='q', recurse=False)), list(Net().state_dict())
Net().load_state_dict({'a.weight': torch.zeros(3, 2), 'zz': torch.ones(1), 'b.7.x': torch.ones(1)})
Net().load_state_dict({**Net().state_dict(), 'a.weight': torch.zeros(4, 4), 'buf': torch.zeros(3)})
Net().load_state_dict({'a.bias': torch.zeros(3), 'q': torch.zeros(1)}, strict=False)
Net().load_state_dict({**Net().state_dict(), 'a.weight': 3})
Net().load_state_dict([1])
assigned(Net())
dict(Net().state_dict()._metadata), [(k, v.requires_grad) for k, v in Net().state_dict(keep_vars=True, prefix='z.').items()]
Net().get_submodule('b.1'), Net().get_parameter('b.1.weight').shape, Net().get_buffer('buf')
Net().get_submodule('zz')
Net().get_submodule('a.weight')
Net().get_parameter('b.zz')
Net().get_parameter('buf')
Net().get_buffer('b.zz')
Net().get_buffer('a')
replaced(Net())
Net().set_submodule('', nn.ReLU())
Net().set_submodule('q.r', nn.ReLU())
Net().set_submodule('q', nn.ReLU(), strict=True)
Net().set_submodule('q', 3)
Net().to(torch.int32)
Net().to('foo')
Net().to('cpu', torch.float64).a.weight.dtype, Net().half().buf.dtype, Net().to(torch.ones(1, dtype=torch.float64)).buf.dtype
Net().to_empty(device='cpu').a.weight.shape, Net().type(torch.float64).a.weight.dtype
Net().train(3)
[m.training for m in Net().eval().modules()], [p.requires_grad for p in Net().requires_grad_(False).parameters()]
Net().nope
setattr(nn.Linear(1, 1), 'weight', 3)
setattr(nn.Linear(1, 1), 'weight', torch.ones(1))
setattr(Net(), 'a', 3)
setattr(Net(), 'buf', 3)
Net().register_buffer('a', torch.ones(1))
Net().register_buffer('x.y', torch.ones(1))
Net().register_buffer('', torch.ones(1))
Net().register_buffer('q', 3)
Net().register_buffer(3, torch.ones(1))
Net().register_parameter('q', torch.ones(1))
Net().register_parameter('forward', nn.Parameter(torch.ones(1)))
Net().add_module('a.b', nn.ReLU())
Net().add_module('forward', nn.ReLU())
Net().add_module('q', 3)
Net()
nn.Module(1)
nn.Module(a=1)
nn.Module()(1)
[x for x in dir(Net()) if x in ('a', 'b', 'buf', 'np', 'shared', 'forward', 'training')]
copy.deepcopy(Net()), list(pickle.loads(pickle.dumps(nn.Sequential(nn.Linear(2, 2)))).state_dict())
nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()]), nn.ModuleDict({'b': nn.ModuleList([nn.Linear(1, 1)] * 3)})
nn.ParameterList([torch.ones(2), nn.Parameter(torch.ones(3, 3)), 5]), nn.ParameterDict({'x': torch.ones(1), 'y': None, 'z': 3})
nn.Sequential(nn.ReLU()) + nn.Sequential(nn.Tanh()), nn.Sequential(nn.ReLU()) * 2, nn.Sequential(OrderedDict(a=nn.ReLU()))[:1]
nn.Sequential(nn.ReLU()).append(nn.Tanh()).insert(0, nn.Sigmoid()).extend([nn.GELU()]), nn.ModuleList([nn.ReLU()]) + [nn.Tanh()]
nn.Sequential(3)
nn.Sequential(nn.ReLU())[3]
nn.ModuleList([nn.ReLU()])[3]
nn.ModuleDict({3: nn.ReLU()})
parameters_by_name(nn.ParameterDict({'a': torch.ones(2)}))
nn.ParameterDict()(1)
hooked_states(Net())
hooked_forward(nn.Linear(2, 2))
nn.Linear(2, 2).register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True) and None
refused(nn.Linear(2, 2))
failing()
backward_of(nn.Linear(2, 2))
changed_backward(nn.Linear(2, 2))
several_gradients()
for_all_modules()
both_kinds(nn.Linear(2, 2))
returns_state(Net())
""".strip().splitlines()


def environment(lib: Any, module: Any) -> dict[str, Any]:
    """The names the expressions use, over one library."""
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 3)
            self.b = nn.Sequential(nn.ReLU(), nn.Linear(3, 1))
            self.register_buffer("buf", lib.zeros(2))
            self.register_buffer("np", lib.zeros(1), persistent=False)
            self.shared = self.a

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    def assigned(net: Any) -> Any:
        state = {k: v.double() for k, v in net.state_dict().items()}
        result = net.load_state_dict(state, assign=True)
        return result, net.a.weight.dtype, net.a.weight.requires_grad, net.buf is state["buf"]

    def replaced(net: Any) -> Any:
        net.set_submodule("b.1", nn.Linear(5, 5))
        net.set_submodule("a", nn.ReLU())
        return net

    def parameters_by_name(p: Any) -> Any:
        p.update({"b": lib.zeros(1)})
        return p.pop("a"), list(p.keys()), p.get("q"), p.setdefault("r", lib.ones(1)), list(p.items()), p | {"s": lib.ones(1)}

    def hooked_states(net: Any) -> Any:
        seen: list = []
        net._register_state_dict_hook(lambda m, state, prefix, local: seen.append(("post", prefix, list(local))))
        net.register_state_dict_post_hook(lambda m, state, prefix, local: seen.append("public"))
        net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
        net._register_load_state_dict_pre_hook(lambda *a: seen.append(("load pre", len(a))))
        net._register_load_state_dict_pre_hook(lambda *a: seen.append(("load pre", len(a))), with_module=True)
        net.register_load_state_dict_pre_hook(lambda *a: seen.append(("load pre", len(a))))
        net.register_load_state_dict_post_hook(lambda m, keys: seen.append(("load post", keys)))
        net.load_state_dict(net.state_dict())
        return seen

    def returns_state(net: Any) -> Any:
        net.register_state_dict_post_hook(lambda *a: 1)
        return net.state_dict()

    def hooked_forward(net: Any) -> Any:
        seen: list = []
        net.register_forward_pre_hook(lambda m, a: seen.append(("pre", len(a))))
        net.register_forward_pre_hook(lambda m, a, k: (seen.append(k), (a, k))[1], with_kwargs=True)
        net.register_forward_pre_hook(lambda m, a: seen.append("first"), prepend=True)
        net.register_forward_hook(lambda m, a, k, o: seen.append(("after", k)), with_kwargs=True)
        handle = net.register_forward_hook(lambda m, a, o: o * 0 + 5, prepend=True)
        result = net(lib.ones(1, 2)).tolist()
        handle.remove()
        handle.remove()
        net(input=lib.ones(1, 2))
        return result, seen

    def refused(net: Any) -> Any:
        net.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
        return net(lib.ones(1, 2))

    def failing() -> Any:
        seen: list = []

        class Failing(nn.Module):
            def forward(self, x: Any) -> Any:
                raise ValueError("no")

        net = Failing()
        net.register_forward_hook(lambda m, a, o: seen.append(("always", o)), always_call=True)
        net.register_forward_hook(lambda m, a, o: seen.append("never"))
        try:
            net(1)
        except ValueError as error:
            seen.append(str(error))
        return seen

    def shown(gradients: Any) -> list:
        return [None if g is None else g.tolist() for g in gradients]

    def backward_of(net: Any) -> Any:
        seen: list = []
        nn.init.ones_(net.weight)
        net.register_full_backward_hook(lambda m, gi, go: seen.append((shown(gi), shown(go))))
        net.register_full_backward_pre_hook(lambda m, go: seen.append(shown(go)))
        for x in (lib.ones(1, 2, requires_grad=True), lib.ones(1, 2)):
            net(x).sum().backward()
        return seen

    def changed_backward(net: Any) -> Any:
        nn.init.ones_(net.weight)
        net.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
        net.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
        x = lib.ones(1, 2, requires_grad=True)
        net(x).sum().backward()
        return x.grad.tolist(), net.weight.grad.tolist()

    def several_gradients() -> Any:
        seen: list = []

        class Two(nn.Module):
            def forward(self, a: Any, b: Any) -> Any:
                return a * 2, b * 3

        net = Two()
        net.register_full_backward_hook(lambda m, gi, go: seen.append((shown(gi), shown(go))))
        a, b = (lib.ones(1, requires_grad=True) for _ in range(2))
        y, z = net(a, b)
        (y + z).sum().backward()
        net(a, b)[0].sum().backward()
        y, z = net(a, lib.ones(1))
        (y + z).sum().backward()
        return seen

    def for_all_modules() -> Any:
        seen: list = []
        handles = [
            module.register_module_forward_pre_hook(lambda m, a: seen.append("before")),
            module.register_module_forward_hook(lambda m, a, o: seen.append("after")),
            module.register_module_full_backward_hook(lambda m, gi, go: seen.append("backward")),
            module.register_module_full_backward_pre_hook(lambda m, go: seen.append("before backward")),
            module.register_module_buffer_registration_hook(lambda m, n, b: seen.append(("buffer", n))),
            module.register_module_parameter_registration_hook(lambda m, n, p: seen.append(("parameter", n))),
            module.register_module_module_registration_hook(lambda m, n, c: seen.append(("module", n))),
        ]
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))[0](lib.ones(1, 2, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
        nn.Linear(2, 2)(lib.ones(1, 2))
        return seen

    def both_kinds(net: Any) -> Any:
        net.register_full_backward_hook(lambda *a: None)
        net.register_backward_hook(lambda *a: None)

    def names(pairs: Any) -> list[str]:
        return [name for name, _ in pairs]

    return {**locals(), "torch": lib, "copy": copy, "pickle": pickle, "OrderedDict": OrderedDict}


def outcome(expression: str, scope: dict[str, Any]) -> str:
    scope["torch"].manual_seed(0)
    try:
        return repr(eval(expression, scope))
    except Exception as error:
        kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
        return f"{kind}: {error}"


@pytest.fixture(scope="module")
def scopes() -> list[dict[str, Any]]:
    modules = [importlib.import_module(name) for name in ("lamina.nn.modules.module", "torch.nn.modules.module")]
    return [environment(lib, module) for lib, module in zip((lamina, torch), modules, strict=True)]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_as_pytorch(expression: str, scopes: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (outcome(expression, scope) for scope in scopes)
    assert ours == theirs


def test_a_parameter_over_detached_memory_is_a_leaf_of_its_own() -> None:
    weight = lamina.nn.Linear(2, 2).weight
    for source in (weight.detach(), (weight * 2).detach(), weight.data, weight):
        made = lamina.nn.Parameter(source)
        assert made.is_leaf and made.requires_grad
        (made * made).sum().backward()
        assert made.grad is not None and weight.grad is None


def test_a_call_of_its_own_calls_by_the_inner_name() -> None:
    def called(torch: Any) -> Any:
        class Counting(torch.nn.Module):
            calls = 0

            def __call__(self, *args: Any) -> Any:
                self.calls += 1
                return self._call_impl(*args)

            def forward(self, x: Any) -> Any:
                return x * 2

        net = Counting()
        net.register_forward_hook(lambda module, args, result: result + 1)
        return [net(torch.ones(2)).tolist() for _ in range(3)], net.calls

    assert called(lamina) == called(torch)
