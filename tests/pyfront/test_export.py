"""Export records every step of a model, also those the recorder would do on the host with values it has."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from lamina.backends import driver
from lamina.dialects.errors import LaminaError
from lamina.pyfront.export import export
from lamina.pyfront.schedule import Schedule


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(12, 3)

    def forward(self, x):
        x = x.view(-1, 12)
        rows = x.transpose(0, 1)[2:5].transpose(0, 1)
        return self.fc(x) + torch.cat([rows[:, :1], rows[:, 1:]], 1) * x[0, 0]


def test_views_and_joins_of_an_input_are_steps() -> None:
    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 3, 4)
    exported = export(model, [x])
    assert exported.graph.names.count("x") == 1
    other = torch.randn(2, 3, 4)
    arrays = [exported.weights.get(i, other.numpy()) for i in range(len(exported.graph.inputs))]
    got = driver.run(exported.graph, arrays)[0]
    np.testing.assert_allclose(got, model(other).detach().numpy(), rtol=1e-5, atol=1e-6)


class Late(torch.nn.Module):
    def forward(self, x):
        early = x * 2
        late = early.sum(1)
        return late, early, x, late, early.transpose(0, 1)


def test_results_come_as_they_are_returned(tmp_path) -> None:
    model, x = Late(), torch.randn(2, 3)
    exported = export(model, [x])
    for got, want in zip(driver.run(exported.graph, [x.numpy()]), model(x), strict=True):
        np.testing.assert_array_equal(got, want.numpy())
    driver.write_c(exported.graph, exported.weights, exported.graph.names, tmp_path, shared=False)
    header = (tmp_path / "model.h").read_text()
    shapes = [header.partition(f"MODEL_OUTPUT_{i}_SHAPE ")[2].partition("\n")[0] for i in range(5)]
    assert shapes == ["{2}", "{2, 3}", "{2, 3}", "{2}", "{3, 2}"]


class Looks(torch.nn.Module):
    def forward(self, x):
        doubled = x * 2
        if x.sum().item() > 0:
            return doubled
        return x


def test_values_seen_on_the_way_are_refused() -> None:
    with pytest.raises(LaminaError, match="looks at a value on the way that depends on x") as raised:
        export(Looks(), [torch.randn(2, 3)])
    assert "if x.sum().item() > 0:" in str(raised.value)
    torch.ones(2).sum().item()  # elsewhere values are read as ever


def test_a_batch_with_equal_samples_is_the_same_program() -> None:
    data = torch.arange(20.0).reshape(10, 2)
    w = torch.randn(2, 2)

    def graph(rows: list[int]) -> object:
        batch = torch.stack([data[i] for i in rows])
        return Schedule([(batch @ w)._read()]).graph

    assert graph([1, 2, 3]) == graph([4, 4, 7])
