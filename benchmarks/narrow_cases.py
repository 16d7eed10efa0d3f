"""Cases of benchmarks/kernels.py on 16-bit floats and bytes: products, convolutions, elementwise kernels, a GPT's forward pass."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
from kernel_cases import Body, Case
from language_models import gpt

HALF = 2e-2  # a few roundings to 8 bits, relative to the largest result


def _half(torch: ModuleType, rng: np.random.Generator, *shape: int):
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(torch.bfloat16)


def _each(name: str, shapes: list[tuple[int, ...]], function: Callable, tolerance: float = HALF) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        tensors = [_half(torch, rng, *s) for s in shapes]

        def body() -> tuple:
            with torch.no_grad():
                return (function(torch, *tensors).float(),)

        return body

    return Case(f"bf16 {name} {'x'.join(map(str, shapes[0]))}", make, tolerance)


def _backward(rows: int, inside: int, outside: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        x, w, b = (_half(torch, rng, *s).requires_grad_() for s in ((rows, inside), (outside, inside), (outside,)))
        seed = _half(torch, rng, rows, outside)

        def body() -> tuple:
            x.grad = w.grad = b.grad = None
            torch.nn.functional.linear(x, w, b).backward(seed)
            return x.grad.float(), w.grad.float(), b.grad.float()

        return body

    return Case(f"bf16 linear fwd+bwd {rows}x{inside}x{outside}", make, HALF)


def _bytes(n: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        a, b = (torch.from_numpy(rng.integers(-128, 128, (n, n)).astype(np.int8)) for _ in range(2))
        return lambda: (torch._int_mm(a, b),)

    return Case(f"int8 _int_mm {n}", make)


def _gpt(cast: str) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        model = gpt(torch, layers=2, width=256, heads=4, time=256, vocabulary=1024)
        tokens = torch.from_numpy(rng.integers(0, 1024, (1, 256)))
        model = model.to(torch.bfloat16) if cast == "bf16" else model

        def body() -> tuple:
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast == "autocast"):
                return (model(tokens).float(),)

        return body

    return Case(f"{cast} GPT 2x256, 256 tokens", make, 5e-2)


def _adamw(size: int) -> Case:
    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        p = torch.nn.Parameter(_half(torch, rng, size, size))
        p.grad = _half(torch, rng, size, size)
        optimizer = torch.optim.AdamW([p], lr=1e-3)

        def body() -> tuple:
            optimizer.step()
            return (p.detach().float(),)

        return body

    return Case(f"bf16 AdamW {size}x{size}", make, HALF)


NARROW_CASES: list[Case] = [
    *(_each("matmul", [(n, n), (n, n)], lambda torch, a, b: a @ b) for n in (256, 512, 1024)),
    *(
        _each("linear", [(rows, inside), (outside, inside), (outside,)], lambda torch, x, w, b: torch.nn.functional.linear(x, w, b))
        for rows, inside, outside in ((1, 2048, 1000), (64, 784, 256), (128, 768, 3072), (128, 3072, 768))
    ),
    *(
        _each("conv", [(1, c, h, h), (o, c, k, k)], lambda torch, x, w: torch.nn.functional.conv2d(x, w, padding=w.shape[2] // 2))
        for c, o, h, k in ((64, 64, 56, 3), (256, 256, 14, 3), (256, 512, 28, 1))
    ),
    _backward(256, 512, 512),
    _each("softmax", [(512, 768)], lambda torch, x: torch.softmax(x, -1)),
    _each("layer_norm", [(512, 768), (768,), (768,)], lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (768,), w, b)),
    _each("gelu", [(512, 768)], lambda torch, x: torch.nn.functional.gelu(x)),
    _adamw(1024), _bytes(256), _bytes(1024), _gpt("bf16"), _gpt("autocast"),
]  # fmt: skip
