"""Operators against PyTorch: values, dtypes and gradients of calls written once and evaluated with both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamina
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

R = np.random.RandomState(0)
ARRAYS: dict[str, np.ndarray] = {
    "x": R.randn(4, 5).astype(np.float32), "y": R.randn(4, 5).astype(np.float32), "v": R.randn(6).astype(np.float32),
    "p": R.rand(4, 5).astype(np.float32) + 0.1, "z": np.array([[1.0, 0, 2, 3], [0, 2, 0, 1], [2, 1, 3, 4]], np.float32),
    "img": R.randn(2, 4, 6, 5).astype(np.float32), "seq": R.randn(2, 4, 8).astype(np.float32),
    "sq": (R.randn(4, 4) + 4 * np.eye(4)).astype(np.float64), "tall": R.randn(5, 3), "wide": R.randn(3, 5),
    "grid": R.uniform(-1.3, 1.3, (2, 3, 4, 2)).astype(np.float32), "nan": np.array([[1, np.nan, 3, 2], [4, 3, 2, 1.0]], np.float32),
}  # fmt: skip
CONSTANTS: dict[str, np.ndarray] = {
    "i": np.array([[0, 2, 1], [3, 0, 1]]), "k": np.array([3, 0, 3, 1]), "n": R.randint(-5, 6, (3, 4)),
    "bags": np.array([0, 3, 1, 1, 2, 0]), "off": np.array([0, 2, 2]), "b": R.rand(4, 5) > 0.5,
    "ties": np.array([[1, 2, 2, 1, 3], [3, 3, 0, 0, 0]]), "chan": R.randint(0, 9, (1, 2, 7)), "ker": R.randint(-2, 3, (3, 2, 3)),
}  # fmt: skip

CALLS = """
F.interpolate(img, size=(9, 4)) | F.interpolate(img, scale_factor=1.7, mode="bilinear") | F.interpolate(seq, 5, mode="linear")
F.interpolate(img, (3, 11), mode="bicubic", align_corners=True) | F.interpolate(img, (4, 3), mode="area")
F.interpolate(img, (3, 3), mode="bilinear", antialias=True) | F.interpolate(img, (3, 2), mode="bicubic", antialias=True)
F.interpolate(img, scale_factor=2, mode="nearest-exact") | F.upsample(img, scale_factor=2) | F.interpolate(img[:, :, None], 4, mode="trilinear")
F.grid_sample(img, grid, align_corners=False) | F.grid_sample(img, grid, mode="nearest", padding_mode="border", align_corners=True)
F.grid_sample(img, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
F.affine_grid(x[:, :2].reshape(1, 2, 4)[:, :, :3], (1, 2, 3, 4), align_corners=False)
torch._int_mm(n.char(), n.char().t()) | F.pixel_shuffle(img, 2) | F.pixel_unshuffle(img[:, :, :, :4], 2) | F.channel_shuffle(img, 2)
F.unfold(img, (2, 3), padding=1, stride=2) | F.fold(F.unfold(img, 2, stride=2), (6, 5), 2, stride=2) | F.fold(F.unfold(img, 3), (6, 5), 3)
F.max_pool2d(img, 2, return_indices=True) | F.max_pool2d(img, 3, 2, 1, ceil_mode=True, return_indices=True) | F.max_pool1d(seq, 3, 2, 1, return_indices=True)
F.adaptive_max_pool2d(img, (4, 3), return_indices=True) | F.adaptive_max_pool1d(seq, 3) | F.max_pool2d(n[None], 2)
F.max_unpool2d(*F.max_pool2d(img[..., :4], 2, return_indices=True), 2) | F.max_unpool1d(*F.max_pool1d(seq, 2, return_indices=True), 2)
F.avg_pool2d(n[None], 2) | F.avg_pool2d(n[None], 2, padding=1, count_include_pad=False) | F.conv1d(chan, ker, padding=1, stride=2) | F.linear(n, ker[:, 0, :2].repeat(1, 2))
F.hardtanh(n, -2, 3) | F.relu6(n) | F.softsign(n) | F.local_response_norm(seq, 2)
F.embedding_bag(bags, x, off, mode="sum") | F.embedding_bag(bags, x, off, mode="max") | F.embedding_bag(i, x, mode="mean", padding_idx=0)
F.embedding_bag(bags, x, off, mode="sum", per_sample_weights=v) | F.embedding(i, x, scale_grad_by_freq=True) | F.embedding(i, x, padding_idx=1)
F.multi_margin_loss(x, k) | F.multi_margin_loss(x, k, p=2, margin=0.5, reduction="none") | F.multilabel_margin_loss(x[:2], ties)
F.gaussian_nll_loss(x, y, p) | F.gaussian_nll_loss(x, y, p[:, :1], full=True) | F.cosine_embedding_loss(x, y, k.sign() * 2 - 1, size_average=False)
F.group_norm(img, 2) | torch.layer_norm(x, (5,)) | torch.rms_norm(x, (5,)) | torch.group_norm(img, 2) | torch.constant_pad_nd(x, (1, 2), 3.0)
F.multi_head_attention_forward(seq, seq, seq, 8, 2, p.new_ones(24, 8) * 0.1, p.new_zeros(24), None, None, False, 0.0, p.new_ones(8, 8), p.new_zeros(8))
F.multi_head_attention_forward(seq[:1], seq, seq, 8, 2, p.new_ones(24, 8) * 0.1, p.new_zeros(24), None, None, False, 0.0, p.new_ones(6, 8) * 0.1, p.new_ones(6))
x.scatter(1, i[:, :2], y[:2, :2]) | x.scatter(0, i, 1.5) | x.detach().scatter(1, i, y.detach(), reduce="add") | x.detach().scatter(1, i, 2.0, reduce="multiply")
x.scatter_reduce(1, i, y[:2, :3], "prod") | x.scatter_reduce(0, i, y[:2, :3], "amax") | x.scatter_reduce(0, i, y[:2, :3], "amin", include_self=False)
x.scatter_reduce(1, i, y[:2, :3], "mean") | x.scatter_reduce(1, i, y[:2, :3], "sum", include_self=False) | z.scatter_reduce(0, i[:1] % 3, z[:1, :3], "prod")
x.index_reduce(0, k, y, "prod") | x.index_reduce(0, k, y, "amax", include_self=False) | n.scatter_reduce(0, i[:, :2] % 3, n[:2, :2], "mean")
img.reshape(12, 20).topk(2) | img.reshape(20, 12).topk(2, 0) | img.reshape(2, 20, 6).topk(2, -2, False) | torch.cat((x, y), 1).topk(1, largest=False) | x.reshape(20).topk(2) | F.embedding_bag(i, x, mode="sum")
F.group_norm(img, 2, p[:, 0], v[:4]) | F.group_norm(torch.cat((x, y), 1), 2, torch.cat((v, p[:, 0])))
x.index_put((k, k), v[:4]) | x.index_put((k,), y, accumulate=True) | b.index_put((k,), b, accumulate=True) | x.put(k, v[:4]) | x.put(k, v[:4], True)
x.index_copy(0, torch.tensor([2, 0]), y[:2]) | x.index_fill(1, torch.tensor([2, 0]), 7.0) | x.masked_scatter(b, y)
x.select_scatter(v[:5], 0, 2) | x.slice_scatter(y[:2], 0, 1, 4, 2) | x.slice_scatter(y) | sq.diagonal_scatter(sq[0, :3], 1)
z.cumprod(1) | z.cumprod(0) | x.cumprod(1) | x.cummax(1) | x.cummin(0) | nan.cummax(1) | b.cummax(0) | ties.cummin(1)
x.norm(3, 1) | x.norm(0, 1) | x.norm(float("inf"), 0) | z.norm(0.5, 0) | z.norm(1.5) | (z * 0).norm(2, 1) | x.norm("nuc") | torch.linalg.norm(sq, -2)
torch.linalg.norm(sq, 1) | torch.linalg.matrix_norm(sq, 2, keepdim=True) | torch.cdist(x, y, 0.0) | torch.renorm(x, 2, 0, 1.0) | torch.dist(x, y, 1)
torch.copysign(x, y) | torch.copysign(x, -0.0) | torch.float_power(p, 2) | n.gcd(n.flip(0)) | n.lcm(n.flip(0)) | (n + 1).gcd_(n)
nan.median(1) | nan.nanmedian(1) | nan.nanmedian() | x.median() | x.kthvalue(2, 0) | ties.mode(1) | ties.mode(0, True) | nan.nanquantile(0.3, 1)
x.quantile(torch.tensor([0.2, 0.7]), 0) | nan.quantile(0.5, 1) | x.quantile(0.35, interpolation="midpoint") | x.quantile(0.35, 1, True, interpolation="lower")
torch.cov(x) | torch.cov(x, fweights=torch.arange(1, 6), aweights=p[0].detach()) | torch.corrcoef(x) | torch.cov(n) | torch.cov(v)
x.diff() | x.diff(2, 0) | x.diff(1, 1, y[:, :1], y[:, :2]) | b.diff() | x.diff(9)
torch.gradient(x) | torch.gradient(x, spacing=0.5, dim=1, edge_order=2) | torch.gradient(x, spacing=[torch.tensor([0.0, 1, 3, 4]), torch.tensor([0.0, 2, 3, 5, 9])])
torch.trapezoid(x) | torch.trapezoid(x, y, dim=0) | torch.cumulative_trapezoid(x, dx=0.5) | torch.trapz(x, y[0])
torch.histogram(v.detach(), 4) | torch.histogram(v.detach(), 3, range=(-1.0, 2.0), density=True) | torch.histc(v.detach(), 4) | torch.bincount(k)
x.tensor_split(3, 1) | x.vsplit(2) | x.hsplit([1, 3]) | img.dsplit(3) | torch.block_diag(x, v, sq.float()) | torch.combinations(v, 3) | torch.combinations(v, 2, True)
torch.cartesian_prod(v, k.float()) | torch.unravel_index(k * 5, (4, 5)) | x.sum_to_size(4, 1) | img.sum_to_size(6, 1) | torch.addr(b, b[:, 0], b[0], beta=2, alpha=3)
torch.unique(ties, return_inverse=True, return_counts=True) | torch.searchsorted(torch.tensor([1, 3, 5]), ties, right=True) | torch.isin(ties, k)
torch.linalg.solve(sq, sq[:, 0]) | torch.linalg.solve(sq, tall[:4, :2]) | torch.linalg.inv(sq) | torch.det(sq) | torch.linalg.slogdet(sq) | torch.logdet(sq @ sq.T)
torch.linalg.det(sq * torch.tensor([0.0, 1, 1, 1])) | torch.linalg.cholesky(sq @ sq.T) | torch.linalg.pinv(tall) | torch.linalg.pinv(wide)
torch.linalg.svdvals(tall) | torch.linalg.eigvalsh(sq + sq.T) | torch.linalg.eigh(sq + sq.T)[1].abs() | torch.linalg.svd(wide, full_matrices=False)[0].abs()
[t.abs() for t in torch.linalg.qr(tall)] | [t.abs() for t in torch.linalg.qr(wide)] | torch.linalg.solve_triangular(sq, tall[:4], upper=True) | torch.linalg.lstsq(tall, tall[:, :2])[0]
torch.linalg.matrix_power(sq, 3) | torch.linalg.matrix_power(sq, -2) | torch.linalg.multi_dot([tall, wide, tall, wide[:, 0]]) | torch.linalg.matrix_rank(tall) | torch.linalg.cond(sq)
torch.linalg.vander(x) | torch.linalg.tensorinv(sq.reshape(2, 2, 4)) | torch.linalg.tensorsolve(sq.reshape(2, 2, 4), sq[:2, :2]) | torch.cholesky_inverse(torch.linalg.cholesky(sq @ sq.T))
"""
EXPRESSIONS = [part.strip() for line in CALLS.strip().splitlines() for part in line.split(" | ")]


def outcome(module: Any, source: str) -> tuple[list, dict[str, np.ndarray | None]]:
    names = {k: module.tensor(a, requires_grad=True) for k, a in ARRAYS.items()}
    scope = {"torch": module, "F": module.nn.functional, **{k: module.tensor(a) for k, a in CONSTANTS.items()}, **names}
    result = eval(source, scope)  # noqa: S307  # our own expressions
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    results = [r for r in results if r is not None]
    tracked = [r for r in results if r.requires_grad]
    if tracked:
        sum((r * (module.arange(r.numel(), dtype=r.dtype).reshape(r.shape) % 7 + 1)).sum() for r in tracked).backward()
    values = [(str(r.dtype), r.detach().numpy(), r.requires_grad) for r in results]
    return values, {k: None if t.grad is None else t.grad.numpy() for k, t in names.items()}


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_same_as_pytorch(source: str) -> None:
    (want, slopes), device = outcome(torch, source), flags.device("numpy")
    with device:
        got, own = outcome(lamina, source)
    assert [(d, v.shape, t) for d, v, t in got] == [(d, v.shape, t) for d, v, t in want]
    for (_, a, _), (_, b, _) in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    for name, slope in slopes.items():
        if slope is None:
            assert own[name] is None or not own[name].any(), name
        else:
            np.testing.assert_allclose(own[name], slope, rtol=2e-4, atol=2e-4, err_msg=name)


REFUSED = """
torch.maximum(x, 3) | torch.eq(1, x) | torch.cat(x) | torch.gather(x, 1, i, out=torch.zeros(2, 3, dtype=torch.float64))
torch.masked_select(p.detach(), b, out=b) | x.scatter(0, i, n) | torch.complex(x, y) | torch.linalg.inv(x) | torch.linalg.cholesky(-sq @ sq.T)
F.pixel_shuffle(x, 2) | F.interpolate(img, 3, mode="linear") | F.grid_sample(img, grid, mode="cubic") | F.max_unpool2d(img, k, 2)
torch.cov(img) | torch.gradient(x, edge_order=3) | x.quantile(1.5) | x.masked_fill(b, v) | torch.trace(v) | x.renorm(2, 0, -1.0) | torch.linspace(0, 1, 2.0)
"""


@pytest.mark.parametrize("source", [p.strip() for line in REFUSED.strip().splitlines() for p in line.split(" | ")])
def test_refused_as_by_pytorch(source: str) -> None:
    with pytest.raises(Exception) as theirs:
        outcome(torch, source)
    kind = RuntimeError if issubclass(theirs.type, RuntimeError) else theirs.type
    with flags.device("numpy"), pytest.raises(kind):
        outcome(lamina, source)


COMPILED = """
x.scatter(1, i, y[:2, :3]) | x.scatter_reduce(1, i, y[:2, :3], "prod") | x.index_put((k, k), v[:4]) | x.cummax(1) | z.cumprod(1)
x.norm(3, 1) | torch.copysign(x, y) | F.pad(torch.zeros(0, 3, 3), (1, 2), "circular") | F.max_pool2d(img, 3, 2, 1, return_indices=True)
F.grid_sample(img, grid, align_corners=False) | F.conv1d(chan, ker, padding=1, stride=2) | F.interpolate(img, size=(9, 4)) | nan.nanmedian(1)
"""


def agrees_with_the_oracle(source: str, level: int) -> None:
    """Compiled with LAMINA_CHECK=level, the expression and its gradients are what the oracle says."""
    with flags.device("numpy"):
        want, slopes = outcome(lamina, source)
    with flags.device("c"), flags.check(level):
        got, own = outcome(lamina, source)
    for (_, a, _), (_, b, _) in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    for name, slope in slopes.items():
        if slope is not None:
            np.testing.assert_allclose(own[name], slope, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("source", [p.strip() for line in COMPILED.strip().splitlines() for p in line.split(" | ")])
def test_compiled_as_on_the_oracle(source: str) -> None:
    agrees_with_the_oracle(source, 1)
