"""What benchmarks/kernels.py runs: name, and a function that prepares the body for either framework (`torch`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

Body = Callable[[], tuple]


@dataclass(frozen=True)
class Case:
    """make(torch, generator) returns the body; the body returns the tensors to compare, all of which must be computed.

    exact: makes the same in more digits, for results that PyTorch itself rounds more often than once.
    """

    name: str
    make: Callable[[ModuleType, np.random.Generator], Body]
    tolerance: float = 2e-4
    exact: Callable[[ModuleType, np.random.Generator], Body] | None = None


def _tensor(torch: ModuleType, rng: np.random.Generator, *shape: int, grad: bool = False, scale: float = 1.0):
    values = torch.from_numpy(scale * rng.standard_normal(shape, dtype=np.float32))
    return values.requires_grad_() if grad else values


def _forward(name: str, shape: tuple[int, ...], function: Callable, *more: tuple[int, ...]) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        tensors = [_tensor(torch, rng, *s) for s in (shape, *more)]

        def body() -> tuple:
            with torch.no_grad():
                return (function(torch, *tensors),)

        return body

    return Case(f"{name} {'x'.join(map(str, shape))}", make)


def differentiated(leaves: list, compute: Callable, seed) -> Body:
    """Gradients of the leaves for what is computed, weighted by the seed."""

    def body() -> tuple:
        for t in leaves:
            t.grad = None
        compute().backward(seed)
        return tuple(t.grad for t in leaves)

    return body


def _trained(name: str, shapes: list[tuple[int, ...]], function: Callable) -> Case:
    """Forward and backward: gradients of every tensor for a loss of the mean of what the function returns."""

    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        tensors = [_tensor(torch, rng, *s, grad=True) for s in shapes]
        with torch.no_grad():
            seed = _tensor(torch, rng, *function(torch, *tensors).shape)

        return differentiated(tensors, lambda: function(torch, *tensors), seed)

    return Case(f"{name} fwd+bwd {'x'.join(map(str, shapes[0]))}", make)


def _complex(torch: ModuleType, x):
    """The two halves of a tensor as real and imaginary parts."""
    return torch.complex(x[0], x[1])


def _parts(torch: ModuleType, z):
    return torch.view_as_real(z)


def _cross_entropy(rows: int, classes: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        logits = _tensor(torch, rng, rows, classes, grad=True)
        target = torch.from_numpy(rng.integers(0, classes, rows))

        def body() -> tuple:
            logits.grad = None
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss.backward()
            return loss, logits.grad

        return body

    return Case(f"cross_entropy fwd+bwd {rows}x{classes}", make)


def _adam(count: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        weight = torch.nn.Parameter(_tensor(torch, rng, count))
        weight.grad = _tensor(torch, rng, count)
        optimizer = torch.optim.Adam([weight], lr=1e-3)

        def body() -> tuple:
            optimizer.step()
            return (weight,)

        return body

    return Case(f"adam {count}", make)


def _conv(n: int, c: int, o: int, h: int, k: int = 3, stride: int = 1, backward: bool = False, groups: int = 1) -> Case:
    def function(torch: ModuleType, x, w, b):
        return torch.nn.functional.conv2d(x, w, b, stride=stride, padding=(k - 1) // 2, groups=groups)

    shapes = [(n, c, h, h), (o, c // groups, k, k), (o,)]
    name = f"conv {k}x{k}/{stride}" + (f" g{groups}" if groups > 1 else "") + f" to {o}"
    return _trained(name, shapes, function) if backward else _forward(name, shapes[0], function, *shapes[1:])


def _attention(torch: ModuleType, q, k, v):
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return weights @ v


def _batch_norm(torch: ModuleType, x, w, b):
    return torch.nn.functional.relu(torch.nn.functional.batch_norm(x, None, None, w, b, True))


def _f(torch: ModuleType):
    return torch.nn.functional


def _rotated(torch: ModuleType, x, cos, sin):
    """Neighbouring pairs turned by an angle each, as rotary embeddings turn them."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def _bags(name: str, rows: int, width: int, bags: tuple[int, int]) -> Case:
    """Rows of a table, summed by the bag."""

    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        table, places = _tensor(torch, rng, rows, width), torch.from_numpy(rng.integers(0, rows, bags))

        def body() -> tuple:
            with torch.no_grad():
                return (_f(torch).embedding_bag(places, table, mode="sum"),)

        return body

    return Case(f"{name} {'x'.join(map(str, bags))}", make)


