"""Training steps as programs of their own: in Python and in C they go where the step itself goes, and what they cannot say is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import lamina as torch
import numpy as np
import pytest
from lamina import nn, optim
from lamina.dialects.errors import LaminaError
from lamina.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from c_library import Library  # noqa: E402

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: optim.Adadelta(p),
    "adamax": lambda p: optim.Adamax(p),
    "nadam": lambda p: optim.NAdam(p, lr=0.01, momentum_decay=0.1),
    "radam": lambda p: optim.RAdam(p, lr=0.01, decoupled_weight_decay=True, weight_decay=0.1),
    "asgd": lambda p: optim.ASGD(p, lr=0.05, t0=2, lambd=0.01),
}


class Training:
    """A model, its optimizer and a step of training it."""

    def __init__(self, make, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))
        self.optimizer = make(self.model.parameters())

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss


def batches(count: int = 5) -> list[tuple]:
    torch.manual_seed(1)
    return [(torch.randn(4, 6), torch.randint(0, 3, (4,))) for _ in range(count)]


def arena_of(folder: Path) -> int:
    return int(re.search(r"ARENA_BYTES (\d+)", (folder / "model.h").read_text())[1])


class TrainingLibrary(Library):
    def train(self, x, y) -> float:
        loss = np.zeros((), np.float32)
        assert self.library.model_run(*map(self._at, (x.numpy(), y.numpy(), loss, self.weights, self.arena))) == 0
        return float(loss)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "warm"), [*((name, 0) for name in OPTIMIZERS), ("momentum", 2), ("adamw", 2), ("nadam", 2), ("radam", 2)])
def test_steps_go_where_training_goes(tmp_path: Path, name, warm) -> None:
    data = batches(8)  # the form of RAdam's steps changes at the sixth
    one, other = Training(OPTIMIZERS[name]), Training(OPTIMIZERS[name])
    for x, y in data[:warm]:
        one.step(x, y), other.step(x, y)
    before = {k: v.tolist() for k, v in one.model.state_dict().items()}
    kept = one.optimizer.state_dict()
    program = torch.export.training_step(one.step, data[0])
    assert {k: v.tolist() for k, v in one.model.state_dict().items()} == before
    assert str(one.optimizer.state_dict()) == str(kept)
    torch.export.save(program, tmp_path / "step.pt2")
    loaded = torch.export.load(tmp_path / "step.pt2")
    program.to_c(tmp_path, shared=False)
    assert arena_of(tmp_path) < 1 << 20
    library = TrainingLibrary(tmp_path)
    want = [other.step(x, y).item() for x, y in data]
    for run in (lambda x, y: program(x, y).item(), lambda x, y: loaded(x, y).item(), library.train):
        np.testing.assert_allclose([run(x, y) for x, y in data], want, rtol=1e-4)
    for (key, a), b in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-5, err_msg=key)
    assert library.seal() == 0 and library.check() == 0


@pytest.mark.slow
def test_dropout_is_drawn_in_every_step(tmp_path: Path) -> None:
    one, other = Training(OPTIMIZERS["sgd"], 0.5), Training(OPTIMIZERS["sgd"], 0.5)
    data = batches()
    program = torch.export.training_step(one.step, data[0])
    program.to_c(tmp_path, shared=False)
    torch.manual_seed(5)
    want = [other.step(x, y).item() for x, y in data]
    torch.manual_seed(5)
    np.testing.assert_allclose([program(x, y).item() for x, y in data], want, rtol=1e-4)
    library = TrainingLibrary(tmp_path)
    still = [library.train(*data[0]) for _ in range(40)]
    assert len(set(still)) == 40 and np.mean(still[-5:]) < np.mean(still[:5])


@pytest.mark.slow
def test_a_learning_rate_may_be_given() -> None:
    class Scheduled(Training):
        def step(self, x, y, lr):
            self.optimizer.param_groups[0]["lr"] = lr
            return super().step(x, y)

    for name in ("sgd", "adam"):
        one, other, data = Scheduled(OPTIMIZERS[name]), Scheduled(OPTIMIZERS[name]), batches()
        program = torch.export.training_step(one.step, (*data[0], torch.tensor(0.5)))
        assert one.optimizer.param_groups[0]["lr"] in (0.05, 0.01)
        rates = [0.1, 0.05, 0.2, 0.01, 0.3]
        want = [other.step(x, y, rate).item() for (x, y), rate in zip(data, rates, strict=True)]
        np.testing.assert_allclose([program(x, y, torch.tensor(r)).item() for (x, y), r in zip(data, rates, strict=True)], want, rtol=1e-4)


def test_what_a_step_cannot_be_is_said_and_nothing_is_changed() -> None:
    data = batches(1)[0]

    class Looks(Training):
        def step(self, x, y):
            return super().step(x, y).item()

    class Schedules(Training):
        def step(self, x, y):
            self.optimizer.param_groups[0]["lr"] *= 0.5
            return super().step(x, y)

    class Reads(optim.ASGD):
        def step(self, closure=None):
            super().step(closure)
            return [float(kept["mu"]) for kept in self.state.values()]

    for training, sentence in (
        (Looks(OPTIMIZERS["sgd"]), "looks at a value on the way that depends on x, y"),
        (Training(lambda p: Reads(p, lr=0.05)), "the optimizer looks at what it keeps"),
        (Schedules(OPTIMIZERS["sgd"]), r"makes the optimizer's lr 0\.025; it was 0\.05"),
    ):
        before = {k: v.tolist() for k, v in training.model.state_dict().items()}
        with pytest.raises(LaminaError, match=sentence):
            torch.export.training_step(training.step, data)
        assert {k: v.tolist() for k, v in training.model.state_dict().items()} == before
        assert not training.optimizer.state and training.optimizer.param_groups[0]["lr"] in (0.05, 2e-3)
        assert all(p.grad is None for p in training.model.parameters())
    with pytest.raises(LaminaError, match="reaches no optimizer"):
        torch.export.training_step(lambda x: x * 2, (torch.ones(2),))


SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Linear(6, 3)
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)


def step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss


if __name__ == "__main__":
    torch.manual_seed(1)
    for _ in range(3):
        print(step(torch.randn(4, 6), torch.randint(0, 3, (4,))).item())
"""


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    lamina = [sys.executable, "-m", "lamina"]
    example = ["--example", "float32[4,6]", "--example", "int64[4]"]
    subprocess.run([*lamina, "compile", "train.py:step", *example, "-o", "out", "--no-shared", "--main"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "main.c", "-o", "/dev/null"], cwd=tmp_path / "out", check=True)
    told = subprocess.run([*lamina, "run", "train.py"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    library = TrainingLibrary(tmp_path / "out")
    torch.manual_seed(1)
    got = [library.train(torch.randn(4, 6), torch.randint(0, 3, (4,))) for _ in range(3)]
    np.testing.assert_allclose(got, [float(t) for t in told], rtol=1e-5)
    refused = subprocess.run([*lamina, "compile", "train.py:step", *example, "-o", "on", "--target", "onnx"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode and "an ONNX model keeps nothing" in refused.stderr and not (tmp_path / "on").exists()
