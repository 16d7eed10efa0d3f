"""Checkpoints and safetensors: both directions against the real thing, and hostile files."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lamina
from lamina.dialects.errors import FileError, UnsupportedError
from lamina.dialects.types import DTYPES
from lamina.pyfront.files.checkpoint import read_checkpoint, write_checkpoint
from lamina.pyfront.files.records import StorageRecord, TensorRecord, row_major
from lamina.pyfront.files.safetensors import read_safetensors, write_safetensors

NAMES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def record(array: np.ndarray, key: str = "0", **more: Any) -> TensorRecord:
    return TensorRecord(StorageRecord(key, "cpu", array.reshape(-1)), 0, array.shape, row_major(array.shape), **more)


def written(value: Any, convert: Any = lambda value: None) -> bytes:
    file = io.BytesIO()
    write_checkpoint(file, value, convert, "archive")
    return file.getvalue()


def read(data: bytes, allowed: dict[str, Any] | None = None) -> Any:
    return read_checkpoint(io.BytesIO(data), "model.pt", lambda r: r, lambda data, grad: (data, grad), allowed or {})


PLAIN = {
    "numbers": [1, -1, 255, 256, -(2**31), 2**40, -(2**70), 2.5, float("inf"), True, None],
    "text": "häß \U0001f600", "bytes": b"\x00\xff", ("a", 1): {3, 1}, "empty": [[], (), {}, ""],
    "dtype": DTYPES["float32"], "ordered": OrderedDict(b=1, a=2),
}  # fmt: skip


def test_plain_data_round_trip() -> None:
    assert read(written(PLAIN)) == PLAIN


def test_sharing_inside_containers_survives() -> None:
    inner = [1]
    back = read(written({"a": inner, "b": inner}))
    assert back["a"] is back["b"]


def test_same_value_gives_same_bytes() -> None:
    value = {"w": record(np.arange(6.0).reshape(2, 3))}
    assert written(value) == written(value)


@pytest.mark.parametrize("name", NAMES)
def test_tensor_round_trip(name: str) -> None:
    array = np.arange(6).astype(DTYPES[name].numpy).reshape(2, 3)
    back = read(written({"w": record(array)}))["w"]
    assert back.array().dtype == array.dtype
    assert np.array_equal(back.array(), array)


def test_what_cannot_be_saved_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"object\['a'\]\[1\]: object is not plain data"):
        written({"a": [1, object()]})


class TestAgainstTorch:
    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        self.torch = pytest.importorskip("torch")

    def test_torch_reads_ours(self) -> None:
        value = {k: v for k, v in PLAIN.items() if k != "dtype"}
        shared = StorageRecord("1", "cpu", np.arange(12, dtype=np.float32))
        value["tensors"] = [TensorRecord(shared, 1, (2, 3), (1, 2)), TensorRecord(shared, 0, (12,), (1,))]
        value["parameter"] = record(np.ones((2, 2), np.float32), requires_grad=True, is_parameter=True)
        back = self.torch.load(io.BytesIO(written(value)), weights_only=True)
        assert all(back[k] == PLAIN[k] for k in PLAIN if k != "dtype")
        assert back["tensors"][0].tolist() == [[1, 3, 5], [2, 4, 6]]
        back["tensors"][1][1] = 50
        assert back["tensors"][0][0, 0] == 50
        assert isinstance(back["parameter"], self.torch.nn.Parameter)

    @pytest.mark.parametrize("name", NAMES)
    def test_torch_reads_every_dtype(self, name: str) -> None:
        array = np.arange(6).astype(DTYPES[name].numpy).reshape(2, 3)
        back = self.torch.load(io.BytesIO(written(record(array))))
        assert back.dtype == getattr(self.torch, name)
        assert back.double().tolist() == array.astype(float).tolist()

    def test_plain_pickles_of_torch(self) -> None:
        """In a process of its own: a plain pickle imports what it names from torch."""
        torch = self.torch
        w = torch.arange(6.0)
        value = {"w": w, "part": w[2:4], "t": torch.arange(6.0).view(2, 3).t(), "p": torch.nn.Parameter(torch.ones(2)), "layer": torch.nn.Linear(2, 1), "h": w.bfloat16()}
        code = """
