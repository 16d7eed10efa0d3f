"""Settings, counters, paths, dates and arrays beside the tensors of a checkpoint: PyTorch's files and ours, both ways."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import io
import pathlib
import types
from typing import Any, NamedTuple

import lamina
import numpy as np
import pytest
from lamina.dialects.errors import FileError, UnsupportedError


class Phase(enum.Enum):
    WARM = "warm"
    MAIN = 2


class Sizes(NamedTuple):
    width: int
    depth: int


@dataclasses.dataclass
class Config:
    rate: float = 0.1
    sizes: tuple = (1, 2)


OBJECTS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2]), "simple namespace": types.SimpleNamespace(a=1, b="x"),
    "defaultdict": collections.defaultdict(list, {"a": [1], "b": []}), "no factory": collections.defaultdict(None, {1: 2}),
    "counter": collections.Counter("abca"), "deque": collections.deque([1, 2, 3], maxlen=4), "frozenset": frozenset({1, 2}),
    "complex": 1 - 2j, "path": pathlib.Path("/runs/a.txt"), "pure path": pathlib.PurePosixPath("a/b"),
    "datetime": datetime.datetime(2024, 2, 29, 12, 30, 1, 5), "date": datetime.date(2024, 2, 29), "time": datetime.time(1, 2, 3),
    "duration": datetime.timedelta(days=1, seconds=2), "member": Phase.WARM, "members": [Phase.MAIN, Phase.MAIN],
    "named tuple": Sizes(3, 4), "dataclass": Config(0.5, (3,)),
    "float32[2,3]": np.arange(6, dtype=np.float32).reshape(2, 3), "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"), "text array": np.array(["ab", "c"]), "bytes array": np.array([b"xy", b"z"]),
    "bool array": np.array([True, False]), "scalar array": np.array(5.0), "empty array": np.zeros((0, 3)), "dtype": np.dtype("float16"),
    "half array": np.arange(3, dtype=np.float16),
}  # fmt: skip


def through(writer: Any, reader: Any, value: Any) -> Any:
    file = io.BytesIO()
    writer.save({"object": value, "again": value}, file)
    file.seek(0)
    found = reader.load(file, weights_only=False)
    assert found["again"] is found["object"] or isinstance(value, (complex, enum.Enum))
    return found["object"]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype.newbyteorder("=") and a.flags.c_contiguous == b.flags.c_contiguous and np.array_equal(a, b)
    if isinstance(a, collections.defaultdict) and a.default_factory is not b.default_factory:
        return False
    return a == b and type(a) is type(b)


@pytest.mark.parametrize("name", OBJECTS)
def test_written_and_read(name: str) -> None:
    assert same(through(lamina, lamina, OBJECTS[name]), OBJECTS[name])


@pytest.mark.torch
@pytest.mark.parametrize("name", OBJECTS)
def test_pytorch_reads_and_writes_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert same(through(lamina, torch, OBJECTS[name]), OBJECTS[name])
    assert same(through(torch, lamina, OBJECTS[name]), OBJECTS[name])


@pytest.mark.torch
def test_numpy_numbers_of_pytorch_are_read() -> None:
    torch = pytest.importorskip("torch")
    for number in (np.float64(1.5), np.float32(0.1), np.int64(3), np.bool_(True)):
        assert same(through(torch, lamina, number), number)


@pytest.mark.parametrize("value", [np.array([{}, 1], dtype=object), np.zeros(2, [("a", "i4")]), print])
def test_what_is_no_data_is_refused(value: Any) -> None:
    with pytest.raises(UnsupportedError, match="object\\['a'\\]"):
        lamina.save({"a": value}, io.BytesIO())


HOSTILE = {
    "a call of list": b"c__builtin__\nlist\n((K\x01ttR.",
    "a factory of the file's": b"ccollections\ndefaultdict\n(ccollections\nCounter\ntR.",
    "an array of more than its bytes": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    b"(K\x01(J\xff\xff\xff\x7ftcnumpy\ndtype\n(U\x02f8\x89\x88tR\x89U\x01xtb.",
    "an array that starts large": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftU\x01btR.",
    "a dtype of objects": b"cnumpy\ndtype\n(U\x02O8\x89\x88tR.",
    "a number of another size": b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x02f8\x89\x88tRU\x01xtR.",
    "a path of numbers": b"cpathlib\nPosixPath\n(K\x01tR.",
    "the state of an integer": b"K\x01}b.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_objects_are_errors(name: str) -> None:
    from lamina.pyfront.files import plain_objects
    from lamina.pyfront.files.unpickle import Unpickler

    with pytest.raises(FileError, match="at byte"):
        Unpickler(b"\x80\x02" + HOSTILE[name], "the file", plain_objects.names(), lambda _: None).load()


class Net(lamina.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = lamina.nn.Sequential(lamina.nn.Linear(width, 2), lamina.nn.Dropout(0.5))


def test_whole_modules_with_safe_globals() -> None:
    """``__init__`` of an allowed module is not called; PyTorch's inner module names are the public ones."""
    file = io.BytesIO()
    model = Net(3)
    lamina.save(model, file)
    file.seek(0)
    allowed = [Net, lamina.nn.Linear, lamina.nn.Dropout, lamina.nn.Sequential]
    with lamina.serialization.safe_globals(allowed):
        found = lamina.load(file)
    assert type(found) is Net and found.layers[0].weight.tolist() == model.layers[0].weight.tolist()


@pytest.mark.torch
def test_modules_are_found_where_pytorch_has_them() -> None:
    torch = pytest.importorskip("torch")
    from lamina.pyfront.import_hook import TorchModule, source_of

    for name, kind in vars(torch.nn).items():
        ours = getattr(lamina.nn, name, None)
        if isinstance(kind, type) and kind.__module__.startswith("torch.nn.modules.") and ours is not None:
            module = TorchModule(kind.__module__)
            module.__dict__["_source"] = source_of(kind.__module__)
            assert getattr(module, name) is ours, kind.__module__
