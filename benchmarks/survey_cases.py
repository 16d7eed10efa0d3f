"""Cases of benchmarks/kernels.py from a survey of six hundred operators: those whose kernels were, or are, much slower than PyTorch's, by what was missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
from kernel_cases import Body, Case, differentiated

Draw = Callable[[np.random.Generator], np.ndarray]


def floats(*shape: int) -> Draw:
    return lambda rng: rng.standard_normal(shape, dtype=np.float32)


def places(most: int, *shape: int) -> Draw:
    return lambda rng: rng.integers(0, most, shape)


def bytes_of(*shape: int) -> Draw:
    return lambda rng: rng.integers(0, 256, shape, dtype=np.uint8)


def _grid(*shape: int) -> Draw:
    return lambda rng: (2.2 * rng.random(shape) - 1.1).astype(np.float32)


def definite(n: int) -> Draw:
    def draw(rng: np.random.Generator) -> np.ndarray:
        a = rng.standard_normal((n, n), dtype=np.float32)
        return a @ a.T / n + np.eye(n, dtype=np.float32)

    return draw


def case(name: str, function: Callable, *draws: Draw, dtype: str = "", trained: bool = False, kind: str = "survey") -> Case:
    """The function on what is drawn, floats as this dtype; trained: forward and backward, gradients of all floats."""

    def make(torch: ModuleType, rng: np.random.Generator) -> Body:
        tensors = [torch.from_numpy(draw(rng)) for draw in draws]
        tensors = [t.to(getattr(torch, dtype)) for t in tensors] if dtype else tensors
        leaves = [t.requires_grad_() for t in tensors if trained and t.is_floating_point()]
        with torch.no_grad():
            shape = tuple(function(torch, *tensors).shape)
        seed = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) if trained else None

        def body() -> tuple:
            with torch.no_grad():
                return (function(torch, *tensors),)

        return differentiated(leaves, lambda: function(torch, *tensors), seed) if trained else body

    return Case(f"{kind} {name}{' fwd+bwd' if trained else ''}", make)


def _f(torch: ModuleType):
    return torch.nn.functional


FUNCTIONS = {
    "atan": lambda t, x: x.atan(), "atan2": lambda t, x: t.atan2(x, x + 1), "tan": lambda t, x: x.tan(), "asin": lambda t, x: (0.2 * x).asin(),
    "sinh": lambda t, x: x.sinh(), "fmod": lambda t, x: x.fmod(0.7), "remainder": lambda t, x: x.remainder(0.7), "x // 0.7": lambda t, x: x // 0.7,
    "round": lambda t, x: x.round(), "erfinv": lambda t, x: (0.2 * x).erfinv(), "lgamma": lambda t, x: (x.abs() + 0.5).lgamma(),
}  # fmt: skip

DOUBLES = {
    "log1p": lambda t, x: x.abs().log1p(), "expm1": lambda t, x: x.expm1(), "sin": lambda t, x: x.sin(), "pow": lambda t, x: x.abs() ** 1.7,
    "erf": lambda t, x: x.erf(), "sinh": lambda t, x: x.sinh(), "atan2": lambda t, x: x.atan2(x + 1), "fmod": lambda t, x: x.fmod(0.7),
}  # fmt: skip


def _sampled(torch: ModuleType, x, grid, mode: str = "bilinear"):
    return _f(torch).grid_sample(x, grid, mode=mode, align_corners=False)


def _stft(torch: ModuleType, x):
    return torch.view_as_real(torch.stft(x, 512, 128, window=torch.hann_window(512), return_complex=True))


SURVEY_CASES: list[Case] = [
    *(case(name, function, floats(512, 512)) for name, function in FUNCTIONS.items()),
    *(case(f"f64 {name}", function, floats(512, 512), dtype="float64") for name, function in DOUBLES.items()),
    case("bytes to floats", lambda t, x: x.float(), bytes_of(512, 1024)),
    case("bytes, sums of rows", lambda t, x: x.sum(-1), bytes_of(512, 1024)),
    case("bf16 transposed", lambda t, x: x.t().contiguous().float(), floats(512, 1024), dtype="bfloat16"),
    case("f16 transposed", lambda t, x: x.t().contiguous().float(), floats(512, 1024), dtype="float16"),
    case("roll of windows", lambda t, x: x.roll((-3, -3), (1, 2)), floats(8, 56, 56, 96)),
    case("pad reflect", lambda t, x: _f(t).pad(x, (1, 1, 1, 1), mode="reflect"), floats(8, 32, 56, 56)),
    case("pad replicate", lambda t, x: _f(t).pad(x, (2, 2, 2, 2), mode="replicate"), floats(8, 32, 56, 56)),
    case("fftshift", lambda t, x: t.fft.fftshift(x), floats(512, 512)),
    case("stft 512", _stft, floats(4, 16000)),
    case("depthwise 5x5", lambda t, x, w: _f(t).conv2d(x, w, padding=2, groups=96), floats(4, 96, 28, 28), floats(96, 1, 5, 5)),
    case("depthwise 7x7", lambda t, x, w: _f(t).conv2d(x, w, padding=3, groups=96), floats(2, 96, 56, 56), floats(96, 1, 7, 7)),
    case("bmm 64 of 17x33x19", lambda t, a, b: a @ b, floats(64, 17, 33), floats(64, 33, 19)),
    case("outer products", lambda t, a, b: t.einsum("bi,bj->bij", a, b), floats(64, 64), floats(64, 64)),
    case("kron", lambda t, a, b: t.kron(a, b), floats(32, 32), floats(32, 32)),
    case("grid_sample", _sampled, floats(4, 16, 64, 64), _grid(4, 48, 48, 2)),
    case("grid_sample nearest", partial(_sampled, mode="nearest"), floats(4, 16, 64, 64), _grid(4, 48, 48, 2)),
    case("grid_sample", _sampled, floats(4, 16, 64, 64), _grid(4, 48, 48, 2), trained=True),
    case("affine_grid", lambda t, x: _f(t).affine_grid(x, (8, 3, 64, 64), align_corners=False), floats(8, 2, 3)),
    case("interpolate with antialias", lambda t, x: _f(t).interpolate(x, size=(128, 128), mode="bilinear", antialias=True), floats(2, 3, 256, 256)),
    case("cross_entropy of images", lambda t, x, i: _f(t).cross_entropy(x, i), floats(4, 21, 64, 64), places(21, 4, 64, 64)),
    case("layer_norm of 16x16x16", lambda t, x: _f(t).layer_norm(x, (16, 16, 16)), floats(32, 16, 16, 16), trained=True),
    case("topk of columns", lambda t, x: x.topk(5, 0)[0], floats(1000, 256)),
    case("sort of short rows", lambda t, x: x.sort(-1)[0], floats(10000, 16)),
    case("bucketize", lambda t, x, b: t.bucketize(x, b.sort()[0]), floats(100000), floats(64)),
    case("scatter", lambda t, x, i, s: x.scatter_add(1, i, s), floats(500, 64), places(64, 500, 128), floats(500, 128)),
    case("embedding_bag sum", lambda t, w, i: _f(t).embedding_bag(i, w, mode="sum"), floats(10000, 32), places(10000, 1024, 20)),
    case("cholesky 256", lambda t, x: t.linalg.cholesky(x), definite(256)),
    case("eigvalsh 128", lambda t, x: t.linalg.eigvalsh(x), definite(128)),
]  # fmt: skip
