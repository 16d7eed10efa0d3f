"""Recording: CPU microseconds per call of PyTorch's usual operators (their median must be at most 5), per Node of a few
programs, and per Node to build the Graph of a step.

    python benchmarks/recording.py [--all]

Operators that compute at once (random numbers, results whose shape depends on data) are not among them. ``--all`` prints
every operator.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import lamina as torch
from lamina.pyfront import recorder
from lamina.pyfront.schedule import Schedule


CALLS = """
x.T | x[0] | x[:, 1:3] | x[m1] | 1 + x | 1 / x | x.__rmatmul__(w) | 2 % x | 2 * x | 2 ** x | 2 - x | x.abs() | x.acos() | x.acosh() | x + y
torch.add(x, y) | x.addbmm(b, b) | x.addcdiv(y, y) | x.addcmul(y, y) | torch.addmm(x, w, w) | k.all() | x.amax(1) | x.amin(1)
x.aminmax() | k.any() | torch.arange(9) | x.argmax(1) | x.argmin(1) | x.argsort() | x.asin() | x.asinh() | x.atan() | x.atan2(y)
torch.baddbmm(b, b, b) | x.bfloat16() | i & i | ~i | i | i | i ^ i | b.bmm(b) | x.bool() | torch.broadcast_tensors(x, v) | v.broadcast_to(8, 8)
x.byte() | torch.cat([x, y]) | torch.cdist(x, y) | x.ceil() | x.char() | x.chunk(2) | x.clamp(0.0, 1.0) | x.clamp_max(0.5) | x.clamp_min(0.5)
x.clone() | x.contiguous() | x.cos() | x.cosh() | x.count_nonzero() | t3.cross(t3, 1) | x.cumprod(0) | x.cumsum(0) | v.diag() | x.diagonal()
x.dist(y) | x.div(y) | x / y | v.dot(v) | x.double() | torch.einsum("ij,jk->ik", x, y) | torch.empty(3, 3) | torch.empty_like(x) | x.eq(y)
x == y | x.erf() | x.erfinv() | x.exp() | v.expand(8, 8) | v.expand_as(x) | x.expm1() | torch.eye(4) | x.fill(2.0) | x.flatten() | x.flip(0)
h.float() | x.floor() | x.floor_divide(y) | x.fmod(y) | torch.full((3, 3), 2.0) | torch.full_like(x, 2.0) | x.gather(1, g) | x.ge(y) | x.gt(y)
x.half() | torch.hstack([x, y]) | x.index_add(0, r, y) | x.index_put((r,), y) | x.index_select(0, r) | x.int() | x.isclose(y) | x.isfinite()
torch.isin(i, i) | x.isinf() | x.isnan() | x.le(y) | x.lerp(y, 0.3) | torch.linalg.norm(x) | torch.linalg.vector_norm(x) | torch.linspace(0, 1, 5)
x.log() | x.log10() | x.log1p() | x.log2() | x.log_softmax(1) | k.logical_and(k) | k.logical_not() | k.logical_or(k) | k.logical_xor(k) | x.logit()
x.logsumexp(1) | x.long() | x.lt(y) | x.mT | x.masked_fill(k, 0.0) | x @ y | x.matmul(y) | x.max() | x.max(1) | x.maximum(y) | x.mean() | x.mean(1)
x.median(1) | torch.meshgrid(v, v, indexing="ij") | x.min() | x.minimum(y) | x.mm(y) | b.movedim(0, 1) | x * y | x.mv(v) | x.nan_to_num() | x.narrow(0, 1, 2)
x.ne(y) | -x | x.new_empty(3) | x.new_full((3,), 1.0) | x.new_ones(3) | x.new_zeros(3) | F.adaptive_avg_pool1d(s, 2) | F.adaptive_avg_pool2d(im, 2)
F.adaptive_avg_pool3d(vol, 2) | F.adaptive_max_pool2d(im, 2) | F.avg_pool1d(s, 2) | F.avg_pool2d(im, 2) | F.batch_norm(im, c4, c4, c4, c4)
F.binary_cross_entropy(x, y) | F.binary_cross_entropy_with_logits(x, y) | F.celu(x) | F.channel_shuffle(im, 2) | F.conv1d(s, w1) | F.conv2d(im, w2)
F.conv3d(vol, w3) | F.conv_transpose1d(s, w1t) | F.conv_transpose2d(im, w2t) | F.cosine_embedding_loss(x, y, v) | F.cosine_similarity(x, y)
F.cross_entropy(x, r) | F.elu(x) | F.embedding(r, x) | F.embedding_bag(g, x) | F.gelu(x) | F.glu(x) | F.grid_sample(im, gr, align_corners=False)
F.group_norm(im, 2) | F.hardsigmoid(x) | F.hardswish(x) | F.hardtanh(x) | F.hinge_embedding_loss(x, y) | F.huber_loss(x, y) | F.instance_norm(im)
F.interpolate(im, scale_factor=2) | F.kl_div(x, y, reduction="sum") | F.l1_loss(x, y) | F.layer_norm(x, (8,)) | F.leaky_relu(x) | F.linear(x, w)
F.local_response_norm(im, 2) | F.logsigmoid(x) | F.margin_ranking_loss(v, v, v) | F.max_pool1d(s, 2) | F.max_pool2d(im, 2) | F.max_pool3d(vol, 2) | F.mish(x)
F.mse_loss(x, y) | F.nll_loss(x, r) | F.normalize(x) | F.pad(x, (1, 1)) | F.pairwise_distance(x, y) | F.pixel_shuffle(im, 2) | F.pixel_unshuffle(im, 2)
F.prelu(x, v[:1]) | F.relu(x) | F.relu6(x) | F.rms_norm(x, (8,)) | F.scaled_dot_product_attention(b, b, b) | F.selu(x) | F.silu(x) | F.smooth_l1_loss(x, y)
F.softmin(x, 1) | F.softplus(x) | F.softsign(x) | F.threshold(x, 0.1, 0.0) | F.triplet_margin_loss(x, y, x) | F.unfold(im, 2) | F.upsample_bilinear(im, 8)
F.upsample_nearest(im, 8) | x.norm() | torch.ones(3) | torch.ones_like(x) | torch.outer(v, v) | b.permute(2, 0, 1) | x.pow(2) | x ** y | x.prod() | x.reciprocal()
x.remainder(y) | x.repeat(2, 1) | x.repeat_interleave(2) | x.reshape(4, 16) | x.reshape_as(y) | x.roll(1) | x.round() | x.rsqrt() | torch.rsub(x, y)
x.scatter(1, g, y) | x.scatter_add(1, g, y) | x.scatter_reduce(1, g, y, "sum") | x.select(0, 1) | x.short() | x.sigmoid() | x.sign() | x.sin() | x.sinh()
x.softmax(1) | x.sort() | x.split(2) | x.sqrt() | x.square() | im.squeeze() | torch.stack([x, y]) | x.std() | torch.std_mean(x) | x - y | x.sum() | x.sum(1) | x.t()
x.take_along_dim(g, 1) | x.tanh() | x.tensor_split(2) | torch.tensordot(x, y, 1) | x.tile(2) | x.to(torch.float64) | x.topk(2) | x.transpose(0, 1) | x.tril()
torch.tril_indices(3, 3) | x.triu() | torch.triu_indices(3, 3) | x.true_divide(y) | x.trunc() | x.unbind() | x.unflatten(0, (2, 4)) | x.unfold(0, 2, 1)
x.unsqueeze(0) | x.var() | torch.var_mean(x) | x.view(64) | x.view_as(y) | torch.vstack([x, y]) | torch.where(k, x, y) | x.xlogy(y) | x.zero_() | torch.zeros(3) | torch.zeros_like(x)
x.add_(y) | x.mul_(2.0) | x.copy_(y) | x.tanh_() | x.masked_fill_(k, 0.0) | x[0].fill_(1.0)
"""


def operands() -> dict[str, object]:
    """What the calls are made on: small, with values the host has."""
    def made(*shape: int) -> torch.Tensor:
        return torch.rand(*shape) * 0.8 + 0.1

    x = made(8, 8)
    return {
        "torch": torch, "F": torch.nn.functional, "x": x, "y": made(8, 8), "w": made(8, 8), "v": made(8), "b": made(8, 8, 8),
        "h": made(8, 8).half(), "i": torch.arange(64).reshape(8, 8), "r": torch.arange(8), "g": torch.zeros(8, 8).long(),
        "k": x > 0.5, "m1": torch.arange(8) > 3, "t3": made(4, 3), "s": made(2, 4, 8), "im": made(2, 4, 4, 4), "vol": made(1, 2, 4, 4, 4),
        "c4": made(4), "w1": made(4, 4, 3), "w2": made(4, 4, 3, 3), "w3": made(2, 2, 2, 2, 2), "w1t": made(4, 4, 3),
        "w2t": made(4, 4, 3, 3), "gr": made(2, 3, 3, 2),
    }  # fmt: skip


def call_cost(expression: str, count: int = 40, rounds: int = 7) -> float:
    """CPU microseconds of one call, the least of several rounds, nothing computed in between."""
    scope = operands()
    torch.synchronize()
    run = eval(f"lambda: [{expression} for _ in range({count})]", scope)  # noqa: S307  # our own expressions
    costs = []
    for _ in range(rounds):
        start = time.thread_time()
        run()
        costs.append((time.thread_time() - start) / count * 1e6)
        recorder.state.pending.clear()
        recorder.state.doubts.clear()
        recorder.state.flushed = recorder.state.order
    return min(costs)


def calls(show: bool) -> None:
    """Print the median over the operators, and the slowest of them."""
    listed = [part.strip() for line in CALLS.strip().splitlines() for part in line.replace("i | i |", "i.bitwise_or(i) |").split(" | ")]
    costs = sorted([(call_cost(expression), expression) for expression in listed])
    for cost, expression in costs if show else costs[-5:]:
        print(f"{cost:8.2f} us  {expression}")
    print(f"calls        {statistics.median(c for c, _ in costs):6.2f} us/call, the median of {len(costs)} operators")


def best(action: Callable[[], int], rounds: int = 30) -> float:
    """The fastest of several rounds, in microseconds per op."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        count = action()
        times.append((time.perf_counter() - start) / count * 1e6)
    return min(times)


