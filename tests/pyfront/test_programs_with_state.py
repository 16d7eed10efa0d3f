"""Programs of their own that keep something: buffers a call writes, and random numbers, in Python, C and ONNX."""

from __future__ import annotations

import sys
from pathlib import Path

import lamina as torch
import numpy as np
import pytest
from lamina import nn
from lamina.dialects.errors import FileError, LaminaError
from lamina.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from c_library import Library  # noqa: E402


class Counts(nn.Module):
    """Writes buffers in place, through batch norm, and by putting another tensor in a buffer's place; one it never reads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("last", torch.zeros(3, 4))

    def forward(self, x):
        self.calls += 1
        self.mean = 0.5 * self.mean + x.mean(0)
        self.last.copy_(x)
        return self.norm(x) - self.mean, self.calls * 10


def state_of(model: nn.Module) -> dict[str, list]:
    return {name: t.tolist() for name, t in model.state_dict().items()}


def same_state(a: nn.Module, b: nn.Module) -> None:
    for (name, one), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def twins(kind: type, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    made = []
    for _ in range(2):
        torch.manual_seed(seed)
        made.append(kind())
    return made[0], made[1]


def test_a_recorded_call_writes_what_the_call_writes(tmp_path: Path) -> None:
    model, twin = twins(Counts)
    x = torch.randn(3, 4)
    before, buffers = state_of(model), dict(model.named_buffers())
    program = torch.export.export(model, (x,))
    assert state_of(model) == before and all(buffers[name] is t for name, t in model.named_buffers())
    torch.export.save(program, tmp_path / "counts.pt2")
    again = torch.export.load(tmp_path / "counts.pt2").module()
    for k in range(3):
        want = twin(x + k)
        for module in (program.module(), again):
            got = module(x + k)
            np.testing.assert_allclose(got[0].detach().numpy(), want[0].detach().numpy(), rtol=1e-5, atol=1e-5)
            assert got[1].item() == want[1].item() == 10 * (k + 1)
    same_state(model, twin)
    with torch.no_grad():
        torch.jit.trace(model, x)(x)  # for any batch, but `last` has three rows
    twin(x)
    same_state(model, twin)


class Grows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(0, 2))

    def forward(self, x):
        self.seen = torch.cat([self.seen, x])
        return self.seen.sum(0)


def test_state_that_grows_is_refused_and_nothing_is_changed() -> None:
    model = Grows()
    with pytest.raises(LaminaError, match=r"makes the buffer seen, float32\[0, 2\], float32\[3, 2\]"):
        torch.export.export(model, (torch.ones(3, 2),))
    assert model.seen.shape == (0, 2)


def test_c_keeps_the_state_among_the_weights(tmp_path: Path) -> None:
    model, twin = twins(Counts)
    x = torch.randn(3, 4)
    torch.export.export(model, (x,)).to_c(tmp_path, shared=False)
    header = (tmp_path / "model.h").read_text()
    assert "void *weights, void *arena" in header and "const void *weights, void" not in header
    assert "     calls: int64" in header and "     last: float32[3, 4]" in header and "norm.running_mean" in header
    run = Library(tmp_path)
    for k in range(4):
        y, calls = run((x + k).numpy(), ((3, 4), np.float32), ((), np.int64))
        want = twin(x + k)
        np.testing.assert_allclose(y, want[0].detach().numpy(), rtol=1e-5, atol=1e-5)
        assert calls == want[1].item()
    assert run.check() != 0  # written
    assert run.seal() == 0 and run.check() == 0
    (tmp_path / "model.weights").write_bytes(run.weights.tobytes())
    (calls,) = Library(tmp_path)(x.numpy(), ((3, 4), np.float32), ((), np.int64))[1:]
    assert calls == 50


def test_models_without_state_have_constant_weights(tmp_path: Path) -> None:
    torch.export.export(nn.Linear(4, 2), (torch.ones(3, 4),)).to_c(tmp_path, shared=False)
    assert "const void *weights, void *arena" in (tmp_path / "model.h").read_text()
    assert "seal" not in (tmp_path / "model.c").read_text()


class Draws(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x):
        x = F.dropout(self.fc(x), 0.25, training=True)
        keep = x.new_empty(x.shape[0], 1).bernoulli_(0.5)
        number = torch.randint(3, 9, (x.shape[0],))
        return x * keep + torch.randn_like(x), torch.rand(x.shape[0], 2) * 4 - 1, number, F.gumbel_softmax(x, dim=1)


@pytest.mark.slow
def test_programs_draw_the_numbers_their_model_draws(tmp_path: Path) -> None:
    model, x = Draws(), torch.randn(5, 4)
    torch.manual_seed(3)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: "rows"}})
    torch.export.save(program, tmp_path / "draws.pt2")
    loaded = torch.export.load(tmp_path / "draws.pt2")
    for n in (5, 8):
        given, results = torch.randn(n, 4), []
        for call in (model, program, loaded, torch.jit.trace(model, x)):
            torch.manual_seed(7)
            results.append([t.detach().numpy() for t in (*call(given), *call(given))])
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert not np.allclose(results[0][0], results[0][4])


def test_recording_draws_nothing() -> None:
    model = Draws()
    state = torch.get_rng_state()
    torch.export.export(model, (torch.zeros(5, 4),))
    assert torch.equal(torch.get_rng_state(), state)


def test_drawn_gradients_go_through_a_program() -> None:
    model, x = Draws(), torch.randn(5, 4)
    program, grads = torch.export.export(model, (x,)), []
    for call in (model, program):
        torch.manual_seed(11)
        model.zero_grad()
        call(x)[0].sum().backward()
        grads.append(model.fc.weight.grad.numpy().copy())
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


class Noise(nn.Module):
    """Many numbers of each kind."""

    def forward(self, x):
        hits = F.dropout(torch.ones_like(x), 0.25, training=True)
        return torch.randn_like(x), torch.rand_like(x), torch.randint(-2, 3, (4096,)), hits, torch.empty(4096).exponential_(2.0)


def check_noise(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for a, b in zip(first, second, strict=True):
        assert (a != b).any(), "every call has numbers of its own"
    normal, uniform, integers, hits, waits = (np.concatenate(pair).astype(np.float64) for pair in zip(first, second, strict=True))
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.05 and abs((normal**4).mean() - 3) < 0.4
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.02 and abs(uniform.std() - 12**-0.5) < 0.02
    assert np.array_equal(np.unique(integers), [-2, -1, 0, 1, 2]) and abs((integers == 0).mean() - 0.2) < 0.03
    assert np.allclose(np.unique(hits), [0, 4 / 3]) and abs((hits > 0).mean() - 0.75) < 0.03
    assert waits.min() >= 0 and abs(waits.mean() - 0.5) < 0.03 and abs(waits.std() - 0.5) < 0.05


TYPES = [((4096,), np.float32), ((4096,), np.float32), ((4096,), np.int64), ((4096,), np.float32), ((4096,), np.float32)]


@pytest.mark.slow
def test_c_draws_from_a_state_of_its_own(tmp_path: Path) -> None:
    x = torch.zeros(4096)
    for folder, seed in (("a", 1), ("b", 2), ("c", 1)):
        torch.manual_seed(seed)
        torch.export.export(Noise(), (x,)).to_c(tmp_path / folder, shared=False)
    runs = {folder: Library(tmp_path / folder) for folder in "abc"}
    made = {folder: [run(x.numpy(), *TYPES) for _ in range(2)] for folder, run in runs.items()}
    check_noise(*made["a"])
    check_noise(made["a"][0], made["b"][0])
    assert all(np.array_equal(a, c) for a, c in zip(made["a"][1], made["c"][1], strict=True))


@pytest.mark.parametrize("axes", [None, {"x": {0: "n"}}], ids=["fixed", "open"])
def test_onnx_models_draw_in_every_run(axes) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    proto = torch.onnx.export(Noise() if axes is None else AnyNoise(), torch.zeros(4096), training=torch.onnx.TrainingMode.PRESERVE, dynamic_axes=axes).model_proto
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    runs = [session.run(None, {"x": np.zeros(4096, np.float32)}) for _ in range(2)]
    check_noise(*runs)
    if axes:
        assert all(made.shape == (7,) for made in session.run(None, {"x": np.zeros(7, np.float32)}))


class AnyNoise(nn.Module):
    def forward(self, x):
        hits = F.dropout(torch.ones_like(x), 0.25, training=True)
        return torch.randn_like(x), torch.rand_like(x), torch.randint(-2, 3, (x.shape[0],)), hits, torch.empty_like(x).exponential_(2.0)


def test_onnx_says_that_it_keeps_nothing() -> None:
    model = Counts()
    with pytest.warns(UserWarning, match="writes calls, mean, last|keeps nothing"):
        program = torch.onnx.export(model, torch.randn(3, 4), training=torch.onnx.TrainingMode.PRESERVE)
    assert len(program.model_proto.graph.output) == 2


class Refused(nn.Module):
    def __init__(self, draw) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x):
        return x + self.draw(x)


def test_numbers_that_cannot_be_drawn_again_are_refused() -> None:
    x = torch.ones(4)
    for draw in (lambda x: torch.randperm(4), lambda x: torch.poisson(torch.ones(4)), lambda x: torch.multinomial(torch.ones(4), 4)):
        with pytest.raises(LaminaError, match="cannot draw random numbers of this kind") as raised:
            torch.export.export(Refused(draw), (x,))
        assert "test_programs_with_state.py:" in str(raised.value)
    with pytest.raises(LaminaError, match="depends on random numbers"):
        torch.export.export(Refused(lambda x: x if torch.rand(1).item() > 0.5 else -x), (x,))


@pytest.mark.parametrize("change", [lambda d: d.update(updates=[99]), lambda d: d.update(draws=[["normal", []]] * 9), lambda d: d.update(draws=[["other", []]]), lambda d: d.update(draws=[["normal", ["x"]]])])
def test_damage_is_a_file_error(tmp_path: Path, change) -> None:
    torch.export.save(torch.export.export(Draws(), (torch.ones(5, 4),)), tmp_path / "p.pt2")
    data = torch.load(tmp_path / "p.pt2")
    change(data)
    torch.save(data, tmp_path / "p.pt2")
    with pytest.raises(FileError):
        torch.export.load(tmp_path / "p.pt2")
