"""Export records every step of a model, also those the recorder would do on the host with values it has."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from lamina.backends import driver
from lamina.dialects.errors import LaminaError
from lamina.pyfront.recordings import export
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
    x, flag = torch.ones(2), torch.tensor(True)
    for what in (lambda x, flag: x * 2 if flag else x, lambda x, flag: x * flag.item(), lambda x, flag: x * int(flag.numpy()), lambda x, flag: x[flag.tolist()]):
        with pytest.raises(LaminaError, match="on the way that depends on flag"):
            export(Gives(what), [x, flag], ["x", "flag"])
    torch.ones(2).sum().item()  # elsewhere values are read as ever


def test_a_batch_with_equal_samples_is_the_same_program() -> None:
    data = torch.arange(20.0).reshape(10, 2)
    w = torch.randn(2, 2)

    def graph(rows: list[int]) -> object:
        batch = torch.stack([data[i] for i in rows])
        return Schedule([(batch @ w)._read()]).graph

    assert graph([1, 2, 3]) == graph([4, 4, 7])


class Rows(torch.nn.Module):
    """Weights of several ranks, read in another order than they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(torch.zeros(1, 1, 4))
        self.fc, self.place = torch.nn.Linear(4, 4), torch.nn.Parameter(torch.zeros(1, 3, 4))
        torch.nn.init.trunc_normal_(self.place)
        torch.nn.init.trunc_normal_(self.fc.weight)

    def forward(self, x):
        return self.fc(x + self.place) + self.first


def test_every_recording_has_its_inputs_in_the_same_order() -> None:
    model, x = Rows(), torch.randn(2, 3, 4)
    model.load_state_dict({name: t * 1 for name, t in model.state_dict().items()})
    traced = torch.jit.trace(model, x)
    assert traced.program.graph.names == ("x", "place", "fc.weight", "fc.bias", "first")
    assert traced(torch.cat([x, x])).shape == (4, 3, 4)


class Shows(torch.nn.Module):
    """A buffer that shows another's memory, and was not computed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)
        self.register_buffer("places", (torch.arange(6) * 2).reshape(2, 3)[:, :2].expand(2, 2))

    def forward(self, x):
        return self.fc(x.view(-1, 2)) + self.places[:1], x.view(4)


def test_arguments_stay_arguments_whatever_buffers_are() -> None:
    model, x = Shows(), torch.randn(2, 2)
    exported = export(model, [x])
    assert exported.graph.names == ("x", "fc.weight", "fc.bias", None)
    other = torch.randn(2, 2)
    got = driver.run(exported.graph, [exported.weights.get(i, other.numpy()) for i in range(len(exported.graph.inputs))])
    for a, b in zip(got, model(other), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-5, atol=1e-6)


class Picks(torch.nn.Module):
    """Indices that come as arguments, lie in a buffer, or are made of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, -1]))

    def forward(self, x, last):
        rows = x[torch.arange(x.shape[0]), last - 1]
        return rows, x[:, self.order], torch.gather(x, 1, last[:, None] % 4), x[last.argmax()], x.take(self.order)


def test_indices_that_are_not_known_yet_are_steps() -> None:
    model, x, last = Picks(), torch.randn(3, 4), torch.tensor([4, 1, 0])
    exported = export(model, [x, last], ["x", "last"])
    for given in (last, torch.tensor([-2, 3, -1])):
        arrays = [exported.weights.get(i, (x.numpy(), given.numpy())[i % 2]) for i in range(len(exported.graph.inputs))]
        got = driver.run(exported.graph, arrays)
        for a, b in zip(got, model(x, given), strict=True):
            np.testing.assert_array_equal(a, b.numpy())


class Knows(torch.nn.Module):
    """Looks at values, but not at any that depend on an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x):
        doubled = x * 2
        if self.mask.sum().item() > 1:
            return doubled[:, self.mask]
        return doubled


def test_values_that_no_argument_decides_may_be_seen() -> None:
    x = torch.randn(2, 3)
    exported = export(Knows(), [x])
    np.testing.assert_array_equal(driver.run(exported.graph, [exported.weights.get(i, x.numpy()) for i in range(len(exported.graph.inputs))])[0], (x * 2)[:, [0, 2]].numpy())


class Ignores(torch.nn.Module):
    def forward(self, x, mask, y):
        return y + 1, None, {"n": 3, "again": y}


def test_arguments_nothing_depends_on_stay_arguments(tmp_path) -> None:
    x, mask, y = torch.randn(2), torch.ones(2, dtype=torch.bool), torch.randn(3)
    exported = export(Ignores(), [x, mask, y], ["x", "mask", "y"])
    assert exported.graph.names == ("x", "mask", "y")
    a, b = driver.run(exported.graph, [x.numpy(), mask.numpy(), y.numpy()])
    np.testing.assert_array_equal(a, (y + 1).numpy())
    np.testing.assert_array_equal(b, y.numpy())
    driver.write_c(exported.graph, exported.weights, exported.graph.names, tmp_path)
    assert "const float *x, const uint8_t *mask, const float *y" in (tmp_path / "model.h").read_text()


class Gives(torch.nn.Module):
    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def forward(self, *given):
        return self.what(*given)


def test_what_is_no_tensor_is_refused() -> None:
    for what, kind in ((lambda x: {"a": x, "b": object()}, "object"), (lambda x: None, "NoneType"), (lambda x: [], "list")):
        with pytest.raises(LaminaError, match=f"forward gives a {kind}, not tensors"):
            export(Gives(what), [torch.ones(2)])