def program(kind: str, requires_grad: bool, count: int = 250) -> Callable[[], int]:
    x = torch.ones(64, 64).clone()
    x.numpy()
    x = torch.tensor(x.tolist(), requires_grad=requires_grad)
    y = torch.tensor(x.tolist())

    def run() -> int:
        z = x
        if kind == "add tensor":
            for _ in range(count):
                z = z + y
        elif kind == "add number":
            for _ in range(count):
                z = z + 1.5
        elif kind == "tanh":
            for _ in range(count):
                z = z.tanh()
        elif kind == "matmul":
            for _ in range(count):
                z = z @ y
        elif kind == "broadcast":
            for _ in range(count):
                z = z + y[0]
        elif kind == "view":
            for _ in range(count):
                z = z.view(4096).view(64, 64)
            z = y
        recorder.state.flushed = recorder.state.order
        return count * (2 if kind in ("broadcast", "view") else 1)

    return run


def graph_building(count: int = 1000) -> float:
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)

    def build() -> int:
        z = x
        for _ in range(count):
            z = z * x + x
        z = z.sum()
        z.backward(retain_graph=True)
        node = x.grad._read()
        x.grad = None
        recorder.state.flushed = recorder.state.order
        start = time.perf_counter()
        Schedule([node])
        taken.append((time.perf_counter() - start) / (2 * count) * 1e6)
        return 1

    taken: list[float] = []
    best(build, 5)
    return min(taken)


def main() -> None:
    calls("--all" in sys.argv[1:])
    for kind in ("add tensor", "add number", "tanh", "matmul", "broadcast", "view"):
        plain, tracked = best(program(kind, False)), best(program(kind, True))
        print(f"{kind:12} {plain:6.2f} us/op   tracked {tracked:6.2f} us/op")
    print(f"graph        {graph_building():6.2f} us/node")


if __name__ == "__main__":
    main()
