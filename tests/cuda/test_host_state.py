"""GPU programs ahead of time that keep state: the host program writes what a call changes into the weights file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from needs import needs_emulation, needs_gcc, needs_nvrtc

import lamina as torch
from lamina import nn
from lamina.backends.ahead_of_time import ALIGNMENT, checksum
from lamina.backends.cuda import files
from lamina.backends.emulation import emulate

pytestmark = [needs_emulation, needs_gcc, needs_nvrtc]


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        return self.norm(x), self.calls * 10


class Host:
    """The program as files, linked to kernels on emulated threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, program) -> None:
        sources, build = [], files.build
        monkeypatch.setattr(files, "build", lambda *given: sources.append(build(*given)) or sources[-1])
        program.to_c(folder, target="cuda:sm_80")
        emulate.build_driver(sources[0].source, folder / "libcuda.so")
        command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(folder / "host"), str(folder / "model_host.c")]
        subprocess.run([*command, f"-L{folder}", "-lcuda", f"-Wl,-rpath,{folder}"], check=True)
        self.folder = folder

    def __call__(self, given: list[np.ndarray], results: int) -> list[bytes]:
        names = [self.folder / f"in{k}" for k in range(len(given))], [self.folder / f"out{k}" for k in range(results)]
        for name, array in zip(names[0], given, strict=True):
            name.write_bytes(np.ascontiguousarray(array).tobytes())
        subprocess.run([self.folder / "host", self.folder / "model.cubin", self.folder / "model.weights", *names[0], *names[1]], check=True)
        return [name.read_bytes() for name in names[1]]


def sealed(path: Path) -> bool:
    data = path.read_bytes()
    return int.from_bytes(data[24:32], "little") == checksum(data[ALIGNMENT:])


@pytest.mark.slow
def test_batch_statistics_and_counters(monkeypatch, tmp_path: Path) -> None:
    model, x = Counts(), torch.randn(3, 4)
    host = Host(monkeypatch, tmp_path, torch.export.export(model, (x,)))
    before = (tmp_path / "model.weights").read_bytes()
    for k in range(3):
        y, calls = host([(x + k).numpy()], 2)
        want = model(x + k)
        np.testing.assert_allclose(np.frombuffer(y, np.float32).reshape(3, 4), want[0].detach().numpy(), rtol=1e-4, atol=1e-5)
        assert np.frombuffer(calls, np.int64).tolist() == [want[1].item()] == [10 * (k + 1)]
    after = (tmp_path / "model.weights").read_bytes()
    assert before != after and sealed(tmp_path / "model.weights") and not list(tmp_path.glob("*.new"))
    mean = model.norm.running_mean.numpy()
    held = [np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.float32), mean.size) for data in (before, after)]
    assert [bool(np.isclose(windows, mean, rtol=1e-5).all(1).any()) for windows in held] == [False, True]


def test_programs_without_state_leave_their_weights_alone(monkeypatch, tmp_path: Path) -> None:
    model, x = nn.Linear(4, 2), torch.randn(3, 4)
    host = Host(monkeypatch, tmp_path, torch.export.export(model, (x,)))
    before = (tmp_path / "model.weights").read_bytes()
    (y,) = host([x.numpy()], 1)
    np.testing.assert_allclose(np.frombuffer(y, np.float32).reshape(3, 2), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert before == (tmp_path / "model.weights").read_bytes() and "keep_state" not in (tmp_path / "model_host.c").read_text()


@pytest.mark.slow
def test_training_steps(monkeypatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    host = Host(monkeypatch, tmp_path, torch.export.training_step(step, (x, y)))
    losses = [float(np.frombuffer(host([x.numpy(), y.numpy()], 1)[0], np.float32)[0]) for _ in range(4)]
    want = [step(x, y).item() for _ in range(4)]
    np.testing.assert_allclose(losses, want, rtol=1e-4, atol=1e-5)
    assert losses[-1] < losses[0] and sealed(tmp_path / "model.weights")