CASES: list[Case] = [
    _forward("complex matmul", (2, 256, 256), lambda t, x: _parts(t, _complex(t, x) @ _complex(t, x))),
    _forward("complex product and magnitude", (2, 512, 512), lambda t, x: (_complex(t, x) * _complex(t, x)).abs()),
    _forward("fft.rfft", (64, 1024), lambda t, x: _parts(t, t.fft.rfft(x))),
    _forward("fft.fft", (2, 64, 1024), lambda t, x: _parts(t, t.fft.fft(_complex(t, x)))),
    _forward("fft.rfft2", (8, 64, 64), lambda t, x: _parts(t, t.fft.rfft2(x))),
    _forward("stft", (4, 16000), lambda t, x: _parts(t, t.stft(x, 400, 160, window=t.hann_window(400), return_complex=True))),
    _forward("softmax", (256, 1000), lambda t, x: t.softmax(x, -1)),
    _forward("softmax", (4096, 128), lambda t, x: t.softmax(x, -1)),
    _forward("log_softmax", (256, 1000), lambda t, x: t.log_softmax(x, -1)),
    _trained("log_softmax", [(256, 1000)], lambda t, x: t.log_softmax(x, -1)),
    _forward("layer_norm", (1024, 768), lambda t, x, w, b: _f(t).layer_norm(x, (768,), w, b), (768,), (768,)),
    _trained("layer_norm", [(1024, 768), (768,), (768,)], lambda t, x, w, b: _f(t).layer_norm(x, (768,), w, b)),
    _forward("gelu erf", (512, 3072), lambda t, x: _f(t).gelu(x)),
    _forward("gelu tanh", (512, 3072), lambda t, x: _f(t).gelu(x, approximate="tanh")),
    _trained("gelu erf", [(512, 3072)], lambda t, x: _f(t).gelu(x)),
    _forward("silu", (512, 3072), lambda t, x: _f(t).silu(x)),
    _forward("exp", (512, 3072), lambda t, x: t.exp(x)),
    _forward("log1p(exp)", (512, 3072), lambda t, x: t.log1p(t.exp(x))),
    _forward("sin+cos", (512, 3072), lambda t, x: t.sin(x) + t.cos(x)),
    _forward("pow", (512, 3072), lambda t, x: t.pow(t.abs(x), 1.7)),
    _forward("relu(2x+z)", (4096, 4096), lambda t, x, z: t.relu(2 * x + z), (4096, 4096)),
    _forward("mean of sigmoid of relu", (4096, 4096), lambda t, x: t.mean(t.sigmoid(t.relu(x)))),
    _forward("sum rows", (2048, 2048), lambda t, x: x.sum(1)),
    _forward("sum columns", (2048, 2048), lambda t, x: x.sum(0)),
    _forward("sum all", (2048, 2048), lambda t, x: x.sum()),
    _forward("sum middle", (64, 256, 128), lambda t, x: x.sum(1)),
    _forward("max rows", (2048, 2048), lambda t, x: x.amax(1)),
    _forward("argmax rows", (256, 1000), lambda t, x: x.argmax(1)),
    _forward("argmax rows", (4096, 10), lambda t, x: x.argmax(1)),
    _forward("argmax rows", (1024, 1024), lambda t, x: x.argmax(1)),
    _forward("argmax columns", (1024, 1024), lambda t, x: x.argmax(0)),
    _forward("topk 10", (256, 1000), lambda t, x: x.topk(10)[0]),
    _forward("topk 50", (16, 50000), lambda t, x: x.topk(50)[0]),
    _forward("sort rows", (256, 1000), lambda t, x: x.sort(1)[0]),
    _forward("cumsum rows", (1024, 1024), lambda t, x: x.cumsum(1)),
    _forward("cumsum columns", (1024, 1024), lambda t, x: x.cumsum(0)),
    _forward("group_norm", (8, 64, 56, 56), lambda t, x, w, b: _f(t).group_norm(x, 8, w, b), (64,), (64,)),
    _forward("rotated pairs", (8, 128, 64, 64), _rotated, (64, 32), (64, 32)),
    _forward("complex product with a row", (2, 64, 2048), lambda t, x, r: _parts(t, _complex(t, x) * _complex(t, r)), (2, 2048)),
    _bags("embedding_bag", 20000, 64, (1024, 20)),
    _forward("transpose copy", (1024, 1024), lambda t, x: x.t().contiguous()),
    _cross_entropy(64, 10),
    _cross_entropy(512, 1000),
    _trained("batch_norm+relu", [(32, 64, 28, 28), (64,), (64,)], _batch_norm),
    _trained("batch_norm+relu", [(64, 16, 28, 28), (16,), (16,)], _batch_norm),
    _trained("max_pool 2x2", [(32, 64, 28, 28)], lambda t, x: _f(t).max_pool2d(x, 2)),
    _adam(10_000_000),
    *(_forward(f"matmul to {n}", (m, k), lambda t, a, b: a @ b, (k, n)) for m, n, k in (
        (64, 64, 64), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (1, 1000, 2048),
    )),
    *(_forward(f"linear to {n}", (m, k), lambda t, x, w, b: _f(t).linear(x, w, b), (n, k), (n,)) for m, n, k in (
        (1, 256, 784), (64, 256, 784), (128, 3072, 768), (128, 768, 3072), (512, 128, 128), (1, 1000, 2048),
    )),
    _forward("linear to 768", (2, 768), lambda t, x, w, b: _f(t).linear(x, w, b), (768, 768), (768,)),
    _forward("mm to 3072", (4, 768), lambda t, x, w: x @ w, (768, 3072)),
    _forward("conv 3x3, 32 groups of 4", (4, 128, 28, 28), lambda t, x, w: _f(t).conv2d(x, w, padding=1, groups=32), (128, 4, 3, 3)),
    _trained("linear to 768", [(128, 768), (768, 768), (768,)], lambda t, x, w, b: _f(t).linear(x, w, b)),
    _conv(1, 3, 64, 224, 7, 2),
    _conv(1, 64, 64, 56), _conv(1, 128, 128, 28), _conv(1, 256, 256, 14), _conv(1, 512, 512, 7),
    _conv(1, 256, 64, 56, 1), _conv(1, 64, 128, 56, 3, 2), _conv(1, 96, 96, 56, 3, 1, groups=96),
    _conv(64, 16, 32, 14), _conv(64, 32, 64, 7), _conv(64, 32, 64, 7, backward=True), _conv(4, 64, 64, 16, backward=True),
    _forward("attention", (8, 8, 128, 64), _attention, (8, 8, 128, 64), (8, 8, 128, 64)),
    _trained("attention", [(8, 8, 128, 64)] * 3, _attention),
    _forward("attention", (1, 12, 512, 64), _attention, (1, 12, 512, 64), (1, 12, 512, 64)),
]  # fmt: skip
