"""Tensors on a GPU, as programs use them: on the emulated device, against the CPU."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from emulated_gpu import gpu  # noqa: F401  # a fixture
from needs import needs_compiler, needs_emulation

import lamina as torch
from lamina.dialects import flags
from lamina.pyfront import device_capsules, known_calls, quick, recorder
from lamina.pyfront.node import PHRASE


@pytest.fixture(params=["python", pytest.param("c", marks=needs_compiler)])
def recorded_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Who records, whatever the process has done before."""
    quick.slow()
    recorder.state.quick = True
    if request.param == "c":
        recorder.quicken()
    yield
    quick.slow()
    recorder.state.quick = False


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
def test_constants_are_made_on_the_gpu(gpu, monkeypatch) -> None:
    """Nothing is sent, and what is too large for the GPU is told as such."""
    from lamina.backends import driver

    device = driver.accelerator().device
    monkeypatch.setattr(type(device), "upload", lambda *_: pytest.fail("sent from the host"))
    monkeypatch.setattr(device, "fill", lambda address, element, count: filled.append((element[()], element.dtype.name, count)), raising=False)
    filled: list = []
    x = torch.zeros(2, 3, device="cuda")
    for made in (torch.full((3,), -1, dtype=torch.uint8, device="cuda"), torch.ones_like(x), x.new_full((2,), 2.5), torch.empty(0, device="cuda")):
        assert made.is_cuda
    assert filled == [(0.0, "float32", 6), (255, "uint8", 3), (1.0, "float32", 6), (2.5, "float32", 2), (0.0, "float32", 0)]
    with pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory. Tried to allocate 4096.00 GiB for an array"):
        torch.empty(1 << 40, device="cuda")


@needs_emulation
@pytest.mark.slow
def test_constants_are_what_they_are_on_the_cpu(gpu) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.float64):
        for value in (0, 1, -3, 0.1) if dtype is not torch.bool else (True, False):
            assert torch.equal(torch.full((3, 5), value, dtype=dtype, device="cuda").cpu(), torch.full((3, 5), value, dtype=dtype))
    assert torch.full((2,), -0.0, device="cuda").cpu().signbit().all()
    step = torch.compile(lambda x: x + torch.ones(3, device="cuda"))
    assert [step(torch.ones(3, device="cuda")).sum().item() for _ in range(3)] == [6.0] * 3


@needs_emulation
@pytest.mark.slow
def test_draws_follow_their_operands(gpu) -> None:
    p = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]], device="cuda")
    picked = torch.stack([torch.multinomial(p, 1)[:, 0] for _ in range(60)])
    assert picked.is_cuda and (picked[:, 0] == 1).all() and 0 < (picked[:, 1] == 0).sum() < 30
    assert torch.multinomial(p[1], 3).sort().values.tolist() == [0, 1, 2] and torch.multinomial(p[1], 9, replacement=True).is_cuda
    hits = torch.bernoulli(torch.full((4000,), 0.25, device="cuda", dtype=torch.bfloat16))
    assert hits.is_cuda and hits.dtype is torch.bfloat16 and abs(hits.float().mean().item() - 0.25) < 0.04
    ones = torch.ones(3, device="cuda")
    for made in (torch.normal(ones, ones), torch.normal(0.0, 1.0, (3,), device="cuda"), torch.poisson(ones), torch.binomial(ones, ones),
                 torch.randperm(3, device="cuda"), ones.clone().cauchy_(), ones.clone().geometric_(0.5)):  # fmt: skip
        assert made.is_cuda and made.shape == (3,)
    with pytest.raises(RuntimeError, match="element < 0"):
        torch.multinomial(-p, 1).cpu()
    with pytest.raises(RuntimeError, match="sum of probabilities <= 0"):
        torch.multinomial(0 * p, 1).cpu()


