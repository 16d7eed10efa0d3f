"""An optimizer whose state is gathered while nobody looks at it moves its parameters, and shows its state, as one that never gathers it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lamina as torch
from lamina.backends import driver
from lamina.dialects import flags
from lamina.pyfront import recorder
from lamina.pyfront.optim import optimizer as optimizers

MADE: dict[str, Callable[[Any], Any]] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "two groups": lambda p: torch.optim.AdamW([{"params": p[:2]}, {"params": p[2:], "lr": 0.01}]),
}


class Training:
    """A model, its optimizer, and what the program holds on to."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        self.optimizer = MADE[name](list(self.model.parameters()))
        self.x, self.y = torch.randn(5, 3), torch.randn(5, 2)
        self.held: list[Any] = []

    def step(self) -> None:
        self.optimizer.zero_grad()
        loss = ((self.model(self.x) - self.y) ** 2).mean()
        loss.backward()
        self.optimizer.step()

    def numbers(self) -> list[np.ndarray]:
        """All that can be read, in order."""
        found = [np.array(p.tolist()) for p in self.model.parameters()]
        for entries in self.optimizer.state_dict()["state"].values():
            for name, value in entries.items():
                found.append(np.array([ord(name[-1]), *(value.flatten().tolist() if value is not None else [])]))
        for value in self.held:
            if isinstance(value, torch.Tensor):
                found.append(np.array(value.tolist()))
        return found


def first_entry(t: Training) -> Any:
    entries = next(iter(t.optimizer.state.values()), {})
    return next((v for k, v in entries.items() if k != "step"), None)


def write_entry(t: Training) -> None:
    entry = first_entry(t)
    if entry is not None:
        entry.mul_(0.5)


def write_held(t: Training) -> None:
    if t.held and isinstance(t.held[0], torch.Tensor):
        with torch.no_grad():
            t.held[0].add_(1.0)


def set_option(name: str, value: Any) -> Callable[[Training], None]:
    def change(t: Training) -> None:
        if name in t.optimizer.param_groups[-1]:
            t.optimizer.param_groups[-1][name] = value

    return change


def without_gradient(t: Training) -> None:
    p = list(t.model.parameters())[1]
    p.requires_grad_(not p.requires_grad)


def new_memory(t: Training) -> None:
    p = list(t.model.parameters())[0]
    p.data = torch.ones_like(p) * 0.25


def state_as_parameter(t: Training) -> None:
    entry, p = first_entry(t), next(t.model.parameters())
    if entry is not None and entry.shape == p.shape:  # it may be another one's, where the first was forgotten
        p.data = entry


def reload(t: Training) -> None:
    t.optimizer.load_state_dict(t.optimizer.state_dict())


def copied(t: Training) -> None:
    t.model, t.optimizer = copy.deepcopy((t.model, t.optimizer))


def pickled(t: Training) -> None:
    t.model, t.optimizer = pickle.loads(pickle.dumps((t.model, t.optimizer)))


def forgets(t: Training) -> None:
    t.optimizer.state.pop(next(t.model.parameters()), None)


def replaces_entry(t: Training) -> None:
    entries = next(iter(t.optimizer.state.values()), {})
    for name, value in entries.items():
        if name != "step":
            entries[name] = torch.ones_like(value)


def reads_in_hook(t: Training) -> None:
    t.held.append(t.optimizer.register_step_post_hook(lambda o, *_: t.held.append([v.sum().item() for s in o.state.values() for v in s.values() if v is not None])))


def writes_in_hook(t: Training) -> None:
    def write(*_: Any) -> None:
        with torch.no_grad():
            for p in t.model.parameters():
                p.mul_(0.9)

    t.held.append(t.optimizer.register_step_post_hook(write))


def fails(t: Training) -> None:
    """A step that ends with an error, before or while its results are computed."""
    run, recorder.state.run = recorder.state.run or driver.run, None

    def refuse(*_: Any) -> None:
        raise MemoryError("planted")

    recorder.state.run = refuse
    try:
        t.step()
    except MemoryError:
        pass
    finally:
        recorder.state.run = run


