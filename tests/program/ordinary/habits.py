"""What training loops do besides training."""

from __future__ import annotations

import importlib
from typing import Any

from .fitting import classifier, fit


def accumulate(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 10)
    opt = torch.optim.AdamW(m.parameters(), 0.01)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 4)
    out = []
    for i in range(8):
        l = F.cross_entropy(m(x[i : i + 4]), y[i : i + 4]) / 2
        l.backward()
        out.append(l.item())
        if (i + 1) % 2 == 0:
            torch.nn.utils.clip_grad_norm_(m.parameters(), 0.5)
            opt.step()
            opt.zero_grad()
            sch.step()
            out.append(opt.param_groups[0]["lr"])
    return out


def sharpness_aware(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 12)
    opt = torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)
    out = []
    for _ in range(4):
        l = F.cross_entropy(m(x), y)
        l.backward()
        with torch.no_grad():
            norm = torch.norm(torch.stack([p.grad.norm(2) for p in m.parameters()]), 2)
            old = {}
            for p in m.parameters():
                old[p] = p.data.clone()
                p.add_(p.grad * (0.05 / (norm + 1e-12)))
        m.zero_grad()
        F.cross_entropy(m(x), y).backward()
        with torch.no_grad():
            for p in m.parameters():
                p.data = old[p]
        opt.step()
        opt.zero_grad()
        out.append(l.item())
    return out


def ewc(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 17)
    fisher = {}
    opt = torch.optim.SGD(m.parameters(), 0.1)
    out = []
    m.zero_grad()
    F.nll_loss(F.log_softmax(m(x), 1), y).backward()
    for n, p in m.named_parameters():
        fisher[n] = p.grad.data.clone().pow(2)
    star = {n: p.data.clone() for n, p in m.named_parameters()}
    for _ in range(4):
        l = F.cross_entropy(m(x.flip(0)), y) + 100 * sum(((fisher[n] * (p - star[n]) ** 2).sum() for n, p in m.named_parameters()))
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def writes(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 24)
    out = []
    h = x.clone()
    h[:, 0] = 0
    h[h > 1] = 1
    h[:, 1:3] *= 2
    o = m(h)
    mask = torch.ones_like(o)
    mask[range(4), [0, 1, 2, 0]] = 0
    l = (o * mask).pow(2).sum()
    l.backward()
    out.append(l.item())
    w = m[0].weight
    with torch.no_grad():
        w[0].zero_()
        w[:, 0].clamp_(-0.1, 0.1)
    w.grad[0] = 0
    out += [w.sum().item(), w.grad.sum().item(), m(x).sum().item()]
    xx = x.clone().requires_grad_()
    z = xx * 1
    z[:4] = z[4:8] * 2
    z += xx
    (z * z).sum().backward()
    out += xx.grad.flatten().tolist()[:30]
    return out


def freeze_groups(torch: Any) -> list:
    import copy

    torch.manual_seed(14)
    nn = torch.nn
    F = nn.functional
    m = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(10, 4)
    y = torch.randint(0, 2, (10,))
    for p in m[:2].parameters():
        p.requires_grad = False
    o = torch.optim.SGD([{"params": m[2].parameters(), "lr": 0.01}, {"params": m[4].parameters()}], lr=0.1, momentum=0.9)
    sch = torch.optim.lr_scheduler.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)])
    best = 1000000000.0
    out = []
    state = None
    for e in range(5):
        m.train()
        l = F.cross_entropy(m(x), y)
        o.zero_grad()
        l.backward()
        o.step()
        sch.step()
        m.eval()
        with torch.no_grad():
            v = F.cross_entropy(m(x.flip(0)), y).item()
        if v < best:
            best = v
            state = copy.deepcopy(m.state_dict())
        out += [l.item(), v]
        if e == 2:
            for p in m[0].parameters():
                p.requires_grad = True
            o.add_param_group({"params": m[0].parameters(), "lr": 0.001})
            sch = torch.optim.lr_scheduler.StepLR(o, 1, 0.5)
    m.load_state_dict(state)
    return out + [F.cross_entropy(m(x), y).item()]


