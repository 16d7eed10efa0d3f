"""Recurrent layers against PyTorch: outputs, states, gradients, text, parameters and packed sequences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from needs import needs_emulation

import lamina
from lamina.backends.families import take_apart
from lamina.pyfront import placement, recorder
from lamina.pyfront.nn.functions import recurrent
from lamina.pyfront.phrases import Phrases
from lamina.pyfront.schedule import Schedule

torch = pytest.importorskip("torch")
X = np.random.RandomState(0).randn(4, 3, 5).astype(np.float32)


def flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [part for v in value if v is not None for part in flat(v)]
    return [value]


def run(lib: Any, name: str, options: dict, use_state: bool, pack: list[int] | None, x: np.ndarray) -> dict[str, Any]:
    lib.manual_seed(3)
    layer = getattr(lib.nn, name)(5, 6, **options)
    found: dict[str, Any] = {"text": repr(layer)}
    x = lib.from_numpy(x.copy()).requires_grad_()
    leaves = [x]
    given: Any = x
    if pack is not None:
        given = lib.nn.utils.rnn.pack_padded_sequence(x, pack, enforce_sorted=False)
    state = None
    if use_state:
        _, final = layer(given)
        state = [lib.randn(s.shape).requires_grad_() for s in flat(final)]
        leaves += state
        state = tuple(state) if name == "LSTM" else state[0]
    y, final = layer(given, state) if use_state else layer(given)
    if pack is not None:
        y = lib.nn.utils.rnn.pad_packed_sequence(y, total_length=5)
    results = flat([y, final])
    loss = sum((r * lib.arange(r.numel()).view(r.shape).cos()).sum() for r in results if r.is_floating_point())
    loss.backward()
    found |= {f"y{i}": r.detach().numpy() for i, r in enumerate(results)}
    found |= {f"d{i}": t.grad.numpy() for i, t in enumerate(leaves)}
    found |= {f"d {k}": p.grad.numpy() for k, p in layer.named_parameters()}
    return found | {k: v.numpy() for k, v in layer.state_dict().items()}


def compare(*arguments: Any, tolerance: float = 2e-5) -> None:
    ours, theirs = run(lamina, *arguments), run(torch, *arguments)
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        if isinstance(expected, str):
            assert ours[key] == expected
        else:
            np.testing.assert_allclose(ours[key], expected, tolerance, tolerance, err_msg=key)


OPTIONS = [
    {}, {"bias": False}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 3, "dropout": 0.4},
    {"batch_first": True, "bidirectional": True},
]  # fmt: skip


@pytest.mark.parametrize("name, options", list(itertools.product(["RNN", "LSTM", "GRU"], OPTIONS)), ids=str)
def test_layer(name: str, options: dict) -> None:
    compare(name, options, False, None, X)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("pack", [None, [2, 4, 3]], ids=["padded", "packed"])
def test_state_and_packing(name: str, pack: list[int] | None) -> None:
    compare(name, {"num_layers": 2, "bidirectional": True}, True, pack, X)


def test_other_forms() -> None:
    compare("RNN", {"nonlinearity": "relu"}, True, None, X)
    compare("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}, True, None, X)
    compare("GRU", {}, True, None, X[:, 0])
    compare("LSTM", {"batch_first": True}, True, None, X[:, 0])


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cell(name: str) -> None:
    def steps(lib: Any) -> list[np.ndarray]:
        lib.manual_seed(0)
        cell = getattr(lib.nn, name)(5, 4)
        x = lib.from_numpy(X)
        state = cell(x[0])
        for t in (1, 2, 3):
            state = cell(x[t], state)
        single = cell(x[0, 0], tuple(s[0] for s in state) if name == "LSTMCell" else state[0])
        sum(s.sum() for s in flat([state, single])).backward()
        assert repr(cell) == f"{name}(5, 4)"
        return [t.detach().numpy() for t in flat([state, single])] + [p.grad.numpy() for p in cell.parameters()]

    for a, b in zip(steps(lamina), steps(torch), strict=True):
        np.testing.assert_allclose(a, b, 2e-5, 2e-6)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("steps", [1, 2, 7, pytest.param(50, marks=pytest.mark.slow)])
def test_lengths(name: str, steps: int) -> None:
    x = np.random.RandomState(steps).randn(steps, 3, 5).astype(np.float32)
    compare(name, {"num_layers": 2}, True, None, x, tolerance=1e-4)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("pack", [None, [2, 4, 3]], ids=["padded", "packed"])
@pytest.mark.slow
def test_compiled(name: str, pack: list[int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage against the oracle, and the compiled program against PyTorch."""
    monkeypatch.setattr(lamina.dialects.flags.check, "value", 2)
    compare(name, {"num_layers": 2, "bidirectional": True}, True, pack, X)


