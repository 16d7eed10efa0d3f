"""Layers and losses against PyTorch: outputs, gradients, text, initial weights and state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")

X4 = np.random.RandomState(0).randn(2, 4, 7, 6).astype(np.float32)
X3, X2 = X4[:, :, :, 0].copy(), X4[:, :, 0, 0].copy()
LAYERS: list[tuple[str, tuple, dict, np.ndarray]] = [
    ("Linear", (4, 3), {}, X2), ("Linear", (6, 3), {"bias": False}, X4), ("Identity", (), {}, X2), ("Flatten", (), {}, X4),
    ("Unflatten", (1, (2, 2)), {}, X4), ("Conv2d", (4, 6, 3), {}, X4),
    ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2, "bias": False}, X4),
    ("Conv2d", (4, 2, (3, 2)), {"padding": "same", "dilation": 2}, X4),
    ("Conv2d", (4, 2, 3), {"padding": 1, "padding_mode": "reflect"}, X4), ("Conv1d", (4, 5, 3), {"padding": 1}, X3),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, X4),
    ("ConvTranspose1d", (4, 3, 4), {"dilation": 2}, X3), ("BatchNorm2d", (4,), {}, X4), ("BatchNorm1d", (4,), {}, X2),
    ("BatchNorm2d", (4,), {"affine": False, "momentum": None}, X4), ("BatchNorm1d", (4,), {"track_running_stats": False}, X3),
    ("LayerNorm", ((7, 6),), {}, X4), ("LayerNorm", (6,), {"bias": False}, X4), ("RMSNorm", (6,), {}, X4),
    ("GroupNorm", (2, 4), {}, X4), ("InstanceNorm2d", (4,), {"affine": True, "track_running_stats": True}, X4),
    ("LocalResponseNorm", (3,), {}, X4), ("MaxPool2d", (2,), {}, X4), ("MaxPool2d", (3, 2, 1), {"ceil_mode": True}, X4),
    ("MaxPool1d", (2,), {"dilation": 2}, X3), ("AvgPool2d", (2,), {}, X4),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False, "ceil_mode": True}, X4), ("AvgPool1d", (3,), {"padding": 1}, X3),
    ("AdaptiveAvgPool2d", ((3, 2),), {}, X4), ("AdaptiveAvgPool2d", (1,), {}, X4), ("AdaptiveMaxPool2d", ((3, 3),), {}, X4),
    ("ZeroPad2d", (1,), {}, X4), ("ConstantPad2d", ((1, 2, 0, -1), 3.5), {}, X4), ("ReplicationPad2d", (2,), {}, X4),
    ("CircularPad2d", (1,), {}, X4), ("Dropout", (0.3,), {}, X4), ("Dropout2d", (0.5,), {}, X4),
    ("Softmax", (), {"dim": 1}, X4), ("LogSoftmax", (-1,), {}, X4), ("Softmin", (1,), {}, X2), ("GLU", (1,), {}, X4),
    ("PReLU", (4,), {}, X4), ("Threshold", (0.1, 2.0), {}, X2), ("GELU", (), {"approximate": "tanh"}, X2),
    ("Softplus", (), {"beta": 2}, X2), ("AlphaDropout", (0.4,), {}, X2),
] + [
    (name, (), {}, X4)
    for name in (
        "ReLU", "SELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Tanh", "Sigmoid", "Softsign", "Tanhshrink", "LogSigmoid",
        "GELU", "ReLU6", "Hardtanh", "ELU", "CELU", "LeakyReLU", "Softplus", "Softshrink", "Hardshrink",
    )
]  # fmt: skip


def run(lib: Any, make: Callable[[Any], Any], inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs, gradients and state of one forward and backward."""
    lib.manual_seed(1)
    module = make(lib.nn)
    tensors = [lib.from_numpy(x.copy()) for x in inputs]
    for t in tensors:
        if t.is_floating_point():
            t.requires_grad_()
    y = module(*tensors)
    (y * lib.arange(y.numel()).view(y.shape).to(y.dtype).cos()).sum().backward()
    found = {"y": y.detach().numpy(), "text": repr(module), "state": int(lib.get_rng_state().long().sum().item())}
    found |= {f"d{i}": t.grad.numpy() for i, t in enumerate(tensors) if t.requires_grad and t.grad is not None}
    found |= {f"d {k}": p.grad.numpy() for k, p in module.named_parameters()}
    found |= {k: v.numpy() for k, v in module.state_dict().items()}
    module.eval()
    found["eval"] = module(*[t.detach() for t in tensors]).detach().numpy()
    return found


