"""Derivatives of derivatives, per example, and rules of one's own."""

from __future__ import annotations

from typing import Any

from .fitting import classifier, fit


def maml(torch: Any) -> list:
    torch.manual_seed(5)
    F = torch.nn.functional
    w1 = torch.randn(1, 10, requires_grad=True)
    b1 = torch.zeros(10, requires_grad=True)
    w2 = torch.randn(10, 1, requires_grad=True)
    opt = torch.optim.Adam([w1, b1, w2], 0.01)
    out = []

    def f(x, p):
        return torch.tanh(x @ p[0] + p[1]) @ p[2]

    for _ in range(4):
        total = 0.0
        for t in range(3):
            a, ph = (torch.rand(1) * 4 + 0.1, torch.rand(1) * 3)
            x = torch.rand(5, 1) * 10 - 5
            y = a * torch.sin(x + ph)
            p = [w1, b1, w2]
            for _ in range(2):
                l = F.mse_loss(f(x, p), y)
                g = torch.autograd.grad(l, p, create_graph=True)
                p = [q - 0.01 * h for q, h in zip(p, g)]
            xq = torch.rand(5, 1) * 10 - 5
            total = total + F.mse_loss(f(xq, p), a * torch.sin(xq + ph))
        opt.zero_grad()
        total.backward()
        opt.step()
        out.append(total.item())
    return out + w1.detach().flatten().tolist()


def hessian_vector(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 16)
    ps = list(m.parameters())
    l = F.cross_entropy(m(x), y)
    g = torch.autograd.grad(l, ps, create_graph=True)
    v = [torch.ones_like(p) for p in ps]
    hv = torch.autograd.grad(g, ps, grad_outputs=v)
    return [h.sum().item() for h in hv]


def pinn(torch: Any) -> list:
    torch.manual_seed(22)
    nn = torch.nn
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    opt = torch.optim.Adam(net.parameters(), 0.01)
    out = []
    x = torch.linspace(0, 1, 9).view(-1, 1).requires_grad_(True)
    for _ in range(4):
        u = net(x)
        du = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]
        d2 = torch.autograd.grad(du, x, torch.ones_like(du), create_graph=True)[0]
        l = ((d2 + torch.sin(x)) ** 2).mean() + net(torch.zeros(1, 1)).pow(2).sum()
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def neural_ode(torch: Any) -> list:
    torch.manual_seed(23)
    nn = torch.nn
    f = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    opt = torch.optim.Adam(f.parameters(), 0.01)
    out = []
    y0 = torch.tensor([[1.0, 0.0]])
    for _ in range(3):
        y = y0
        ys = []
        for i in range(6):
            k1 = f(y)
            k2 = f(y + 0.05 * k1)
            k3 = f(y + 0.05 * k2)
            k4 = f(y + 0.1 * k3)
            y = y + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            ys.append(y)
        l = (torch.stack(ys) - y0).abs().mean()
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def per_sample(torch: Any) -> list:

    torch.manual_seed(4)
    nn = torch.nn
    F = nn.functional
    m = nn.Linear(3, 2)
    x = torch.randn(5, 3)
    y = torch.randint(0, 2, (5,))
    p = {k: v.detach() for k, v in m.named_parameters()}

    def loss(p, a, b):
        return F.cross_entropy(torch.func.functional_call(m, p, (a.unsqueeze(0),)), b.unsqueeze(0))

    g = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(p, x, y)
    return g["weight"].flatten().tolist() + g["bias"].flatten().tolist()


def grad_reversal(torch: Any) -> list:
    torch.manual_seed(2)
    nn = torch.nn
    F = nn.functional

    class R(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, a):
            ctx.a = a
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            return (g.neg() * ctx.a, None)

    f = nn.Linear(4, 6)
    c = nn.Linear(6, 2)
    d = nn.Linear(6, 2)
    x = torch.randn(8, 4)
    y = torch.randint(0, 2, (8,))
    return fit(
        torch,
        [*f.parameters(), *c.parameters(), *d.parameters()],
        lambda: (lambda h: F.cross_entropy(c(h), y) + F.cross_entropy(d(R.apply(h, 0.3)), 1 - y))(f(x).relu()),
    )


def straight_through(torch: Any) -> list:
    torch.manual_seed(3)
    nn = torch.nn

    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sign()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            g = g.clone()
            g[x.abs() > 1] = 0
            return g

    w = nn.Parameter(torch.randn(4, 3))
    x = torch.randn(6, 4)

    def fq(w, s=0.1):
        q = torch.clamp(torch.round(w / s), -8, 7) * s
        return w + (q - w).detach()

    return fit(torch, [w], lambda: ((Sign.apply(x) @ fq(w)) ** 2).mean() + (x @ Sign.apply(w)).abs().mean())


def gradients_by_hand(torch: Any) -> list:
    torch.manual_seed(12)
    x = torch.randn(16, 10)
    y = torch.randn(16, 2)
    w1 = torch.randn(10, 8)
    w2 = torch.randn(8, 2)
    out = []
    for t in range(5):
        h = x.mm(w1)
        hr = h.clamp(min=0)
        p = hr.mm(w2)
        l = (p - y).pow(2).sum().item()
        out.append(l)
        gp = 2.0 * (p - y)
        gw2 = hr.t().mm(gp)
        gh = gp.mm(w2.t()).clone()
        gh[h < 0] = 0
        gw1 = x.t().mm(gh)
        w1 -= 0.0001 * gw1
        w2 -= 0.0001 * gw2
    w = torch.randn(10, 1, requires_grad=True)
    for t in range(5):
        l = ((x @ w - y[:, :1]) ** 2).mean()
        l.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            w.grad.zero_()
        out.append(l.item())
    return out
