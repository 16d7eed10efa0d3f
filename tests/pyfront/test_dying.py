"""A training step works in the memory of what it replaces, exactly when nobody can see the old contents."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina as torch
from lamina.backends import driver
from lamina.pyfront import recorder
from lamina.dialects import flags

pytestmark = needs_compiler


def training(seed: int = 0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, y = torch.randn(5, 6), torch.randn(5, 3)

    def step():
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def reused() -> int:
    return max(len(program._reused.pairs) for program in driver._programs.values())


def places(model) -> list[int]:
    return [p._storage.node.value.ctypes.data for p in model.parameters()]


def test_parameters_and_optimizer_state_stay_where_they_are() -> None:
    driver._programs.clear()
    model, _, step = training()
    for _ in range(6):  # at the fourth the state is gathered, and copied for it
        step()
    before = places(model)
    step()
    assert reused() == 3 * 4  # four parameters, each with two moments
    assert places(model) == before


def test_gradients_changed_before_a_step_take_no_place_of_its_state() -> None:
    model, optimizer, _ = training()
    x, y = torch.randn(5, 6), torch.randn(5, 3)
    seen = []
    for _ in range(6):
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        seen.append([*places(model), *[m._storage.node.value.ctypes.data for s in optimizer.state.values() for m in list(s.values())[1:]]])
    assert len(seen[-1]) == 12 and seen[-1] == seen[-2] == seen[-3]


class Normed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line, self.norm = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)

    def forward(self, x):
        return torch.relu(self.norm(self.line(x)))


def test_results_of_a_step_read_one_tuple_however_they_were_recorded() -> None:
    """What a layer records again looks to reference counts like what it recorded first, or parameters before it would not be given away."""
    net, x = Normed(), torch.randn(8, 4)
    for _ in range(4):
        y = net(x)
        results = [s._storage.node.inputs[0] for s in (net.norm.running_mean, net.norm.running_var)]  # blended with what was there
        assert results[0].inputs is results[1].inputs and results[0].inputs[0].op == "batch_norm"
        y.sum().backward()
        recorder.flush()


def test_running_statistics_stay_where_they_are() -> None:
    norm, x = torch.nn.BatchNorm1d(4), torch.randn(8, 4)
    seen = []
    for _ in range(6):
        norm(x).sum().backward()
        torch.synchronize()
        seen.append([b._storage.node.value.ctypes.data for b in norm.buffers()])
    assert len(seen[-1]) == 3 and seen[-1] == seen[-2] == seen[-3]


HOLD = {
    "clone": lambda p: p.detach().clone(),
    "graph": lambda p: p * 1.5,
    "array": lambda p: p.detach().clone().numpy(),
    "view of a clone": lambda p: p.detach().clone()[:1],
    "gradient": lambda p: p.grad.clone(),
    "graph that was computed": lambda p: (p * 2, (p * 2).sum().item())[0],
}


@given(st.lists(st.tuples(st.sampled_from(sorted(HOLD)), st.integers(0, 3), st.booleans()), max_size=6))
@settings(max_examples=25, deadline=None)
def test_what_somebody_holds_keeps_its_contents(holds: list[tuple[str, int, bool]]) -> None:
    model, _, step = training()
    parameters = list(model.parameters())
    for _ in range(2):
        step()
    kept: list[tuple[object, np.ndarray]] = []
    for way, k, drop in holds:
        held = HOLD[way](parameters[k])
        kept.append((held, np.array(held.tolist())))
        step()
        if drop:
            kept.pop(0)
        for value, contents in kept:
            np.testing.assert_array_equal(np.array(value.tolist()), contents)


def test_holding_values_changes_no_number() -> None:
    runs = []
    for hold in (False, True):
        model, _, step = training()
        kept = []
        for _ in range(6):
            loss = step()
            if hold:
                kept.append((loss, [p.detach().clone() for p in model.parameters()]))
        runs.append([p.tolist() for p in model.parameters()])
    assert runs[0] == runs[1]


def test_a_graph_that_is_kept_refuses_a_second_backward_as_without_reuse() -> None:
    model, optimizer, step = training()
    for _ in range(3):
        step()
    x = torch.randn(5, 6)
    loss = model(x).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_dying_input_that_fits_no_result() -> None:
    with flags.device("c"):
        for _ in range(3):
            y = torch.ones(7) + 1
            assert y.tolist() == [2.0] * 7
            z = (y * 3).sum()
            del y
            assert z.item() == 42.0


def test_a_step_with_clipping_is_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer, _ = training()
    x, y = torch.randn(5, 6), torch.randn(5, 3)
    torch.synchronize()
    run, graphs = driver.run, []
    monkeypatch.setattr(recorder.state, "run", lambda graph, *rest: (graphs.append(graph), run(graph, *rest))[1])
    for _ in range(3):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        loss.item()
    assert len(graphs) == 3 and len(set(graphs)) == 1
