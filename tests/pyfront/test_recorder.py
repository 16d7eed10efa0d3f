"""Recorder and schedule: what a flush computes, equal Graphs for equal programs, run-time scalars, kept
values, errors."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from lamina.backends import driver
from lamina.dialects import flags
from lamina.dialects.errors import DTypeError, ShapeError
from lamina.dialects.graph import Graph
from lamina.pyfront import recorder


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Every Graph handed to the driver during a test."""
    seen: list[Graph] = []

    def run(graph: Graph, arrays: list[np.ndarray], spare: object = None) -> list[np.ndarray]:
        seen.append(graph)
        with flags.device("numpy"):
            return driver.run(graph, arrays)

    recorder.flush()
    monkeypatch.setattr(recorder.state, "run", run)
    return seen


def ops(graph: Graph) -> list[str]:
    return [step.op for step in graph.steps]


def test_nothing_is_computed_before_it_is_needed(graphs: list[Graph]) -> None:
    y = (torch.tensor([1.0]) + 1).exp()
    assert not graphs
    y.item()
    assert [ops(g) for g in graphs] == [["full", "add", "exp"]]
    y.item()
    assert len(graphs) == 1


def test_dead_values_are_never_computed(graphs: list[Graph]) -> None:
    x = torch.tensor([1.0, 2.0])
    x.exp()
    y = x.sin()
    recorder.flush()
    assert [ops(g) for g in graphs] == [["sin"]]
    assert y.tolist() == pytest.approx(np.sin([1.0, 2.0]).tolist())


def test_only_live_tensors_become_outputs(graphs: list[Graph]) -> None:
    x = torch.tensor([1.0, 2.0])
    y = ((x + x).exp() * x).sum()
    recorder.flush()
    assert len(graphs[0].outputs) == 1
    assert y.shape == ()


