"""Kernels, clusters, graphs, boxes, masks."""

from __future__ import annotations

from typing import Any

from .fitting import fit


def gaussian_process(torch: Any) -> list:
    torch.manual_seed(5)
    x = torch.linspace(0, 1, 7)
    y = torch.sin(6 * x)
    ls = torch.tensor(0.3, requires_grad=True)
    noise = torch.tensor(0.1, requires_grad=True)

    def step():
        K = torch.exp(-0.5 * (x[:, None] - x[None]) ** 2 / ls**2) + torch.eye(7) * noise**2
        L = torch.linalg.cholesky(K)
        a = torch.cholesky_solve(y[:, None], L)
        return 0.5 * (y @ a).squeeze() + L.diagonal().log().sum()

    return fit(torch, [ls, noise], step)


def kmeans_pca(torch: Any) -> list:
    torch.manual_seed(11)
    x = torch.randn(20, 3)
    c = x[:4].clone()
    for _ in range(4):
        a = ((x[:, None] - c[None]) ** 2).sum(-1).argmin(1)
        for k in range(4):
            if (a == k).any():
                c[k] = x[a == k].mean(0)
    n = torch.zeros(4).scatter_add_(0, a, torch.ones(20))
    xc = x - x.mean(0)
    u, s, v = torch.linalg.svd(xc, full_matrices=False)
    cov = xc.T @ xc / 19
    ev = torch.linalg.eigvalsh(cov)
    return c.flatten().tolist() + n.tolist() + s.tolist() + ev.tolist()


def gnn(torch: Any) -> list:
    torch.manual_seed(21)
    nn = torch.nn
    F = nn.functional
    x = torch.randn(6, 4)
    ei = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 0, 3, 2, 5, 4, 3, 5]])
    w = nn.Linear(4, 3)
    w2 = nn.Linear(3, 2)
    y = torch.randint(0, 2, (6,))
    A = torch.zeros(6, 6)
    A[ei[0], ei[1]] = 1
    A = A + torch.eye(6)
    d = A.sum(1).pow(-0.5)
    An = torch.diag(d) @ A @ torch.diag(d)
    att = nn.Parameter(torch.randn(6))

    def step():
        h = F.elu(An @ w(x))
        s = F.leaky_relu((torch.cat([h[ei[0]], h[ei[1]]], 1) * att).sum(1))
        s = (s - s.max()).exp()
        den = torch.zeros(6).index_add(0, ei[1], s)
        al = s / (den[ei[1]] + 1e-09)
        agg = torch.zeros(6, 3).index_add_(0, ei[1], h[ei[0]] * al[:, None])
        return F.nll_loss(F.log_softmax(w2(agg), 1), y)

    return fit(torch, [*w.parameters(), *w2.parameters(), att], step)


def detection(torch: Any) -> list:
    torch.manual_seed(10)
    gx, gy = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy")
    c = torch.stack([gx, gy], -1).reshape(-1, 2).float()
    b = torch.cat([c - 1, c + 1 + torch.rand(16, 2)], 1)
    s = torch.rand(16)

    def iou(a, b):
        lt = torch.max(a[:, None, :2], b[None, :, :2])
        rb = torch.min(a[:, None, 2:], b[None, :, 2:])
        wh = (rb - lt).clamp(min=0)
        i = wh[..., 0] * wh[..., 1]
        ar = lambda q: (q[:, 2] - q[:, 0]) * (q[:, 3] - q[:, 1])
        return i / (ar(a)[:, None] + ar(b)[None] - i)

    keep = []
    order = s.argsort(descending=True)
    while order.numel() > 0:
        i = order[0]
        keep.append(i.item())
        if order.numel() == 1:
            break
        ov = iou(b[i].unsqueeze(0), b[order[1:]])[0]
        order = order[1:][ov <= 0.2]
    m = iou(b, b[keep])
    v, idx = m.max(1)
    lab = torch.full((16,), -1, dtype=torch.long)
    lab[v > 0.5] = idx[v > 0.5]
    lab[v < 0.1] = 0
    return keep + lab.tolist() + [m.sum().item()]


def focal_dice(torch: Any) -> list:
    torch.manual_seed(9)
    nn = torch.nn
    F = nn.functional
    m = nn.Conv2d(1, 1, 3, padding=1)
    x = torch.randn(2, 1, 6, 6)
    t = (torch.rand(2, 1, 6, 6) > 0.5).float()

    def step():
        z = m(x)
        p = torch.sigmoid(z)
        bce = F.binary_cross_entropy_with_logits(z, t, reduction="none")
        pt = torch.exp(-bce)
        focal = (0.25 * (1 - pt) ** 2 * bce).mean()
        inter = (p * t).sum((2, 3))
        dice = 1 - ((2 * inter + 1) / (p.sum((2, 3)) + t.sum((2, 3)) + 1)).mean()
        return focal + dice

    return fit(torch, m.parameters(), step)
