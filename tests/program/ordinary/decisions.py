"""Reinforcement learning."""

from __future__ import annotations

from typing import Any

from .fitting import classifier


def dqn(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 8)
    import copy

    t = copy.deepcopy(m)
    t.load_state_dict(m.state_dict())
    opt = torch.optim.RMSprop(m.parameters(), 0.01)
    out = []
    for i in range(6):
        s = torch.randn(8, 6)
        a = torch.randint(0, 3, (8, 1))
        r = torch.randn(8)
        ns = torch.randn(8, 6)
        done = torch.rand(8) < 0.3
        q = m(s).gather(1, a).squeeze(1)
        nv = torch.zeros(8)
        with torch.no_grad():
            nv[~done] = t(ns[~done]).max(1).values
        l = F.smooth_l1_loss(q, nv * 0.9 + r)
        opt.zero_grad()
        l.backward()
        torch.nn.utils.clip_grad_value_(m.parameters(), 100)
        opt.step()
        sd = t.state_dict()
        ms = m.state_dict()
        for key in ms:
            sd[key] = ms[key] * 0.05 + sd[key] * 0.95
        t.load_state_dict(sd)
        out += [l.item(), t(s).sum().item()]
    return out


def actor_critic(torch: Any) -> list:
    torch.manual_seed(22)
    nn = torch.nn
    F = nn.functional
    pi = nn.Linear(3, 2)
    v = nn.Linear(3, 1)
    o = torch.optim.Adam([*pi.parameters(), *v.parameters()], 0.01)
    out = []
    for _ in range(3):
        S = torch.randn(6, 3)
        lp0 = F.log_softmax(pi(S), 1).detach()
        a = torch.multinomial(lp0.exp(), 1)
        old = lp0.gather(1, a)
        R = torch.randn(6, 1)
        adv = (R - v(S)).detach()
        adv = (adv - adv.mean()) / (adv.std() + 1e-08)
        for _ in range(2):
            lp = F.log_softmax(pi(S), 1)
            ratio = (lp.gather(1, a) - old).exp()
            l = (
                -torch.min(ratio * adv, torch.clamp(ratio, 0.8, 1.2) * adv).mean()
                + 0.5 * F.mse_loss(v(S), R)
                - 0.01 * (-(lp.exp() * lp).sum(1)).mean()
            )
            o.zero_grad()
            l.backward()
            nn.utils.clip_grad_norm_([*pi.parameters(), *v.parameters()], 0.5)
            o.step()
            out.append(l.item())
    return out
