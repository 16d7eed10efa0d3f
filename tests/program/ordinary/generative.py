"""Models that make data: adversarial nets, flows, diffusion, discrete codes."""

from __future__ import annotations

import math
from typing import Any

from .fitting import fit


def wgan_gp(torch: Any) -> list:
    torch.manual_seed(3)
    nn = torch.nn
    G = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    D = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    og = torch.optim.Adam(G.parameters(), 0.01, betas=(0.5, 0.9))
    od = torch.optim.Adam(D.parameters(), 0.01, betas=(0.5, 0.9))
    out = []
    for i in range(6):
        real = torch.randn(8, 2) * 0.5 + 1
        z = torch.randn(8, 4)
        fake = G(z)
        alpha = torch.rand(8, 1)
        inter = (alpha * real + (1 - alpha) * fake.detach()).requires_grad_(True)
        d = D(inter)
        g = torch.autograd.grad(
            outputs=d, inputs=inter, grad_outputs=torch.ones_like(d), create_graph=True, retain_graph=True, only_inputs=True
        )[0]
        gp = ((g.view(8, -1).norm(2, dim=1) - 1) ** 2).mean()
        ld = -D(real).mean() + D(fake.detach()).mean() + 10 * gp
        od.zero_grad()
        ld.backward()
        od.step()
        out += [ld.item(), gp.item()]
        if i % 2 == 0:
            lg = -D(G(z)).mean()
            og.zero_grad()
            lg.backward()
            og.step()
            out.append(lg.item())
    return out


def gan(torch: Any) -> list:
    torch.manual_seed(4)
    nn = torch.nn
    G = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), nn.Tanh())
    D = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(8, 1), nn.Sigmoid())
    og = torch.optim.Adam(G.parameters(), 0.002)
    od = torch.optim.Adam(D.parameters(), 0.002)
    bce = nn.BCELoss()
    out = []
    for i in range(5):
        real = torch.randn(8, 2)
        ones = torch.ones(8, 1)
        zeros = torch.zeros(8, 1)
        D.zero_grad()
        e1 = bce(D(real), ones * 0.9)
        e1.backward()
        z = torch.randn(8, 4)
        fake = G(z)
        e2 = bce(D(fake.detach()), zeros)
        e2.backward()
        od.step()
        G.zero_grad()
        e3 = bce(D(fake), ones)
        e3.backward()
        og.step()
        out += [e1.item(), e2.item(), e3.item()]
    return out


def cycle(torch: Any) -> list:
    torch.manual_seed(25)
    nn = torch.nn
    import itertools

    A = nn.Linear(3, 3)
    B = nn.Linear(3, 3)
    D = nn.Linear(3, 1)
    og = torch.optim.Adam(itertools.chain(A.parameters(), B.parameters()), 0.01)
    od = torch.optim.Adam(D.parameters(), 0.01)
    out = []
    for _ in range(3):
        a = torch.randn(5, 3)
        b = torch.randn(5, 3)
        fb = A(a)
        ra = B(fb)
        for p in D.parameters():
            p.requires_grad = False
        lg = (D(fb) - 1).pow(2).mean() + 10 * (ra - a).abs().mean()
        og.zero_grad()
        lg.backward()
        og.step()
        for p in D.parameters():
            p.requires_grad = True
        ld = (D(b) - 1).pow(2).mean() + D(fb.detach()).pow(2).mean()
        od.zero_grad()
        ld.backward()
        od.step()
        out += [lg.item(), ld.item()]
    return out


def vector_quantisation(torch: Any) -> list:
    torch.manual_seed(18)
    nn = torch.nn
    F = nn.functional
    enc = nn.Linear(4, 3)
    dec = nn.Linear(3, 4)
    cb = nn.Parameter(torch.randn(5, 3))
    opt = torch.optim.Adam([*enc.parameters(), *dec.parameters(), cb], 0.01)
    x = torch.randn(6, 4)
    out = []
    for _ in range(4):
        z = enc(x)
        d = torch.cdist(z, cb)
        i = d.argmin(1)
        q = cb[i]
        zq = z + (q - z).detach()
        l = F.mse_loss(dec(zq), x) + F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def ddpm(torch: Any) -> list:
    torch.manual_seed(21)
    nn = torch.nn
    F = nn.functional
    betas = torch.linspace(0.0001, 0.02, 10)
    ab = torch.cumprod(1 - betas, 0)
    net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 2))
    opt = torch.optim.Adam(net.parameters(), 0.01)
    ema = [p.clone().detach() for p in net.parameters()]
    out = []
    for _ in range(4):
        x0 = torch.randn(8, 2)
        t = torch.randint(0, 10, (8,))
        e = torch.randn_like(x0)
        a = ab[t][:, None]
        xt = a.sqrt() * x0 + (1 - a).sqrt() * e
        l = F.mse_loss(net(torch.cat([xt, t[:, None] / 10], 1)), e)
        opt.zero_grad()
        l.backward()
        opt.step()
        for q, p in zip(ema, net.parameters()):
            q.mul_(0.9).add_(p.detach(), alpha=0.1)
        out.append(l.item())
    return out + [q.sum().item() for q in ema]


def realnvp(torch: Any) -> list:
    torch.manual_seed(7)
    nn = torch.nn
    nets = nn.ModuleList([nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(3)])
    masks = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    x = torch.randn(10, 2)

    def step():
        z, ld = (x, torch.zeros(10))
        for n, m in zip(nets, masks):
            s, t = n(z * m).chunk(2, 1)
            s = torch.tanh(s) * (1 - m)
            t = t * (1 - m)
            z = m * z + (1 - m) * (z * s.exp() + t)
            ld = ld + s.sum(1)
        return -(-0.5 * (z**2).sum(1) - math.log(2 * math.pi) + ld).mean()

    return fit(torch, nets.parameters(), step)


def mdn(torch: Any) -> list:
    torch.manual_seed(8)
    nn = torch.nn
    m = nn.Linear(1, 9)
    x = torch.randn(8, 1)
    y = torch.randn(8, 1)

    def step():
        pi, mu, ls = m(x).split(3, 1)
        lp = torch.log_softmax(pi, 1) - 0.5 * ((y - mu) / ls.exp()) ** 2 - ls - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(lp, 1).mean()

    return fit(torch, m.parameters(), step)


def spectral(torch: Any) -> list:
    torch.manual_seed(19)
    nn = torch.nn
    from_ = torch.nn.utils
    d = nn.Sequential(from_.spectral_norm(nn.Linear(4, 6)), nn.LeakyReLU(0.1), from_.parametrizations.weight_norm(nn.Linear(6, 1)))
    x = torch.randn(5, 4)
    return fit(torch, d.parameters(), lambda: torch.relu(1 - d(x)).mean())