@needs_emulation
@pytest.mark.slow
def test_distributions_are_where_their_parameters_are(gpu) -> None:
    one, two = torch.ones(1, device="cuda"), torch.ones(2, device="cuda")
    d = torch.distributions
    for made in (d.Normal(one, 2.0), d.Gamma(one, one), d.Beta(one, one), d.Dirichlet(two), d.VonMises(one, one), d.LKJCholesky(3, one), d.StudentT(one),
                 d.Wishart(3 * one, torch.eye(2, device="cuda")), d.ContinuousBernoulli(0.3 * one), d.Categorical(two), d.Poisson(one), d.Cauchy(one, one),
                 d.MultivariateNormal(two, torch.eye(2, device="cuda")), d.LogisticNormal(two, two), d.Binomial(3, 0.5 * one), d.Multinomial(4, two)):  # fmt: skip
        drawn = made.sample((2,))
        assert drawn.is_cuda and made.log_prob(drawn).is_cuda, made


@needs_emulation
@pytest.mark.slow
def test_what_the_host_finds_goes_back(gpu) -> None:
    """Operations that numpy makes, and numbers they bring along, are where their operands are."""
    x = torch.tensor([[3.0, 1.0], [1.0, 2.0]], device="cuda")
    for found in (torch.searchsorted(x[1], x), torch.bucketize(x, x[1]), x.mode().indices, torch.combinations(x[0]), x.masked_scatter(x > 1, -x), torch.isin(x, 1.0),
                  torch.repeat_interleave(x, torch.tensor([1, 2], device="cuda"), 0), torch.linalg.lu_factor(x).pivots, torch.mvlgamma(x, 2),
                  torch.special.bessel_j0(x), torch.nextafter(x, -x), torch.frexp(x).exponent, x.histc(2), torch.nn.functional.pdist(x)):  # fmt: skip
        assert found.is_cuda, found
    x[torch.tensor([1, 0], device="cuda"), 1] = x[0]
    assert x.tolist() == [[3, 1], [1, 3]]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x[..., None], torch.tensor([2, 1]), batch_first=True)
    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    assert padded[..., 0].tolist() == [[3, 1], [1, 0]] and padded.is_cuda and lengths.tolist() == [2, 1]
    table = torch.nn.Embedding(4, 2, sparse=True).to("cuda")
    optimizer = torch.optim.SparseAdam(table.parameters())
    table(torch.tensor([1, 3], device="cuda")).sum().backward()
    optimizer.step()
    assert table.weight.is_cuda


@needs_emulation
@pytest.mark.slow
def test_a_data_set_on_the_gpu_gives_batches_there(gpu) -> None:
    from lamina.backends import driver

    x, y = torch.arange(24.0).reshape(12, 2).cuda(), torch.arange(12).cuda()
    whole = torch.utils.data.TensorDataset(x, y)
    seen: list[int] = []
    for epoch in range(3):
        for rows, numbers in torch.utils.data.DataLoader(whole, batch_size=4, shuffle=True):
            assert rows.is_cuda and numbers.is_cuda and (rows[:, 0] == 2 * numbers).all()
            seen += numbers.tolist()
        if not epoch:
            before = len(driver.accelerator()._programs)
    assert sorted(seen) == sorted(3 * list(range(12))) and len(driver.accelerator()._programs) == before
    part = torch.utils.data.Subset(whole, [3, 5])
    assert [n.tolist() for _, n in torch.utils.data.DataLoader(part, batch_size=2)] == [[3, 5]] and whole[3][0].is_cuda
    rows, _ = next(iter(torch.utils.data.DataLoader([(x[i], i) for i in range(12)], batch_size=12)))
    rows += 1  # a copy
    assert rows.is_cuda and x.tolist() == torch.arange(24.0).reshape(12, 2).tolist()


