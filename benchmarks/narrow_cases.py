"""Cases of benchmarks/kernels.py on 16-bit floats and bytes: products, convolutions, attention, elementwise kernels, whole steps of models."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
from kernel_cases import Body, Case
from language_models import bert, gpt
from models import digits_cnn, resnet
from peer_rows import ROWS, Work

HALF = 2e-2  # a few roundings to 8 bits, relative to the largest result
DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
Shapes = list[tuple[int, ...]]


def _narrow(torch: ModuleType, rng: np.random.Generator, kind: str, *shape: int, channels_last: bool = False):
    x = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(getattr(torch, DTYPES[kind]))
    return x.to(memory_format=torch.channels_last) if channels_last and len(shape) == 4 else x


def _each(name: str, shapes: Shapes, function: Callable, kind: str = "bf16", tolerance: float = HALF, channels_last: bool = False) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        tensors = [_narrow(torch, rng, kind, *s, channels_last=channels_last) for s in shapes]

        def body() -> tuple:
            with torch.no_grad():
                return (function(torch, *tensors).float(),)

        return body

    return Case(f"{kind} {name} {'x'.join(map(str, shapes[0]))}", make, tolerance)


def _trained(name: str, shapes: Shapes, function: Callable, kind: str = "bf16", channels_last: bool = False) -> Case:
    """Forward and backward: gradients of every tensor for a given gradient of the result.

    Compared with the same narrow numbers in float64: some of PyTorch's sums over a batch (layer_norm's weights) are narrow themselves.
    """

    def made(torch: ModuleType, rng: np.random.Generator, exact: bool) -> Body:
        def narrow(*shape: int):
            x = _narrow(torch, rng, kind, *shape, channels_last=channels_last)
            return x.double() if exact else x

        tensors = [narrow(*s).requires_grad_() for s in shapes]
        with torch.no_grad():
            seed = narrow(*function(torch, *tensors).shape)

        def body() -> tuple:
            for t in tensors:
                t.grad = None
            function(torch, *tensors).backward(seed)
            return tuple(t.grad.double() if exact else t.grad.float() for t in tensors)

        return body

    title = f"{kind} {name} fwd+bwd {'x'.join(map(str, shapes[0]))}"
    return Case(title, lambda torch, rng: made(torch, rng, False), HALF, lambda torch, rng: made(torch, rng, True))


def _linear(torch: ModuleType, x, w, b):
    return torch.nn.functional.linear(x, w, b)


def _linear_gelu(torch: ModuleType, x, w, b):
    return torch.nn.functional.gelu(torch.nn.functional.linear(x, w, b))


def _conv(n: int, c: int, o: int, h: int, k: int = 3, stride: int = 1, groups: int = 1, backward: bool = False, channels_last: bool = False) -> Case:
    def function(torch: ModuleType, x, w):
        return torch.nn.functional.conv2d(x, w, stride=stride, padding=k // 2, groups=groups)

    name = f"conv {k}x{k}/{stride}" + (f" g{groups}" if groups > 1 else "") + f" to {o}" + (" channels last" if channels_last else "")
    return (_trained if backward else _each)(name, [(n, c, h, h), (o, c // groups, k, k)], function, channels_last=channels_last)


def _attention(torch: ModuleType, q, k, v, causal: bool = False):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _causal(torch: ModuleType, q, k, v):
    return _attention(torch, q, k, v, True)


def _bytes(n: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        a, b = (torch.from_numpy(rng.integers(-128, 128, (n, n)).astype(np.int8)) for _ in range(2))
        return lambda: (torch._int_mm(a, b),)

    return Case(f"int8 _int_mm {n}", make)


def _model(name: str, cast: str, build: Callable, high: int | None, *shape: int) -> Case:
    """Inference of a model, converted (`bf16`) or under autocast. high: of token numbers; None: the input is an image."""

    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        model = build(torch).eval()
        x = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) if high is None else rng.integers(0, high, shape))
        if cast == "bf16":
            model, x = model.to(torch.bfloat16), x.to(torch.bfloat16) if high is None else x

        def body() -> tuple:
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast == "autocast"):
                return (model(x).float(),)

        return body

    return Case(f"{cast} {name}", make, 5e-2)


def _steps(row: str) -> Case:
    """A row of peers.py that trains, its loss computed under autocast."""
    make_work = next(r.make for r in ROWS if r.name == row)

    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        work: Work = make_work(torch, rng)

        def body() -> tuple:
            work.optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = work.function(*work.inputs)
            loss.backward()
            if work.clip:
                torch.nn.utils.clip_grad_norm_(work.model.parameters(), work.clip)
            work.optimizer.step()
            return (loss.float(),)

        return body

    return Case(f"autocast {row}", make, 5e-2)


def _adamw(size: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        p = torch.nn.Parameter(_narrow(torch, rng, "bf16", size, size))
        p.grad = _narrow(torch, rng, "bf16", size, size)
        optimizer = torch.optim.AdamW([p], lr=1e-3)

        def body() -> tuple:
            optimizer.step()
            return (p.detach().float(),)

        return body

    return Case(f"bf16 AdamW {size}x{size}", make, HALF)


def _gpt(torch: ModuleType):
    return gpt(torch, layers=2, width=256, heads=4, time=256, vocabulary=1024)


NARROW_CASES: list[Case] = [
    *(_each("matmul", [(n, n), (n, n)], lambda torch, a, b: a @ b) for n in (256, 512, 1024)),
    _each("bmm", [(16, 128, 64), (16, 64, 128)], lambda torch, a, b: a @ b),
    *(
        _each(f"linear to {outside}", [(rows, inside), (outside, inside), (outside,)], _linear)
        for rows, inside, outside in ((1, 2048, 1000), (4, 768, 3072), (64, 784, 256), (128, 768, 3072), (128, 3072, 768))
    ),
    _each("linear gelu to 3072", [(128, 768), (3072, 768), (3072,)], _linear_gelu),
    _trained("linear to 512", [(256, 512), (512, 512), (512,)], _linear),
    _trained("linear gelu to 2048", [(256, 512), (2048, 512), (2048,)], _linear_gelu),
    *(
        _conv(n, c, o, h, k, stride, groups, channels_last=last)
        for n, c, o, h, k, stride, groups in (
            (1, 64, 64, 56, 3, 1, 1), (1, 256, 256, 14, 3, 1, 1), (1, 256, 512, 28, 1, 1, 1), (8, 64, 64, 28, 3, 1, 1), (4, 128, 128, 28, 3, 2, 1),
            (4, 256, 512, 14, 1, 2, 1), (4, 3, 64, 112, 7, 2, 1), (4, 96, 96, 28, 3, 1, 96), (16, 32, 64, 14, 3, 1, 1),
        )
        for last in (False, True)
    ),
    *(
        _conv(n, c, o, h, k, stride, groups, True, last)
        for n, c, o, h, k, stride, groups in (
            (8, 64, 64, 28, 3, 1, 1), (4, 128, 128, 28, 3, 2, 1), (4, 256, 512, 14, 1, 1, 1), (4, 96, 96, 28, 3, 1, 96), (16, 32, 64, 14, 3, 1, 1),
        )
        for last in (False, True)
    ),
    _each("attention", [(2, 12, 128, 64)] * 3, _attention),
    _each("attention causal", [(1, 8, 512, 64)] * 3, _causal),
    _trained("attention", [(2, 12, 128, 64)] * 3, _attention),
    _trained("attention causal", [(1, 8, 512, 64)] * 3, _causal),
    _each("softmax", [(512, 768)], lambda torch, x: torch.softmax(x, -1)),
    _trained("softmax", [(512, 768)], lambda torch, x: torch.softmax(x, -1)),
    _each("layer_norm", [(512, 768), (768,), (768,)], lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (768,), w, b)),
    _trained("layer_norm", [(512, 768), (768,), (768,)], lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (768,), w, b)),
    _each("gelu", [(512, 768)], lambda torch, x: torch.nn.functional.gelu(x)),
    _each("gelu tanh", [(512, 768)], lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh")),
    _trained("gelu", [(512, 768)], lambda torch, x: torch.nn.functional.gelu(x)),
    _each("add relu", [(512, 768), (512, 768)], lambda torch, x, y: torch.relu(x + y)),
    _each("max_pool", [(4, 64, 56, 56)], lambda torch, x: torch.nn.functional.max_pool2d(x, 3, 2, 1)),
    _each("sum of rows", [(1024, 1024)], lambda torch, x: x.sum(-1)),
    _adamw(1024),
    *(_each("matmul", [(n, n), (n, n)], lambda torch, a, b: a @ b, "fp16") for n in (256, 1024)),
    _each("linear to 3072", [(128, 768), (3072, 768), (3072,)], _linear, "fp16"),
    _each("softmax", [(512, 768)], lambda torch, x: torch.softmax(x, -1), "fp16"),
    _each("layer_norm", [(512, 768), (768,), (768,)], lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (768,), w, b), "fp16"),
    _each("gelu", [(512, 768)], lambda torch, x: torch.nn.functional.gelu(x), "fp16"),
    _each("attention", [(2, 12, 128, 64)] * 3, _attention, "fp16"),
    _bytes(256), _bytes(1024),
    _model("GPT 2x256, 256 tokens", "bf16", _gpt, 1024, 1, 256), _model("GPT 2x256, 256 tokens", "autocast", _gpt, 1024, 1, 256),
    _model("ResNet-50", "bf16", resnet, None, 1, 3, 224, 224), _model("ResNet-50", "autocast", resnet, None, 1, 3, 224, 224),
    _model("BERT-base", "bf16", bert, 30522, 1, 128), _model("digits CNN", "autocast", digits_cnn, None, 64, 1, 28, 28),
    *map(_steps, ("MLP train", "CNN train", "GPT train", "ResNet-18 train", "LSTM train", "autoencoder train")),
]  # fmt: skip
