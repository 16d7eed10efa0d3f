"""torch.onnx: whole models as ONNX files, run by ONNX Runtime against the model itself."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import lamina as torch
import numpy as np
import onnx
import onnxruntime
import pytest
from lamina import nn
from lamina.dialects.errors import BackendError, FileError, LaminaError, UnsupportedError
from lamina.nn import functional as F


def session_of(program: torch.onnx.ONNXProgram) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(program.model_proto, full_check=True)
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def check(model: nn.Module, program: torch.onnx.ONNXProgram, *calls: tuple) -> onnxruntime.InferenceSession:
    """The program gives what the model gives for these arguments, result by result."""
    session = session_of(program)
    model.eval()
    for args in calls:
        with torch.no_grad():
            results = model(*args)
        wanted = []
        for part in results if isinstance(results, tuple) else (results,):
            wanted += part if isinstance(part, tuple) else [part]
        feeds = {given.name: tensor.numpy() for given, tensor in zip(session.get_inputs(), args, strict=True)}
        for got, want in zip(session.run(None, feeds), wanted, strict=True):
            assert got.dtype == want.numpy().dtype
            np.testing.assert_allclose(got, want.numpy(), rtol=2e-4, atol=2e-5)
    return session


def ops(program: torch.onnx.ONNXProgram) -> list[str]:
    return [node.op_type for node in program.model_proto.graph.node]


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding="same", groups=4, dilation=2, bias=False)
        self.pool, self.drop, self.fc = nn.MaxPool2d(3, 2, padding=1), nn.Dropout(0.5), nn.Linear(8 * 4, 5)

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.conv(x))))
        return F.log_softmax(self.fc(self.drop(F.relu6(self.deep(x)).flatten(1))), dim=1)


def test_a_classifier_is_made_of_the_nodes_one_would_write() -> None:
    torch.manual_seed(0)
    model, x = Classifier(), torch.randn(2, 3, 8, 8)
    program = torch.onnx.export(model, x, input_names=["image"], output_names=["scores"])
    assert ops(program) == ["Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Clip", "Reshape", "Gemm", "LogSoftmax"]
    assert model.training and model.drop.training, "each layer keeps its mode"
    session = check(model, program, (x,))
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", [2, 3, 8, 8])]
    assert [o.name for o in session.get_outputs()] == ["scores"]
    names = {t.name for t in program.model_proto.graph.initializer}
    assert {"conv.weight", "conv.bias", "norm.running_mean", "fc.weight"} <= names
    conv = program.model_proto.graph.node[0]
    assert "test_onnx.py:" in conv.doc_string, "nodes say which line they come from"
    assert onnx.helper.get_node_attr_value(conv, "pads") == [1, 1, 1, 1]


def test_the_batch_is_whatever_comes() -> None:
    torch.manual_seed(0)
    model, x = Classifier(), torch.randn(1, 3, 8, 8)
    program = torch.onnx.export(model, (x,), dynamic_axes={"x": {0: "batch"}, "output": {0: "batch"}})
    session = check(model, program, (x,), (torch.randn(5, 3, 8, 8),))
    assert session.get_outputs()[0].shape == ["batch", 5] and len(ops(program)) == 9


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = F.relu(self.a(x))
        return self.out(torch.cat([a, self.up(F.relu(self.b(F.avg_pool2d(a, 2))))], 1))


def test_images_of_any_even_size() -> None:
    torch.manual_seed(0)
    model = UNet()
    H, W = torch.export.Dim("height"), torch.export.Dim("width")
    program = torch.onnx.export(model, (torch.randn(1, 3, 16, 24),), dynamic_shapes={"x": {0: "batch", 2: H, 3: W}})
    assert ops(program) == ["Conv", "Relu", "AveragePool", "Conv", "Relu", "ConvTranspose", "Concat", "Conv"]
    session = check(model, program, (torch.randn(1, 3, 16, 24),), (torch.randn(2, 3, 8, 20),))
    assert session.get_outputs()[0].shape == ["batch", 2, "height", "width"]
    assert "up.weight" in {t.name for t in program.model_proto.graph.initializer}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 4, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.lstm(x)


def test_recurrent_layers_are_scans_over_any_length() -> None:
    torch.manual_seed(0)
    model = Recurrent()
    program = torch.onnx.export(model, (torch.randn(3, 6, 5),), dynamic_axes={"x": {0: "batch", 1: "time"}})
    assert ops(program).count("Scan") == 4
    session = check(model, program, (torch.randn(3, 6, 5),), (torch.randn(1, 9, 5),), (torch.randn(4, 2, 5),))
    assert [o.shape for o in session.get_outputs()] == [["batch", "time", 8], [4, "batch", 4], [4, "batch", 4]]


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(20, 16), nn.Embedding(64, 16)
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu", norm_first=True)
        self.head = nn.Linear(16, 20, bias=False)

    def forward(self, ids):
        steps = ids.shape[1]
        mask = torch.triu(torch.full((steps, steps), float("-inf")), diagonal=1)
        return self.head(self.block(self.token(ids) + self.place(torch.arange(steps)), src_mask=mask))


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.slow
def test_a_language_model_of_any_length(opset: int) -> None:
    """Masks and positions, which the model makes for the length at hand, are made by the exported model, too."""
    torch.manual_seed(0)
    model = Language()
    ids = torch.randint(0, 20, (2, 10))
    program = torch.onnx.export(model, (ids,), dynamic_axes={"ids": [0, 1]}, opset_version=opset)
    session = check(model, program, (ids,), (torch.randint(0, 20, (3, 17)),), (torch.randint(0, 20, (1, 2)),))
    assert session.get_outputs()[0].shape == ["ids_dynamic_axes_1", "ids_dynamic_axes_2", 20]
    assert ("Gelu" in ops(program)) == (opset == 20) and "LayerNormalization" in ops(program)


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x, pair, *, flag=True, extra=None):
        early = x * 2
        late = early.sum(1) if flag else early.sum(0)
        return late, early, x, self.scale, late, (pair[0] - pair[1]["k"], extra * early)


def test_results_come_as_they_are_returned_and_arguments_as_they_are_given() -> None:
    model, x = Several(), torch.randn(2, 3)
    pair = (torch.randn(4), {"k": torch.randn(4)})
    extra = torch.randn(2, 1)
    program = torch.onnx.export(model, (x, pair), kwargs={"flag": False, "extra": extra}, input_names=["a"])
    session = session_of(program)
    assert [i.name for i in session.get_inputs()] == ["a", "pair_0", "pair_1", "extra"]
    feeds = {"a": x, "pair_0": pair[0], "pair_1": pair[1]["k"], "extra": extra}
    got = session.run(None, {name: t.numpy() for name, t in feeds.items()})
    late, early, same, scale, again, (difference, last) = model(x, pair, flag=False, extra=extra)
    for g, w in zip(got, (late, early, same, scale, again, difference, last), strict=True):
        np.testing.assert_allclose(g, w.detach().numpy(), rtol=1e-6)


def test_weights_stay_outside_or_may_be_replaced() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    session = session_of(torch.onnx.export(model, x, export_params=False))
    assert [i.name for i in session.get_inputs()] == ["input", "weight", "bias"]
    program = torch.onnx.export(model, x, keep_initializers_as_inputs=True)
    assert [i.name for i in program.model_proto.graph.input] == ["input", "weight", "bias"] and len(program.model_proto.graph.initializer) == 2
    other = session_of(program).run(None, {"input": x.numpy(), "bias": np.array([5, 6], np.float32)})[0]
    np.testing.assert_allclose(other, (x @ model.weight.T + torch.tensor([5.0, 6.0])).detach().numpy(), rtol=1e-5)


def test_files(tmp_path: Path) -> None:
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    target = tmp_path / "model.onnx"
    target.write_bytes(b"what was there")
    program = torch.onnx.export(model, x, str(target))
    assert onnx.load(target).SerializeToString() == program.model_proto.SerializeToString()
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    buffer = io.BytesIO()
    torch.onnx.export(model, x, buffer)
    assert onnx.load_from_string(buffer.getvalue()).graph.output[0].name == "output"
    with pytest.raises(FileError, match="no folder"):
        torch.onnx.export(model, x, str(tmp_path / "nowhere" / "model.onnx"))


def test_large_weights_lie_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.backends.onnx import model as room

    monkeypatch.setattr(room, "_LARGEST_FILE", 100)
    model, x = nn.Linear(64, 32), torch.randn(2, 64)
    torch.onnx.export(model, x, tmp_path / "big.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    got = onnxruntime.InferenceSession(str(tmp_path / "big.onnx")).run(None, {"input": x.numpy()})[0]
    np.testing.assert_allclose(got, model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


class Depends(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.kind == "value":
            return x * 2 if x.sum().item() > 0 else x
        if self.kind == "steps":
            return x * 2 if x.shape[0] == 3 else x + 1 - x
        if self.kind == "constant":
            return x + torch.from_numpy(np.random.default_rng(x.shape[0]).random((x.shape[0], 1), np.float32))
        if self.kind == "fails" and x.shape[0] != 3:
            raise ValueError("three rows only")
        return x * 2


def test_what_cannot_be_exported_says_why() -> None:
    x = torch.randn(3, 4)
    axes = {"x": {0: "rows"}}
    with pytest.raises(LaminaError, match="looks at a value on the way that depends on x") as raised:
        torch.onnx.export(Depends("value"), x)
    assert "x.sum().item() > 0" in str(raised.value)
    with pytest.raises(BackendError, match="another one for other sizes of rows"):
        torch.onnx.export(Depends("steps"), x, dynamic_axes=axes)
    with pytest.raises(BackendError, match=r"constant \[3, 1\] whose numbers depend on sizes"):
        torch.onnx.export(Depends("constant"), x, dynamic_axes=axes)
    with pytest.raises(torch.onnx.OnnxExporterError, match="does not run with other sizes of rows: three rows only"):
        torch.onnx.export(Depends("fails"), x, dynamic_axes=axes)
    with pytest.raises(LaminaError, match="names 'y', which is no input"):
        torch.onnx.export(Depends(""), x, dynamic_axes={"y": {0: "rows"}})
    with pytest.raises(LaminaError, match="x has 2 dimensions"):
        torch.onnx.export(Depends(""), x, dynamic_axes={"x": {2: "rows"}})
    with pytest.raises(BackendError, match="opset 9 is not written"):
        torch.onnx.export(Depends(""), x, opset_version=9)
    with pytest.raises(torch.onnx.OnnxExporterError, match=r"needs a torch\.nn\.Module"):
        torch.onnx.export(lambda x: x, x)


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc, self.table = nn.Conv2d(2, 4, 3, padding=1), nn.LayerNorm(4), nn.Linear(4, 3), nn.Embedding(5, 3)

    def forward(self, x, i):
        y = F.gelu(self.conv(x)).flatten(2).transpose(1, 2)
        y = self.fc(self.norm(y)) + self.table(i)[:, None]
        return torch.cat([y.softmax(-1), y[:, :1]], 1).float(), y.mean((1, 2)).float()


class Angles(torch.nn.Module):
    def forward(self, y, x):
        return torch.atan2(y, x)


def test_angles_of_zeros_have_their_signs() -> None:
    y = torch.tensor([-0.0, 0.0, -0.0, 0.0, -0.0, 0.0, 1.0, -1.0, 2.0])
    x = torch.tensor([-1.0, -1.0, 1.0, 1.0, -0.0, -0.0, -0.0, 0.0, -3.0])
    (got,) = session_of(torch.onnx.export(Angles(), (y, x))).run(None, {"y": y.numpy(), "x": x.numpy()})
    np.testing.assert_allclose(got, np.arctan2(y.numpy(), x.numpy()), 1e-6)
    assert (np.signbit(got) == np.signbit(y.numpy())).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_run_where_runtimes_have_no_kernels_for_them(dtype) -> None:
    torch.manual_seed(0)
    model, x, i = Halves().to(dtype), torch.randn(2, 2, 4, 4).to(dtype), torch.tensor([1, 4])
    program = torch.onnx.export(Wide(model), (x.float(), i))
    got = session_of(program).run(None, {"x": x.float().numpy(), "i": i.numpy()})
    for a, b in zip(got, model(x, i), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=0.02)


class Wide(nn.Module):
    """Half precision inside, float32 outside."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x, i):
        return self.model(x.to(self.model.fc.weight.dtype), i)


