"""PyTorch's zip checkpoints, both ways, on records: no Tensor is needed here."""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from ...dialects.errors import FileError
from ...dialects.types import DTYPES
from ..quantization.dtypes import QUANTIZED, SCHEMES, QuantizedDType, per_channel_affine, qscheme
from .archive import Archive, is_archive, write_archive
from .legacy import LegacyReader, is_legacy
from .pickling import Pickler
from .records import STORAGE_CLASSES, Named, StorageRecord, TensorRecord
from . import plain_objects
from .unpickle import Unpickler



def write_checkpoint(file: BinaryIO, value: Any, convert: Callable[[Any], Any], folder: str) -> None:
    """Write `value` as ``torch.save`` would; `convert` is the Pickler's. The same value gives the same bytes."""
    pickler = Pickler(convert)
    program = pickler.dump(value)
    identity = hashlib.sha256(program)
    entries: list[tuple[str, bytes | memoryview]] = [
        ("data.pkl", program),
        (".format_version", b"1"),
        (".storage_alignment", b"64"),
        ("byteorder", sys.byteorder.encode()),
    ]
    for storage in pickler.storages.values():
        data = np.ascontiguousarray(storage.data).view(np.uint8).data
        identity.update(data)
        entries.append((f"data/{storage.key}", data))
    entries.append(("version", b"3\n"))
    entries.append((".data/serialization_id", str(int(identity.hexdigest()[:32], 16)).zfill(40).encode()))
    write_archive(file, folder, entries)


def read_checkpoint(
    file: BinaryIO,
    name: str,
    rebuild: Callable[[TensorRecord], Any],
    parameter: Callable[[Any, bool], Any],
    allowed: Mapping[str, Any],
    widen: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    mapped: bool = False,
) -> Any:
    """The object in a checkpoint. `rebuild` makes a tensor of a record, `parameter` a parameter of that tensor.

    Only data is rebuilt: names outside the allow-list, damaged entries and windows outside their storage are FileErrors
    that name the file and the offset. `widen` makes a larger allow-list of the standard one. `mapped`: storages are
    mappings of the file (which must be a real one) instead of copies.
    """
    head = file.read(16)
    file.seek(0)
    if is_legacy(head) and mapped:
        raise RuntimeError(f"mmap can only be used with zip files, as torch.save writes since PyTorch 1.6; {name} is older")
    if is_legacy(head):
        names = {**_names(name, rebuild, parameter), **allowed}
        silent = {**_names(name, lambda record: None, lambda data, requires_grad: None), **allowed}
        silent |= dict.fromkeys((*_TENSORS, "torch._utils _rebuild_qtensor"), lambda *_: None)
        reading = LegacyReader(file.read(), name)
        return reading.load(names, silent) if widen is None else reading.load(widen(names), widen(silent))
    if not is_archive(head):
        raise _foreign(head, name)
    archive = Archive(file, name)
    reader = _Reader(archive, mapped)
    program = archive.read("data.pkl")
    where = f"{name}: {archive.folder}/data.pkl (entry at offset {archive.offset_of('data.pkl')})"
    names = {**_names(name, rebuild, parameter), **allowed}
    return Unpickler(program, where, names if widen is None else widen(names), reader.storage).load()


def _foreign(head: bytes, name: str) -> FileError:
    if not head:
        return FileError(f"{name} is empty", help="save it again")
    return FileError(
        f"{name} is not a checkpoint: no zip header at offset 0",
        [("found", head[:8].hex(" "), "offset 0"), ("expected", "50 4b 03 04", "")],
        help="files of torch.save and .safetensors can be read",
    )


