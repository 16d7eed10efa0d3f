"""Static quantization and training for it against PyTorch: fused, prepared, calibrated and converted models, fake quantization, quantized arithmetic."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.dialects.errors import UnsupportedError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = (lamina, torch)


def numbers(lib: Any, *shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return lib.tensor((np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32))


def model_of(lib: Any) -> Any:
    """A small residual network between stubs, with the same weights in both."""
    nn, quantization = lib.nn, lib.ao.quantization

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
            self.conv2, self.relu = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.ReLU()
            self.add = lib.ao.nn.quantized.FloatFunctional()
            self.pool, self.drop = nn.MaxPool2d(2), nn.Dropout(0.5)
            self.fc1, self.relu3, self.fc2, self.sig = nn.Linear(8 * 4 * 4, 16), nn.ReLU(), nn.Linear(16, 5), nn.Sigmoid()

        def forward(self, x: Any) -> Any:
            x = self.relu1(self.bn1(self.conv1(self.quant(x))))
            x = self.pool(self.add.add(x, self.relu(self.conv2(x))))
            x = self.relu3(self.fc1(self.drop(lib.flatten(x, 1))))
            return self.dequant(self.sig(self.fc2(x)))

    model = Net()
    with lib.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(numbers(lib, *parameter.shape, seed=k, scale=0.2))
        model.bn1.running_mean.copy_(numbers(lib, 8, seed=50, scale=0.1))
        model.bn1.running_var.copy_(numbers(lib, 8, seed=51).abs() + 0.5)
    return model


def text_of(model: Any) -> str:
    """What is printed, scales to six digits: their last bits depend on the order of sums."""
    return re.sub(r"\d\.\d{7,}", lambda found: f"{float(found[0]):.6f}", repr(model))


def converted(lib: Any, config: str) -> Any:
    quantization = lib.ao.quantization
    model = model_of(lib).eval()
    model.qconfig = quantization.default_qconfig if config == "default" else quantization.get_default_qconfig(config)
    fused = quantization.fuse_modules(model, [["conv1", "bn1", "relu1"], ["fc1", "relu3"]])
    prepared = quantization.prepare(fused)
    for seed in range(3):
        prepared(numbers(lib, 4, 3, 8, 8, seed=100 + seed))
    return quantization.convert(prepared)


@pytest.mark.parametrize("config", ["x86", pytest.param("qnnpack", marks=pytest.mark.slow), pytest.param("default", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_static_models(config: str) -> None:
    ours, theirs = (converted(lib, config) for lib in BOTH)
    assert text_of(ours) == text_of(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    a, b = (model(numbers(lib, 2, 3, 8, 8, seed=200)).numpy() for lib, model in zip(BOTH, (ours, theirs), strict=True))
    np.testing.assert_allclose(a, b, atol=1 / 256 + 1e-6)  # one level of the result
    assert (np.abs(a - b) > 1e-6).mean() < 0.2
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    ours.load_state_dict(lamina.load(io.BytesIO(file.getvalue())))
    np.testing.assert_array_equal(ours(numbers(lamina, 2, 3, 8, 8, seed=200)).numpy(), b)


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 1])
def test_training_for_quantization(version: int) -> None:
    found = []
    for lib in BOTH:
        quantization = lib.ao.quantization
        model = model_of(lib).train()
        model.bn1 = lib.nn.Identity()
        model.qconfig = quantization.get_default_qat_qconfig("x86", version)
        prepared = quantization.prepare_qat(model)
        prepared.drop.p = 0.0
        optimizer = lib.optim.SGD(prepared.parameters(), 0.05)
        losses = []
        for seed in range(4):
            optimizer.zero_grad()
            loss = lib.nn.functional.mse_loss(prepared(numbers(lib, 4, 3, 8, 8, seed=seed)), lib.zeros(4, 5))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        state = [(k, tuple(v.shape)) for k, v in prepared.state_dict().items()]
        made = quantization.convert(prepared.eval())
        found.append((losses, state, text_of(made), made(numbers(lib, 2, 3, 8, 8, seed=9)).numpy()))
    (ours, theirs) = found
    np.testing.assert_allclose(ours[0], theirs[0], 1e-4)
    assert ours[1:3] == theirs[1:3]
    np.testing.assert_allclose(ours[3], theirs[3], atol=3 / 256 + 1e-6)  # rounding of updates moves single weights by a level


@pytest.mark.parametrize("zero_point", [0, 7])
def test_fake_quantization(zero_point: int) -> None:
    found = []
    for lib in BOTH:
        x = numbers(lib, 6, 5, scale=2.0).requires_grad_()
        y = lib.fake_quantize_per_tensor_affine(x, 0.1, zero_point, 0, 20)
        z = lib.fake_quantize_per_channel_affine(x, lib.tensor([0.1, 0.2, 0.05, 0.3, 0.01]), lib.tensor([0, 3, -2, 1, zero_point - 2], dtype=lib.int32), 1, -5, 5)
        (y.sum() + (z * z).sum()).backward()
        found.append((y.detach().numpy(), z.detach().numpy(), x.grad.numpy(), str(y.grad_fn).split()[0], str(z.grad_fn).split()[0]))
    (ours, theirs) = found
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, 1e-6, 1e-7)
    assert ours[3:] == theirs[3:]
    with pytest.raises(RuntimeError, match="between"):
        lamina.fake_quantize_per_tensor_affine(lamina.ones(2), 0.1, 300, 0, 255)


def test_switches_of_fake_quantizers() -> None:
    def run(lib: Any) -> list[str]:
        made = lib.ao.quantization.FakeQuantize(quant_min=0, quant_max=100)
        texts = [repr(made(numbers(lib, 3, 4).abs())), repr(made), repr(list(made.state_dict()))]
        made.apply(lib.ao.quantization.disable_observer)
        texts += [repr(made(numbers(lib, 3, 4, scale=5.0).abs() + 1))]
        made.apply(lib.ao.quantization.disable_fake_quant)
        return [*texts, repr(made(numbers(lib, 3))), repr(made)]

    assert run(lamina) == run(torch)


FORMS = {
    "relu": lambda lib, q: lib.relu(q), "method": lambda lib, q: q.relu(), "module": lambda lib, q: lib.nn.ReLU()(q), "relu6": lambda lib, q: lib.nn.functional.relu6(q),
    "hardtanh": lambda lib, q: lib.nn.functional.hardtanh(q, -0.5, 0.25), "max_pool2d": lambda lib, q: lib.nn.MaxPool2d(2)(q),
    "avg_pool2d": lambda lib, q: lib.nn.functional.avg_pool2d(q, 2), "adaptive_avg_pool2d": lambda lib, q: lib.nn.AdaptiveAvgPool2d(1)(q),
    "cat": lambda lib, q: lib.cat([q, q], 1), "mean": lambda lib, q: q.mean([2, 3]), "flatten": lambda lib, q: lib.flatten(q, 1),
    "sigmoid": lambda lib, q: lib.sigmoid(q), "tanh": lambda lib, q: lib.tanh(q), "dropout": lambda lib, q: lib.nn.functional.dropout(q, 0.5, False),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_functions_of_quantized_tensors(name: str) -> None:
    ours, theirs = (FORMS[name](lib, lib.quantize_per_tensor(numbers(lib, 2, 3, 6, 6), 0.05, 61, lib.quint8)) for lib in BOTH)
    assert repr(ours) == repr(theirs)


def test_sums_and_products() -> None:
    found = []
    for lib in BOTH:
        a, b = (lib.quantize_per_tensor(numbers(lib, 4, 6, seed=k), 0.03 * (k + 1), 100, lib.quint8) for k in (0, 1))
        made = lib.ao.nn.quantized.QFunctional()
        made.scale, made.zero_point = 0.07, 60
        found.append([repr(r) for r in (
            made.add(a, b), made.mul(a, b), made.add_relu(a, b), made.cat([a, b], 0), made.add_scalar(a, 0.5), made.add_scalar(a, -9.0), made.mul_scalar(a, 0.5),
            made.mul_scalar(a, -2.0), made,
        )])  # fmt: skip
    assert found[0] == found[1]


def test_what_is_not_there_is_said() -> None:
    quantization = lamina.ao.quantization
    model = lamina.nn.Sequential(quantization.QuantStub(), lamina.nn.Linear(4, 4), lamina.nn.LayerNorm(4), quantization.DeQuantStub())
    model.qconfig = quantization.default_qconfig
    prepared = quantization.prepare(model.eval())
    prepared(lamina.ones(2, 4))
    with pytest.raises(UnsupportedError, match="quantized LayerNorm is not there"):
        quantization.convert(prepared)
    with pytest.raises(NotImplementedError, match="cannot be fused"):
        quantization.fuse_modules(lamina.nn.Sequential(lamina.nn.Linear(2, 2), lamina.nn.Tanh()), ["0", "1"])
    with pytest.raises(NotImplementedError, match="being trained"):
        quantization.fuse_modules(lamina.nn.Sequential(lamina.nn.Conv2d(2, 2, 1), lamina.nn.BatchNorm2d(2)), ["0", "1"])
    with pytest.raises(AssertionError, match="training mode"):
        quantization.prepare_qat(model)