def test_same_program_gives_equal_graphs(graphs: list[Graph]) -> None:
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def train() -> None:
        loss = ((w * w - 1) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w.sub_(w.grad * 0.1)
        w.grad = None
        recorder.flush()

    for _ in range(4):
        train()
    assert len({*graphs}) == 1
    assert graphs[0].steps[-1].op == "sub" and "autodiff.grad" in ops(graphs[0])


def test_one_buffer_is_one_input(graphs: list[Graph]) -> None:
    x = torch.tensor([1.0, 2.0])
    y = x.clone()
    (x * y + x.detach()).tolist()
    assert len(graphs[0].inputs) == 1
    z = torch.tensor([1.0, 2.0])
    (x * z).tolist()
    assert len(graphs[1].inputs) == 2


def test_names_and_origins_reach_the_graph(graphs: list[Graph]) -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    w.name = "fc.weight"
    (w * 2).tolist()
    recorder.flush()
    assert any("fc.weight" in g.names for g in graphs)
    assert graphs[-1].origins[-1].startswith("test_recorder.py:")


def test_a_number_that_changes_becomes_a_runtime_scalar(graphs: list[Graph]) -> None:
    x = torch.tensor([1.0, 2.0])
    results = []
    for rate in (0.5, 0.25, 0.125, 0.0625):
        results.append((x * rate).tolist())
    assert results == [[0.5, 1.0], [0.25, 0.5], [0.125, 0.25], [0.0625, 0.125]]
    assert len({*graphs}) == 2, "one Graph with the constant, one with the scalar as input"


def test_a_number_that_returns_stays_a_runtime_scalar(graphs: list[Graph]) -> None:
    """Beside one that is always the same, on shapes in turn: each operator remembers its own number."""
    x, z = torch.ones(3), torch.ones(2, 2)
    for rate in (0.5, 0.5, 0.25, 0.5, 0.25):
        assert (x * rate).tolist() == [rate] * 3
        for w in (x, z, x):
            assert (w * 3.0 + 1).sum().item() == 4.0 * w.numel()
    scaled = [g for g in graphs if [s.op for s in g.steps][-1:] == ["mul"]]
    assert [len(g.inputs) for g in scaled] == [1, 1, 2, 2, 2] and len({*scaled}) == 2


def test_slices_of_data_do_not_split_the_cache(graphs: list[Graph]) -> None:
    data = torch.arange(12.0).reshape(6, 2)
    sums = [data[i : i + 2].exp().sum().item() for i in range(0, 6, 2)]
    assert len({*graphs}) == 1 and len(sums) == 3


def test_history_of_untracked_values_is_dropped(graphs: list[Graph]) -> None:
    x = torch.zeros(2)
    for _ in range(50):
        x = x + 1
    recorder.flush()
    assert x._read().inputs == ()
    assert x.tolist() == [50.0, 50.0]


def test_pending_nodes_are_bounded(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    """What repeats itself goes on to the greatest length, and is cut where it was cut before: equal parts are one program."""
    monkeypatch.setattr(recorder, "PENDING_LIMIT", 240)
    monkeypatch.setattr(recorder, "LONGEST", 960)
    recorder.flush()
    x, w = torch.zeros(1, 1), torch.full((1, 1), 0.5)
    for _ in range(1000):
        x = x @ w
        x = x + 1
        x = x - 0
    assert x.item() == 2
    assert all(len(graph.steps) > 400 for graph in graphs[:-1])
    assert len(graphs) > 3 and len(set(graphs[1:-1])) == 1
    graphs.clear()
    x = torch.zeros(1)
    for n in range(260):  # as many types as steps
        x = torch.cat([torch.sin(x), x[:1]])
    x.sum().item()
    assert len(graphs) > 1, "what does not repeat itself is computed at the bound"
    graphs.clear()
    w = torch.zeros(2, requires_grad=True)
    for _ in range(60):
        (g,) = torch.autograd.grad((w * w - w).sum(), w)
        with torch.no_grad():
            w.sub_(0.1 * g)
    assert w.tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert len(graphs) > 2, "gradients in the loop: it would not be rolled"


def test_a_flushed_forward_keeps_no_copies(graphs: list[Graph]) -> None:
    """A buffer as it was before each write is made again where the derivative asks for it."""
    w, out = torch.ones(3, 3, requires_grad=True), torch.zeros(5, 3)
    h = torch.ones(3)
    for t in range(5):
        h = torch.tanh(w @ h)
        out[t] = h
    loss = (torch.cat([out, out]) ** 2).sum()
    assert loss.item() > 0
    types = [graphs[-1].types[i][0] for i in graphs[-1].outputs]
    assert (10, 3) not in types and types.count((5, 3)) == 1
    loss.backward()
    assert w.grad.abs().sum().item() > 0


def test_a_flushed_forward_keeps_what_backward_needs(graphs: list[Graph]) -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = (x @ x).tanh().sum()
    loss.item()
    loss.backward()
    x.grad.tolist()
    assert ops(graphs[0])[0] == "matmul" and len(graphs[0].outputs) > 1
    assert "autodiff.saved" in ops(graphs[1])
    t = np.tanh(np.array([[7.0, 10.0], [15.0, 22.0]]))
    g, a = 1 - t * t, np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(x.grad.numpy(), g @ a.T + a.T @ g, rtol=1e-4, atol=1e-6)


def test_a_freed_graph_is_let_go(graphs: list[Graph]) -> None:
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).exp().sum()
    loss.backward()
    recorder.flush()
    assert loss._read().inputs == ()


def test_gradients_stop_at_detach_between_shared_buffers() -> None:
    with flags.device("numpy"):
        w, b = torch.tensor([2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
        with torch.no_grad():
            c = w * b  # a value that depends on both leaves, but not for autograd
        (c * w + b.detach() * b).sum().backward()
        assert w.grad.tolist() == [6.0] and b.grad.tolist() == [3.0]


def test_two_leaves_on_one_buffer_have_their_own_gradients() -> None:
    with flags.device("numpy"):
        x = torch.tensor([2.0], requires_grad=True)
        y = x.detach().requires_grad_()
        (x * y * y).sum().backward()
        assert x.grad.tolist() == [4.0] and y.grad.tolist() == [8.0]


def test_reading_under_no_grad_leaves_the_history_alone() -> None:
    with flags.device("numpy"):
        w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        view = w.t()
        with torch.no_grad():
            w.mul_(2)
            assert not (view + 0).requires_grad and not w.view(4).requires_grad
            assert w.view(4).tolist() == [2.0, 4.0, 6.0, 8.0]
            untracked = w[0]
        assert not untracked.requires_grad
        (view * view + w.view(4).view(2, 2)).sum().backward()
        assert w.grad.tolist() == [[5.0, 9.0], [13.0, 17.0]]


def test_errors_name_operands_and_line() -> None:
    a, b = torch.ones(2, 3), torch.ones(2, 4)
    with pytest.raises(ShapeError) as caught:
        a + b
    text = str(caught.value)
    assert (
        "float32[2, 3]" in text and "float32[2, 4]" in text and "test_recorder.py" in text and "help:" in text
    )
    with pytest.raises(DTypeError):
        torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="no device 'cuda'"):
        torch.ones(2).cuda()


def test_memory_is_shared_with_numpy_both_ways() -> None:
    array = np.zeros(3)
    t = torch.from_numpy(array)
    before = t + 0
    array[0] = 5
    assert t.tolist() == [5.0, 0.0, 0.0] and before.tolist() == [0.0, 0.0, 0.0]
    t[1:] = 7
    assert array.tolist() == [5.0, 7.0, 7.0]
    view = t.numpy()
    view[2] = -1
    assert t[2].item() == -1.0 and array[2] == -1.0


def test_memory_nobody_shares_any_more_is_taken_back() -> None:
    t = torch.from_numpy(np.ones(3))
    t.tolist()
    assert t._storage.host is None
    t.add_(1)
    assert t.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("action", ["backward", "item"])
def test_views_of_a_changed_base_are_read_anew(action: str) -> None:
    with flags.device("numpy"):
        base = torch.zeros(4)
        view = base[1:3].view(2, 1)
        base += 1
        assert view.tolist() == [[1.0], [1.0]]
        view.mul_(5)
        assert base.tolist() == [1.0, 5.0, 5.0, 1.0]


def test_a_place_is_named_after_the_code_that_runs_there_now(monkeypatch):
    from lamina.pyfront import origin

    monkeypatch.setattr(origin, "_MOST_CODES", 20)
    x = torch.ones(2)
    for line in range(1, 60):  # each code object dies, and the next one may lie where it lay
        scope = {"x": x}
        exec(compile("\n" * line + "y = x.exp() * 2.0", f"made_{line % 7}.py", "exec"), scope)
        assert scope["y"]._node.origin == scope["y"]._node.inputs[0].origin == f"made_{line % 7}.py:{line + 1}"


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, target: torch.nn.functional.cross_entropy(x, target),
        lambda x, target: torch.nn.functional.layer_norm(x, (10,)),
    ],
    ids=["classes nobody knows yet", "a norm without weights"],
)
def test_constants_that_are_only_computed_with_are_no_arrays(compute, graphs: list[Graph]) -> None:
    """They are numbers of the program: as inputs they would be read (and sent to a GPU) in every step."""
    x, target = torch.randn(6, 10), torch.arange(6) % 9
    recorder.flush()
    graphs.clear()
    compute(x, target + 1).sum().item()
    (graph,) = graphs
    assert [shape for shape, _ in graph.inputs].count((6, 10)) == 1 and "full" in ops(graph)