@needs_emulation
def test_what_is_asked_to_be_there_is(gpu) -> None:
    x = torch.ones(2, 2, device="cuda")
    assert torch.ones(2).type_as(x).is_cuda and pickle.loads(pickle.dumps(x)).is_cuda and torch.vander(x[0]).is_cuda
    assert torch.nn.Transformer.generate_square_subsequent_mask(3, device="cuda").is_cuda
    assert x.sum().max(0).indices.is_cuda and torch.isreal(x).is_cuda


@needs_emulation
@pytest.mark.slow
def test_an_optimizers_state_goes_where_its_parameters_are(gpu, tmp_path) -> None:
    def trained(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        layer(torch.ones(2, 3, device="cuda")).square().sum().backward()
        optimizer.step()
        return layer.weight.detach().cpu()

    first, second = torch.nn.Linear(3, 2).to("cuda"), torch.nn.Linear(3, 2).to("cuda")
    optimizer = torch.optim.Adam(first.parameters())
    trained(first, optimizer)
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c.pt")
    saved = torch.load(tmp_path / "c.pt", map_location="cpu")
    second.load_state_dict(saved["model"])
    again = torch.optim.Adam(second.parameters())
    again.load_state_dict(saved["optimizer"])
    assert all(s["exp_avg"].is_cuda for s in again.state.values())
    first.zero_grad()
    assert torch.equal(trained(first, optimizer), trained(second, again))


@needs_emulation
def test_names_that_programs_ask(gpu) -> None:
    assert torch.cuda.memory.memory_allocated() >= 0 and torch.cuda.streams.Stream is torch.cuda.Stream
    assert torch.cuda.is_tf32_supported() and not torch.cuda.can_device_access_peer(0, 0) and not torch.cuda.is_current_stream_capturing()
    side = torch.cuda.Stream(priority=-1)
    assert side.priority == -1 and side.device == torch.device("cuda", 0) and side != torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.set_stream(side)
    assert torch.cuda.current_stream() is side
    torch.cuda.set_stream(torch.cuda.default_stream())
    layer = torch.nn.Linear(2, 2).cuda()
    assert torch.cuda.make_graphed_callables(layer, (torch.ones(1, 2, device="cuda"),)) is layer
    stats = torch.cuda.memory_stats_as_nested_dict()
    assert stats["allocated_bytes"]["all"]["current"] == torch.cuda.memory_allocated() > 0
    torch.set_default_tensor_type("torch.cuda.FloatTensor")
    assert torch.ones(1).is_cuda
    torch.set_default_tensor_type("torch.FloatTensor")
    assert not torch.ones(1).is_cuda


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


@needs_emulation
def test_calls_are_known_on_the_gpu(gpu, recorded_by: None) -> None:
    """What a function or a layer recorded there is one Node from the second call on, apart from what it recorded on the CPU."""
    for calls in known_calls._everyone:  # other tests may have tried in vain
        calls.clear()
        calls.tries = known_calls._MOST_TRIES
    x, kept = torch.ones(3, 4, device="cuda"), torch.ones(3, 4)
    for _ in range(3):
        there, here = (torch.dist(t, t + 1) for t in (x, kept))
        assert there.is_cuda and here.device.type == "cpu"
    assert there._read().op == here._read().op == PHRASE
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.ReLU())
    with torch.no_grad():
        for _ in range(4):
            net(kept)  # draws on the host
        net.cuda()
        for _ in range(4):
            assert net(x).is_cuda
        with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu!"):
            net(kept)
        draws = torch.rand(2, 3, device="cuda")._read()
    assert draws.op == PHRASE and len(draws.inputs) == 2


@needs_emulation
def test_an_update_of_all_parameters_is_recorded_at_once(gpu) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)).cuda()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer._inside_ = True  # nothing is computed at its end
    optimizer.step()
    sources = {id(p._storage.node.inputs[0]) for p in net.parameters()}
    assert len(sources) == 1 and net[0].weight._storage.node.inputs[0].op == PHRASE


