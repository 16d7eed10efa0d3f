"""Quantized tensors, their files, observers and dynamic quantization against PyTorch."""

from __future__ import annotations

import copy
import io
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.dialects.errors import FileError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = (lamina, torch)


def numbers(lib: Any, *shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return lib.tensor((np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32))


def same_text(run: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (run(lib) for lib in BOTH)
    assert ours == theirs


# -- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["quint8", "qint8", "qint32"])
def test_per_tensor(dtype: str) -> None:
    def run(lib: Any) -> list[str]:
        q = lib.quantize_per_tensor(numbers(lib, 3, 5), 0.037, 3, getattr(lib, dtype))
        return [repr(part) for part in (
            q, q.int_repr(), q.dequantize(), q.q_scale(), q.q_zero_point(), q.qscheme(), q.dtype, q.is_quantized, q.element_size(), q.t(), q[1],
            q.reshape(5, 3), q.flatten(), q.shape, q.stride(), lib.dequantize(q), q.clone().equal(q), q[0, 0].item(), q.type(), q.copy_(numbers(lib, 3, 5, seed=1)),
        )]  # fmt: skip

    same_text(run)


@pytest.mark.parametrize("axis", [0, 1])
def test_per_channel(axis: int) -> None:
    def run(lib: Any) -> list[str]:
        n = (3, 4)[axis]
        scales, points = lib.tensor([0.1, 0.02, 0.3, 0.011][:n]), lib.tensor([0, -3, 2, 1][:n])
        q = lib.quantize_per_channel(numbers(lib, 3, 4), scales, points, axis, lib.qint8)
        return [repr(part) for part in (
            q, q.int_repr(), q.dequantize(), q.q_per_channel_scales(), q.q_per_channel_zero_points(), q.q_per_channel_axis(), q.qscheme(),
            lib._make_per_channel_quantized_tensor(q.int_repr(), scales, points, axis).equal(q),
        )]  # fmt: skip

    same_text(run)


def test_rounding_is_theirs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, scale, point = (rng.standard_normal(2000) * 5).astype(np.float32), float(rng.uniform(1e-3, 0.1)), int(rng.integers(0, 255))
        ours, theirs = (lib.quantize_per_tensor(lib.tensor(x), scale, point, lib.quint8) for lib in BOTH)
        np.testing.assert_array_equal(ours.int_repr().numpy(), theirs.int_repr().numpy())
        np.testing.assert_array_equal(ours.dequantize().numpy(), theirs.dequantize().numpy())


@pytest.mark.parametrize("extremes", [(-1.0, 2.0), (0.0, 0.0), (1.0, 2.0), (-3.0, -1.0), (1e-6, -2e-6), (1e-9, 0.0), (-1e-7, 0.0), (1e38, -1e38), (1e-44, 0.0)])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_scale_of_extremes(extremes: tuple[float, float], reduce_range: bool) -> None:
    ours, theirs = (lib._choose_qparams_per_tensor(lib.tensor(extremes), reduce_range) for lib in BOTH)
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_what_is_not_there_is_said() -> None:
    q = lamina.quantize_per_tensor(lamina.ones(2, 3), 0.1, 0, lamina.quint8)
    for use in (lambda: q + q, lambda: q.sum(), lambda: lamina.sin(q), lambda: q @ q, lambda: lamina.nn.functional.gelu(q)):
        with pytest.raises(NotImplementedError, match="not there for quantized tensors"):
            use()
    with pytest.raises(NotImplementedError, match="int_repr is for quantized tensors"):
        lamina.ones(2).int_repr()
    with pytest.raises(RuntimeError, match="got Double"):
        lamina.quantize_per_tensor(lamina.ones(2, dtype=lamina.float64), 0.1, 0, lamina.qint8)
    with pytest.raises(RuntimeError, match="zero_point 300 is above upper bound"):
        lamina.quantize_per_tensor(lamina.ones(2), 0.1, 300, lamina.qint8)
    with pytest.raises(RuntimeError, match="gradients"):
        q.requires_grad_()


# -- files ---------------------------------------------------------------------------------------------------------


def quantized_values(lib: Any) -> dict[str, Any]:
    x = numbers(lib, 4, 3)
    whole = lib.quantize_per_tensor(x, 0.03, 7, lib.quint8)
    channels = lib.quantize_per_channel(x, lib.tensor([0.1, 0.2, 0.3, 0.4]).double(), lib.tensor([0, 1, 2, 3]), 0, lib.qint8)
    return {"whole": whole, "part": whole[1:3], "turned": whole.t(), "channels": channels, "kinds": (lib.qint32, lib.per_channel_affine)}


@pytest.mark.parametrize(("writer", "reader"), [(lamina, torch), (torch, lamina), (lamina, lamina)])
def test_files_both_ways(writer: Any, reader: Any) -> None:
    file = io.BytesIO()
    writer.save(quantized_values(writer), file)
    back, expected = reader.load(io.BytesIO(file.getvalue())), quantized_values(reader)
    for key, value in expected.items():
        assert repr(back[key]) == repr(value), key
    assert back["channels"].equal(expected["channels"])


def test_files_that_lie_are_refused() -> None:
    file = io.BytesIO()
    lamina.save({"q": quantized_values(lamina)["channels"]}, file)
    with zipfile.ZipFile(io.BytesIO(file.getvalue())) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for old, new in ((b"torch\nQInt8Storage", b"torch\nCharStorage"), (b"per_channel_affine", b"per_tensor_affine"), (b"_rebuild_qtensor", b"_rebuild_tensor_v2")):
        damaged = io.BytesIO()
        with zipfile.ZipFile(damaged, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data.replace(old, new))
        with pytest.raises(FileError):
            lamina.load(io.BytesIO(damaged.getvalue()))


# -- observers ---------------------------------------------------------------------------------------------------------


def observers(lib: Any) -> dict[str, Any]:
    q = lib.ao.quantization
    return {
        "extremes": q.MinMaxObserver(), "symmetric": q.MinMaxObserver(dtype=lib.qint8, qscheme=lib.per_tensor_symmetric),
        "unsigned": q.MinMaxObserver(qscheme=lib.per_tensor_symmetric), "fewer bits": q.MinMaxObserver(reduce_range=True), "range": q.MinMaxObserver(quant_min=0, quant_max=100),
        "signed range": q.MinMaxObserver(dtype=lib.qint8, quant_min=-127, quant_max=127, qscheme=lib.per_tensor_symmetric, eps=2**-12),
        "moving": q.MovingAverageMinMaxObserver(averaging_constant=0.1), "channels": q.PerChannelMinMaxObserver(ch_axis=1),
        "symmetric channels": q.PerChannelMinMaxObserver(dtype=lib.qint8, qscheme=lib.per_channel_symmetric),
        "moving channels": q.MovingAveragePerChannelMinMaxObserver(ch_axis=1), "histogram": q.HistogramObserver(),
        "fewer bits of a histogram": q.HistogramObserver(reduce_range=True, bins=128),
        "default weight": q.default_weight_observer(), "fixed": q.default_fixed_qparams_range_neg1to1_observer(),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(observers(lamina)))
def test_observers(name: str) -> None:
    found = []
    for lib in BOTH:
        observer = observers(lib)[name]
        for seed, scale in ((0, 1.0), (1, 0.5), (2, 3.0), (3, 1.5)):
            x = numbers(lib, 6, 5, 4, seed=seed, scale=scale)
            assert observer(x) is x
        scale, point = observer.calculate_qparams()
        state = {k: tuple(v.shape) for k, v in observer.state_dict().items()}
        found.append((scale.numpy(), point.numpy(), str(scale.dtype), str(point.dtype), state, repr(observer) if "histogram" not in name else ""))
    (ours, theirs) = found
    np.testing.assert_allclose(ours[0], theirs[0], 1e-6)
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert ours[2:] == theirs[2:]


# -- dynamic quantization ----------------------------------------------------------------------------------------------


def model_of(lib: Any) -> Any:
    """Two layers with the same weights in both."""
    model = lib.nn.Sequential(lib.nn.Linear(24, 40), lib.nn.ReLU(), lib.nn.Linear(40, 6, bias=False))
    with lib.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(numbers(lib, *parameter.shape, seed=k, scale=0.3))
    return model


SPECS = {
    "classes": lambda lib: {"qconfig_spec": {lib.nn.Linear}},
    "all": lambda lib: {},
    "float16": lambda lib: {"qconfig_spec": {lib.nn.Linear}, "dtype": lib.float16},
    "one by name": lambda lib: {"qconfig_spec": {"2"}},
    "per channel": lambda lib: {"qconfig_spec": {lib.nn.Linear: lib.ao.quantization.per_channel_dynamic_qconfig}},
}


@pytest.mark.parametrize("spec", SPECS)
def test_dynamic_models(spec: str) -> None:
    found = []
    for lib in BOTH:
        model = model_of(lib)
        made = lib.quantization.quantize_dynamic(model, **SPECS[spec](lib))
        assert made is not model and isinstance(model[0], lib.nn.Linear) and not made.training
        outputs = []
        for seed, shape, scale in ((5, (7, 24), 1.0), (6, (2, 3, 24), 100.0), (7, (1, 24), 1e-7)):
            y = made(numbers(lib, *shape, seed=seed, scale=scale))
            outputs.append(y.detach().numpy())
        state = made.state_dict()
        found.append((repr(made), {k: repr(v) for k, v in state.items()}, dict(state._metadata), outputs))
    (ours, theirs) = found
    assert ours[:3] == theirs[:3]
    for a, b in zip(ours[3], theirs[3], strict=True):
        np.testing.assert_allclose(a, b, 2e-5, 2e-5 * abs(b).max())


@pytest.mark.parametrize(("writer", "reader"), [(lamina, torch), (torch, lamina)])
def test_dynamic_state_both_ways(writer: Any, reader: Any) -> None:
    file = io.BytesIO()
    made = writer.quantization.quantize_dynamic(model_of(writer))
    writer.save(made.state_dict(), file)
    fresh = reader.quantization.quantize_dynamic(reader.nn.Sequential(reader.nn.Linear(24, 40), reader.nn.ReLU(), reader.nn.Linear(40, 6, bias=False)))
    fresh.load_state_dict(reader.load(io.BytesIO(file.getvalue())))
    y, expected = fresh(numbers(reader, 5, 24)), made(numbers(writer, 5, 24))
    np.testing.assert_allclose(y.numpy(), expected.numpy(), 2e-5, 2e-5)


def test_dynamic_layers_copy_share_and_refuse() -> None:
    made = lamina.quantization.quantize_dynamic(model_of(lamina))
    x = numbers(lamina, 3, 24).requires_grad_()
    y = made(x)
    assert not y.requires_grad and copy.deepcopy(made)(x).equal(y)
    assert isinstance(made[0], lamina.ao.nn.quantized.dynamic.Linear)
    with pytest.raises(RuntimeError, match="larger than or equal to 2"):
        made(numbers(lamina, 24))
    with pytest.raises(RuntimeError, match="last size of the input"):
        made(numbers(lamina, 2, 23))
    with pytest.raises(ValueError, match="Don't know how to quantize"):
        lamina.quantization.quantize_dynamic(model_of(lamina), dtype=lamina.float32)
    model = model_of(lamina)
    assert lamina.quantization.quantize_dynamic(model, inplace=True) is model


RECURRENT = [("LSTM", {"num_layers": 2}), ("LSTM", {"bidirectional": True, "batch_first": True}), ("GRU", {}), ("LSTMCell", {}), ("GRUCell", {}), ("RNNCell", {"nonlinearity": "relu"})]


@pytest.mark.parametrize(("kind", "options"), RECURRENT, ids=[f"{k}-{'-'.join(o)}" for k, o in RECURRENT])
@pytest.mark.parametrize("dtype", ["qint8", "float16"])
def test_dynamic_recurrent_layers(kind: str, options: dict[str, Any], dtype: str) -> None:
    found = []
    for lib in BOTH:
        model = lib.nn.Sequential(getattr(lib.nn, kind)(12, 16, **options))
        with lib.no_grad():
            for k, parameter in enumerate(model.parameters()):
                parameter.copy_(numbers(lib, *parameter.shape, seed=k, scale=0.3))
        made = lib.quantization.quantize_dynamic(model, dtype=getattr(lib, dtype))
        x = numbers(lib, 5, 12) if "Cell" in kind else numbers(lib, 5, 6, 12)
        given = [x]
        if "Cell" not in kind:
            given.append(lib.nn.utils.rnn.pack_padded_sequence(x, lib.tensor([5, 3, 2, 2, 1, 1][: x.shape[0 if "batch_first" in options else 1]]), "batch_first" in options))
        results = []
        for each in given:
            y = made[0](each)
            y = y[0] if isinstance(y, tuple) else y
            results.append((y.data if hasattr(y, "batch_sizes") else y).detach().numpy())
        weights = {k: repr(v) for k, v in (made[0].get_weight() | made[0].get_bias()).items()} if dtype == "qint8" else {}
        found.append((repr(made), list(made.state_dict()), weights, results))
    (ours, theirs) = found
    assert ours[:3] == theirs[:3]
    for a, b in zip(ours[3], theirs[3], strict=True):
        np.testing.assert_allclose(a, b, 1e-3, 2e-3)


def test_dynamic_recurrent_state() -> None:
    """The weights of recurrent layers are tuples of tensors in a state_dict (PyTorch's cannot be read again from a file)."""
    made, fresh = (lamina.quantization.quantize_dynamic(lamina.nn.Sequential(lamina.nn.LSTM(3, 4, 2, bidirectional=True), lamina.nn.Linear(8, 2))) for _ in range(2))
    file = io.BytesIO()
    lamina.save(made.state_dict(), file)
    fresh.load_state_dict(lamina.load(io.BytesIO(file.getvalue())))
    x = numbers(lamina, 5, 2, 3)
    assert fresh[1](fresh[0](x)[0]).equal(made[1](made[0](x)[0]))
    again = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert torch.is_tensor(again["0._all_weight_values.0.param"][0][0])


def test_engines_and_programs() -> None:
    """The engine can be chosen; a traced, compiled or mapped model gives what the model gives."""
    engines = lamina.backends.quantized
    engines.engine = "fbgemm"
    assert engines.engine == "fbgemm" and "x86" in engines.supported_engines
    engines.engine = "x86"
    with pytest.raises(RuntimeError, match="not a valid value for quantized engine"):
        engines.engine = "qnnpack"
    made, x = lamina.quantization.quantize_dynamic(model_of(lamina)), numbers(lamina, 3, 24)
    expected = made(x)
    for program in (lamina.jit.trace(made, x), lamina.compile(made)):
        assert program(x).equal(expected)
    assert lamina.vmap(made)(x.unsqueeze(0)).squeeze(0).equal(expected)


def test_transformer_layers() -> None:
    layer = lamina.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    made = lamina.quantization.quantize_dynamic(layer, {lamina.nn.Linear})
    assert isinstance(made.linear1, lamina.ao.nn.quantized.dynamic.Linear) and isinstance(made.self_attn.out_proj, lamina.nn.Linear)
    x = numbers(lamina, 2, 5, 16)
    assert (made(x) - layer(x)).abs().max().item() < 0.1
