"""Parametrizations, lazy layers, rare pools and the small parts of torch.nn.utils against PyTorch, random numbers included."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")

EXPRESSIONS = """
trained(P.weight_norm(nn.Linear(4, 3)))
trained(P.weight_norm(nn.Linear(4, 3), dim=None))
trained(P.spectral_norm(nn.Linear(4, 3), n_power_iterations=2))
trained(P.orthogonal(nn.Linear(3, 3)))
trained(P.orthogonal(nn.Linear(3, 5)))
trained(P.orthogonal(nn.Linear(5, 3)))
trained(P.orthogonal(nn.Linear(5, 3), orthogonal_map='cayley'))
trained(P.orthogonal(nn.Linear(3, 5), use_trivialization=False))
P.orthogonal(nn.Linear(3, 3), orthogonal_map='x')
P.orthogonal(nn.Linear(3, 3), 'bias')
P.orthogonal(nn.Linear(3, 3), 'q')
trained(Z.register_parametrization(Z.register_parametrization(nn.Linear(3, 3), 'weight', Symmetric()), 'weight', Exponential()))
trained(Z.register_parametrization(nn.Linear(3, 3), 'weight', Outer()))
Z.register_parametrization(nn.Linear(3, 3), 'weight', Cut())
Z.register_parametrization(nn.Linear(3, 3), 'weight', Wide())
Z.register_parametrization(Z.register_parametrization(nn.Linear(3, 3), 'weight', Symmetric()), 'weight', Cut())
Z.register_parametrization(nn.Linear(3, 3), 'q', Symmetric())
removed(Z.register_parametrization(nn.Linear(3, 3), 'weight', Symmetric()))
removed(Z.register_parametrization(nn.Linear(3, 3), 'weight', Outer()))
removed(nn.Linear(3, 3))
assigned(P.orthogonal(nn.Linear(3, 3)), torch.eye(3))
assigned(Z.register_parametrization(nn.Linear(3, 3), 'weight', Exponential()), torch.eye(3))
cached(Z.register_parametrization(nn.Linear(3, 3), 'weight', Symmetric()))
copy.deepcopy(P.weight_norm(nn.Linear(3, 3))).weight
P.weight_norm(nn.Linear(3, 3)).load_state_dict({'bias': torch.zeros(3), 'weight_g': torch.ones(3, 1), 'weight_v': torch.ones(3, 3)})
transferred(P.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 3))
first(nn.LazyLinear(3), X2)
first(nn.LazyConv2d(6, 3, groups=3, stride=2), X4)
first(nn.LazyConvTranspose2d(4, 3, stride=2, output_padding=1), X4)
first(nn.LazyBatchNorm2d(), X4)
first(nn.LazyInstanceNorm2d(), X4)
first(nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)), X4)
nn.LazyLinear(3).weight, copy.deepcopy(nn.LazyLinear(3)).to(torch.float64)(X2.double())
nn.LazyLinear(3).weight.shape
loaded(nn.LazyLinear(3), nn.Linear(4, 3)), loaded(nn.LazyLinear(3), nn.LazyLinear(3))
loaded(nn.Linear(2, 3), nn.LazyLinear(3))
nn.LazyConv2d(3, 3)(X2)
adaptive(nn.AdaptiveLogSoftmaxWithLoss(4, 20, [5, 10], div_value=2.0, head_bias=True))
nn.AdaptiveLogSoftmaxWithLoss(4, 20, [5, 5])
nn.AdaptiveLogSoftmaxWithLoss(4, 20, [5])(X2, torch.tensor([0, 3, 7, 11, 19, 21]))
F.fractional_max_pool2d(X4, 3, output_size=(4, 3), return_indices=True)
nn.FractionalMaxPool2d(2, output_ratio=(0.5, 0.6))(X4[0]), nn.FractionalMaxPool3d(2, output_size=(3, 2, 2))(X5)
F.fractional_max_pool3d(X5[:0], 2, output_size=(3, 2, 2)), F.fractional_max_pool2d(X4[:0], 3, output_size=(4, 3))
nn.FractionalMaxPool2d(2)
[nn.LPPool2d(p, 3, 2, ceil_mode=True)(X4.abs()) for p in (1, 2, float('inf'))], nn.LPPool3d(2, 2)(X5.abs()), nn.LPPool3d(2, 2)
nn.AdaptiveMaxPool2d((3, 2), return_indices=True)(X4), F.max_pool2d_with_indices(X4, 2)
[f(X2.clone()) for f in (F.elu_, F.celu_, F.selu_, F.leaky_relu_, F.hardtanh_)], F.threshold_(X2.clone(), 0.1, 2.0)
F.pdist(X2), F.pdist(X2, 1.0), F.conv_tbc(X4[0], torch.ones(3, 8, 2), torch.ones(2), 1)
[nn.CrossMapLRN2d(n, alpha=1.0)(torch.randn(2, 7, 2, 2)) for n in (1, 2, 3, 5)]
fused(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.utils.fuse_conv_bn_eval, X4)
fused(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.utils.fuse_linear_bn_eval, X2)
nn.utils.skip_init(nn.Linear, 2, 3).weight.shape
nn.utils.skip_init(nn.ReLU)
gradients(torch.matrix_exp, X2[:4]), torch.linalg.matrix_exp(torch.randn(2, 3, 3) * 3)
torch.geqrf(X2), gradients(lambda a: torch.linalg.householder_product(a, torch.full((4,), 0.7)), X2)
""".strip().splitlines()


def environment(lib: Any) -> dict[str, Any]:
    """The names the expressions use, over one library."""
    nn, Z, P, F = lib.nn, lib.nn.utils.parametrize, lib.nn.utils.parametrizations, lib.nn.functional
    numbers = np.random.RandomState(0)
    X2, X4, X5 = (
        lib.from_numpy(numbers.randn(*shape).astype(np.float32)) for shape in ((6, 4), (2, 3, 9, 8), (1, 2, 6, 4, 5))
    )

    class Symmetric(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, a: Any) -> Any:
            return a.triu()

    class Exponential(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.exp()

    class Outer(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x.unsqueeze(-1) @ y.unsqueeze(-2)

        def right_inverse(self, a: Any) -> Any:
            return a[:, 0].clone(), a[0].clone()

    class Cut(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:1]

    class Wide(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.double()

    def trained(m: Any) -> Any:
        seen = [m, list(m.state_dict()), type(m).__name__, m.weight]
        optimizer = lib.optim.SGD(m.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (m(lib.ones(2, m.weight.shape[1])) ** 2).sum().backward()
            optimizer.step()
        return [*seen, m.weight, list(m.state_dict().values())]

    def removed(m: Any) -> Any:
        Z.remove_parametrizations(m, "weight")
        return m.weight, type(m).__name__, list(m.state_dict())

    def assigned(m: Any, value: Any) -> Any:
        m.weight = value
        return m.weight

    def cached(m: Any) -> Any:
        with Z.cached():
            return m.weight is m.weight, Z.is_parametrized(m), Z.type_before_parametrizations(m).__name__

    def transferred(a: Any, b: Any) -> Any:
        return Z.transfer_parametrizations_and_params(a, b).weight, a.weight

    def first(m: Any, x: Any) -> Any:
        before = repr(m), list(m.state_dict()), [type(p).__name__ for p in m.parameters()]
        return before, m(x), m, list(m.parameters())

    def loaded(m: Any, source: Any) -> Any:
        return m.load_state_dict(source.state_dict()), m

    def adaptive(m: Any) -> Any:
        targets = lib.tensor([0, 3, 7, 11, 19, 1])
        x = X2.clone().requires_grad_()
        result = m(x, targets)
        result.loss.backward()
        return m, list(result), x.grad, [p.grad for p in m.parameters()], m.log_prob(X2), m.predict(X2), list(m(X2[0], targets[2]))

    def fused(layer: Any, norm: Any, fuse: Any, x: Any) -> Any:
        norm(layer(x))
        return fuse(layer.eval(), norm.eval())(x), norm(layer(x))

    def gradients(f: Any, x: Any) -> Any:
        x = x.clone().requires_grad_()
        y = f(x)
        (y * lib.arange(y.numel()).view(y.shape).cos()).sum().backward()
        return y, x.grad

    return {**locals(), "torch": lib, "copy": copy}


def plain(found: Any) -> Any:
    """Tensors as arrays, modules as text, the rest as it is."""
    if hasattr(found, "detach"):
        return found.detach().numpy() if "Uninitialized" not in type(found).__name__ else repr(found)
    if isinstance(found, (list, tuple)):
        return [plain(part) for part in found]
    return found if isinstance(found, (int, float, str)) else repr(found)


def outcome(expression: str, scope: dict[str, Any]) -> Any:
    scope["torch"].manual_seed(0)
    try:
        return plain(eval(expression, scope))
    except Exception as error:
        kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins")
        return f"{kind}: {error}".partition("\n    ")[0]


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-4)
    else:
        assert ours == theirs


@pytest.fixture(scope="module")
def scopes() -> list[dict[str, Any]]:
    return [environment(lib) for lib in (lamina, torch)]


@pytest.mark.slow
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_as_pytorch(expression: str, scopes: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (outcome(expression, scope) for scope in scopes)
    same(ours, theirs)
