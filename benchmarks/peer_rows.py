"""What benchmarks/peers.py runs: one row per workload, each prepared by the same code for either framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import language_models
import models
import numpy as np


@dataclass(frozen=True)
class Work:
    """A row in one framework.

    function(*inputs): the result (inference), or the loss (training). model: whose weights are copied across, or None.
    optimizer, clip: for training rows, the optimizer and the largest gradient norm (None: not clipped).
    """

    function: Callable
    inputs: tuple
    model: object = None
    optimizer: object = None
    clip: float | None = None


@dataclass(frozen=True)
class Row:
    """make(torch, numbers) prepares the Work. random: draws numbers in every step. exports: ONNX can hold it.

    group: rows whose ratios are also given as one geometric mean. read: the result is read as a number. replayed: ours goes through
    `torch.compile`, too (a call so small that recording it is most of its time).
    """

    name: str
    make: Callable[[ModuleType, np.random.Generator], Work]
    tolerance: float = 1e-3
    random: bool = False
    exports: bool = True
    group: str | None = None
    read: bool = False
    replayed: bool = False

    @property
    def trains(self) -> bool:
        return self.name.endswith("train")


def _tensor(torch: ModuleType, numbers: np.random.Generator, *shape: int):
    return torch.from_numpy(numbers.standard_normal(shape, dtype=np.float32))


def _integers(torch: ModuleType, numbers: np.random.Generator, high: int, *shape: int):
    return torch.from_numpy(numbers.integers(0, high, shape))


def _mlp_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    model = models.mlp(torch, 784, 256, 256, 10)
    return _classifier(torch, model, _tensor(torch, numbers, 64, 784), _integers(torch, numbers, 10, 64))


def _classifier(torch: ModuleType, model, x, y, optimizer: str = "Adam", clip: float | None = None, **options) -> Work:
    """Cross entropy of a model's logits, the usual loop."""
    model.train()
    criterion = torch.nn.CrossEntropyLoss()
    made = getattr(torch.optim, optimizer)(model.parameters(), **(options or {"lr": 1e-3}))

    def loss(x, y):
        return criterion(model(x), y)

    return Work(loss, (x, y), model, made, clip)


def _cnn_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    return _classifier(torch, models.digits_cnn(torch), _tensor(torch, numbers, 64, 1, 28, 28), _integers(torch, numbers, 10, 64))


def _lstm_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    model = language_models.lstm_classifier(torch)
    return _classifier(torch, model, _tensor(torch, numbers, 32, 30, 32), _integers(torch, numbers, 10, 32), clip=1.0)


def _gpt_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    model = language_models.gpt(torch)
    tokens, targets = _integers(torch, numbers, 256, 8, 128), _integers(torch, numbers, 256, 8, 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)

    def loss(tokens, targets):
        return torch.nn.functional.cross_entropy(model(tokens).reshape(-1, 256), targets.reshape(-1))

    return Work(loss, (tokens, targets), model, optimizer, clip=1.0)


def _resnet18_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    x, y = _tensor(torch, numbers, 4, 3, 64, 64), _integers(torch, numbers, 10, 4)
    return _classifier(torch, models.resnet(torch, 18, 10), x, y, "SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)


def _autoencoder_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    model = models.conv_autoencoder(torch)
    x = torch.sigmoid(_tensor(torch, numbers, 32, 3, 32, 32))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss(x):
        return torch.nn.functional.mse_loss(model(x), x)

    return Work(loss, (x,), model, optimizer)


def _vae_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    model = models.vae(torch)
    x = torch.sigmoid(_tensor(torch, numbers, 128, 784))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss(x):
        made, mean, logvar = model(x)
        likelihood = torch.nn.functional.binary_cross_entropy(made, x, reduction="sum")
        return likelihood - 0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())

    return Work(loss, (x,), model, optimizer)