def test_one_program_for_ragged_batches() -> None:
    """The lengths of packed sequences are data: other lengths with as many rows and steps are the same program."""
    lstm = lamina.nn.LSTM(5, 6)
    found = []
    for lengths in ([4, 3, 2], [4, 4, 1]):
        packed = lamina.nn.utils.rnn.pack_padded_sequence(lamina.from_numpy(X), lengths)
        y, _ = lstm(packed)
        found.append(Schedule([y.data._read()]).graph)
    assert found[0] == found[1]


@pytest.mark.parametrize("batch_first", [False, True])
def test_batches_of_other_lengths_differ_in_sizes_only(batch_first: bool) -> None:
    """Packing, the layer and padding: no step per step of the sequences, whatever their lengths and order."""
    rnn, lstm = lamina.nn.utils.rnn, lamina.nn.LSTM(5, 6)
    found = []
    for steps, lengths in ((9, [3, 9, 2]), (12, [12, 5, 11])):
        x = lamina.randn((3, steps, 5) if batch_first else (steps, 3, 5))
        y, _ = lstm(rnn.pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False))
        padded, _ = rnn.pad_packed_sequence(y, batch_first=batch_first)
        found.append(Schedule([padded._read()]).graph)
    assert take_apart(found[0])[0] == take_apart(found[1])[0]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("order", [True, False])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_packed_and_padded_again(batch_first: bool, order: bool, shape: tuple[int, ...]) -> None:
    def made(lib: Any) -> list[Any]:
        rnn, found = lib.nn.utils.rnn, []
        for lengths in ([4, 3, 1], [2, 2, 2]) if order else ([3, 4, 1], [1, 2, 2]):
            x = lib.arange(12.0).view((3, 4) if batch_first else (4, 3))[(..., *[None] * len(shape))].expand(-1, -1, *shape).clone().requires_grad_()
            packed = rnn.pack_padded_sequence(x, lib.tensor(lengths), batch_first=batch_first, enforce_sorted=order)
            padded, counts = rnn.pad_packed_sequence(packed, batch_first=batch_first, padding_value=-1.5, total_length=6)
            (padded * padded).sum().backward()
            found += [t.tolist() for t in (*[p for p in packed if p is not None], padded, counts, x.grad)]
        return found

    assert made(lamina) == made(torch)


def test_twice_differentiated() -> None:
    """create_graph through a scan."""

    def slopes(lib: Any) -> list[np.ndarray]:
        lib.manual_seed(1)
        gru = lib.nn.GRU(5, 4)
        x = lib.from_numpy(X.copy()).requires_grad_()
        (first,) = lib.autograd.grad(gru(x)[0].sin().sum(), x, create_graph=True)
        (first * first).sum().backward()
        return [first.detach().numpy(), x.grad.numpy(), *(p.grad.numpy() for p in gru.parameters())]

    for a, b in zip(slopes(lamina), slopes(torch), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5)


