"""Learning rate schedules against PyTorch: rates and momenta to the last bit over 50 epochs, states, resuming, messages."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

import lamina

torch = pytest.importorskip("torch")

# scheduler module, optimizer, library -> schedule
SCHEDULES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "lambda": lambda s, o, _: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 0.8**e]),
    "multiplicative": lambda s, o, _: s.MultiplicativeLR(o, lambda e: 0.9),
    "step": lambda s, o, _: s.StepLR(o, 7, 0.3),
    "multistep": lambda s, o, _: s.MultiStepLR(o, [3, 10, 10, 30], 0.5),
    "constant": lambda s, o, _: s.ConstantLR(o, 0.4, 9),
    "linear": lambda s, o, _: s.LinearLR(o, 0.01, 0.9, 13),
    "exponential": lambda s, o, _: s.ExponentialLR(o, 0.93),
    "polynomial": lambda s, o, _: s.PolynomialLR(o, 33, 1.7),
    "cosine": lambda s, o, _: s.CosineAnnealingLR(o, 17, 0.01),
    "restarts": lambda s, o, _: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.01),
    "one cycle": lambda s, o, _: s.OneCycleLR(o, [1.0, 2.0], 60),
    "three phases": lambda s, o, _: s.OneCycleLR(o, 1.0, 60, three_phase=True, anneal_strategy="linear"),
    "one cycle by epochs": lambda s, o, _: s.OneCycleLR(
        o, 1.0, epochs=10, steps_per_epoch=7, pct_start=0.1, cycle_momentum=False
    ),
    "cyclic": lambda s, o, _: s.CyclicLR(o, 0.1, 1.0, 7, 11),
    "triangular2": lambda s, o, _: s.CyclicLR(o, [0.1, 0.2], [1.0, 2.0], 5, mode="triangular2", cycle_momentum=False),
    "exp_range": lambda s, o, _: s.CyclicLR(o, 0.1, 1.0, 5, mode="exp_range", gamma=0.97),
    "own scale": lambda s, o, _: s.CyclicLR(o, 0.1, 1.0, 5, scale_fn=lambda x: 0.5**x, scale_mode="iterations"),
    "warm-up": lambda s, o, _: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 20), s.ExponentialLR(o, 0.9)], [5, 20]
    ),
    "warm-up and restarts": lambda s, o, _: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingWarmRestarts(o, 7)], [5]
    ),
    "then one cycle": lambda s, o, _: s.SequentialLR(o, [s.ExponentialLR(o, 0.9), s.OneCycleLR(o, 1.0, 60)], [5]),
    "chained": lambda s, o, _: s.ChainedScheduler([s.ConstantLR(o, 0.1, total_iters=5), s.ExponentialLR(o, 0.9)]),
    "chained sequence": lambda s, o, _: s.ChainedScheduler(
        [s.SequentialLR(o, [s.ConstantLR(o, 0.1, 5), s.ExponentialLR(o, 0.9)], [5]), s.StepLR(o, 3, 0.9)], optimizer=o
    ),
    "averaging": lambda s, o, lib: lib.optim.swa_utils.SWALR(o, [0.05, 0.07], 13),
    "averaging at once": lambda s, o, lib: lib.optim.swa_utils.SWALR(o, 0.05, 0, "linear"),
}


def two_groups(lib: Any) -> Any:
    first, second = (lib.nn.Parameter(lib.ones(n)) for n in (1, 2))
    return lib.optim.SGD([{"params": [first], "lr": 0.1}, {"params": [second]}], lr=0.5, momentum=0.9)


def followed(lib: Any, make: Callable[[Any, Any, Any], Any], resume_at: int) -> tuple[list, Any]:
    optimizer = two_groups(lib)
    schedule = make(lib.optim.lr_scheduler, optimizer, lib)
    seen = []
    for epoch in range(50):
        optimizer.step()
        if epoch == resume_at:
            saved = copy.deepcopy((schedule.state_dict(), optimizer.state_dict()))
            optimizer = two_groups(lib)
            schedule = make(lib.optim.lr_scheduler, optimizer, lib)
            schedule.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
            optimizer.step()
        schedule.step()
        seen.append([(g["lr"], g["momentum"]) for g in optimizer.param_groups] + [schedule.get_last_lr()])
    return seen, schedule.state_dict()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_and_state(name: str) -> None:
    (ours, state), (theirs, other) = (followed(lib, SCHEDULES[name], 11) for lib in (lamina, torch))
    assert ours == theirs
    assert state.keys() == other.keys()
    assert {k: v for k, v in state.items() if k != "_schedulers"} == {k: v for k, v in other.items() if k != "_schedulers"}


@pytest.mark.parametrize("options", [
    {}, {"threshold": 0.1, "patience": 0},
    {"mode": "max", "factor": 0.5, "patience": 2, "threshold_mode": "abs", "cooldown": 2, "min_lr": [0.01, 0.02]},
])  # fmt: skip
def test_plateau(options: dict) -> None:
    found = []
    for lib in (lamina, torch):
        numbers = random.Random(0)
        optimizer = two_groups(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        rates = []
        for _ in range(50):
            schedule.step(numbers.random())
            rates.append(([g["lr"] for g in optimizer.param_groups], schedule.in_cooldown))
        found.append((rates, schedule.state_dict()))
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [
    lambda s, o: s.StepLR(o, 3, last_epoch=5), lambda s, o: s.StepLR(3, 3), lambda s, o: s.OneCycleLR(o, 1.0),
    lambda s, o: s.LambdaLR(o, [lambda e: 1]), lambda s, o: s.CyclicLR(o, 0.1, [1.0]), lambda s, o: s.SequentialLR(o, [], [1]),
    lambda s, o: s.ChainedScheduler([]), lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), lambda s, o: s.LinearLR(o, 0.0),
    lambda s, o: s.ReduceLROnPlateau(o, factor=2.0), lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(copy.deepcopy(o), 3)] * 2, [2]),
])  # fmt: skip
def test_messages(make: Callable[[Any, Any], Any]) -> None:
    texts = []
    for lib in (lamina, torch):
        with pytest.raises((ValueError, TypeError, KeyError)) as caught:
            make(lib.optim.lr_scheduler, two_groups(lib))
        texts.append((type(caught.value), str(caught.value)))
    assert texts[0] == texts[1]


def test_order_of_steps_is_checked() -> None:
    for lib in (lamina, torch):
        optimizer = two_groups(lib)
        schedule = lib.optim.lr_scheduler.StepLR(optimizer, 3)
        with pytest.warns(UserWarning, match="before `optimizer.step"):
            schedule.step()
        with pytest.warns(UserWarning, match="get_last_lr"):
            schedule.get_lr()
