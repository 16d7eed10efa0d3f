"""Small programs on tensors with a dimension n, to be run at several n: what templates and programs for any size are tested with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lamina as torch
from lamina.nn import functional as F

Program = Callable[[Any, Any, Any], Any]
"""From x[n, 6], y[4, n, 5] (positive), k[n] (int64, 0 .. 3) to a tensor or several."""

W = [[((3 * i + 5 * j) % 7 - 3) / 4 for j in range(8)] for i in range(6)]


def weight() -> Any:
    """A matrix [6, 8]."""
    return torch.tensor(W)


def trained(x: Any) -> Any:
    """Gradients of a small layer, its mean over n among the steps."""
    w = weight().requires_grad_()
    loss = torch.tanh(x @ w).square().mean()
    loss.backward()
    return loss.detach(), w.grad


def recurrent(x: Any) -> Any:
    """A recurrence with n steps, and its gradient."""
    torch.manual_seed(1)
    cell = torch.nn.LSTM(6, 5)
    out, (h, _) = cell(x[:, None, :])
    (out.sum() + h.square().sum()).backward()
    return out.detach(), cell.weight_hh_l0.grad


def attended(x: Any) -> Any:
    """Causal attention over n places, and its gradient."""
    q = x.reshape(1, x.shape[0], 2, 3).transpose(1, 2).clone().requires_grad_()
    out = F.scaled_dot_product_attention(q, q * 2, q + 1, is_causal=True)
    out.square().sum().backward()
    return out.detach(), q.grad


PROGRAMS: dict[str, Program] = {
    "scaled": lambda x, y, k: x * 2 + 1,
    "rows added": lambda x, y, k: x.sum(0),
    "columns added": lambda x, y, k: x.sum(1),
    "all added": lambda x, y, k: x.sum(),
    "mean": lambda x, y, k: (x.mean(), x.mean(0), y.mean(1), y.mean((0, 2))),
    "variance": lambda x, y, k: (x.var(0), y.std(1), x.var(0, correction=0)),
    "extremes": lambda x, y, k: (x.amax(0), y.amin(1), x.argmax(0), y.argmin(1)),
    "softmax": lambda x, y, k: (x.softmax(0), x.softmax(1), y.softmax(1), y.log_softmax(2)),
    "norms": lambda x, y, k: (F.normalize(y, dim=1), x.norm(dim=0), F.layer_norm(x, (6,))),
    "product": lambda x, y, k: x @ weight(),
    "gram": lambda x, y, k: x.T @ x,
    "all pairs": lambda x, y, k: x @ x.T,
    "batched": lambda x, y, k: y.transpose(1, 2) @ y,
    "batched pairs": lambda x, y, k: y @ y.transpose(1, 2),
    "running": lambda x, y, k: (x.cumsum(0), x.cumsum(1), y.cumsum(1)),
    "shifted": lambda x, y, k: (x[1:] - x[:-1], x[1:].sum(), y[:, :-1]),
    "flipped": lambda x, y, k: (x.flip(0), y.flip(1)),
    "joined": lambda x, y, k: (torch.cat([x, x * 2]), torch.cat([x, x[:1]]), torch.stack([x, x + 1])),
    "padded": lambda x, y, k: (F.pad(x, (1, 2)), F.pad(x, (0, 0, 1, 0)), F.pad(y, (0, 0, 2, 1))),
    "flat": lambda x, y, k: (x.reshape(-1) * 2, y.reshape(4, -1).sum(1), y.flatten()),
    "turned": lambda x, y, k: (x.T.contiguous(), y.permute(1, 0, 2).contiguous(), y.permute(2, 1, 0) * 2),
    "masked": lambda x, y, k: torch.where(x > 0, x, x * 0.1),
    "lower": lambda x, y, k: (x @ x.T).tril(),
    "rows by number": lambda x, y, k: (x[k % 2], x.index_select(0, k % 2), weight()[k]),
    "picked": lambda x, y, k: x.gather(1, k[:, None]),
    "scattered": lambda x, y, k: torch.zeros(4, 6).index_add(0, k, x),
    "counted": lambda x, y, k: F.one_hot(k, 4).float().sum(0),
    "loss": lambda x, y, k: (F.cross_entropy(x, k), F.mse_loss(x, x * 0.5), F.nll_loss(x.log_softmax(1), k)),
    "outer": lambda x, y, k: x[:, :1] * x[:, 1][None],
    "spread": lambda x, y, k: (x[:, None, :].expand(-1, 3, -1) * 2, x.repeat(2, 1)),
    "convolved": lambda x, y, k: F.conv1d(y.transpose(1, 2), torch.ones(2, 5, 3) / 4, padding=1),
    "images": lambda x, y, k: F.conv2d(x.reshape(-1, 1, 2, 3), torch.ones(3, 1, 2, 2) / 4),
    "pooled": lambda x, y, k: (F.max_pool2d(x.reshape(-1, 1, 2, 3), 2, 1), F.avg_pool1d(x[None], 2)),
    "normalised": lambda x, y, k: F.batch_norm(x, torch.zeros(6), torch.ones(6), training=True),
    "long": lambda x, y, k: torch.exp(-x.square()).sum(1).log().mean(),
    "averages": lambda x, y, k: (x.repeat(1, 8).mean(0), torch.softmax(y.repeat(1, 1, 8).mean(1), 1)),
    "ends": lambda x, y, k: (x[-1], y[:, -1].sum(0), torch.cat([x[:1], x[-1:]])),
    "strided": lambda x, y, k: F.conv1d(torch.cat([y, y], 1).transpose(1, 2), torch.ones(2, 5, 2) / 4, stride=3),
    "numbers": lambda x, y, k: torch.arange(x.shape[0]) * 2.0 + x[:, 0],
    "trained": lambda x, y, k: trained(x),
    "recurrent": lambda x, y, k: recurrent(x),
    "attended": lambda x, y, k: attended(x),
}


def operands(n: int) -> tuple[Any, Any, Any]:
    """x, y and k for this n."""
    torch.manual_seed(n)
    return torch.randn(n, 6), torch.rand(4, n, 5) + 0.5, torch.arange(n) % 4
