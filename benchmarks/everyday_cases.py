"""Cases of benchmarks/kernels.py that programs meet every day: scans, windows, indices, norms, pools, losses, transforms, reductions, integers, narrow floats."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
from kernel_cases import Case
from survey_cases import bytes_of, case, definite, floats, places


def _f(torch: ModuleType):
    return torch.nn.functional


def _integers(*shape: int) -> Callable:
    return lambda rng: rng.integers(-1000, 1000, shape)


def _truths(*shape: int) -> Callable:
    return lambda rng: rng.random(shape) < 0.3


def _complex(torch: ModuleType, x):
    return torch.complex(x[0], x[1])


def _fft(torch: ModuleType, x):
    return torch.view_as_real(torch.fft.fft2(x))


def _recurrent(name: str, *options: object) -> Callable:
    layers: dict[ModuleType, object] = {}

    def run(torch: ModuleType, x):
        if torch not in layers:
            torch.manual_seed(0)
            layers[torch] = getattr(torch.nn, name)(64, 64, *options)
        return layers[torch](x)[0]

    return run


def _attention(torch: ModuleType, q, k, v, mask):
    return _f(torch).scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _contrast(torch: ModuleType, a, b):
    return _f(torch).cross_entropy(_f(torch).normalize(a) @ _f(torch).normalize(b).t() / 0.1, torch.arange(a.shape[0]))


EVERYDAY_CASES: list[Case] = [
    case(case_name, function, *draws, **options, kind="everyday")
    for case_name, function, draws, options in (
        ("cumsum of rows", lambda t, x: x.cumsum(-1), (floats(512, 512),), {}),
        ("cumsum of columns", lambda t, x: x.cumsum(0), (floats(512, 512),), {}),
        ("cumprod in the middle", lambda t, x: x.cumprod(1), (floats(32, 64, 128),), {}),
        ("logcumsumexp", lambda t, x: x.logcumsumexp(-1), (floats(256, 256),), {}),
        ("cummax", lambda t, x: x.cummax(-1)[0], (floats(512, 512),), {}),
        ("unfold 3x3", lambda t, x: _f(t).unfold(x, 3, padding=1), (floats(4, 32, 32, 32),), {}),
        ("fold 3x3", lambda t, x: _f(t).fold(x, (32, 32), 3, padding=1), (floats(4, 288, 1024),), {}),
        ("pixel_shuffle", lambda t, x: _f(t).pixel_shuffle(x, 2), (floats(4, 64, 64, 64),), {}),
        ("flip of rows", lambda t, x: x.flip(-1), (floats(512, 512),), {}),
        ("flip of images", lambda t, x: x.flip(0, 1), (floats(64, 64, 64),), {}),
        ("roll of rows", lambda t, x: x.roll(7, -1), (floats(512, 512),), {}),
        ("pad 1", lambda t, x: _f(t).pad(x, (1, 1, 1, 1)), (floats(8, 32, 56, 56),), {}),
        ("cat of last", lambda t, x, y: t.cat((x, y), -1), (floats(512, 200), floats(512, 300)), {}),
        ("stack of last", lambda t, x, y: t.stack((x, y), -1), (floats(512, 256), floats(512, 256)), {}),
        ("transposed", lambda t, x: x.t().contiguous(), (floats(512, 512),), {}),
        ("permute to channels last", lambda t, x: x.permute(0, 2, 3, 1).contiguous(), (floats(4, 64, 32, 32),), {}),
        ("repeat", lambda t, x: x.repeat(4, 3), (floats(128, 128),), {}),
        ("repeat_interleave of columns", lambda t, x: x.repeat_interleave(3, 1), (floats(256, 128),), {}),
        ("gather of rows", lambda t, x, i: x.gather(1, i), (floats(512, 512), places(512, 512, 128)), {}),
        ("take_along_dim of columns", lambda t, x, i: t.take_along_dim(x, i, 0), (floats(512, 256), places(512, 128, 256)), {}),
        ("index_select of rows", lambda t, x, i: x.index_select(0, i), (floats(1000, 64), places(1000, 4096)), {}),
        ("x[i, j]", lambda t, x, i, j: x[i, j], (floats(512, 512), places(512, 10000), places(512, 10000)), {}),
        ("index_add", lambda t, x, i, s: x.index_add(0, i, s), (floats(500, 64), places(500, 2000), floats(2000, 64)), {}),
        ("index_put accumulate", lambda t, x, i, s: x.index_put((i,), s, accumulate=True), (floats(500, 64), places(500, 2000), floats(2000, 64)), {}),
        ("scatter_reduce amax", lambda t, x, i, s: x.scatter_reduce(0, i, s, "amax"), (floats(500, 64), places(500, 500, 64), floats(500, 64)), {}),
        ("masked_fill", lambda t, x, m: x.masked_fill(m, -1.0), (floats(512, 512), _truths(512, 512)), {}),
        ("where with broadcasting", lambda t, m, x, y: t.where(m, x, y), (_truths(512, 512), floats(512, 1), floats(1, 512)), {}),
        ("argsort of rows", lambda t, x: x.argsort(-1), (floats(256, 256),), {}),
        ("argmax of rows", lambda t, x: x.argmax(-1), (floats(512, 512),), {}),
        ("argmax of columns", lambda t, x: x.argmax(0), (floats(512, 512),), {}),
        ("histc", lambda t, x: t.histc(x, 64, -3, 3), (floats(100000),), {}),
        ("bincount", lambda t, i: t.bincount(i, minlength=100), (places(100, 100000),), {}),
        ("one_hot", lambda t, i: _f(t).one_hot(i, 100), (places(100, 4096),), {}),
        ("quantile of rows", lambda t, x: t.quantile(x, 0.3, -1), (floats(256, 512),), {}),
        ("kl_div", lambda t, x, y: _f(t).kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"), (floats(256, 512), floats(256, 512)), {}),
        ("cosine_similarity", lambda t, x, y: _f(t).cosine_similarity(x, y), (floats(512, 512), floats(512, 512)), {}),
        ("pairwise cosine", lambda t, x, y: _f(t).cosine_similarity(x[:, None], y[None], -1), (floats(64, 64), floats(64, 64)), {}),
        ("cdist", lambda t, x, y: t.cdist(x, y), (floats(256, 32), floats(256, 32)), {}),
        ("cdist of absolutes", lambda t, x, y: t.cdist(x, y, p=1.0), (floats(128, 32), floats(128, 32)), {}),
        ("triplet loss", lambda t, a, b, c: _f(t).triplet_margin_loss(a, b, c), (floats(256, 128),) * 3, {"trained": True}),
        ("contrastive loss", _contrast, (floats(256, 64), floats(256, 64)), {"trained": True}),
        ("smooth_l1", lambda t, x, y: _f(t).smooth_l1_loss(x, y), (floats(512, 512), floats(512, 512)), {"trained": True}),
        ("bce with logits", lambda t, x, y: _f(t).binary_cross_entropy_with_logits(x, y.sigmoid()), (floats(512, 512), floats(512, 512)), {}),
        ("nll of log_softmax", lambda t, x, i: _f(t).nll_loss(x.log_softmax(-1), i), (floats(512, 1000), places(1000, 512)), {"trained": True}),
        ("softmax of dim 1", lambda t, x: x.softmax(1), (floats(8, 64, 1024),), {}),
        ("softmax of dim 0", lambda t, x: x.softmax(0), (floats(64, 4096),), {"trained": True}),
        ("logsumexp of dim 0", lambda t, x: x.logsumexp(0), (floats(512, 512),), {}),
        ("batch_norm eval 7x13x13", lambda t, x, m, w: _f(t).batch_norm(x, m, w.abs() + 1, w, m), (floats(8, 7, 13, 13), floats(7), floats(7)), {}),
        ("batch_norm training", lambda t, x: _f(t).batch_norm(x, None, None, training=True), (floats(16, 33, 29, 29),), {"trained": True}),
        ("group_norm", lambda t, x, w: _f(t).group_norm(x, 8, w, w), (floats(8, 64, 28, 28), floats(64)), {"trained": True}),
        ("instance_norm", lambda t, x: _f(t).instance_norm(x), (floats(8, 32, 31, 31),), {"trained": True}),
        ("normalize", lambda t, x: _f(t).normalize(x, dim=1), (floats(8, 64, 28, 28),), {}),
        ("conv1d 5", lambda t, x, w: _f(t).conv1d(x, w, padding=2), (floats(8, 32, 333), floats(48, 32, 5)), {"trained": True}),
        ("conv1d dilated", lambda t, x, w: _f(t).conv1d(x, w, padding=8, dilation=4), (floats(4, 64, 512), floats(64, 64, 5)), {}),
        ("conv3d", lambda t, x, w: _f(t).conv3d(x, w, padding=1), (floats(2, 8, 13, 17, 19), floats(16, 8, 3, 3, 3)), {"trained": True}),
        ("conv_transpose2d", lambda t, x, w: _f(t).conv_transpose2d(x, w, stride=2, padding=1), (floats(4, 32, 15, 15), floats(32, 16, 4, 4)), {"trained": True}),
        ("max_pool3d", lambda t, x: _f(t).max_pool3d(x, 2), (floats(2, 16, 16, 32, 32),), {}),
        ("max_pool2d", lambda t, x: _f(t).max_pool2d(x, 3, 2, 1), (floats(4, 32, 57, 57),), {"trained": True}),
        ("avg_pool2d", lambda t, x: _f(t).avg_pool2d(x, 3, 1, 1), (floats(4, 32, 57, 57),), {"trained": True}),
        ("adaptive_avg_pool2d 7", lambda t, x: _f(t).adaptive_avg_pool2d(x, 7), (floats(4, 64, 30, 30),), {}),
        ("adaptive_max_pool2d 5", lambda t, x: _f(t).adaptive_max_pool2d(x, 5), (floats(4, 64, 32, 32),), {}),
        ("interpolate bilinear", lambda t, x: _f(t).interpolate(x, scale_factor=2, mode="bilinear"), (floats(4, 16, 48, 48),), {"trained": True}),
        ("interpolate nearest", lambda t, x: _f(t).interpolate(x, scale_factor=2), (floats(4, 32, 48, 48),), {}),
        ("interpolate bicubic", lambda t, x: _f(t).interpolate(x, size=(97, 97), mode="bicubic"), (floats(2, 8, 64, 64),), {}),
        ("einsum bhid,bhjd->bhij", lambda t, a, b: t.einsum("bhid,bhjd->bhij", a, b), (floats(4, 8, 65, 32), floats(4, 8, 65, 32)), {}),
        ("einsum ijk,jl->ikl", lambda t, a, b: t.einsum("ijk,jl->ikl", a, b), (floats(32, 64, 48), floats(64, 40)), {}),
        ("einsum bi,ijk,bk->bj", lambda t, a, w, b: t.einsum("bi,ijk,bk->bj", a, w, b), (floats(32, 32), floats(32, 48, 40), floats(32, 40)), {}),
        ("baddbmm", lambda t, c, a, b: t.baddbmm(c, a, b, beta=0.5), (floats(16, 64, 64), floats(16, 64, 32), floats(16, 32, 64)), {}),
        ("addcmul", lambda t, x, a, b: t.addcmul(x, a, b, value=0.3), (floats(512, 512),) * 3, {}),
        ("lerp", lambda t, a, b: t.lerp(a, b, 0.3), (floats(512, 512),) * 2, {}),
        ("tril", lambda t, x: x.tril(), (floats(8, 256, 256),), {}),
        ("triu of ints", lambda t, x: x.triu(1), (_integers(512, 512),), {}),
        ("diagonal sum", lambda t, x: x.diagonal(dim1=-2, dim2=-1).sum(-1), (floats(64, 64, 64),), {}),
        ("prod of rows", lambda t, x: x.prod(-1), (floats(512, 512),), {}),
        ("var of two dimensions", lambda t, x: x.var((0, 2)), (floats(32, 32, 256),), {}),
        ("std of columns", lambda t, x: x.std(0), (floats(512, 512),), {}),
        ("sum of all", lambda t, x: x.sum(), (floats(512, 1024),), {}),
        ("sum of the middle", lambda t, x: x.sum(1), (floats(32, 64, 256),), {}),
        ("norm of rows", lambda t, x: x.norm(dim=-1), (floats(512, 512),), {}),
        ("amax of columns", lambda t, x: x.amax(0), (floats(512, 512),), {}),
        ("any of rows", lambda t, m: m.any(-1), (_truths(512, 1024),), {}),
        ("count of truths", lambda t, m: m.sum(0), (_truths(512, 1024),), {}),
        ("all of comparisons", lambda t, x, y: (x < y + 10).all(), (floats(512, 512),) * 2, {}),
        ("int64 arithmetic", lambda t, x, y: x * 3 + y, (_integers(512, 512),) * 2, {}),
        ("int64 floor division", lambda t, x: x // 7, (_integers(512, 512),), {}),
        ("int64 remainder", lambda t, x: x % 7, (_integers(512, 512),), {}),
        ("int64 sum of rows", lambda t, x: x.sum(-1), (_integers(512, 512),), {}),
        ("bytes to images", lambda t, x: x.permute(0, 3, 1, 2).float() / 255, (bytes_of(4, 128, 128, 3),), {}),
        ("complex product", lambda t, x, y: t.view_as_real(_complex(t, x) * _complex(t, y)), (floats(2, 256, 512),) * 2, {}),
        ("complex exp", lambda t, x: t.view_as_real(_complex(t, x).exp()), (floats(2, 256, 256),), {}),
        ("complex abs", lambda t, x: _complex(t, x).abs(), (floats(2, 256, 512),), {}),
        ("fft2", _fft, (floats(4, 128, 128),), {}),
        ("rfft", lambda t, x: t.view_as_real(t.fft.rfft(x)), (floats(64, 1024),), {}),
        ("irfft of rfft", lambda t, x: t.fft.irfft(t.fft.rfft(x)), (floats(64, 1000),), {}),
        ("bf16 add", lambda t, x, y: x + y, (floats(512, 512),) * 2, {"dtype": "bfloat16"}),
        ("bf16 silu", lambda t, x: _f(t).silu(x), (floats(512, 512),), {"dtype": "bfloat16"}),
        ("bf16 exp", lambda t, x: x.exp(), (floats(512, 512),), {"dtype": "bfloat16"}),
        ("fp16 add", lambda t, x, y: x + y, (floats(512, 512),) * 2, {"dtype": "float16"}),
        ("fp16 tanh", lambda t, x: x.tanh(), (floats(512, 512),), {"dtype": "float16"}),
        ("gelu", lambda t, x: _f(t).gelu(x), (floats(512, 512),), {"trained": True}),
        ("elu", lambda t, x: _f(t).elu(x), (floats(512, 512),), {}),
        ("hardswish", lambda t, x: _f(t).hardswish(x), (floats(512, 512),), {"trained": True}),
        ("softplus", lambda t, x: _f(t).softplus(x), (floats(512, 512),), {}),
        ("mish", lambda t, x: _f(t).mish(x), (floats(512, 512),), {}),
        ("prelu", lambda t, x, w: _f(t).prelu(x, w), (floats(8, 32, 28, 28), floats(32)), {"trained": True}),
        ("glu", lambda t, x: _f(t).glu(x), (floats(512, 512),), {"trained": True}),
        ("acos", lambda t, x: (0.2 * x).acos(), (floats(512, 512),), {}),
        ("erf", lambda t, x: x.erf(), (floats(512, 512),), {}),
        ("log1p", lambda t, x: x.abs().log1p(), (floats(512, 512),), {}),
        ("x ** 3", lambda t, x: x**3, (floats(512, 512),), {}),
        ("digamma", lambda t, x: (x.abs() + 0.5).digamma(), (floats(256, 256),), {}),
        ("GRU", _recurrent("GRU"), (floats(35, 16, 64),), {"trained": True}),
        ("RNN", _recurrent("RNN"), (floats(35, 16, 64),), {"trained": True}),
        ("attention with a mask", _attention, (floats(4, 4, 100, 32),) * 3 + (floats(100, 100),), {}),
        ("embedding", lambda t, w, i: _f(t).embedding(i, w), (floats(1000, 64), places(1000, 32, 100)), {"trained": True}),
        ("embedding_bag mean", lambda t, w, i: _f(t).embedding_bag(i, w, mode="mean"), (floats(5000, 64), places(5000, 256, 20)), {"trained": True}),
        ("linalg.inv 64", lambda t, x: t.linalg.inv(x), (definite(64),), {}),
        ("linalg.solve 128", lambda t, x: t.linalg.solve(x, x[:, :8]), (definite(128),), {}),
        ("det of 3x3", lambda t, x: t.linalg.det(x), (floats(1000, 3, 3),), {}),
        ("matrix_exp 32", lambda t, x: t.matrix_exp(x), (definite(32),), {}),
    )
]  # fmt: skip
