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


def ppo_of_vectors(torch: Any) -> list:
    torch.manual_seed(6)
    nn, D = torch.nn, torch.distributions
    actor = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh())
    critic = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    opt = torch.optim.Adam([{"params": actor.parameters(), "lr": 3e-3}, {"params": critic.parameters(), "lr": 1e-2}])
    variance = torch.full((2,), 0.36)
    states = torch.randn(12, 4)
    with torch.no_grad():
        acts = D.MultivariateNormal(actor(states), torch.diag(variance).unsqueeze(0))
        actions = acts.sample()
        old = acts.log_prob(actions)
    returns = (states + actions.repeat(1, 2)).sum(1)
    out = []
    for _ in range(3):
        mean = actor(states)
        now = D.MultivariateNormal(mean, torch.diag_embed(variance.expand_as(mean)))
        value = critic(states).squeeze()
        ratio = torch.exp(now.log_prob(actions) - old)
        gain = returns - value.detach()
        loss = -torch.min(ratio * gain, torch.clamp(ratio, 0.8, 1.2) * gain) + 0.5 * nn.MSELoss()(value, returns) - 0.01 * now.entropy()
        opt.zero_grad()
        loss.mean().backward()
        opt.step()
        out.append(loss.mean().item())
    return out


def soft_actor(torch: Any) -> list:
    torch.manual_seed(7)
    nn, D = torch.nn, torch.distributions
    policy, q = nn.Linear(3, 4), nn.Linear(5, 1)
    alpha = torch.zeros(1, requires_grad=True)
    opt = torch.optim.Adam([*policy.parameters(), alpha], 1e-2)
    states = torch.randn(8, 3)
    out = []
    for _ in range(3):
        mean, log_scale = policy(states).chunk(2, dim=-1)
        base = D.Independent(D.Normal(mean, log_scale.clamp(-20, 2).exp()), 1)
        squashed = D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)])
        action = squashed.rsample()
        log_prob = squashed.log_prob(action)
        loss = (alpha.exp().detach() * log_prob - q(torch.cat([states, action], 1)).squeeze(-1)).mean()
        loss = loss - (alpha * (log_prob + -2.0).detach()).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        out += [loss.item(), alpha.item()]
    return out


def thompson(torch: Any) -> list:
    torch.manual_seed(8)
    D = torch.distributions
    wins, losses, out = torch.ones(3), torch.ones(3), []
    chances = torch.tensor([0.2, 0.5, 0.8])
    for _ in range(15):
        arm = D.Beta(wins, losses).sample().argmax().item()
        won = torch.bernoulli(chances[arm]).item()
        wins[arm] += won
        losses[arm] += 1 - won
        out.append(float(arm))
    return [*out, *wins.tolist()]
