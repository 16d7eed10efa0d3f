"""Export records every step of a model, also those the recorder would do on the host with values it has."""

from __future__ import annotations

import lamina as torch
import numpy as np
from lamina.backends import driver
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
    assert exported.names.count("x") == 1
    other = torch.randn(2, 3, 4)
    arrays = [exported.weights.get(i, other.numpy()) for i in range(len(exported.graph.inputs))]
    got = driver.run(exported.graph, arrays)[0]
    np.testing.assert_allclose(got, model(other).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_batch_with_equal_samples_is_the_same_program() -> None:
    data = torch.arange(20.0).reshape(10, 2)
    w = torch.randn(2, 2)

    def graph(rows: list[int]) -> object:
        batch = torch.stack([data[i] for i in rows])
        return Schedule([(batch @ w)._read()]).graph

    assert graph([1, 2, 3]) == graph([4, 4, 7])