class Bytes(nn.Module):
    """Sums of more bytes than float32 counts exactly, and of few."""

    def forward(self, x, k):
        padded = F.pad(x, (1, 1, 1, 1), value=7)
        return F.conv2d(padded.int(), k.int()), F.conv2d(padded.int()[:, :4], k.int()[:, :2], groups=2)


def test_convolutions_of_bytes_are_exact() -> None:
    x, k = torch.full((1, 200, 5, 4), 255, dtype=torch.uint8), torch.full((2, 200, 3, 3), -128, dtype=torch.int8)
    x[0, 3], k[1, 5] = 254, 127
    session = session_of(torch.onnx.export(Bytes(), (x, k)))
    for got, want in zip(session.run(None, {"x": x.numpy(), "k": k.numpy()}), Bytes()(x, k), strict=True):
        np.testing.assert_array_equal(got, want.numpy())


class Integers(nn.Module):
    def forward(self, x, k):
        return F.conv2d(x, k)


def test_what_onnx_cannot_say_names_the_line() -> None:
    x, k = torch.ones(1, 1, 4, 4, dtype=torch.int64), torch.ones(1, 1, 2, 2, dtype=torch.int64)
    with pytest.raises(UnsupportedError, match="no convolutions of int64") as raised:
        torch.onnx.export(Integers(), (x, k))
    assert "test_onnx.py:" in str(raised.value)