EVENTS: dict[str, Callable[[Training], Any]] = {
    "read": lambda t: t.numbers(),
    "hold entry": lambda t: t.held.append(first_entry(t)),
    "hold entries": lambda t: t.held.append(next(iter(t.optimizer.state.values()), None)),
    "hold table": lambda t: t.held.append(t.optimizer.state),
    "hold view": lambda t: t.held.append(e.view(-1)[:1] if (e := first_entry(t)) is not None else None),
    "hold memory": lambda t: t.held.append(e.numpy() if (e := first_entry(t)) is not None else None),
    "drop": lambda t: t.held.clear(),
    "write entry": write_entry,
    "write held": write_held,
    "rate": set_option("lr", 0.03),
    "decay": set_option("weight_decay", 0.1),
    "betas": set_option("betas", (0.5, 0.9)),
    "amsgrad": set_option("amsgrad", False),
    "maximize": set_option("maximize", True),
    "without gradient": without_gradient,
    "new memory": new_memory,
    "state as parameter": state_as_parameter,
    "reload": reload,
    "copy": copied,
    "pickle": pickled,
    "forget": forgets,
    "replace entry": replaces_entry,
    "read in hook": reads_in_hook,
    "write in hook": writes_in_hook,
    "fail": fails,
}


def trained(name: str, events: list[tuple[str, int]], tries: int) -> list[list[np.ndarray]]:
    recorder.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers, "_UNSEEN", 0)
        patch.setattr(optimizers, "_PAUSE", 0)
        patch.setattr(optimizers, "_TRIES", tries)
        t, seen = Training(name), []
        for event, steps in events:
            for _ in range(steps):
                t.step()
            EVENTS[event](t)
            seen.append([np.array(p.tolist()) for p in t.model.parameters()])
        t.step()
        t.step()
        seen.append(t.numbers())
        for value in t.held:
            if type(value).__name__ == "RemovableHandle":
                value.remove()
        return seen


@given(st.sampled_from(sorted(MADE)), st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.integers(0, 3)), max_size=5))
@example("adam", [("fail", 3), ("read", 1)])
@example("adam", [("read in hook", 0), ("fail", 1)])
@example("adam", [("forget", 1), ("state as parameter", 0)])
@example("sgd", [("state as parameter", 3), ("read", 2)])
@example("adam", [("read in hook", 2), ("write in hook", 1), ("read", 2)])
@example("two groups", [("without gradient", 3), ("without gradient", 2), ("read", 1)])
@settings(max_examples=20, deadline=None)
@pytest.mark.slow
def test_gathered_or_not_all_numbers_are_the_same(name: str, events: list[tuple[str, int]]) -> None:
    with flags.device("numpy"):
        once, never = trained(name, events, 8), trained(name, events, 0)
    for a, b in zip(once, never, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", MADE)
def test_state_nobody_looks_at_is_gathered(name: str) -> None:
    t = Training(name)
    groups = len(t.optimizer.param_groups)
    for _ in range(optimizers._UNSEEN + 3):
        t.step()
    assert len(t.optimizer._gathered_) == groups
    assert all(not entries for entries in t.optimizer._table_.values())
    state = t.optimizer.state
    assert not t.optimizer._gathered_ and all(value is not None for entries in state.values() for value in entries.values())
    for _ in range(optimizers._UNSEEN + 3):
        t.step()
    assert not t.optimizer._gathered_  # the table is held


def test_gathering_is_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    run, graphs = recorder.state.run or driver.run, []
    monkeypatch.setattr(recorder.state, "run", lambda graph, *rest: (graphs.append(graph), run(graph, *rest))[1])
    t = Training("adam")
    for _ in range(optimizers._UNSEEN + 3):
        t.step()
    assert t.optimizer._gathered_ and len(set(graphs)) == 1 and len(graphs) == optimizers._UNSEEN + 3
