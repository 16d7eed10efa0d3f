"""Tensors on a GPU, as programs use them: on the emulated device, against the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_emulation

import lamina as torch
from lamina.dialects import flags
from lamina.pyfront import placement, recorder



@pytest.fixture
def gpu():
    """LAMINA_CUDA=emulated; afterwards there is one device again."""
    with flags.cuda("emulated"):
        yield
    recorder.flush()
    placement.forget()


def test_without_a_gpu() -> None:
    with flags.cuda("off"):
        assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
        assert torch.cuda.memory_allocated() == 0 and torch.cuda.get_arch_list() == []
        for attempt in (lambda: torch.ones(2).cuda(), lambda: torch.ones(2, device="cuda"), torch.cuda.current_device):
            with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled.*LAMINA_CUDA=off"):
                attempt()
        with pytest.raises(RuntimeError, match="no device 'mps'"):
            torch.ones(2).to("mps")
        torch.cuda.manual_seed(0)
        torch.cuda.empty_cache()


@needs_emulation
def test_where_tensors_are(gpu) -> None:
    x = torch.ones(2, 3)
    y = x.to("cuda")
    assert x.device == torch.device("cpu") and y.device == torch.device("cuda", 0) and y.is_cuda and not x.is_cuda
    assert y.get_device() == 0 and y.to("cuda:0") is y and y.cpu().device.type == "cpu" and x.cpu() is x
    assert str(y) == "tensor([[1., 1., 1.],\n        [1., 1., 1.]], device='cuda:0')"
    for made in (
        torch.zeros_like(y), y.new_ones(3), y.new_tensor([1, 2]), torch.arange(4, device="cuda"), torch.rand_like(y),
        torch.tensor([1.0], device="cuda"), torch.eye(2, device="cuda"), torch.full((2,), 3, device=y.device),
        torch.randn(3, device="cuda"), y[0], y.T, y.detach(), y.clone(), torch.as_tensor([1.0], device="cuda"),
    ):  # fmt: skip
        assert made.is_cuda, made
    assert torch.tensor([1.0], device="cuda", requires_grad=True).is_leaf
    assert y.data_ptr() == y[:1].data_ptr() != x.data_ptr()
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        y.numpy()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        x.to("cuda:1")


@needs_emulation
def test_operands_on_two_devices(gpu) -> None:
    x, y = torch.ones(3, 2), torch.ones(2, 3).cuda()
    with pytest.raises(RuntimeError, match=r"at least two devices, cuda:0 and cpu!") as raised:
        x @ y
    assert "test_cuda.py" in str(raised.value) and "float32[3, 2]" in str(raised.value)
    assert (y * torch.tensor(2.0)).is_cuda  # single numbers go anywhere


@needs_emulation
@pytest.mark.slow
def test_computing_and_writing(gpu) -> None:
    x = torch.arange(12.0).reshape(3, 4)
    y = x.cuda()
    y[1] = torch.zeros(4)  # copied over
    y[0, 0] = 7
    y[:, 2] += 1
    y.copy_(y * 2)
    x[1], x[0, 0] = 0, 7
    x[:, 2] += 1
    x *= 2
    assert y.is_cuda and torch.equal(y.cpu(), x)
    assert y.sum().item() == x.sum().item() and y.argmax().item() == x.argmax().item()
    assert torch.equal(torch.cat([y, y]).sort(1).values.cpu(), torch.cat([x, x]).sort(1).values)
    z = torch.empty(3, 4, device="cuda").fill_(2)
    assert z.is_cuda and z.mean().item() == 2
    x.copy_(z)
    assert x.device.type == "cpu" and x.mean().item() == 2


@needs_emulation
@pytest.mark.slow
def test_gradients_cross_devices(gpu) -> None:
    w = torch.randn(4, 3, requires_grad=True)
    (w.cuda() * 2).square().sum().backward()
    assert w.grad.device.type == "cpu" and torch.allclose(w.grad, 8 * w.detach())
    v = torch.randn(4, 3, device="cuda", requires_grad=True)
    (v.cpu() * w).sum().backward()
    assert v.grad.is_cuda and torch.equal(v.grad.cpu(), w.detach())


def _losses(device: str) -> tuple[list[float], dict[str, np.ndarray]]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1, bias=False),  # its gradient before a BatchNorm is rounding alone
         torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(64, 5),
    ).to(device)  # fmt: skip
    x, y = torch.randn(6, 1, 8, 8).to(device), torch.randint(0, 5, (6,)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert all(p.device.type == device for p in net.parameters())
    assert all(s["exp_avg"].device.type == device for s in optimizer.state.values())
    return losses, {k: v.cpu().numpy() for k, v in net.state_dict().items()}


@needs_emulation
@pytest.mark.slow
def test_training_agrees_with_the_cpu(gpu) -> None:
    want, weights = _losses("cpu")
    got, placed = _losses("cuda")
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for name in weights:
        np.testing.assert_allclose(placed[name], weights[name], atol=2e-4, err_msg=name)  # Adam: rounding near 0 is amplified
    assert torch.cuda.memory_allocated() > 0 and torch.cuda.max_memory_allocated() >= torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() == torch.cuda.memory_allocated()


@needs_emulation
def test_streams_and_events(gpu) -> None:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    side = torch.cuda.Stream()
    x = torch.ones(3).cuda()
    with torch.cuda.stream(side):
        assert torch.cuda.current_stream() is side
        y = x.cpu()
    assert torch.cuda.current_stream() is torch.cuda.default_stream() and y.sum().item() == 3
    end.record()
    assert end.query() and start.elapsed_time(end) >= 0
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(torch.cuda.Event())
    torch.cuda.synchronize()
    assert torch.cuda.get_device_capability() == (9, 0) and torch.cuda.get_device_properties(0).total_memory > 0


@needs_emulation
def test_out_of_memory(gpu) -> None:
    gpu_memory = torch.ones(1, device="cuda")._storage.node.value.block.pool
    with pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory. Tried to allocate 9.00 GiB"):
        gpu_memory.take(9 << 30)
    assert torch.ones(2, device="cuda").sum().item() == 2

@needs_emulation
@pytest.mark.slow
def test_random_numbers_of_the_gpu(gpu) -> None:
    torch.manual_seed(3)
    host = torch.rand(3)
    torch.manual_seed(3)
    x = torch.rand(50000, device="cuda")
    assert torch.equal(torch.rand(3), host)  # the CPU's numbers are PyTorch's, whatever the GPU draws
    assert x.is_cuda and abs(x.mean().item() - 0.5) < 0.01 and abs(x.std().item() - 12**-0.5) < 0.01
    assert 0 <= x.min().item() and x.max().item() < 1
    y = torch.randn(50000, device="cuda")
    assert abs(y.mean().item()) < 0.03 and abs(y.std().item() - 1) < 0.03 and abs((y**4).mean().item() - 3) < 0.3
    i = torch.randint(-3, 4, (7000,), device="cuda")
    assert i.dtype == torch.int64 and (torch.bincount(i.cpu() + 3) - 1000).abs().max() < 150
    state = torch.cuda.get_rng_state()
    first = torch.nn.functional.dropout(torch.ones(30000, device="cuda"), 0.25)
    assert sorted(first.cpu().unique().tolist()) == pytest.approx([0, 4 / 3]) and abs(first.mean().item() - 1) < 0.02
    torch.cuda.set_rng_state(state)
    again = torch.nn.functional.dropout(torch.ones(30000, device="cuda"), 0.25)
    assert torch.equal(first.cpu(), again.cpu())
    assert not torch.equal(torch.nn.functional.dropout(torch.ones(30000, device="cuda"), 0.25).cpu(), again.cpu())
    torch.manual_seed(3)
    assert torch.equal(torch.rand(50000, device="cuda").cpu(), x.cpu())
    z = torch.empty(100, dtype=torch.float64, device="cuda").uniform_(2, 3)
    assert 2 <= z.min().item() and z.max().item() < 3


@needs_emulation
@pytest.mark.slow
def test_draws_do_not_make_new_programs(gpu) -> None:
    from lamina.backends import driver

    x = torch.ones(64, device="cuda")
    for _ in range(2):
        torch.nn.functional.dropout(x, 0.5).sum().item()
    before = len(driver.accelerator()._programs)
    for _ in range(4):
        torch.nn.functional.dropout(x, 0.5).sum().item()
    assert len(driver.accelerator()._programs) == before


@needs_emulation
@pytest.mark.parametrize("waits", ["looks at the result", "synchronizes", "computes more"])
def test_a_doubt_is_asked_when_the_host_waits(gpu, waits: str) -> None:
    """A wrong class number is told behind the step it is in, as soon as somebody waits, and at the next one at last."""
    x, wrong = torch.ones(3, 4, device="cuda"), torch.tensor([0, 4, 1], device="cuda")
    loss = torch.nn.functional.cross_entropy(x, wrong)
    recorder.flush()
    with pytest.raises(IndexError, match="A target is out of bounds"):
        if waits == "looks at the result":
            loss.item()
        elif waits == "synchronizes":
            torch.cuda.synchronize()
        else:
            kept = x + 1
            recorder.flush()
    torch.cuda.synchronize()  # it is told once
    if waits == "computes more":
        assert kept.sum().item() == 24