class _Reader:
    """Storages of one archive, each read once."""

    def __init__(self, archive: Archive, mapped: bool) -> None:
        self._archive = archive
        self._mapped = mapped
        self._storages: dict[str, StorageRecord] = {}
        self._swap = "byteorder" in archive.entries and archive.read("byteorder", 16).decode() != sys.byteorder

    def storage(self, pid: Any) -> StorageRecord:
        """The storage a persistent id names."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], Named)):
            raise FileError(f"{self._archive.name}: {pid!r} does not name a storage", help="the file is not a checkpoint")
        _, kind, key, location, count = pid
        if key in self._storages:
            return self._storages[key]
        if kind.name not in STORAGE_CLASSES or not isinstance(count, int):
            raise FileError(f"{self._archive.name}: storage {key!r} has no known element type", help="save it again")
        dtype = STORAGE_CLASSES[kind.name].numpy
        entry = f"data/{key}"
        data = self._archive.map(entry) if self._mapped else bytearray(self._archive.read(entry))
        if len(data) != count * dtype.itemsize:
            raise FileError(
                f"{self._archive.name}: storage {key!r} holds {len(data)} bytes, {count} x {dtype} need {count * dtype.itemsize}",
                help="the file is damaged; save it again",
            )
        array = np.frombuffer(data, dtype)
        if self._swap:
            array = array.byteswap()
        elif not array.flags.aligned:  # mapped, by a writer that does not align entries
            array = array.copy()
        self._storages[key] = StorageRecord(key, str(location), array, STORAGE_CLASSES[kind.name])
        return self._storages[key]


_TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")


def _names(
    where: str, rebuild: Callable[[TensorRecord], Any], parameter: Callable[[Any, bool], Any]
) -> dict[str, Any]:
    """The allow-list: what data written by torch.save refers to."""

    def tensor(
        storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any = False, hooks: Any = None, metadata: Any = None,
        quantizer: Any = None,
    ) -> Any:  # fmt: skip
        shape, stride = tuple(shape), tuple(stride)
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, StorageRecord) or len(shape) != len(stride) or not all(type(n) is int for n in numbers):
            raise FileError(f"{where}: a tensor is not described by numbers", help="the file is damaged")
        if (quantizer is not None) is not isinstance(storage.dtype, QuantizedDType):
            raise FileError(f"{where}: quantized elements come with a quantizer, others without", help="the file is damaged")
        record = TensorRecord(storage, offset, shape, stride, bool(requires_grad), quantizer=quantizer)
        record.check(where)
        return rebuild(record)

    def quantized(
        storage: Any, offset: Any, shape: Any, stride: Any, quantizer: Any, requires_grad: Any = False, hooks: Any = None
    ) -> Any:
        scheme, *numbers = quantizer if isinstance(quantizer, tuple) and quantizer else (None,)
        if not isinstance(scheme, qscheme) or len(numbers) != (3 if scheme is per_channel_affine else 2):
            raise FileError(f"{where}: a quantized tensor is not described by a scheme and its numbers", help="the file is damaged")
        return tensor(storage, offset, shape, stride, quantizer=quantizer)

    names: dict[str, Any] = {f"torch {name}": Named("torch", name) for name in STORAGE_CLASSES}
    names |= {f"torch {dtype.name}": dtype for dtype in DTYPES.values()}
    names |= {f"torch {name}": kind for name, kind in (*QUANTIZED.items(), *SCHEMES.items())}
    names |= dict.fromkeys(_TENSORS, tensor)
    names["torch._utils _rebuild_qtensor"] = quantized
    names |= plain_objects.names()
    names |= {
        "collections OrderedDict": OrderedDict,
        "builtins set": set,
        "__builtin__ set": set,
        "builtins complex": complex,
        "__builtin__ complex": complex,
        "_codecs encode": _encode,
        "torch._utils _rebuild_parameter": lambda data, requires_grad, hooks: parameter(data, bool(requires_grad)),
    }
    return names


def _encode(text: Any, codec: Any) -> bytes:
    """Bytes as pickle protocol 2 spells them."""
    if not isinstance(text, str) or codec != "latin1":
        raise ValueError("only latin1 text stands for bytes")
    return text.encode("latin-1")
