"""torch.cuda.CUDAGraph: captured regions replayed on what their tensors hold, on the emulated GPU, against the same calls one by one."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from emulated_gpu import gpu  # noqa: F401  # a fixture
from fake_driver import FakeDriver, install
from needs import needs_emulation

import lamina as torch
from lamina.backends.cuda import runtime as runtimes
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.runtime import Runtime
from lamina.dialects import flags
from lamina.pyfront import placement, recorder

pytestmark = needs_emulation


@pytest.mark.slow
def test_regions_begin_and_end_once(gpu) -> None:
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="may not be nested"), torch.cuda.graph(graph):
        torch.cuda.CUDAGraph().capture_begin()
    with torch.cuda.graph(graph):
        assert torch.cuda.is_current_stream_capturing()
    with pytest.raises(RuntimeError, match="already owns a captured graph"):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="before capture_begin"):
        torch.cuda.CUDAGraph().capture_end()
    assert not torch.cuda.is_current_stream_capturing()
    graph.replay()
    graph.reset()
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        graph.replay()


@pytest.mark.slow
def test_a_region_is_not_computed_until_it_is_replayed(gpu) -> None:
    graph, x, total = torch.cuda.CUDAGraph(), torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
    other = torch.full((3,), 7.0, device="cuda")
    x.copy_(other)  # one array under two names: the region tells them apart
    assert not torch.cuda.is_current_stream_capturing()
    with torch.cuda.graph(graph):
        assert torch.cuda.is_current_stream_capturing()
        total += x
        y, copy, part = total * 2 + other, total.clone(), total[1:]
    assert torch.equal(total.cpu(), torch.zeros(3)) and not torch.cuda.is_current_stream_capturing()
    for k in (1, 2):
        x.fill_(k)
        graph.replay()
        assert total.tolist() == copy.tolist() == [k * (k + 1) / 2] * 3 and part.tolist() == total.tolist()[1:]
        assert y.tolist() == [k * (k + 1) + 7.0] * 3 and other.tolist() == [7.0] * 3
    kept = total.clone()
    graph.replay()
    assert kept.tolist() == [3.0] * 3 and total.tolist() == [5.0] * 3


@pytest.mark.slow
def test_what_cannot_be_captured(gpu) -> None:
    graph, x = torch.cuda.CUDAGraph(), torch.ones(3, device="cuda")
    for wait in (lambda y: y.sum().item(), lambda y: y.cpu(), lambda y: torch.cuda.synchronize()):
        with pytest.raises(RuntimeError, match="operation not permitted when stream is capturing"), torch.cuda.graph(graph):
            x += 1
            wait(x)
    assert x.tolist() == [1.0] * 3 and not torch.cuda.is_current_stream_capturing()
    with pytest.raises(ValueError, match="of the program's own"), torch.cuda.graph(graph):
        x += 1  # nobody has asked for it yet
        raise ValueError("of the program's own")
    assert x.tolist() == [1.0] * 3 and (x + 1).tolist() == [2.0] * 3
    with pytest.raises(RuntimeError, match="register_generator_state"), torch.cuda.graph(graph):
        torch.rand(3, device="cuda", generator=torch.Generator(device="cuda"))


@pytest.mark.slow
def test_replays_draw_the_next_numbers(gpu) -> None:
    graph, own = torch.cuda.CUDAGraph(), torch.Generator(device="cuda")
    graph.register_generator_state(own)
    with torch.cuda.graph(graph):
        a, b = torch.rand(3, device="cuda"), torch.rand(2, device="cuda", generator=own)
    torch.cuda.manual_seed(3)
    own.manual_seed(4)
    replayed = []
    for _ in range(2):
        graph.replay()
        replayed += [a.tolist(), b.tolist()]
    torch.cuda.manual_seed(3)
    own.manual_seed(4)
    drawn = []
    for _ in range(2):
        drawn += [torch.rand(3, device="cuda").tolist(), torch.rand(2, device="cuda", generator=own).tolist()]
    assert replayed == drawn


@pytest.mark.slow
def test_wrong_indices_are_found_in_every_replay(gpu) -> None:
    graph, table, at = torch.cuda.CUDAGraph(), torch.randn(5, 2, device="cuda"), torch.tensor([1, 2], device="cuda")
    with torch.cuda.graph(graph):
        rows = torch.nn.functional.embedding(at, table)
    graph.replay()
    assert torch.equal(rows, table[1:3])
    at.copy_(torch.tensor([1, 7], device="cuda"))
    graph.replay()
    with pytest.raises(IndexError, match="index out of range in self"):
        torch.cuda.synchronize()


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, capturable=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), capturable=True),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01, capturable=True),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.01, t0=2, lambd=0.01, capturable=True),
}


def _trained(name: str, by_graph: bool, warm: int, steps: int = 1) -> tuple[list[float], list[np.ndarray]]:
    """Losses of five turns, and what there is afterwards: parameters, buffers, gradients and counts."""
    torch.manual_seed(0)
    torch.cuda.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(6, 3)).cuda()
    optimizer, x, y = OPTIMIZERS[name](net.parameters()), torch.randn(4, 8).cuda(), torch.randn(4, 3).cuda()
    batches = [(torch.randn(4, 8).cuda(), torch.randn(4, 3).cuda()) for _ in range(5)]

    def step() -> torch.Tensor:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warm):
            step()
    torch.cuda.current_stream().wait_stream(side)
    if by_graph:
        graph = torch.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            loss = step()
    losses = []
    for batch, target in batches:
        x.copy_(batch)
        y.copy_(target)
        if by_graph:
            graph.replay()
        else:
            loss = step()
        losses.append(loss.item())
    kept = [*net.parameters(), *net.buffers(), *[p.grad for p in net.parameters()]]
    kept += [entry for state in optimizer.state.values() for entry in state.values() if entry is not None]
    return losses, [torch.as_tensor(t).detach().cpu().numpy() for t in kept]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "warm", "steps"), [("SGD", 3, 1), ("Adam", 3, 1), ("Adam", 0, 2), ("AdamW", 2, 1), ("NAdam", 2, 1)])
def test_a_whole_step_of_training(gpu, name: str, warm: int, steps: int) -> None:
    """Forward, backward and update in one region, dropout and running statistics in it; optimizers may begin within it."""
    one_by_one, replayed = _trained(name, False, warm, steps), _trained(name, True, warm, steps)
    np.testing.assert_allclose(replayed[0], one_by_one[0], rtol=1e-6)
    for got, want in zip(replayed[1], one_by_one[1], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_replays_come_back_to_the_same_memory(monkeypatch) -> None:
    """Parameters are updated where they are and new batches are copied to one place: one of the driver's graphs serves every replay."""
    fake = FakeDriver()
    install(monkeypatch, fake)
    monkeypatch.setattr(runtimes, "_runtimes", {"auto": Runtime(Device())})
    with flags.cuda("auto"):
        net = torch.nn.Linear(4, 2).cuda()
        optimizer, x = torch.optim.Adam(net.parameters(), lr=0.1, capturable=True), torch.zeros(3, 4).cuda()
        batches = [torch.full((3, 4), float(i)).cuda() for i in range(12)]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = net(x).square().sum()
            loss.backward()
            optimizer.step()
        fake.calls.clear()
        seen = []
        for batch in batches:
            x.copy_(batch)
            graph.replay()
            seen.append((net.weight.data_ptr(), fake.times("cuGraphInstantiate"), fake.times("cuGraphLaunch")))
        torch.cuda.synchronize()
        gc.collect()
    recorder.flush()
    placement.forget()
    assert seen[-1][0] == seen[2][0] and seen[-1][1] == seen[4][1] and seen[-1][2] == seen[4][2] + len(batches) - 5, seen
