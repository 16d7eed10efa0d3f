"""Writes plain data and tensors as a protocol-2 pickle that torch.load(weights_only=True) accepts."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dialects.errors import UnsupportedError
from ...dialects.types import DType
from ..quantization.dtypes import qscheme
from . import opcodes as op
from .objects import Global, NewObject
from .plain_objects import Reduced
from .records import StorageRecord, TensorRecord

_BATCH = 1000


class Pickler:
    """One object to one pickle.

    convert: turns an object of the frontend (Tensor, Size, device, Module) into plain data, a TensorRecord, a `Call`, a
    `Global` or a `NewObject`; gives None for what it does not know. Storages met are collected in `storages`, in order of their keys.
    """

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self._convert = convert
        self._out = bytearray([op.PROTO, 2])
        self._memo: dict[int, int] = {}
        self._keep: list[Any] = []  # objects whose id is in the memo must stay alive
        self._globals: dict[str, int] = {}
        self.storages: dict[int, StorageRecord] = {}

    def dump(self, value: Any) -> bytes:
        """The pickle of `value`. UnsupportedError naming the place of what cannot be saved."""
        self._write(value, "object")
        self._out.append(op.STOP)
        return bytes(self._out)

    def _put(self, value: Any) -> None:
        index = len(self._keep)
        self._keep.append(value)
        self._memo[id(value)] = index
        self._out += struct.pack("<BI", op.LONG_BINPUT, index)

    def _get(self, index: int) -> None:
        self._out += struct.pack("<BI", op.LONG_BINGET, index)

    def _write(self, value: Any, path: str) -> None:
        if self._scalar(value):
            return
        if id(value) in self._memo:
            self._get(self._memo[id(value)])
        elif type(value) in (list, tuple, dict, OrderedDict, set):
            self._container(value, path)
        elif isinstance(value, TensorRecord):
            self._tensor(value)
        elif isinstance(value, Call):
            self._call(value, path)
        else:
            self._converted(value, path)

    def _converted(self, value: Any, path: str) -> None:
        plain = self._convert(value)
        if isinstance(plain, Global):
            self._global(plain.module, plain.name)
            return
        if isinstance(plain, NewObject):
            self._object(value, plain, path)
            return
        if isinstance(plain, Reduced):
            self._reduced(value, plain, path)
            return
        if plain is None:
            raise UnsupportedError(
                f"cannot save {path}: {type(value).__name__} is not plain data",
                help="save model.state_dict() and optimizer.state_dict(), and build the objects again before loading",
            )
        self._write(plain, path)
        self._put(value)

    def _object(self, value: Any, described: NewObject, path: str) -> None:
        self._global(described.kind.module, described.kind.name)
        self._out += bytes([op.EMPTY_TUPLE, op.NEWOBJ])
        self._put(value)  # before its attributes: they may refer to it
        self._out.append(op.EMPTY_DICT)
        self._batches([(f"{path}.{key}", (key, item)) for key, item in described.state.items()], op.SETITEMS)
        self._out.append(op.BUILD)

    def _reduced(self, value: Any, spelled: Reduced, path: str) -> None:
        self._call(Call(spelled.module, spelled.name, spelled.arguments), path)
        self._put(value)  # before what is put into it: that may refer to it
        if spelled.items is not None:
            self._batches([(f"{path}[{i}]", (item,)) for i, item in enumerate(spelled.items)], op.APPENDS)
        if spelled.pairs is not None:
            self._batches([(f"{path}[{key!r}]", (key, item)) for key, item in spelled.pairs], op.SETITEMS)
        if spelled.state is not None:
            self._write(spelled.state, path)
            self._out.append(op.BUILD)

    def _scalar(self, value: Any) -> bool:
        out = self._out
        if value is None:
            out.append(op.NONE)
        elif isinstance(value, (bool, np.bool_)):
            out.append(op.NEWTRUE if value else op.NEWFALSE)
        elif isinstance(value, (int, np.integer)):
            self._integer(int(value))
        elif isinstance(value, (float, np.floating)):
            out += struct.pack(">Bd", op.BINFLOAT, float(value))
        elif isinstance(value, str):
            text = value.encode("utf-8", "surrogatepass")
            out += struct.pack("<BI", op.BINUNICODE, len(text)) + text
        elif isinstance(value, (bytes, bytearray)):
            # protocol 2 has no bytes: it names the codec that turns text into them
            self._global("_codecs", "encode")
            text = bytes(value).decode("latin-1").encode("utf-8")
            out += struct.pack("<BI", op.BINUNICODE, len(text)) + text
            out += struct.pack("<BI", op.BINUNICODE, 6) + b"latin1" + bytes([op.TUPLE2, op.REDUCE])
        elif isinstance(value, DType | qscheme):
            self._global("torch", value.name)
        else:
            return False
        return True

    def _integer(self, value: int) -> None:
        if 0 <= value < 256:
            self._out += struct.pack("<BB", op.BININT1, value)
        elif -(1 << 31) <= value < 1 << 31:
            self._out += struct.pack("<Bi", op.BININT, value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            form = struct.pack("<BB", op.LONG1, len(data)) if len(data) < 256 else struct.pack("<Bi", op.LONG4, len(data))
            self._out += form + data

    def _container(self, value: Any, path: str) -> None:
        if type(value) is tuple:
            self._out.append(op.MARK)
            for i, item in enumerate(value):
                self._write(item, f"{path}[{i}]")
            self._out.append(op.TUPLE)
            self._put(value)
        elif type(value) is set:
            self._call(Call("__builtin__", "set", (sorted(value, key=repr),)), path)
        elif type(value) is list:
            self._out.append(op.EMPTY_LIST)
            self._put(value)
            self._batches([(f"{path}[{i}]", (item,)) for i, item in enumerate(value)], op.APPENDS)
        else:
            self._mapping(value, path)

    def _mapping(self, value: dict, path: str) -> None:
        if type(value) is OrderedDict:
            self._global("collections", "OrderedDict")
            self._out += bytes([op.EMPTY_TUPLE, op.REDUCE])
        else:
            self._out.append(op.EMPTY_DICT)
        self._put(value)
        self._batches([(f"{path}[{key!r}]", (key, item)) for key, item in value.items()], op.SETITEMS)
        attributes = getattr(value, "__dict__", None)
        if attributes:
            self._write(dict(attributes), f"{path}.__dict__")
            self._out.append(op.BUILD)

    def _batches(self, items: list[tuple[str, tuple]], closing: int) -> None:
        for start in range(0, len(items), _BATCH):
            self._out.append(op.MARK)
            for path, values in items[start : start + _BATCH]:
                for value in values:
                    self._write(value, path)
            self._out.append(closing)

    def _global(self, module: str, name: str) -> None:
        label = f"{module}\n{name}\n"
        if label in self._globals:
            self._get(self._globals[label])
            return
        self._out += bytes([op.GLOBAL]) + label.encode()
        self._globals[label] = len(self._keep)
        self._put(label)

    def _call(self, call: Call, path: str) -> None:
        self._global(call.module, call.name)
        self._write(call.arguments, path)
        self._out.append(op.REDUCE)

    def _tensor(self, record: TensorRecord) -> None:
        if record.is_parameter:
            inner = TensorRecord(record.storage, record.offset, record.shape, record.stride)
            self._call(Call("torch._utils", "_rebuild_parameter", (inner, record.requires_grad, OrderedDict())), "")
            return
        quantizer = () if record.quantizer is None else (record.quantizer,)
        self._global("torch._utils", "_rebuild_qtensor" if quantizer else "_rebuild_tensor_v2")
        self._out.append(op.MARK)
        self._storage(record.storage)
        for part in (record.offset, record.shape, record.stride, *quantizer, record.requires_grad, OrderedDict()):
            self._write(part, "tensor")
        self._out += bytes([op.TUPLE, op.REDUCE])

    def _storage(self, storage: StorageRecord) -> None:
        self.storages.setdefault(id(storage), storage)
        self._out.append(op.MARK)
        self._write("storage", "")
        self._global("torch", storage.kind)
        for part in (storage.key, storage.location, int(storage.data.size)):
            self._write(part, "storage")
        self._out += bytes([op.TUPLE, op.BINPERSID])


class Call:
    """A named function of PyTorch's with its arguments, written as a REDUCE."""

    __slots__ = ("module", "name", "arguments")

    def __init__(self, module: str, name: str, arguments: tuple) -> None:
        self.module, self.name, self.arguments = module, name, arguments