def compare(make: Callable[[Any], Any], inputs: list[np.ndarray], tolerance: float = 2e-5) -> None:
    ours, theirs = run(lamina, make, inputs), run(torch, make, inputs)
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(ours[key], expected, tolerance, tolerance, err_msg=key)
        else:
            assert ours[key] == expected, key


@pytest.mark.parametrize("name, args, options, x", LAYERS, ids=lambda v: v if isinstance(v, str) else "")
def test_layer(name: str, args: tuple, options: dict, x: np.ndarray) -> None:
    compare(lambda nn: getattr(nn, name)(*args, **options), [x])


def test_embedding() -> None:
    compare(lambda nn: nn.Embedding(5, 3, padding_idx=1), [np.array([[0, 1], [4, 4]])])


P = 1 / (1 + np.exp(-X2))
LOSSES = [
    ("MSELoss", (), {}, [X2, P]), ("MSELoss", (), {"reduction": "sum"}, [X2, P]), ("L1Loss", (), {"reduction": "none"}, [X2, P]),
    ("SmoothL1Loss", (), {"beta": 0.5}, [X2, P]), ("HuberLoss", (), {"delta": 0.5}, [X2, P]), ("BCELoss", (), {}, [P, P[::-1].copy()]),
    ("BCEWithLogitsLoss", (), {}, [X2, P]), ("KLDivLoss", (), {"reduction": "batchmean"}, [np.log(P), P]),
    ("CrossEntropyLoss", (), {}, [X2, np.array([0, 3])]), ("CrossEntropyLoss", (), {"label_smoothing": 0.1}, [X2, np.array([0, -100])]),
    ("CrossEntropyLoss", (), {}, [X4, np.arange(84).reshape(2, 7, 6) % 4]), ("NLLLoss", (), {"ignore_index": 2}, [X2, np.array([2, 1])]),
    ("PoissonNLLLoss", (), {}, [X2, P]), ("SoftMarginLoss", (), {}, [X2, np.sign(X2[::-1]).astype(np.int64)]),
    ("TripletMarginLoss", (), {"swap": True}, [X2, P, X2[::-1].copy()]), ("CosineEmbeddingLoss", (), {}, [X2, P, np.array([1.0, -1.0], np.float32)]),
    ("HingeEmbeddingLoss", (), {}, [X2, np.sign(P - 0.5)]), ("MultiLabelSoftMarginLoss", (), {}, [X2, P]),
    ("KLDivLoss", (), {"reduction": "none"}, [np.log(P), X2]), ("KLDivLoss", (), {"reduction": "batchmean"}, [np.array(-0.5, np.float32), np.array(0.25, np.float32)]),
    ("GaussianNLLLoss", (), {"full": True}, [X2, P, P[:1]]), ("LinearCrossEntropyLoss", (X2.shape[1], 5), {"bias": True}, [X2, np.array([0, 3])]),
]  # fmt: skip


