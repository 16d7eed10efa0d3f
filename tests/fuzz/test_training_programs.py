"""Random small trainings: modules, losses, optimizers and loops with their habits; losses are PyTorch's step by step."""

from __future__ import annotations

import random

import lamina
import numpy as np
import pytest
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

LAYERS = (
    "nn.Linear(6, 6)", "nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6))", "nn.LayerNorm(6)", "nn.BatchNorm1d(6)",
    "nn.ReLU()", "nn.GELU()", "nn.SiLU()", "nn.Sigmoid()", "nn.Dropout(0.3)", "nn.Softmax(-1)",
    "nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 2, 3, padding=1), nn.Flatten())",
    "nn.Sequential(nn.Unflatten(1, (1, 6)), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(3, 6))", "nn.Identity()",
)  # fmt: skip
OPTIMIZERS = (
    "SGD(p, 0.1)", "SGD(p, 0.05, momentum=0.9, nesterov=True)", "Adam(p, 0.02)", "AdamW(p, 0.02, weight_decay=0.1)",
    "RMSprop(p, 0.01, momentum=0.5)", "Adagrad(p, 0.1)", "Adam(p, 0.02, amsgrad=True)", "Adamax(p, 0.02)", "NAdam(p, 0.01)",
)  # fmt: skip
LOSSES = (
    "F.mse_loss(y, t)", "F.l1_loss(y, t)", "F.smooth_l1_loss(y, t)", "F.cross_entropy(y, c)", "(y * t).tanh().sum()",
    "F.binary_cross_entropy_with_logits(y, t.sigmoid())", "y.norm() + (y - t).pow(2).mean()",
)  # fmt: skip
BEFORE = (
    "optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)", "model.zero_grad()", "pass",
    "if step % 2 == 0: optimizer.zero_grad()", "for q in p: q.grad = None",
)  # fmt: skip
AFTER = (
    "pass", "nn.utils.clip_grad_norm_(p, 0.5)", "nn.utils.clip_grad_value_(p, 0.1)", "for q in p: q.grad.mul_(0.5)",
    "losses.append(loss.item())", "total = total + loss.detach()", "kept.append(y.detach())", "kept.append(loss)",
    "with torch.no_grad(): p[0].mul_(0.99)", "p[0].data.clamp_(-1, 1)", "if loss.item() > 1: kept.append(p[0].clone())",
    "scheduler.step()", "model.eval(); model(x); model.train()", "ema = [0.9 * e + 0.1 * q.detach() for e, q in zip(ema, p)]",
    "for e, q in zip(ema, p): e.lerp_(q.detach(), 0.1)", "kept.append(p[0].grad.clone())", "state = optimizer.state_dict(); optimizer.load_state_dict(state)",
    "x = x.roll(1, 0)", "x = torch.cat([x, x[:1]]) if len(x) < 7 else x[:5]; t = torch.cat([t, t[:1]]) if len(t) < 7 else t[:5]; c = c.repeat(2)[:len(x)]",
    "n = p[0].detach().numpy(); kept.append(torch.tensor(float(n.sum())))", "h = y.detach().mean(0)",
)  # fmt: skip
FORWARD = ("y = model(x)", "y = model(x) + h", "y = model(x); y = y + model(x * 0.5)", "y = torch.stack([model(x), x]).mean(0)")

PROGRAM = """
import torch
from torch import nn
F = torch.nn.functional
torch.manual_seed({seed})
model = nn.Sequential(nn.Linear(6, 6), {layers})
p = list(model.parameters())
optimizer = torch.optim.{optimizer}
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
x, t, c = torch.randn(5, 6), torch.randn(5, 6), torch.randint(0, 6, (5,))
losses, kept, total, h = [], [], torch.zeros(()), torch.zeros(6)
ema = [q.detach().clone() for q in p]
for step in range(6):
    {before}
    {forward}
    loss = {loss}
    loss.backward()
    {after}
    optimizer.step()
    {last}
    losses.append(loss.item())
result = [losses, [k.tolist() for k in kept], total.tolist(){weights}]
"""


# The others divide a gradient by its size: where it is 0 but for rounding (a bias in front of a batch norm), they step by rounding.
WEIGHTS = ", [q.tolist() for q in p], [e.tolist() for e in ema]"


def program(seed: int) -> str:
    choose = random.Random(seed)
    optimizer = choose.choice(OPTIMIZERS)
    layers = ", ".join(choose.choice(LAYERS) for _ in range(choose.randint(1, 3)))
    return PROGRAM.format(
        seed=seed, layers=layers, optimizer=optimizer, loss=choose.choice(LOSSES), before=choose.choice(BEFORE),
        forward=choose.choice(FORWARD), after="\n    ".join(choose.sample(AFTER, choose.randint(0, 3))),
        last=choose.choice(AFTER), weights=WEIGHTS if optimizer.startswith("SGD") else "",
    )  # fmt: skip


def numbers(result: object) -> list[float]:
    return [n for part in result for n in numbers(part)] if isinstance(result, list) else [float(result)]


def outcome(text: str, lib: object) -> object:
    """The numbers a program ends with, or the builtin class of what it raises."""
    code = text.replace("import torch\nfrom torch import nn\n", "nn = torch.nn\n")
    names = {"torch": lib}
    try:
        exec(compile(code, "training", "exec"), names)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        return next(c for c in type(error).__mro__ if c.__module__ == "builtins")
    return numbers(names["result"])


def agree(seed: int) -> None:
    text = program(seed)
    want, got = outcome(text, torch), outcome(text, lamina)
    if isinstance(want, type) or isinstance(got, type):
        assert want is got or not isinstance(want, type) and not isinstance(got, type), f"{want} {got}\n{text}\nprint(result)"
        return
    assert len(want) == len(got), text
    scale = np.abs(want).max(initial=1)
    assert np.allclose(got, want, 2e-2, 2e-3 * scale, equal_nan=True), f"{want[:6]}\n{got[:6]}\n{text}\nprint(result)"


def test_some_trainings() -> None:
    with flags.device("numpy"):
        for seed in range(3):
            agree(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4, 204, 50))
def test_many_trainings(first: int) -> None:
    with flags.device("numpy"):
        for seed in range(first, first + 50):
            agree(seed)


@pytest.mark.slow
def test_compiled_trainings() -> None:
    """Kept plans, programs of C and rotated buffers from the second step on."""
    for seed in range(304, 310):
        agree(seed)
