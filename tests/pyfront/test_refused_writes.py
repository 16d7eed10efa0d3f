"""Writes: what PyTorch refuses to write, and where, is refused; what looks like it and is not, is written."""

from __future__ import annotations

from typing import Any

import pytest

import lamina
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

REFUSED = """
leaf.set_(x) | [row for row in square * 1][0].add_(1) | unseen(leaf).add_(1) | unseen(leaf).zero_() | unseen(leaf)[:1].mul_(2)
unseen(leaf * 1).copy_(x[:2]) | unseen(leaf).__setitem__(0, 1.0) | torch.add(x, x, out=x[:1].expand(3)) | torch.add(x, x, out=x[:1].expand(4))
n.exponential_() | n.cauchy_() | n.log_normal_() | x.float_power_(2) | x.copy_(torch.ones(1, 3)) | x.copy_(torch.ones(2, 3)) | x.fill_(x)
torch.argmax(x, 0, out=x) | torch.argmin(x, 0, out=x) | torch.max(x, 0, out=(torch.ones(()), torch.ones(()))) | torch.sort(x, out=(x * 1, x * 1))
ramp.add_(ramp[0]) | ramp.clamp_(ramp[0]) | ramp.addcmul_(ramp[0], x) | ramp.eq_(ramp[0]) | torch.topk(x, 2, out=(x * 1, x * 1)) | torch.nonzero(x, out=x * 1) | torch.searchsorted(x, x, out=x * 1) | torch.bucketize(x, x, out=x * 1)
torch.mm(square, square, out=square.double()) | torch.add(x, x, out=n) | torch.exp(x, out=n > 0) | torch.any(x, 0, out=x[0]) | torch.abs(x, out=x.double()) | torch.mean(x, 0, out=n[0])
torch.cat((x, x), out=n) | torch.tril(square, out=square.double()) | torch.bitwise_and(n, n, out=n > 0) | torch.clamp(x, 0, 1, out=x.double()) | torch.gather(x, 0, n, out=x.double())
x[:1].expand(3).__setitem__(slice(0, 2), 7.0)
"""
WRITTEN = """
unseen(leaf).detach().add_(1) | unseen(leaf).data.add_(1) | unseen(x).add_(1) | unseen((leaf * 1).detach()).zero_() | x.copy_(torch.ones(1))
[row for row in square.detach()][1].add_(1) | torch.stack([row * 2 for row in square]).detach() | x.double().float_power_(2) | x.fill_(torch.tensor(3.0))
ramp.fill_(ramp[1]) | ramp.masked_fill_(ramp > 1, ramp[0]) | ramp.index_fill_(0, n[:1], ramp[2]) | ramp.__setitem__(slice(0, 2), ramp[2]) or ramp
torch.zeros(3, out=n) | torch.ones(3, out=n) | torch.full((3,), 2.5, out=n) | torch.max(x, 0, out=(torch.ones(()), torch.ones((), dtype=torch.int64)))
torch.add(x, x, out=x.double()) | torch.sum(x / 2, 0, out=n[0].clone()) | torch.eq(x, x, out=x * 1) | torch.cumsum(x / 2, 0, out=n) | torch.mul(n, n, out=x) | torch.any(n, 0, out=n[0].to(torch.uint8))
x[:1].expand(3).__setitem__(1, 7.0) or x | x[:1].expand(3).__setitem__(slice(1, 2), torch.zeros(1)) or x | ramp[:2, None].expand(2, 2).__setitem__((slice(None), 1), torch.zeros(2)) or ramp
"""


def outcome(module: Any, source: str) -> Any:
    def unseen(tensor: Any) -> Any:
        with module.no_grad():
            return tensor[:2]

    leaf, square = module.ones(3, requires_grad=True), module.ones(2, 2, requires_grad=True)
    scope = {"torch": module, "leaf": leaf, "square": square, "x": module.ones(3), "ramp": module.arange(3.0), "n": module.ones(3, dtype=module.int64), "unseen": unseen}
    result = eval(source, scope)  # noqa: S307  # our own expressions
    return [(str(r.dtype), r.tolist()) for r in (result if isinstance(result, tuple) else [result])]


@pytest.mark.parametrize("source", [p.strip() for line in REFUSED.strip().splitlines() for p in line.split(" | ")])
def test_refused_as_by_pytorch(source: str) -> None:
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)) as theirs:
        outcome(torch, source)
    kind = TypeError if theirs.type is TypeError else (RuntimeError, NotImplementedError)
    with flags.device("numpy"), pytest.raises(kind):
        outcome(lamina, source)


@pytest.mark.parametrize("source", [p.strip() for line in WRITTEN.strip().splitlines() for p in line.split(" | ")])
def test_written_as_by_pytorch(source: str) -> None:
    with flags.device("numpy"):
        assert outcome(lamina, source) == outcome(torch, source)


LINALG = {
    "inv": 1, "pinv": 1, "cholesky": 1, "det": 1, "svdvals": 1, "cond": 1, "norm": 1, "vector_norm": 1, "matrix_rank": 1, "qr": 2, "svd": 3, "eigh": 2,
    "slogdet": 2, "lu": 3,
}  # fmt: skip
"""Functions with the number of their results."""


@pytest.mark.parametrize("name", LINALG)
def test_linear_algebra_is_written_out(name: str) -> None:
    def said(torch: Any) -> Any:
        matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
        kind = torch.int64 if name == "matrix_rank" else torch.float32
        outs = tuple(torch.empty(0, dtype=kind) for _ in range(LINALG[name]))
        result = getattr(torch.linalg, name)(matrix, out=outs if len(outs) > 1 else outs[0])
        assert result is outs[0] or all(a is b for a, b in zip(result, outs))
        return [out.abs().tolist() for out in outs]

    ours, theirs = said(lamina), said(torch)
    for mine, its in zip(ours, theirs):
        torch.testing.assert_close(torch.tensor(mine), torch.tensor(its), atol=1e-5, rtol=1e-5)


def test_linear_algebra_refuses_integers_to_write_to() -> None:
    for module in (lamina, torch):
        with pytest.raises(RuntimeError):
            module.linalg.inv(module.eye(2), out=module.zeros(2, 2, dtype=module.int64))
