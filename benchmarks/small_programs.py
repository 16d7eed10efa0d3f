"""Programs with a value looked at every few steps, as people write them: each is made for a module named torch, and run many times.

A run starts anew and gives numbers that both frameworks must agree on; random numbers are seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def actor_critic(torch: Any) -> Callable[[], list[float]]:
    """An episode of an actor-critic: one draw and one look per step of the environment, one update."""
    nn = torch.nn
    F = torch.nn.functional
    Categorical = torch.distributions.Categorical

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.affine1 = nn.Linear(4, 128)
            self.action_head = nn.Linear(128, 2)
            self.value_head = nn.Linear(128, 1)

        def forward(self, x):
            x = F.relu(self.affine1(x))
            return F.softmax(self.action_head(x), dim=-1), self.value_head(x)

    torch.manual_seed(0)
    model = Policy()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    eps = 1e-7

    def cartpole(state, action):
        x, v, t, w = state
        force = 10.0 if action == 1 else -10.0
        c, s = math.cos(t), math.sin(t)
        temp = (force + 0.05 * w * w * s) / 1.1
        acc_t = (9.8 * s - c * temp) / (0.5 * (4.0 / 3.0 - 0.1 * c * c / 1.1))
        acc_x = temp - 0.05 * acc_t * c / 1.1
        return (x + 0.02 * v, v + 0.02 * acc_x, t + 0.02 * w, w + 0.02 * acc_t)

    def episode(length=30):
        state = (0.01, -0.02, 0.03, 0.01)
        saved, rewards = [], []
        for t in range(length):
            probs, value = model(torch.tensor(state, dtype=torch.float32))
            m = Categorical(probs)
            action = m.sample()
            saved.append((m.log_prob(action), value))
            state = cartpole(state, action.item())
            rewards.append(1.0 + state[2] * 0.1)
        R, returns = 0.0, []
        for r in rewards[::-1]:
            R = r + 0.99 * R
            returns.insert(0, R)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + eps)
        policy_losses, value_losses = [], []
        for (log_prob, value), R in zip(saved, returns):
            advantage = R - value.item()
            policy_losses.append(-log_prob * advantage)
            value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
        optimizer.zero_grad()
        loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
        loss.backward()
        optimizer.step()
        return [loss.item()]

    return episode


def kmeans(torch: Any) -> Callable[[], list[float]]:
    """K-means with a mask per cluster, until nothing moves."""
    torch.manual_seed(0)
    x = torch.randn(500, 2) + 3 * torch.randint(0, 4, (500, 1)).float()

    def run():
        centres = x[:4].clone()
        for _ in range(20):
            d = torch.cdist(x, centres)
            labels = d.argmin(dim=1)
            new = torch.stack([x[labels == k].mean(dim=0) for k in range(4)])
            shift = (new - centres).norm()
            centres = new
            if shift.item() < 1e-6:
                break
        return [centres.sum().item()]

    return run


def kmeans_index_add(torch: Any) -> Callable[[], list[float]]:
    """K-means with sums per cluster."""
    torch.manual_seed(0)
    x = torch.randn(1000, 8)

    def run():
        centres = x[:10].clone()
        for _ in range(15):
            d = ((x[:, None, :] - centres[None, :, :]) ** 2).sum(-1)
            labels = d.argmin(1)
            counts = torch.bincount(labels, minlength=10).float()
            sums = torch.zeros(10, 8).index_add_(0, labels, x)
            new = sums / counts.clamp(min=1)[:, None]
            shift = (new - centres).abs().max().item()
            centres = new
            if shift < 1e-5:
                break
        return [centres.sum().item()]

    return run


def gaussian_process(torch: Any) -> Callable[[], list[float]]:
    """A Gaussian process: likelihood by Cholesky, ten steps of Adam, a prediction."""
    torch.manual_seed(0)
    x = torch.linspace(0, 5, 60).unsqueeze(1)
    y = torch.sin(x).squeeze() + 0.1 * torch.randn(60)
    xs = torch.linspace(0, 5, 100).unsqueeze(1)

    def kernel(a, b, scale, var):
        return var * torch.exp(-0.5 * torch.cdist(a, b) ** 2 / scale**2)

    def run():
        log_scale = torch.zeros(1, requires_grad=True)
        log_var = torch.zeros(1, requires_grad=True)
        log_noise = torch.full((1,), -2.0, requires_grad=True)
        opt = torch.optim.Adam([log_scale, log_var, log_noise], lr=0.05)
        for _ in range(10):
            opt.zero_grad()
            K = kernel(x, x, log_scale.exp(), log_var.exp()) + log_noise.exp() * torch.eye(60)
            L = torch.linalg.cholesky(K)
            alpha = torch.cholesky_solve(y.unsqueeze(1), L).squeeze(1)
            loss = 0.5 * y @ alpha + torch.log(torch.diagonal(L)).sum() + 30 * math.log(2 * math.pi)
            loss.backward()
            opt.step()
            value = loss.item()
        with torch.no_grad():
            K = kernel(x, x, log_scale.exp(), log_var.exp()) + log_noise.exp() * torch.eye(60)
            L = torch.linalg.cholesky(K)
            Ks = kernel(x, xs, log_scale.exp(), log_var.exp())
            mean = Ks.T @ torch.cholesky_solve(y.unsqueeze(1), L)
        return [value, mean.sum().item()]

    return run


def pca_power(torch: Any) -> Callable[[], list[float]]:
    """Three principal components by power iteration, each until it stands."""
    torch.manual_seed(0)
    data = torch.randn(200, 10) @ torch.randn(10, 10)

    def run():
        x = data - data.mean(0)
        cov = x.T @ x / (len(x) - 1)
        values = []
        for k in range(3):
            v = torch.ones(10) / 10**0.5
            last = 0.0
            for _ in range(100):
                w = cov @ v
                v = w / w.norm()
                value = (v @ cov @ v).item()
                if abs(value - last) < 1e-5 * abs(value):
                    break
                last = value
            values.append(value)
            cov = cov - value * torch.outer(v, v)
        return values

    return run


def swa(torch: Any) -> Callable[[], list[float]]:
    """Training with averaged weights."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1))
    averaged = torch.optim.swa_utils.AveragedModel(model)
    opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.randn(64, 20), torch.randn(64, 1)
    loss_fn = nn.MSELoss()

    def run():
        for _ in range(5):
            opt.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            opt.step()
            averaged.update_parameters(model)
        return [loss.item(), averaged.module[0].weight.sum().item()]

    return run


