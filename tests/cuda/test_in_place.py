"""Updates on a GPU happen where the parameters lie, unless somebody else still looks at them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from needs import needs_emulation

from fake_driver import FakeDriver, install

import lamina as torch
from lamina.backends import driver
from lamina.backends.cuda import runtime as runtimes
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.runtime import Runtime
from lamina.dialects import flags
from lamina.pyfront import placement, recorder

pytestmark = needs_emulation


@pytest.fixture(autouse=True)
def one_device_again(monkeypatch) -> Iterator[None]:
    """Runtimes of its own for every test, and nothing on a GPU behind it."""
    monkeypatch.setattr(runtimes, "_runtimes", {})
    yield
    recorder.flush()
    placement.forget()


@pytest.fixture
def emulated() -> Iterator[None]:
    with flags.cuda("emulated"):
        yield


def address(tensor: torch.Tensor) -> int:
    """Where a tensor that was computed lies on the device."""
    tensor.sum().item()
    return tensor._storage.node.value.address


def model() -> tuple[torch.Tensor, torch.optim.Optimizer]:
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3).cuda())
    return weight, torch.optim.AdamW([weight], lr=0.1)


def step(weight: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    (torch.linspace(-1, 1, 8).reshape(2, 4).cuda() @ weight).square().sum().backward()
    optimizer.step()


@pytest.mark.slow
def test_parameters_and_state_stay_where_they_are(emulated) -> None:
    weight, optimizer = model()
    step(weight, optimizer)
    before = address(weight)
    state = optimizer.state[weight]
    moments = [address(state[name]) for name in ("exp_avg", "exp_avg_sq")]
    for _ in range(3):
        step(weight, optimizer)
        assert address(weight) == before
    assert [address(state[name]) for name in ("exp_avg", "exp_avg_sq")] == moments


@pytest.mark.parametrize("keep", [lambda w: w.detach().clone(), lambda w: w * 1.0])
def test_what_was_read_before_keeps_its_values(emulated, keep) -> None:
    weight, optimizer = model()
    step(weight, optimizer)
    kept = keep(weight)
    address(kept)
    before = kept.detach().cpu().numpy().copy()
    for _ in range(2):
        step(weight, optimizer)
    assert (kept.detach().cpu().numpy() == before).all()


def test_an_array_that_is_held_elsewhere_is_not_overwritten(emulated) -> None:
    weight, optimizer = model()
    step(weight, optimizer)
    address(weight)
    array = weight._storage.node.value
    before = driver.accelerator().download(array)
    step(weight, optimizer)
    assert address(weight) != array.address
    assert (driver.accelerator().download(array) == before).all()


def test_a_view_of_its_memory_keeps_an_array(emulated) -> None:
    weight, optimizer = model()
    step(weight, optimizer)
    address(weight)
    view = weight._storage.node.value.reshaped((12,))
    before = driver.accelerator().download(view)
    step(weight, optimizer)
    assert address(weight) != view.address
    assert (driver.accelerator().download(view) == before).all()


def test_one_cuda_graph_serves_a_training_loop(monkeypatch) -> None:
    """Addresses that stay are one key: the first step launches, the second is captured, later ones are one call to the driver."""
    fake = FakeDriver()
    install(monkeypatch, fake)
    monkeypatch.setattr(runtimes, "_runtimes", {"auto": Runtime(Device())})
    with flags.cuda("auto"):
        weight, optimizer = model()
        batch = torch.linspace(-1, 1, 8).reshape(2, 4).cuda()
        seen = []
        for _ in range(8):
            optimizer.zero_grad()
            (batch @ weight).softmax(-1).square().sum().backward()
            optimizer.step()
            seen.append((fake.times("cuGraphInstantiate"), fake.times("cuGraphLaunch")))
        torch.cuda.synchronize()
    assert seen[-1][0] == seen[-3][0] and seen[-1][1] == seen[-3][1] + 2, seen


@pytest.mark.slow
def test_one_cuda_graph_serves_convolutions_with_running_statistics(monkeypatch) -> None:
    fake = FakeDriver()
    install(monkeypatch, fake)
    monkeypatch.setattr(runtimes, "_runtimes", {"auto": Runtime(Device())})
    with flags.cuda("auto"):
        net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2)).cuda()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        batch = torch.linspace(-1, 1, 72).reshape(2, 1, 6, 6).cuda()
        seen = []
        for _ in range(8):
            optimizer.zero_grad()
            net(batch).square().sum().backward()
            optimizer.step()
            seen.append(([p._storage.node.value.address for p in net.parameters()], fake.times("cuGraphInstantiate"), fake.times("cuGraphLaunch")))
        torch.cuda.synchronize()
    assert seen[-1][0] == seen[-2][0] == seen[-3][0]
    assert seen[-1][1] == 1 and seen[-1][2] == seen[-3][2] + 2, [counts for _, *counts in seen]


@pytest.mark.slow
def test_the_host_goes_on_while_a_step_is_computed(monkeypatch) -> None:
    """Whether class numbers are in range is asked at the next step: nothing is waited for behind a launch."""
    fake = FakeDriver()
    install(monkeypatch, fake)
    monkeypatch.setattr(runtimes, "_runtimes", {"auto": Runtime(Device())})
    with flags.cuda("auto"):
        weight, optimizer = model()
        batch, classes = torch.linspace(-1, 1, 8).reshape(2, 4).cuda(), torch.tensor([0, 2]).cuda()
        for _ in range(6):
            fake.calls.clear()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(batch @ weight, classes).backward()
            optimizer.step()
        assert fake.calls[-1] == "cuGraphLaunch" and fake.calls.index("cuCtxSynchronize") < fake.calls.index("cuGraphLaunch")
        torch.cuda.synchronize()
        assert fake.calls[-1] == "cuCtxSynchronize"