class Waves(nn.Module):
    def forward(self, x):
        z = torch.fft.rfft(x)
        return z, z.abs()


def test_complex_numbers_are_pairs() -> None:
    model, x = Waves(), torch.randn(2, 8)
    z, magnitude = session_of(torch.onnx.export(model, x)).run(None, {"x": x.numpy()})
    want = np.fft.rfft(x.numpy())
    np.testing.assert_allclose(z[..., 0] + 1j * z[..., 1], want, atol=1e-4)
    np.testing.assert_allclose(magnitude, np.abs(want), atol=1e-4)


def test_models_know_that_they_are_exported() -> None:
    class Asks(nn.Module):
        def forward(self, x):
            return x * (2.0 if torch.onnx.is_in_onnx_export() else 3.0)

    x = torch.ones(2)
    assert session_of(torch.onnx.export(Asks(), x)).run(None, {"x": x.numpy()})[0].tolist() == [2, 2]
    assert not torch.onnx.is_in_onnx_export() and Asks()(x).tolist() == [3, 3]


def test_exported_programs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, ids = Language().eval(), torch.randint(0, 20, (2, 10))
    program = torch.export.export(model, (ids,), dynamic_shapes={"ids": {0: torch.export.Dim("batch"), 1: "time"}})
    torch.export.save(program, tmp_path / "model.pt2")
    torch.export.load(tmp_path / "model.pt2").to_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert session.get_inputs()[0].shape == ["batch", "time"]
    other = torch.randint(0, 20, (3, 14))
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"ids": other.numpy()})[0], model(other).numpy(), rtol=2e-4, atol=2e-5)
    assert torch.onnx.export(program, output_names=["logits"]).model_proto.graph.output[0].name == "logits"


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    script = tmp_path / "net.py"
    script.write_text("""
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 2)
    def forward(self, x):
        return torch.softmax(self.fc(x), -1)
if __name__ == "__main__":
    torch.manual_seed(0)
    torch.save(Net().state_dict(), "net.pt")
""")
    run = [sys.executable, "-m", "lamina"]
    subprocess.run([*run, "run", str(script)], cwd=tmp_path, check=True)
    command = [*run, "compile", f"{script}:Net", "--weights", "net.pt", "--example", "float32[batch=3,4]", "--target", "onnx", "-o", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "out/model.onnx" in result.stdout
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 4] and session.run(None, {"x": np.ones((7, 4), np.float32)})[0].shape == (7, 2)
    refused = subprocess.run([*command[:-4], "-o", "out"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "sizes with names" in refused.stderr


class Placed(nn.Module):
    def forward(self, x, q):
        bounds = torch.tensor([-1.0, 0.0, 0.0, 1.0])
        found = [torch.bucketize(x, bounds), torch.bucketize(x, bounds, right=True), torch.searchsorted(q, x, right=True, out_int32=True)]
        return (*found, F.one_hot(x.argmax(1), 4))


def test_buckets_and_classes_of_what_is_computed() -> None:
    """Nothing on the way is looked at, so other values have other buckets; also in an exported program, whose results are those of the calls themselves."""
    torch.manual_seed(0)
    x, q = torch.randn(3, 4), torch.randn(3, 5).sort(1)[0]
    x[0, 0], x[1, 1], q[2] = float("nan"), 0.0, 0.0
    example = torch.randn(3, 4), q * 2
    check(Placed(), torch.onnx.export(Placed(), example), (x, q))
    for got, want in zip(torch.export.export(Placed(), example).module()(x, q), Placed()(x, q), strict=True):
        assert got.dtype is want.dtype and torch.equal(got, want)
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        F.one_hot(torch.tensor([1, 2]) * 2, 4).sum().item()