def lbfgs(torch: Any) -> Callable[[], list[float]]:
    """Two steps of LBFGS with a line search."""
    torch.manual_seed(0)
    A = torch.randn(20, 20)
    A = A @ A.T + 20 * torch.eye(20)
    b = torch.randn(20)

    def run():
        x = torch.zeros(20, requires_grad=True)
        opt = torch.optim.LBFGS([x], lr=0.5, max_iter=10, line_search_fn="strong_wolfe")

        def closure():
            opt.zero_grad()
            loss = 0.5 * x @ A @ x - b @ x + (x**4).sum()
            loss.backward()
            return loss

        for _ in range(2):
            loss = opt.step(closure)
        return [loss.item()]

    return run


def rosenbrock_line_search(torch: Any) -> Callable[[], list[float]]:
    """Gradient descent with backtracking."""
    def f(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    def run():
        x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
        for _ in range(20):
            loss = f(x)
            (g,) = torch.autograd.grad(loss, x)
            step = 1.0
            with torch.no_grad():
                while f(x - step * g).item() > loss.item() - 1e-4 * step * g.dot(g).item():
                    step *= 0.5
                x -= step * g
        return [loss.item()]

    return run


def newton(torch: Any) -> Callable[[], list[float]]:
    """Logistic regression by Newton's method."""
    torch.manual_seed(0)
    X = torch.randn(100, 5, dtype=torch.float64)
    y = (torch.rand(100, dtype=torch.float64) > 0.5).double()

    def run():
        w = torch.zeros(5, dtype=torch.float64)
        for _ in range(20):
            p = torch.sigmoid(X @ w)
            grad = X.T @ (p - y) + 0.1 * w
            H = X.T @ (X * (p * (1 - p))[:, None]) + 0.1 * torch.eye(5, dtype=torch.float64)
            step = torch.linalg.solve(H, grad)
            w = w - step
            if step.norm().item() < 1e-8:
                break
        return [w.sum().item()]

    return run


def bandit(torch: Any) -> Callable[[], list[float]]:
    """An epsilon-greedy bandit: running means written in place."""
    def run():
        torch.manual_seed(0)
        means = torch.tensor([0.1, 0.5, 0.3, 0.8])
        q, n = torch.zeros(4), torch.zeros(4)
        total = 0.0
        for t in range(100):
            if torch.rand(1).item() < 0.1:
                a = torch.randint(0, 4, (1,)).item()
            else:
                a = q.argmax().item()
            reward = means[a] + torch.randn(1).item() * 0.1
            n[a] += 1
            q[a] += (reward - q[a]) / n[a]
            total += reward.item()
        return [total, q.sum().item()]

    return run


def metropolis(torch: Any) -> Callable[[], list[float]]:
    """A random walk that is accepted or not."""
    def log_p(x):
        return -0.5 * (x**2).sum() - torch.log1p(torch.exp(-x.sum()))

    def run():
        torch.manual_seed(0)
        x = torch.zeros(3)
        lp = log_p(x)
        accepted, total = 0, torch.zeros(3)
        for _ in range(100):
            proposal = x + 0.5 * torch.randn(3)
            lq = log_p(proposal)
            if torch.rand(()).log() < lq - lp:
                x, lp = proposal, lq
                accepted += 1
            total += x
        return [accepted, (total / 100).sum().item()]

    return run


def em_mixture(torch: Any) -> Callable[[], list[float]]:
    """Two Gaussians by expectation and maximisation."""
    torch.manual_seed(0)
    x = torch.cat([torch.randn(150) - 2, torch.randn(150) + 2])

    def run():
        mu = torch.tensor([-1.0, 1.0])
        sigma = torch.ones(2)
        pi = torch.full((2,), 0.5)
        last = -float("inf")
        for _ in range(30):
            logp = torch.distributions.Normal(mu, sigma).log_prob(x[:, None]) + pi.log()
            total = torch.logsumexp(logp, dim=1)
            ll = total.sum().item()
            r = (logp - total[:, None]).exp()
            n = r.sum(0)
            mu = (r * x[:, None]).sum(0) / n
            sigma = ((r * (x[:, None] - mu) ** 2).sum(0) / n).sqrt()
            pi = n / len(x)
            if ll - last < 1e-4:
                break
            last = ll
        return [ll, mu[1].item()]

    return run


PROGRAMS: dict[str, Callable[[Any], Callable[[], list[float]]]] = {
    "actor-critic, an episode": actor_critic,
    "k-means by masks": kmeans,
    "k-means by index_add": kmeans_index_add,
    "Gaussian process": gaussian_process,
    "power iteration": pca_power,
    "weight averaging": swa,
    "LBFGS": lbfgs,
    "line search": rosenbrock_line_search,
    "Newton": newton,
    "bandit": bandit,
    "Metropolis": metropolis,
    "mixture by EM": em_mixture,
}