@pytest.mark.parametrize("call", [
    lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.ones(2, 3) / 3, ignore_index=1),
    lambda t: t.nn.functional.cross_entropy(t.zeros(2, 3), t.tensor([0, 1]), label_smoothing=1.5),
    lambda t: t.nn.LinearCrossEntropyLoss(2, 3, label_smoothing=-1.0),
    lambda t: t.nn.functional.batch_norm(t.ones(2, 3), None, None, training=True, eps=0.0),
    lambda t: t.nn.CircularPad2d(1)(t.ones(2, 3)),
    lambda t: t.optim.SGD([("a", t.nn.Parameter(t.ones(2))), t.nn.Parameter(t.ones(2))], lr=0.1),
    lambda t: t.optim.SGD([("a", t.nn.Parameter(t.ones(2)))], lr=0.1).add_param_group({"params": [t.nn.Parameter(t.ones(2))]}),
])  # fmt: skip
def test_refused_with_pytorchs_words(call: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as ours:
        call(lamina)
    with pytest.raises(Exception) as theirs:
        call(torch)
    assert str(ours.value) == str(theirs.value) and isinstance(ours.value, type(theirs.value))


def test_edges_of_layers() -> None:
    def found(t: Any) -> list[Any]:
        norm = t.nn.BatchNorm1d(3)
        norm(t.zeros(0, 3))
        prelu = t.nn.PReLU()(t.tensor(-2.0)).item()
        pool = t.nn.AvgPool1d((2,), (1,))
        return [norm.running_mean.tolist(), norm.running_var.tolist(), prelu, repr(pool), pool(t.arange(4.0)[None]).tolist(),
                repr(t.nn.LayerNorm(3, elementwise_affine=False))]  # fmt: skip

    assert found(lamina) == found(torch)


@pytest.mark.parametrize("name, args, options, inputs", LOSSES, ids=lambda v: v if isinstance(v, str) else "")
def test_loss(name: str, args: tuple, options: dict, inputs: list[np.ndarray]) -> None:
    compare(lambda nn: getattr(nn, name)(*args, **options), inputs)


def test_containers_print_as_pytorch_prints_them() -> None:
    def make(nn: Any) -> Any:
        block = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
        twins = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)] + [nn.Tanh()])
        return nn.ModuleDict({"block": block, "twins": twins, "drop": nn.Dropout(0.1), "conv": nn.Conv2d(1, 2, 3, bias=False)})

    assert repr(make(lamina.nn)) == repr(make(torch.nn))
    assert [n for n, _ in make(lamina.nn).named_parameters()] == [n for n, _ in make(torch.nn).named_parameters()]
    assert [n for n, _ in make(lamina.nn).named_modules()] == [n for n, _ in make(torch.nn).named_modules()]


def message(call: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as caught:
        call()
    return str(caught.value)


def test_load_state_dict_messages() -> None:
    def attempt(lib: Any, state: Callable[[Any], dict]) -> str:
        model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3))
        return message(lambda: model.load_state_dict(state(lib)))

    for state in (
        lambda lib: {"0.weight": lib.zeros(3, 2), "extra": lib.zeros(1)},
        lambda lib: {**lib.nn.Sequential(lib.nn.Linear(4, 3), lib.nn.BatchNorm1d(3)).state_dict(), "1.foo.bar": lib.zeros(1)},
        lambda lib: 3,
    ):
        assert attempt(lamina, state) == attempt(torch, state)


def test_attribute_errors_are_pytorchs() -> None:
    def attempts(lib: Any) -> list[str]:
        class Early(lib.nn.Module):
            def __init__(self) -> None:
                self.layer = lib.nn.Linear(1, 1)

        module = lib.nn.Linear(2, 2)
        return [
            message(Early), message(lambda: module.missing), message(lambda: setattr(module, "weight", 3)),
            message(lambda: module.register_buffer("a.b", None)), message(lambda: module.register_parameter("forward", None)),
            message(lambda: module.add_module("x", 3)), message(lambda: lib.nn.Module()(1)),
        ]  # fmt: skip

    ours, theirs = attempts(lamina), attempts(torch)
    strip = [t.replace("torch.", "") for t in theirs]
    assert [o.replace("torch.", "") for o in ours] == strip