def test_messages() -> None:
    def attempts(lib: Any) -> list[str]:
        lstm, gru = lib.nn.LSTM(5, 6), lib.nn.GRU(5, 6)
        x, h = lib.zeros(4, 3, 5), lib.zeros(1, 2, 6)
        calls = [
            lambda: lstm(lib.zeros(4, 3, 4)), lambda: lstm(x, (h, h)), lambda: gru(x, h), lambda: gru(x, h[0]),
            lambda: lstm(lib.zeros(1, 1, 1, 1)), lambda: lib.nn.LSTM(5, 0), lambda: lib.nn.LSTM(5, 4, proj_size=4),
            lambda: lib.nn.RNN(5, 4, nonlinearity="sin"), lambda: lstm(x.double()), lambda: lib.nn.LSTMCell(5, 3)(x),
            lambda: lib.nn.utils.rnn.pack_padded_sequence(x, [1, 2, 3]),
        ]  # fmt: skip
        found = []
        for call in calls:
            with pytest.raises((ValueError, RuntimeError)) as caught:
                call()
            found.append(f"{caught.typename}: {caught.value}")
        return found

    assert attempts(lamina) == attempts(torch)


def test_sequences_of_unequal_length() -> None:
    def made(lib: Any) -> list[Any]:
        rnn = lib.nn.utils.rnn
        parts = [lib.arange(n * 2.0).view(n, 2) for n in (2, 4, 1)]
        packed = rnn.pack_sequence(parts, enforce_sorted=False)
        padded = rnn.pad_sequence(parts, batch_first=True, padding_value=-1, padding_side="left")
        lists = [t.tolist() for t in rnn.unpack_sequence(packed)]
        return [padded.tolist(), *[t.tolist() for t in packed], lists]

    assert made(lamina) == made(torch)


@pytest.mark.slow
@needs_emulation
def test_on_a_gpu() -> None:
    """Scans are unrolled for launches; the emulated device gives the CPU's numbers, packed sequences included."""

    def results(where: str) -> list[np.ndarray]:
        lamina.manual_seed(0)
        lstm = lamina.nn.LSTM(5, 6, 2, bidirectional=True).to(where)
        x = lamina.from_numpy(X).to(where)
        y, (_, c) = lstm(x)
        (y.pow(2).sum() + c.sum()).backward()
        packed, _ = lstm(lamina.nn.utils.rnn.pack_padded_sequence(x, [4, 3, 1]))
        return [t.detach().cpu().numpy() for t in (y, lstm.weight_hh_l0.grad, lstm.bias_ih_l1.grad, packed.data)]

    try:
        with lamina.dialects.flags.cuda("emulated"):
            for a, b in zip(results("cpu"), results("cuda"), strict=True):
                np.testing.assert_allclose(a, b, 1e-5, 1e-6)
    finally:
        recorder.flush()
        placement.forget()


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("computed", [False, True])
def test_a_state_that_is_carried_on_is_recorded_again_without_the_layers(kind, computed, monkeypatch):
    """Whether it waits to be computed or is there already, as in a loop that draws a letter per turn."""
    lamina.manual_seed(0)
    model, x = getattr(lamina.nn, kind)(3, 4, 2), lamina.randn(1, 2, 3)
    full = recurrent._layers
    ran = []
    monkeypatch.setattr(recurrent, "_phrases", Phrases())
    monkeypatch.setattr(recurrent, "_layers", lambda *given: ran.append(1) or full(*given))

    def turns(count):
        state, found = None, []
        with lamina.no_grad():
            for _ in range(count):
                y, state = model(x, state)
                found.append(y.sum().item() if computed else y.sum())
        return [float(f) for f in found]

    first = turns(6)
    assert len(ran) == 2, "without a state and with one"
    assert turns(6) == pytest.approx(first, rel=1e-5, abs=1e-5) and len(ran) == 2
    steps = model(x.expand(6, 2, 3))[0].sum((1, 2))
    np.testing.assert_allclose(steps.detach().numpy(), first, rtol=1e-5, atol=1e-5)
