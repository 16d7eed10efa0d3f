"""The stream torch.save wrote before PyTorch 1.6: pickles one after the other, then the bytes of every storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from ...dialects.errors import FileError
from .records import STORAGE_CLASSES, Named, StorageRecord
from .unpickle import Unpickler

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAGIC_BYTES = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # how the magic number is pickled, after PROTO 2


def is_legacy(head: bytes) -> bool:
    """True when these first bytes start such a stream."""
    return head[2:14] == _MAGIC_BYTES


class LegacyReader:
    """One stream, read twice: once for the storages the object names, then for the object over their bytes."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name
        self._wanted: dict[str, tuple[np.dtype, int, str]] = {}  # key -> element type, count, location
        self._storages: dict[str, StorageRecord] = {}

    def load(self, names: Mapping[str, Any], silent: Mapping[str, Any]) -> Any:
        """The object. names: the allow-list; silent: the same without tensors, for the first reading."""
        start = 0
        for expected in (_MAGIC, _PROTOCOL, None):
            value, start = self._pickle(start, {}, self._refuse)
            if expected is not None and value != expected:
                raise self._bad(f"it says {value!r} where {expected} belongs")
            if expected is None and not (isinstance(value, dict) and value.get("little_endian", True)):
                raise self._bad("it was written on a machine with another byte order")
        _, end = self._pickle(start, silent, self._note)
        keys, at = self._pickle(end, {}, self._refuse)
        if not isinstance(keys, list) or len(set(map(str, keys))) != len(keys):
            raise self._bad("its list of storages is not one")
        self._read(list(map(str, keys)), at)
        return self._pickle(start, names, self._storage)[0]

    def _bad(self, why: str) -> FileError:
        return FileError(
            f"{self._name} is not a readable checkpoint: {why}", [("file size", f"{len(self._data)} bytes", "")],
            help="the file is damaged or incomplete; download or save it again",
        )  # fmt: skip

    def _pickle(self, start: int, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> tuple[Any, int]:
        reader = Unpickler(self._data, self._name, names, persistent, start=start)
        return reader.load(), reader.position

    def _refuse(self, pid: Any) -> NoReturn:
        raise self._bad("its head names a storage")

    def _described(self, pid: Any) -> tuple[Any, ...]:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid  # a class with its source, of which only the class counts
        fits = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage" and isinstance(pid[1], Named)
        if not fits or pid[1].name not in STORAGE_CLASSES or type(pid[4]) is not int or pid[4] < 0:
            raise self._bad(f"{pid!r} does not name a storage")
        return pid

    def _note(self, pid: Any) -> Any:
        """First reading: which storages there will be."""
        pid = self._described(pid)
        if pid[0] == "module":
            return pid[1]
        _, kind, key, location, count = pid[:5]
        wanted = STORAGE_CLASSES[kind.name], count, str(location)
        if self._wanted.setdefault(str(key), wanted)[0] != wanted[0]:
            raise self._bad(f"storage {key!r} has two element types")
        return None

    def _read(self, keys: list[str], at: int) -> None:
        """The bytes of the storages, in the order of their keys: a count of elements, then the elements."""
        for key in keys:
            if key not in self._wanted:
                raise self._bad(f"it lists a storage {key!r} that nothing uses")
            dtype, count, location = self._wanted[key]
            if len(self._data) - at < 8:
                raise self._bad(f"it ends before storage {key!r}")
            held = int.from_bytes(self._data[at : at + 8], "little", signed=True)
            at += 8
            if held != count or held * dtype.itemsize > len(self._data) - at:
                raise self._bad(f"storage {key!r} claims {held} elements, {count} are wanted at offset {at}")
            array = np.frombuffer(bytearray(self._data[at : at + held * dtype.itemsize]), dtype.numpy)
            at += array.nbytes
            self._storages[key] = StorageRecord(key, location, array, dtype)
        lacking = sorted(self._wanted.keys() - self._storages.keys())
        if lacking:
            raise self._bad(f"it does not list storage {lacking[0]!r}")

    def _storage(self, pid: Any) -> Any:
        """Second reading: the storage, or the part of it that old versions called a view."""
        pid = self._described(pid)
        if pid[0] == "module":
            return pid[1]
        whole = self._storages[str(pid[2])]
        view = pid[5] if len(pid) == 6 else None
        if view is None:
            return whole
        key, offset, size = view
        if type(offset) is not int or type(size) is not int or min(offset, size) < 0 or offset + size > whole.data.size:
            raise self._bad(f"a view leaves its storage {pid[2]!r}")
        name = f"{pid[2]}/{key}"
        if name not in self._storages:
            self._storages[name] = StorageRecord(name, whole.location, whole.data[offset : offset + size], whole.dtype)
        return self._storages[name]