import pickle, sys
from lamina.pyfront import import_hook
import_hook.install()
import torch
found = pickle.load(sys.stdin.buffer)
print(found["part"].tolist(), found["t"].tolist(), isinstance(found["p"], torch.nn.Parameter), found["layer"], found["h"].dtype)
"""
        done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(value), capture_output=True, check=True)
        assert done.stdout.decode().split() == "[2.0, 3.0] [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] True Linear(in_features=2, out_features=1, bias=True) torch.bfloat16".split()

    def test_we_read_torch(self) -> None:
        torch = self.torch
        linear = torch.nn.Linear(3, 2)
        linear.register_buffer("steps", torch.tensor(7))
        value = {"model": linear.state_dict(), "t": torch.arange(6).view(2, 3).t(), "w": linear.weight, "e": torch.empty(0, 3)}
        value |= {k: v for k, v in PLAIN.items() if k != "dtype"} | {"dtype": torch.float32}
        file = io.BytesIO()
        torch.save(value, file)
        back = read(file.getvalue())
        assert all(back[k] == PLAIN[k] for k in PLAIN)
        assert list(back["model"]) == ["weight", "bias", "steps"]
        assert back["model"]._metadata == linear.state_dict()._metadata
        assert np.array_equal(back["model"]["weight"].array(), linear.weight.detach().numpy())
        assert back["t"].array().tolist() == value["t"].tolist()
        assert back["w"][0].storage is back["model"]["weight"].storage
        assert back["e"].array().shape == (0, 3)

    def test_safetensors_both_ways(self) -> None:
        official = pytest.importorskip("safetensors.numpy")
        arrays = {"b": np.arange(3.0), "a": np.ones((2, 2), np.float16), "n": np.array([True, False])}
        file = io.BytesIO()
        write_safetensors(file, arrays, {"format": "pt"})
        assert file.getvalue() == official.save(arrays, {"format": "pt"})
        assert all(np.array_equal(v, arrays[k]) for k, v in official.load(file.getvalue()).items())


def hostile(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("archive/data.pkl", program)
        out.writestr("archive/data/0", b"\0" * 16)
    return file.getvalue()


class Attack:
    def __reduce__(self) -> Any:
        return print, ("never",)


STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
REBUILD = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    "program, words",
    [
        (pickle.dumps(Attack(), 2), "not on the list"),
        (pickle.dumps(Attack(), 4), "not on the list"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "os.system"),
        (b"\x80\x02]q\x00", "needs 1 more bytes"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "needs 2147483647 more bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\xff.", "more bytes"),
        (b"\x80\x09.", "protocol"),
        (b"\x80\x02h\x05.", "malformed"),
        (b"\x80\x02t.", "malformed"),
        (b"\x80\x02K\x01K\x02.", "left on the stack"),
        (b"\x80\x02(K\x01u.", "malformed|key without"),
        (b"\x80\x02K\x01}b.", "sets the state"),
        (b"\x80\x02\x81.", "malformed"),
        (b"", "needs 1 more"),
        (REBUILD + STORAGE + b"K\x00K\x05\x85K\x01\x85\x89NtR.", "outside its storage"),
        (REBUILD + STORAGE + b"J\xff\xff\xff\xffK\x01\x85K\x01\x85\x89NtR.", "outside its storage"),
        (REBUILD + STORAGE + b"K\x00K\x02\x85J\xff\xff\xff\xff\x85\x89NtR.", "outside its storage"),
        (REBUILD + STORAGE + b"K\x00K\x02\x85)\x89NtR.", "not described by numbers"),
        (REBUILD + STORAGE.replace(b"K\x04", b"K\x05") + b"K\x00K\x02\x85K\x01\x85\x89NtR.", "holds 16 bytes"),
    ],
)
def test_hostile_pickles_are_refused(program: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words) as caught:
        read(hostile(program))
    assert "model.pt" in str(caught.value)


def test_every_truncation_is_a_file_error() -> None:
    data = written({"w": record(np.arange(600.0))})
    for cut in range(0, len(data) - 1, 97):
        with pytest.raises(FileError, match="model.pt"):
            read(data[:cut])


def test_flipped_bytes_are_errors_or_data() -> None:
    data = bytearray(written({"w": record(np.arange(20.0)), "n": [1, "x"]}))
    for at in range(0, len(data), 3):
        broken = bytearray(data)
        broken[at] ^= 0xFF
        try:
            read(bytes(broken))
        except FileError:
            pass


@pytest.mark.parametrize("data, words", [(b"", "is empty"), (b"hello world, this is text", "no zip header")])
def test_foreign_files(data: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words):
        read(data)


def test_safetensors_damage() -> None:
    file = io.BytesIO()
    write_safetensors(file, {"a": np.arange(4, dtype=np.float32), "b": np.arange(3)})
    data = file.getvalue()
    assert read_safetensors(data, "x")[0]["a"].tolist() == [0, 1, 2, 3]
    for cut in (0, 4, 9, len(data) - 1):
        with pytest.raises(FileError, match="offset"):
            read_safetensors(data[:cut], "x")
    for old, new in ((b"[4]", b"[5]"), (b'"I64"', b'"I32"'), (b"[3]", b"-3 "), (b'"data_offsets":[24,', b'"data_offsets":[20,')):
        assert old in data
        with pytest.raises(FileError):
            read_safetensors(data.replace(old, new), "x")


def test_save_and_load_of_tensors(tmp_path: Any) -> None:
    import lamina

    model = lamina.nn.Sequential(lamina.nn.Linear(2, 3), lamina.nn.BatchNorm1d(3))
    path = tmp_path / "model.pt"
    shared = lamina.arange(6.0)
    lamina.save({"m": model.state_dict(), "p": model[0].weight, "v": [shared, shared.view(2, 3)[1]], "s": shared.shape}, path)
    back = lamina.load(path)
    assert isinstance(back["p"], lamina.nn.Parameter) and back["p"].requires_grad and isinstance(back["s"], lamina.Size)
    back["v"][0][4] = 50.0
    assert back["v"][1].tolist() == [3.0, 50.0, 5.0]
    model.load_state_dict(back["m"])
    rows = lamina.arange(24.0).reshape(2, 3, 4)
    parts = {"r": rows, "p": rows.permute(2, 0, 1), "s": rows[:, ::2, 1:3], "e": rows[:, :1].expand(2, 5, 4), "q": lamina.nn.Parameter(rows[1].t())}
    lamina.save({**parts, "empty": lamina.zeros(0, 2).t()}, path)
    again = lamina.load(path)
    for name, part in parts.items():
        assert again[name].stride() == part.stride() and lamina.equal(again[name], part) and not again[name]._is_view()
    again["r"][1, 0, 1] = 50.0
    assert again["p"][1, 1, 0].item() == again["s"][1, 0, 0].item() == again["q"][1, 0].item() == 50.0 and again["empty"].shape == (2, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_mapped_files(tmp_path: Any) -> None:
    path = tmp_path / "model.pt"
    lamina.save({"w": lamina.arange(4096.0), "b": lamina.arange(8).view(2, 4).t()}, path)
    before = path.read_bytes()
    back = lamina.load(path, mmap=True)
    back["w"].add_(1)
    back["b"][0, 1] = 7
    assert back["w"].sum().item() == 4096 * 4097 / 2 and back["b"].tolist() == [[0, 7], [1, 5], [2, 6], [3, 7]]
    assert path.read_bytes() == before, "what is written to a mapping stays in memory"
    with pytest.raises(ValueError, match="file name"):
        lamina.load(io.BytesIO(before), mmap=True)
    for end in range(0, len(before), 97):
        path.write_bytes(before[:end])
        with pytest.raises(FileError):
            lamina.load(path, mmap=True)
    at = before.index(b"PK\x03\x04", 4)
    path.write_bytes(before[:at] + b"PK\x00\x00" + before[at + 4 :])
    assert list(lamina.load(path, mmap=True)) == ["w", "b"]  # that entry is no storage


@pytest.mark.parametrize("edit", [(26, b"\xff\xff"), (28, b"\xff\xff"), (0, b"XX")])
def test_mapped_entries_stay_inside_the_file(tmp_path: Any, edit: tuple[int, bytes]) -> None:
    path = tmp_path / "model.pt"
    lamina.save([lamina.ones(4)], path)
    data = bytearray(path.read_bytes())
    at = zipfile.ZipFile(path).getinfo("model/data/0").header_offset + edit[0]
    data[at : at + len(edit[1])] = edit[1]
    path.write_bytes(data)
    with pytest.raises(FileError):
        lamina.load(path, mmap=True)


def test_files_before_1_6_are_not_mapped(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.save([torch.ones(2)], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="old.pt is older"):
        lamina.load(tmp_path / "old.pt", mmap=True)


def test_failed_saves_leave_the_old_file(tmp_path: Any) -> None:
    import lamina

    path = tmp_path / "model.pt"
    lamina.save([1], path)
    with pytest.raises(UnsupportedError, match="state_dict"):
        lamina.save({1: lambda: 0}, path)
    assert lamina.load(path) == [1]
    with pytest.raises(FileError, match="No such file"):
        lamina.save([1], tmp_path / "missing" / "model.pt")
    with pytest.raises(FileNotFoundError, match="in that folder: model.pt"):
        lamina.load(tmp_path / "nodel.pt")


def _many(lib: Any) -> dict[str, Any]:
    x = lib.arange(12.0).view(3, 4)
    return {
        "views": [x, x.t(), x[1:], x[:, ::2]], "parameter": lib.nn.Parameter(lib.ones(2, 2)), "tracked": lib.ones(2).requires_grad_(),
        "dtypes": [lib.ones(2).to(getattr(lib, n)) for n in ("float16", "bfloat16", "int8", "uint8", "bool", "int64", "float64")],
        "plain": {"a": [1, 2.5, "é", b"x", None, True, 10**40], "set": {1, 2}}, "empty": lib.empty(0, 3), "size": x.shape,
    }  # fmt: skip


def test_the_format_before_1_6(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "old.pt"
    torch.save({**_many(torch), "complex": 1 + 2j}, path, _use_new_zipfile_serialization=False)
    loaded, expected = lamina.load(path), torch.load(path)
    for key in ("views", "dtypes"):
        assert [t.tolist() for t in loaded[key]] == [t.tolist() for t in expected[key]]
        assert [str(t.dtype) for t in loaded[key]] == [str(t.dtype) for t in expected[key]]
    for key in ("plain", "complex"):
        assert loaded[key] == expected[key]
    assert type(loaded["parameter"]).__name__ == "Parameter" and loaded["tracked"].requires_grad
    loaded["views"][0][1, 0] = 99
    assert loaded["views"][2][0, 0].item() == 99
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    torch.save([model.state_dict(), optimizer.state_dict()], path, _use_new_zipfile_serialization=False)
    ours = lamina.nn.Sequential(lamina.nn.Linear(3, 2), lamina.nn.BatchNorm1d(2))
    state, rest = lamina.load(path)
    ours.load_state_dict(state)
    lamina.optim.Adam(ours.parameters()).load_state_dict(rest)
    assert ours[0].weight.tolist() == model[0].weight.tolist()


def test_damaged_old_files_are_errors() -> None:
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save({"a": torch.arange(6.0), "b": torch.ones(2, 3, dtype=torch.int64)}, file, _use_new_zipfile_serialization=False)
    data = file.getvalue()
    for end in range(16, len(data), 7):
        with pytest.raises(FileError):
            lamina.load(io.BytesIO(data[:end]))
    numbers = np.random.RandomState(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[numbers.randint(16, len(data))] = numbers.randint(256)
        try:
            lamina.load(io.BytesIO(bytes(damaged)))
        except (FileError, RuntimeError):
            continue


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.sampled_from("scid")), min_size=1, max_size=6))
@example(False, [(0.9774987223543357, 129, "s")])  # an entry's place is beyond what a file can have
def test_mutated_files_are_errors_or_data(legacy: bool, edits: list) -> None:
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save({"a": [torch.arange(6.0), 1, "x"], "b": torch.ones(2, 3)}, file, _use_new_zipfile_serialization=not legacy)
    data = bytearray(file.getvalue())
    for place, byte, kind in edits:
        at = int(place * max(len(data) - 1, 0))
        if kind == "s":
            data[at : at + 1] = bytes([byte])
        elif kind == "c":
            del data[at : at + byte]
        elif kind == "i":
            data[at:at] = bytes([byte] * 3)
        else:
            data[at:at] = data[at : at + byte]
    try:
        lamina.load(io.BytesIO(bytes(data)))
    except (FileError, RuntimeError):  # RuntimeError: a place that is not here
        pass


class Kept:
    """A class of the program's own."""

    def __init__(self) -> None:
        self.x = 3


def test_safe_globals(tmp_path: Any) -> None:
    path = str(tmp_path / "own.pt")
    lamina.save({"a": Kept()}, path)
    files = lamina.serialization
    name = f"{Kept.__module__}.Kept"
    assert files.get_unsafe_globals_in_checkpoint(path) == [name] and files.get_safe_globals() == []
    with pytest.raises(FileError, match="Kept"):
        lamina.load(path)
    with files.safe_globals([Kept]):
        assert lamina.load(path)["a"].x == 3 and files.get_safe_globals() == [Kept]
    with pytest.raises(FileError, match="Kept"):
        lamina.load(path)
    files.add_safe_globals([Kept])
    assert lamina.load(path)["a"].x == 3
    files.clear_safe_globals()
    assert files.get_safe_globals() == []
