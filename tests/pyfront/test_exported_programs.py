"""torch.export and torch.jit.trace: recorded calls as programs of their own: called at other sizes, trained, saved, damaged."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import lamina as torch
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lamina import nn
from lamina.backends import driver
from lamina.dialects.errors import DTypeError, FileError, LaminaError, ShapeError
from lamina.nn import functional as F


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.up, self.fc = nn.ConvTranspose2d(4, 2, 2, stride=2), nn.Linear(2, 3)
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x):
        return self.fc(self.up(F.relu(self.norm(self.down(x)))).mean((2, 3))) * self.scale


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5, batch_first=True)

    def forward(self, batch, *, scale=1.0):
        y, h = self.rnn(batch["x"])
        return {"y": y * scale, "states": [h, batch["x"]]}, (y.sum(), torch.arange(y.shape[1]) + 1)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return tuple(a.shape) == tuple(b.shape) and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_traced_model_gives_what_the_model_gives_for_any_batch() -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(2, 2, 6, 6)
    traced = torch.jit.trace(model, x)
    with torch.no_grad():
        for batch in (x, torch.randn(1, 2, 6, 6), torch.randn(7, 2, 6, 6)):
            assert close(traced(batch), model(batch))
    assert list(traced.state_dict()) == list(model.state_dict())
    assert traced.up.weight is model.up.weight, "it shares the model's parameters"
    with pytest.raises(ShapeError, match="not recorded for these inputs") as raised, torch.no_grad():
        traced(torch.randn(2, 2, 8, 6))
    assert "x" in str(raised.value) and "recorded with float32[2, 2, 6, 6]" in str(raised.value)


def test_recording_changes_nothing() -> None:
    torch.manual_seed(0)
    model, x = Net(), torch.randn(3, 2, 6, 6)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    torch.jit.trace(model, x)  # in training: running averages are written
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    model(x).sum().backward()
    assert model.up.weight.grad is not None and not torch.equal(before["norm.running_mean"], model.norm.running_mean)


@pytest.mark.slow
def test_it_trains_as_the_model_does() -> None:
    torch.manual_seed(0)
    model, x, y = Net().eval(), torch.randn(4, 2, 6, 6), torch.randint(0, 3, (4,))
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, x), buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    losses = []
    for each in (model, loaded):
        optimizer = torch.optim.Adam(each.parameters(), lr=0.01)
        found = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(each(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0][-1] < losses[0][0]
    assert all(close(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_structures_and_open_sizes_survive_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Structured().eval(), torch.randn(2, 6, 4)
    shapes = {"batch_0": {0: "b", 1: torch.export.Dim("t")}}
    program = torch.export.export(model, ({"x": x},), {"scale": 2.0}, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2")
    for x in (x, torch.randn(5, 9, 4), torch.randn(1, 3, 4)):
        with torch.no_grad():
            want, got = model({"x": x}, scale=2.0), loaded.module()({"x": x}, scale=2.0)
        assert set(got[0]) == {"y", "states"} and type(got[0]["states"]) is list and type(got[1]) is tuple
        assert close(got[0]["y"], want[0]["y"]) and close(got[0]["states"][0], want[0]["states"][0]) and got[0]["states"][1] is x
        assert close(got[1][0], want[1][0]) and torch.equal(got[1][1], want[1][1])
    with pytest.raises(LaminaError, match="recorded for the arguments"):
        loaded.module()({"x": x})
    with pytest.raises(DTypeError, match="recorded with float32"):
        loaded.module()({"x": x.double()}, scale=2.0)


def test_another_process_needs_no_python_of_the_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(2, 2, 6, 6)
    torch.jit.trace(model, x).save(tmp_path / "net.pt")
    torch.save({"x": x, "y": model(x).detach()}, tmp_path / "data.pt")
    program = "import lamina as torch\nd = torch.load('data.pt')\nprint(torch.allclose(torch.jit.load('net.pt')(d['x']), d['y'], atol=1e-5))"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True"


def test_a_program_is_c_as_well(tmp_path: Path) -> None:
    model, x = Net().eval(), torch.randn(2, 2, 6, 6)
    written = torch.export.export(model, (x,)).to_c(tmp_path, shared=False)
    assert {p.name for p in written} == {"model.c", "model.h", "model.weights"}


def test_memory_that_numpy_sees_is_a_weight_as_any() -> None:
    model, x = Net().eval(), torch.randn(3, 2, 6, 6)
    seen = [model.fc.weight.detach().numpy(), model.fc.bias.detach().numpy()]
    traced = torch.jit.trace(model, x)
    assert not traced.program.constants and {"fc.weight", "fc.bias"} <= set(traced.program.graph.names)
    assert close(traced(torch.cat([x, x])), model(torch.cat([x, x])))
    seen[1][:] = 0
    assert torch.equal(model.fc.bias, torch.zeros_like(model.fc.bias))  # it is still that memory


def test_functions_are_traced_too() -> None:
    @torch.jit.script
    def f(a, b):
        return a @ b + torch.arange(3), a.sum()

    a, b = torch.randn(2, 3), torch.randn(3, 3)
    traced = torch.jit.trace(f, (a, b))
    assert all(close(g, w) for g, w in zip(traced(a + 1, b), f(a + 1, b), strict=True))
    a.requires_grad_()
    traced(a, b)[0].sum().backward()
    assert close(a.grad, b.sum(1).expand(2, 3))


class Branches(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] == 3 else x + 1


def test_what_is_another_program_at_other_sizes_keeps_its_own() -> None:
    x = torch.ones(3, 2)
    traced = torch.jit.trace(Branches(), x)
    assert traced(x).tolist() == (x * 2).tolist()
    with pytest.raises(ShapeError):
        traced(torch.ones(4, 2))
    with pytest.raises(LaminaError, match="another one for other sizes"):
        torch.export.export(Branches(), (x,), dynamic_shapes={"x": {0: "rows"}})


class Plain(nn.Module):
    def forward(self, x, scale=2.0):
        return {"y": x * scale, "attention": None, "rows": x.shape[0], "kind": "plain"}


def test_what_a_call_gives_beside_tensors_is_part_of_the_program(tmp_path: Path) -> None:
    x = torch.ones(3, 2)
    torch.export.save(torch.export.export(Plain(), (x,), {"scale": 3.0}), tmp_path / "plain.pt2")
    found = torch.export.load(tmp_path / "plain.pt2").module()(x, scale=3.0)
    assert found.pop("y").tolist() == (x * 3).tolist() and found == {"attention": None, "rows": 3, "kind": "plain"}
    assert torch.jit.trace(Plain(), x)(x)["rows"] == 3  # the batch stays what it was
    with pytest.raises(LaminaError, match="numbers that depend on sizes"):
        torch.export.export(Plain(), (x,), dynamic_shapes={"x": {0: "rows"}})


class Looks(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum().item() > 0 else x


def test_a_value_that_is_looked_at_is_told_as_such() -> None:
    x = torch.ones(3, 2)
    for record in (lambda: torch.jit.trace(Looks(), x), lambda: torch.export.export(Looks(), (x,), dynamic_shapes={"x": {0: "rows"}})):
        with pytest.raises(LaminaError, match="looks at a value on the way that depends on x"):
            record()


def test_what_was_not_traced_has_no_program(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match="not traced"):
        torch.jit.save(torch.jit.script(Net()), tmp_path / "net.pt")
    for scripted in (torch.jit.script(Net()), torch.jit.script(lambda x: x)):
        with pytest.raises(LaminaError, match=r"was scripted, and has no program to save[\s\S]*torch\.jit\.trace"):
            scripted.save(tmp_path / "net.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(FileError, match="is no exported program"):
        torch.jit.load(tmp_path / "weights.pt")
    assert not (tmp_path / "net.pt").exists()


# Damaged files


def saved() -> dict:
    torch.manual_seed(0)
    return torch.jit.trace(Net().eval(), torch.randn(2, 2, 4, 4)).program._data()


def loading(data: dict) -> None:
    buffer = io.BytesIO()
    torch.save(data, buffer)
    buffer.seek(0)
    torch.jit.load(buffer)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=99), lambda d: d.update(program="[]"), lambda d: d.update(program="{"), lambda d: d.update(given=[5]),
        lambda d: d["weights"].pop(1), lambda d: d["tensors"].update({"fc.weight": torch.ones(1)}), lambda d: d.update(args=None),
        lambda d: d.update(results=["other", None, []]), lambda d: d.pop("tensors"),
    ],
)  # fmt: skip
def test_damage_is_a_file_error(change) -> None:
    data = saved()
    change(data)
    with pytest.raises(FileError):
        loading(data)


def hostile(graph: dict) -> None:
    """Every line a step comes from, those in bodies of loops too, tries to end a comment."""
    graph["origins"] = ['*/ system("true"); /*:1'] * len(graph["origins"])
    for step in graph["steps"]:
        for attribute in step[1]:
            if isinstance(attribute, dict) and "graph" in attribute:
                hostile(attribute["graph"])


@pytest.mark.parametrize("model, shape", [(Net, (2, 2, 4, 4)), (nn.LSTM, (70, 4))], ids=["layers", "loop"])
def test_text_of_a_file_never_becomes_code(model, shape) -> None:
    module = model() if model is Net else model(4, 5)
    data = torch.jit.trace(module.eval(), torch.randn(shape)).program._data()
    graphs = json.loads(data["program"])
    assert any(step[0] == "scan" for step in graphs[0]["steps"]) is (model is nn.LSTM)
    for graph in graphs:
        hostile(graph)
    data["program"] = json.dumps(graphs)
    assert "system" in data["program"]
    buffer = io.BytesIO()
    torch.save(data, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer).program
    assert "system" not in loaded._recorded.text() and "system" not in driver.source_of(loaded.graph)[0]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_step_that_was_changed_is_found_or_computes(data) -> None:
    """A number of the program is another one: an error of the file, or a program that fits together all the same."""
    whole = _SAVED
    graphs = json.loads(whole["program"])
    places = [(g, k, i) for g, graph in enumerate(graphs) for k, step in enumerate(graph["steps"]) for i in range(len(step[2]))]
    g, k, i = data.draw(st.sampled_from(places))
    graphs[g]["steps"][k][2][i] = data.draw(st.integers(-3, 400))
    try:
        loading(whole | {"program": json.dumps(graphs)})
    except FileError:
        pass


_SAVED = saved()