def test_hooks() -> None:
    def trace(lib: Any) -> list[Any]:
        seen: list[Any] = []
        layer = lib.nn.Linear(2, 2)
        with lib.no_grad():
            layer.weight.fill_(1.0)
            layer.bias.fill_(0.5)
        first = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        layer.register_forward_hook(lambda m, args, out: out + 1)
        layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].tolist(), go[0].tolist())))
        x = lib.ones(1, 2, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        first.remove()
        return [y.tolist(), layer(x).tolist(), x.grad.tolist(), *seen]

    assert trace(lamina) == trace(torch)


def test_training_after_evaluation() -> None:
    """What no_grad read of a weight must not hide the weight from the next training step."""
    conv = lamina.nn.Conv2d(1, 2, 3)
    x = lamina.ones(1, 1, 5, 5)
    with lamina.no_grad():
        conv(x).sum().item()
    conv(x).sum().backward()
    assert conv.weight.grad is not None


def test_copies_are_independent() -> None:
    model = lamina.nn.Sequential(lamina.nn.Linear(2, 2), lamina.nn.BatchNorm1d(2))
    other = copy.deepcopy(model)
    with lamina.no_grad():
        other[0].weight.fill_(7.0)
    assert model[0].weight.max().item() < 7
    assert other[0].weight.requires_grad and isinstance(other[0].weight, lamina.nn.Parameter)


def test_conversion_and_freezing() -> None:
    model = lamina.nn.Sequential(lamina.nn.Linear(2, 2), lamina.nn.BatchNorm1d(2)).double()
    assert {v.dtype for k, v in model.state_dict().items() if "num" not in k} == {lamina.float64}
    model.requires_grad_(False).to(lamina.float32)
    assert not any(p.requires_grad for p in model.parameters())
    assert model[0].weight.dtype is lamina.float32


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_", "kaiming_normal_", "kaiming_uniform_", "orthogonal_", "dirac_", "trunc_normal_"])
def test_init(name: str) -> None:
    made = []
    for lib in (lamina, torch):
        lib.manual_seed(4)
        made.append(getattr(lib.nn.init, name)(lib.empty(6, 4, 3)).numpy())
    np.testing.assert_allclose(*made, rtol=1e-5, atol=1e-6)


def test_clip_grad() -> None:
    made = []
    for lib in (lamina, torch):
        p = [lib.nn.Parameter(lib.ones(3) * k) for k in (1, 2)]
        for q in p:
            (q * q).sum().backward()
        total = lib.nn.utils.clip_grad_norm_(p, 1.0)
        lib.nn.utils.clip_grad_value_(p, 0.4)
        made.append([total.item(), *[q.grad.tolist() for q in p]])
    np.testing.assert_allclose(np.concatenate([np.ravel(v) for v in made[0]]), np.concatenate([np.ravel(v) for v in made[1]]), 1e-6)


@pytest.mark.parametrize("norm", [2, 1.0, float("inf"), "inf"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_clipped_again_and_again(norm: float | str, dtype: str) -> None:
    """Steps alike, one gradient in two parameters, and a norm of a scalar among others."""
    made = []
    for lib in (lamina, torch):
        p = [lib.nn.Parameter(lib.full(shape, 0.5, dtype=getattr(lib, dtype))) for shape in ((3,), (2, 2), ())]
        found = []
        for step in range(3):
            for k, q in enumerate(p):
                q.grad = lib.full(q.shape, 1.5 * k + step, dtype=q.dtype)
            if step == 2:
                p[0].grad = p[1].grad[0, :1].expand(3).clone()
                twin = lib.nn.Parameter(lib.zeros(2, 2, dtype=p[1].dtype))
                twin.grad = p[1].grad
            given = [*p, twin] if step == 2 else p
            total = lib.nn.utils.clip_grad_norm_(given, 2.0 + step, norm)
            found.append(total.float().item())
            found += [v for q in given for v in q.grad.float().reshape(-1).tolist()]
        made.append(found)
    np.testing.assert_allclose(*made, rtol=1e-6 if dtype == "float32" else 1e-2)


def test_class_targets_are_checked() -> None:
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        lamina.nn.functional.cross_entropy(lamina.zeros(2, 4), lamina.tensor([0, 5]))
