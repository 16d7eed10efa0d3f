"""How many programs a script makes: one per kind of step, whatever the number of epochs."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import lamina as torch
from lamina import nn
from lamina.backends import driver
from lamina.backends.families import take_apart
from lamina.dialects import flags
from lamina.dialects.graph import Graph
from lamina.nn import functional as F
from lamina.passes.roll_graph import rolled
from lamina.pyfront import recorder


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Every Graph handed to the driver during a test."""
    seen: list[Graph] = []

    def run(graph: Graph, arrays: list[np.ndarray], *spare: object) -> list[np.ndarray]:
        seen.append(graph)
        with flags.device("numpy"):
            return driver.run(graph, arrays, *spare)

    recorder.flush()
    monkeypatch.setattr(recorder.state, "run", run)
    return seen


def small_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(48, 4),
    )


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_three_epochs_with_a_short_last_batch_and_evaluation(graphs: list[Graph], optimizer: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(22, 1, 8, 8), torch.randint(0, 4, (22,))
    data = torch.utils.data.TensorDataset(images, labels)
    train = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    test = torch.utils.data.DataLoader(data, batch_size=8)
    model, criterion = small_model(), nn.CrossEntropyLoss()
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    moved = getattr(torch.optim, optimizer)(model.parameters(), lr=0.05, **options)
    schedule = torch.optim.lr_scheduler.StepLR(moved, step_size=1, gamma=0.5)
    recorder.flush()
    graphs.clear()
    for _ in range(3):
        model.train()
        for x, y in train:
            loss = criterion(model(x), y)
            moved.zero_grad()
            loss.backward()
            moved.step()
            assert loss.item() > 0
        schedule.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in test:
                correct += (model(x).argmax(1) == y).sum().item()
        assert 0 <= correct <= 22
    assert len(graphs) == 18
    assert len(set(graphs)) == 4


def test_inference_is_one_program_from_the_first_call(graphs: list[Graph]) -> None:
    model = small_model().eval()
    x = torch.randn(2, 1, 8, 8)
    recorder.flush()
    graphs.clear()
    for _ in range(3):
        with torch.no_grad():
            model(x).sum().item()
    assert len(graphs) == 3 and len(set(graphs)) == 1


def test_inference_after_training_is_the_same_program(graphs: list[Graph]) -> None:
    model = small_model().eval()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        model(x).sum().item()
    before = graphs[-1]
    model.train()
    moved = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).sum().backward()
    moved.step()
    model.eval()
    with torch.no_grad():
        model(x).sum().item()
    assert graphs[-1] == before


def test_views_that_are_kept_do_not_show(graphs: list[Graph]) -> None:
    w = nn.Parameter(torch.ones(3, 4))
    x = torch.ones(2, 4)
    for i in range(4):
        h = x * 2
        y = h @ w.t() + w.view(4, 3).t().reshape(12)[:3].sum()
        if i == 2:
            y.sum().backward()
        y.detach().tolist()
        w.grad = None
    assert len(set(graphs)) == 2  # with and without the gradient


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.AdamW(p, 0.01)])
def test_cycled_momentum_is_one_program(graphs: list[Graph], make) -> None:
    """OneCycleLR changes the momentum (or first beta) at every step: a number of the run, not of the program."""
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12)
    for _ in range(8):
        optimizer.zero_grad()
        net(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
        schedule.step()
    assert len(graphs) >= 8 and len(set(graphs)) == 1


def test_a_layer_without_gradients_gives_its_program_the_same_arrays_in_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program made of an array (packed weights) is kept as long as it gets the same one: views of parameters, too."""
    given: list[list[np.ndarray]] = []

    def run(graph: Graph, arrays: list[np.ndarray], *spare: object) -> list[np.ndarray]:
        given.append(list(arrays))
        with flags.device("numpy"):
            return driver.run(graph, arrays, *spare)

    recorder.flush()
    layer, x = nn.ConvTranspose2d(3, 2, 2, stride=2), torch.ones(1, 3, 4, 4)
    recorder.flush()
    monkeypatch.setattr(recorder.state, "run", run)

    def call() -> tuple[list[float], list[np.ndarray]]:
        with torch.no_grad():
            y = layer(x).tolist()
        return y, given[-1]

    (first, arrays), (again, same) = call(), call()
    assert first == again and [id(a) for a in arrays] == [id(a) for a in same]
    layer(x).sum().backward()
    assert layer.weight.grad is not None and float(layer.weight.grad.sum()) == 16 * 3 * 8, "what no_grad viewed has its history elsewhere"
    with torch.no_grad():
        layer.weight.add_(1.0)
    changed, others = call()
    assert changed != first and others[1] is not arrays[1]


def two_norms() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 4))


def copied_layers() -> nn.Module:
    layer = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
    nn.init.ones_(layer[0].weight).sum().item()
    return nn.Sequential(nn.Flatten(), *[copy.deepcopy(layer) for _ in range(3)], nn.Linear(64, 4))


@pytest.mark.parametrize("make", [two_norms, copied_layers])
def test_the_first_step_is_the_program_of_all_steps(graphs: list[Graph], make) -> None:
    """Constants that layers share are no part of a layer's call; copies of a layer are parameters of their own from the start."""
    model, x, y = make(), torch.randn(5, 1, 8, 8), torch.randint(0, 4, (5,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder.flush()
    graphs.clear()
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert len(graphs) == 3 and len(set(graphs)) == 1


def test_episodes_of_any_length_are_one_program(graphs: list[Graph]) -> None:
    """An actor and a critic: a value looked at in every step, one derivative through all of them at the end of an episode."""
    torch.manual_seed(0)
    trunk, actor, critic = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 1)
    moved = torch.optim.Adam([*trunk.parameters(), *actor.parameters(), *critic.parameters()], lr=0.01)
    for length in (9, 14, 31, 22):
        saved, rewards = [], []
        for _ in range(length):
            h = torch.relu(trunk(torch.randn(3)))
            chosen = torch.distributions.Categorical(logits=actor(h))
            action = chosen.sample()
            saved.append((chosen.log_prob(action), critic(h)))
            rewards.append(float(action.item()))
        policy, value = [], []
        for (score, guess), reward in zip(saved, torch.tensor(rewards), strict=True):
            policy.append(-score * (reward - guess.item()))
            value.append(F.smooth_l1_loss(guess, reward.reshape(1)))
        moved.zero_grad()
        (torch.stack(policy).sum() + torch.stack(value).sum()).backward()
        moved.step()
    episodes = [rolled(g).graph for g in graphs if any(s.op == "autodiff.grad" for s in g.steps)]
    assert len(episodes) == 4
    assert len({take_apart(g)[0] for g in episodes[1:]}) == 1, "the first one's numbers might have been constants"
    assert max(len(g.steps) for g in episodes[1:]) < 80
