"""Teachers, averages and contrasts."""

from __future__ import annotations

from typing import Any

from .fitting import classifier, fit


def byol(torch: Any) -> list:
    import copy

    nn, F, m, x, y = classifier(torch, 6)
    target = copy.deepcopy(m)
    out = []
    for p in target.parameters():
        p.requires_grad = False
    pred = nn.Linear(3, 3)
    opt = torch.optim.AdamW(list(m.parameters()) + list(pred.parameters()), 0.01)
    for _ in range(5):
        a = x + 0.1 * torch.randn_like(x)
        b = x + 0.1 * torch.randn_like(x)
        with torch.no_grad():
            tb = target(b)
        l = 2 - 2 * F.cosine_similarity(pred(m(a)), tb, dim=-1).mean()
        opt.zero_grad()
        l.backward()
        opt.step()
        with torch.no_grad():
            for p, q in zip(m.parameters(), target.parameters()):
                q.data = q.data * 0.9 + p.data * 0.1
        out.append(l.item())
    return out + [p.sum().item() for p in target.parameters()]


def queue_of_keys(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 7)
    import copy

    k = copy.deepcopy(m)
    out = []
    queue = F.normalize(torch.randn(3, 12), dim=0)
    ptr = 0
    opt = torch.optim.SGD(m.parameters(), 0.1)
    for _ in range(4):
        q = F.normalize(m(x[:4]), dim=1)
        with torch.no_grad():
            for p, r in zip(m.parameters(), k.parameters()):
                r.data.mul_(0.9).add_(p.data, alpha=0.1)
            kk = F.normalize(k(x[:4] + 0.1), dim=1)
        lp = torch.einsum("nc,nc->n", [q, kk]).unsqueeze(-1)
        ln = torch.einsum("nc,ck->nk", [q, queue.clone().detach()])
        logits = torch.cat([lp, ln], 1) / 0.2
        l = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long))
        opt.zero_grad()
        l.backward()
        opt.step()
        queue[:, ptr : ptr + 4] = kk.t()
        ptr = (ptr + 4) % 12
        out += [l.item(), queue.sum().item()]
    return out


def distill(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 19)
    s = nn.Linear(6, 3)
    opt = torch.optim.SGD(s.parameters(), 0.5)
    out = []
    with torch.no_grad():
        teacher = m(x)
    for _ in range(3):
        l = F.kl_div(F.log_softmax(s(x) / 2, 1), F.softmax(teacher / 2, 1), reduction="batchmean") * 4 + F.cross_entropy(s(x), y)
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def triplet(torch: Any) -> list:
    torch.manual_seed(24)
    nn = torch.nn
    F = nn.functional
    m = nn.Linear(5, 4)
    x = torch.randn(9, 5)
    y = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])

    def step():
        e = F.normalize(m(x), dim=1)
        d = torch.cdist(e, e)
        same = y[:, None] == y[None]
        pos = (d * same.float()).max(1)[0]
        neg = (d + 100000.0 * same.float()).min(1)[0]
        sim = e @ e.T / 0.1
        sim.fill_diagonal_(-1000000000.0)
        pm = same.float().fill_diagonal_(0)
        supcon = -(F.log_softmax(sim, 1) * pm).sum(1) / pm.sum(1)
        return F.relu(pos - neg + 0.3).mean() + supcon.mean()

    return fit(torch, m.parameters(), step)


def mixup(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 11)
    opt = torch.optim.SGD(m.parameters(), 0.1)
    out = []
    for lam in (0.3, 0.7, 0.5):
        idx = torch.randperm(x.size(0))
        mx = lam * x + (1 - lam) * x[idx, :]
        o = m(mx)
        l = lam * F.cross_entropy(o, y) + (1 - lam) * F.cross_entropy(o, y[idx])
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def unet_with_average(torch: Any) -> list:
    torch.manual_seed(23)
    nn = torch.nn
    F = nn.functional
    c = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.GroupNorm(1, o), nn.ReLU(inplace=True))

    class U(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = c(1, 2)
            s.b = c(2, 4)
            s.up = nn.ConvTranspose2d(4, 2, 2, 2)
            s.d = c(4, 2)
            s.o = nn.Conv2d(2, 1, 1)

        def forward(s, x):
            p = s.a(x)
            q = s.b(F.max_pool2d(p, 2))
            return s.o(s.d(torch.cat([p, s.up(q)], 1)))

    m = U()
    ema = torch.optim.swa_utils.AveragedModel(m, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    x = torch.randn(2, 1, 8, 8)
    t = (x > 0).float()
    o = torch.optim.RMSprop(m.parameters(), 0.001)
    out = []
    for _ in range(3):
        l = F.binary_cross_entropy_with_logits(m(x), t)
        o.zero_grad(set_to_none=True)
        l.backward()
        o.step()
        ema.update_parameters(m)
        out.append(l.item())
    return out + [ema(x).sum().item()]