def lora(torch: Any) -> list:
    torch.manual_seed(16)
    nn = torch.nn
    F = nn.functional

    class L(nn.Module):
        def __init__(s, b, r=2):
            super().__init__()
            s.b = b
            s.b.weight.requires_grad_(False)
            s.b.bias.requires_grad_(False)
            s.A = nn.Parameter(torch.randn(r, b.in_features) * 0.1)
            s.B = nn.Parameter(torch.zeros(b.out_features, r))

        def forward(s, x):
            return s.b(x) + x @ s.A.T @ s.B.T * 2

    m = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))
    for n, c in list(m.named_children()):
        if isinstance(c, nn.Linear):
            setattr(m, n, L(c))
    x = torch.randn(7, 4)
    y = torch.randint(0, 2, (7,))
    out = fit(torch, [p for p in m.parameters() if p.requires_grad], lambda: F.cross_entropy(m(x), y), 5)
    with torch.no_grad():
        for l in (m[0], m[2]):
            l.b.weight += l.B @ l.A * 2
            l.B.zero_()
    return out + m(x).flatten().tolist()


def stochastic_depth(torch: Any) -> list:
    torch.manual_seed(18)
    nn = torch.nn

    class B(nn.Module):
        def __init__(s, p):
            super().__init__()
            s.f = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.SiLU())
            s.p = p

        def forward(s, x):
            if s.training:
                keep = (torch.rand(x.shape[0], 1, 1, 1) >= s.p).float()
                return x + s.f(x) * keep / (1 - s.p)
            return x + s.f(x)

    m = nn.Sequential(*[B(0.2 * i) for i in range(3)])
    for mod in m.modules():
        if isinstance(mod, nn.Conv2d):
            nn.init.kaiming_normal_(mod.weight, mode="fan_out")
    x = torch.randn(3, 2, 5, 5)
    out = fit(torch, m.parameters(), lambda: m(x).pow(2).mean())
    m.eval()
    return out + [m(x).sum().item()] + [b.sum().item() for b in m.buffers()]


def checkpoint_resume(torch: Any) -> list:
    import io

    torch.manual_seed(25)
    nn = torch.nn
    F = nn.functional
    x = torch.randn(6, 3)
    y = torch.randn(6, 2)
    mk = lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    m = mk()
    o = torch.optim.Adam(m.parameters(), 0.1, amsgrad=True)
    s = torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=6)
    out = []

    def go(m, o, s, n):
        for _ in range(n):
            l = F.mse_loss(m(x), y)
            o.zero_grad()
            l.backward()
            o.step()
            s.step()
            out.append(l.item())

    go(m, o, s, 3)
    b = io.BytesIO()
    torch.save({"m": m.state_dict(), "o": o.state_dict(), "s": s.state_dict(), "r": torch.get_rng_state()}, b)
    b.seek(0)
    c = torch.load(b, weights_only=True)
    m2 = mk()
    m2.load_state_dict(c["m"])
    o2 = torch.optim.Adam(m2.parameters(), 0.1, amsgrad=True)
    s2 = torch.optim.lr_scheduler.OneCycleLR(o2, 0.1, total_steps=6)
    o2.load_state_dict(c["o"])
    s2.load_state_dict(c["s"])
    torch.set_rng_state(c["r"])
    go(m2, o2, s2, 3)
    return out


def checkpoints_behind_pooling(torch: Any) -> list:
    torch.manual_seed(5)
    nn, F = torch.nn, torch.nn.functional
    checkpoint = importlib.import_module(f"{torch.__name__}.utils.checkpoint").checkpoint
    stem = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2))
    blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(2)])
    opt = torch.optim.SGD([*stem.parameters(), *blocks.parameters()], 0.1)
    out = []
    for _ in range(2):
        x = stem(torch.randn(2, 1, 6, 6))
        for block in blocks:
            x = checkpoint(block, x, use_reentrant=False)
        loss = F.mse_loss(x, torch.ones_like(x))
        opt.zero_grad()
        loss.backward()
        opt.step()
        out += [loss.item(), stem[0].weight.grad.sum().item()]
    return out


def frozen_statistics(torch: Any) -> list:
    torch.manual_seed(6)
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2))
    net(torch.randn(4, 1, 4, 4))
    net.eval()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    out = []
    for _ in range(2):
        loss = net(torch.randn(4, 1, 4, 4)).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        out += [loss.item(), net[1].weight.grad.sum().item()]
    return out