@needs_emulation
def test_fills_generators_and_pinned_memory(gpu) -> None:
    x = torch.zeros(3, device="cuda")
    assert torch.fill(x, 2.0).is_cuda and torch.zero(x).is_cuda and torch.fill(torch.ones(2), 1.0).device.type == "cpu"
    (generator,) = torch.cuda.default_generators
    assert generator.device == torch.device("cuda", 0) and generator.initial_seed() == torch.cuda.initial_seed()
    generator.manual_seed(5)
    state = generator.clone_state().get_state()
    assert torch.equal(state, torch.cuda.get_rng_state())
    pinned = torch.ones(4).pin_memory()
    assert pinned[1:].is_pinned() and pinned.pin_memory() is pinned and not torch.ones(4).is_pinned()
    with pytest.raises(RuntimeError, match="cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"):
        x.pin_memory()


class Lender:
    """Another library's array on the GPU: one of ours behind the protocol."""

    def __init__(self, tensor, **options) -> None:
        self.tensor, self.options = tensor, options

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **_):
        return self.tensor.__dlpack__(**self.options)


@needs_emulation
@pytest.mark.slow
def test_capsules_of_memory_on_the_gpu(gpu) -> None:
    x = torch.arange(12.0).reshape(3, 4).cuda()
    assert x.__dlpack_device__() == (2, 0)
    for options in ({}, {"max_version": (1, 0)}, {"copy": True}):
        part = torch.from_dlpack(Lender(x[1:, ::2], **options))
        assert part.is_cuda and (part.stride() == (4, 2) or "copy" in options)
        assert part.tolist() == [[4.0, 6.0], [8.0, 10.0]]
    for dtype in (torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint8):
        given = torch.ones(2, 3, dtype=dtype).cuda()
        taken = torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(given))
        assert taken.dtype is dtype and taken.is_cuda and taken.tolist() == given.tolist()
    capsule = x.__dlpack__()
    x.fill_(3.0)  # elsewhere: what was lent stays
    assert torch.from_dlpack(capsule).tolist()[2][3] == 11.0 and device_capsules._lent == {}
    with pytest.raises(BufferError, match="nobody has taken yet"):
        torch.from_dlpack(capsule)
    x.__dlpack__()  # nobody takes it
    assert device_capsules._lent == {}
    assert torch.from_dlpack(Lender(torch.empty(0, 3).cuda())).shape == (0, 3) and torch.from_dlpack(Lender(torch.tensor(2.0).cuda())).item() == 2.0
    assert not (host := torch.from_dlpack(x.__dlpack__(dl_device=(1, 0)))).is_cuda and host.tolist() == x.tolist()
    shared = torch.from_dlpack(x)
    x.add_(1.0)
    assert shared.tolist() == x.tolist()
    with pytest.raises(BufferError, match="cannot be exported to"):
        x.__dlpack__(dl_device=(10, 0))
    with pytest.raises(BufferError, match="require gradient"):
        x.requires_grad_().__dlpack__()


@needs_emulation
def test_other_libraries_find_where_a_tensor_is(gpu) -> None:
    x = torch.arange(12.0).reshape(3, 4).cuda()
    told = x[1:, ::2].__cuda_array_interface__
    assert told["typestr"] == "<f4" and told["shape"] == (2, 2) and told["strides"] == (16, 8) and told["version"] == 2
    here = ctypes.cast(told["data"][0], ctypes.POINTER(ctypes.c_float))  # the emulated GPU's memory is the host's
    assert [here[0], here[2], here[4]] == [4.0, 6.0, 8.0] and told["data"][0] == x.data_ptr() + 16
    x.fill_(3.0)
    assert ctypes.cast(x.data_ptr(), ctypes.POINTER(ctypes.c_float))[0] == 3.0 and x.__cuda_array_interface__["strides"] is None
    assert not hasattr(torch.ones(2), "__cuda_array_interface__")
    with pytest.raises(RuntimeError, match="on Variable that requires grad"):
        x.requires_grad_().__cuda_array_interface__