def _recommender_train(torch: ModuleType, numbers: np.random.Generator) -> Work:
    model = models.recommender(torch)
    bags = [_integers(torch, numbers, 20000, 256, 10) for _ in range(2)]
    dense, clicked = _tensor(torch, numbers, 256, 13), torch.from_numpy(numbers.integers(0, 2, 256).astype(np.float32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(users, items, dense, clicked):
        return torch.nn.functional.binary_cross_entropy_with_logits(model(users, items, dense), clicked)

    return Work(loss, (*bags, dense, clicked), model, optimizer)


def _inference(build: Callable, inputs: Callable) -> Callable[[ModuleType, np.random.Generator], Work]:
    def make(torch: ModuleType, numbers: np.random.Generator) -> Work:
        model = build(torch).eval()
        return Work(model, inputs(torch, numbers), model)

    return make


def _images(*shape: int) -> Callable:
    return lambda torch, numbers: (_tensor(torch, numbers, *shape),)


def _tokens(high: int, *shape: int) -> Callable:
    return lambda torch, numbers: (_integers(torch, numbers, high, *shape),)


def _gpt2(torch: ModuleType, cached: bool = False):
    return language_models.gpt(torch, 12, 768, 12, 1024, 50257, cached)


def _decoding(torch: ModuleType, numbers: np.random.Generator) -> tuple:
    past = [_tensor(torch, numbers, 12, 1, 12, 64, 64) for _ in range(2)]
    return (_integers(torch, numbers, 50257, 1, 1), torch.from_numpy(np.array([64])), *past)


def _function(function: Callable, *shapes: tuple[int, ...]) -> Callable[[ModuleType, np.random.Generator], Work]:
    """A function of (torch, *tensors)."""

    def make(torch: ModuleType, numbers: np.random.Generator) -> Work:
        return Work(lambda *tensors: function(torch, *tensors), tuple(_tensor(torch, numbers, *s) for s in shapes))

    return make


def _tiny_ops(torch: ModuleType, x):
    for _ in range(50):
        x = torch.tanh(x * 0.9 + 0.1) - 0.05
    return x.sum()


ROWS: list[Row] = [
    Row("MLP train", _mlp_train),
    Row("CNN train", _cnn_train, random=True),
    Row("LSTM train", _lstm_train),
    Row("GPT train", _gpt_train),
    Row("ResNet-18 train", _resnet18_train, tolerance=5e-3),
    Row("autoencoder train", _autoencoder_train),
    Row("VAE train", _vae_train, random=True),
    Row("recommender train", _recommender_train),
    Row("ResNet-50", _inference(models.resnet, _images(1, 3, 224, 224))),
    Row("ResNet-18", _inference(lambda torch: models.resnet(torch, 18), _images(1, 3, 224, 224))),
    Row("MobileNetV2", _inference(models.mobilenet_v2, _images(1, 3, 224, 224))),
    Row("U-Net", _inference(models.unet, _images(1, 3, 128, 128))),
    Row("BERT-base", _inference(language_models.bert, _tokens(30522, 1, 128))),
    Row("GPT-2 prefill", _inference(_gpt2, _tokens(50257, 1, 64))),
    Row("GPT-2 decode", _inference(lambda torch: _gpt2(torch, True), _decoding)),
    Row("tiny MLP", _inference(lambda torch: models.mlp(torch, 16, 32, 32, 4), _images(1, 16)), replayed=True),
    Row("softmax", _function(lambda torch, x: x.softmax(-1), (1024, 1024))),
    Row("layernorm", _function(lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (768,), w, b), (1024, 768), (768,), (768,))),
    Row("bias GELU", _function(lambda torch, x, b: torch.nn.functional.gelu(x + b), (512, 3072), (3072,))),
    Row("chain 16M", _function(lambda torch, x: torch.mean(torch.sigmoid(torch.relu(x))), (4096, 4096))),
    Row("200 tiny ops", _function(_tiny_ops, (32, 32)), exports=False, read=True),
    *(Row(f"matmul {n}", _function(lambda torch, a, b: a @ b, (n, n), (n, n)), group="matmul") for n in (256, 512, 1024, 2048)),
]  # fmt: skip
