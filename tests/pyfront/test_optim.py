"""Optimizers and schedules against PyTorch: parameters after several steps, state, rates to the last bit."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.backends import driver

torch = pytest.importorskip("torch")

OPTIMIZERS: list[tuple[str, dict]] = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}), ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 0.1, "maximize": True}), ("Adam", {}), ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {}), ("AdamW", {"amsgrad": True, "lr": 0.01}), ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1}), ("Adagrad", {"lr_decay": 0.1}), ("Adadelta", {}),
    ("Adamax", {"weight_decay": 0.1}), ("NAdam", {}), ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01}),
]  # fmt: skip
START = np.random.RandomState(0).randn(5, 3).astype(np.float32)


def trained(lib: Any, name: str, options: dict, steps: int = 8) -> tuple[Any, Any]:
    p = lib.nn.Parameter(lib.from_numpy(START.copy()))
    q = lib.nn.Parameter(lib.from_numpy(START[0].copy()))
    optimizer = getattr(lib.optim, name)([p, q], **options)
    for _ in range(steps):
        optimizer.zero_grad()
        ((p * p).sum() + (p * q).cos().sum()).backward()
        optimizer.step()
    return [p, q], optimizer


@pytest.mark.parametrize("name, options", OPTIMIZERS, ids=str)
def test_steps(name: str, options: dict) -> None:
    (ours, a), (theirs, b) = trained(lamina, name, options), trained(torch, name, options)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 2e-5, 1e-6)
    assert repr(a) == repr(b)
    mine, other = a.state_dict(), b.state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert {k: set(v) for k, v in mine["state"].items()} == {k: set(v) for k, v in other["state"].items()} or name == "SGD"


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_state_moves_between_the_two(name: str) -> None:
    options = {"lr": 0.1, **({"momentum": 0.9} if name == "SGD" else {})}
    (theirs, b) = trained(torch, name, options)
    file = io.BytesIO()
    torch.save({"p": [p.detach() for p in theirs], "o": b.state_dict()}, file)
    file.seek(0)
    saved = lamina.load(file)
    ours = [lamina.nn.Parameter(p) for p in saved["p"]]
    a = getattr(lamina.optim, name)(ours, lr=1.0)
    a.load_state_dict(saved["o"])
    for params, optimizer in ((ours, a), (theirs, b)):
        optimizer.zero_grad()
        (params[0] * params[1]).sum().backward()
        optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-5, 1e-6)
    back = io.BytesIO()
    lamina.save(a.state_dict(), back)
    back.seek(0)
    b.load_state_dict(torch.load(back))


def test_numbers_that_change_are_not_in_the_program() -> None:
    p = lamina.nn.Parameter(lamina.ones(40, 40))
    optimizer = lamina.optim.Adam([p], lr=0.1)
    schedule = lamina.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    counts = []
    for _ in range(6):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
        schedule.step()
        counts.append(driver.stats.compiles + driver.stats.oracle_runs + driver.stats.disk_hits)
    assert counts[-1] == counts[2]


SCHEDULES: list[tuple[str, dict]] = [
    ("StepLR", {"step_size": 3}), ("MultiStepLR", {"milestones": [2, 2, 5]}), ("ExponentialLR", {"gamma": 0.9}),
    ("ConstantLR", {"total_iters": 3}), ("LinearLR", {"total_iters": 4}), ("PolynomialLR", {"total_iters": 6, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}), ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}),
    ("LambdaLR", {"lr_lambda": lambda e: 0.95**e}), ("MultiplicativeLR", {"lr_lambda": lambda e: 0.95}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 16}), ("OneCycleLR", {"max_lr": 1.0, "total_steps": 16, "three_phase": True}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 2, "mode": "exp_range", "gamma": 0.9}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", SCHEDULES, ids=lambda v: v if isinstance(v, str) else "")
def test_rates(name: str, options: dict) -> None:
    rates = []
    for lib in (lamina, torch):
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.5, momentum=0.9)
        schedule = getattr(lib.optim.lr_scheduler, name)(optimizer, **options)
        seen = []
        for _ in range(14):
            optimizer.step()
            schedule.step()
            seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"], schedule.get_last_lr()))
        rates.append(seen)
    assert rates[0] == rates[1]


def test_plateau_and_sequence() -> None:
    rates = []
    for lib in (lamina, torch):
        s = lib.optim.lr_scheduler
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.5)
        plateau = s.ReduceLROnPlateau(optimizer, patience=1, cooldown=1)
        seen = []
        for metric in (5, 4, 4, 4, 4, 3, 3, 3, 3, 3):
            plateau.step(metric)
            seen.append(optimizer.param_groups[0]["lr"])
        optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.5)
        both = s.SequentialLR(optimizer, [s.LinearLR(optimizer, 0.1, total_iters=3), s.CosineAnnealingLR(optimizer, 5)], [3])
        for _ in range(8):
            optimizer.step()
            both.step()
            seen.append(optimizer.param_groups[0]["lr"])
        rates.append(seen)
    assert rates[0] == rates[1]


@pytest.mark.parametrize("options", [{"lr": -1}, {"betas": (1.0, 0.9)}, {"eps": -1}])
def test_bad_options(options: dict) -> None:
    texts = []
    for lib in (lamina, torch):
        with pytest.raises(ValueError) as caught:
            lib.optim.Adam([lib.nn.Parameter(lib.ones(1))], **options)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
