"""torch.save and torch.load: tensors and parameters on top of the records of a checkpoint."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO, TypeAlias

import numpy as np

from ...dialects.errors import FileError
from ...dialects.types import DType, dtype_of
from .. import cuda, recorder
from ..quantization.quantized_tensor import QuantizedTensor, Quantizer
from ..size import Size, device, require
from ..tensor import Tensor, wrap
from ..writing import as_strided
from .archive import replacing
from .checkpoint import read_checkpoint, write_checkpoint
from .objects import Global, Live, described
from .pickling import Call
from .records import StorageRecord, TensorRecord, row_major
from .safetensors import read_safetensors, write_safetensors

DEFAULT_PROTOCOL = 2  # of the pickles in checkpoint files
FILE_LIKE: TypeAlias = str | os.PathLike[str] | IO[bytes]
MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | device | str | dict[str, str] | None

_allowed: dict[str, Any] = {}
_STANDARD: dict[str, Any] = {"torch Size": lambda sizes: Size(sizes), "torch device": device}


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let checkpoints refer to these classes or functions."""
    for item in safe_globals:
        if isinstance(item, tuple):
            item, path = item
            module, _, name = path.rpartition(".")
        else:
            spelled = described(item)
            module, name = (spelled.module, spelled.name) if isinstance(spelled, Global) else (item.__module__, item.__qualname__)
        _allowed[f"{module} {name}"] = item


def clear_safe_globals() -> None:
    """Forget what ``add_safe_globals`` allowed."""
    _allowed.clear()


def get_safe_globals() -> list[Any]:
    """What ``add_safe_globals`` allowed."""
    return list(_allowed.values())


class safe_globals:
    """A region in which checkpoints may refer to these classes or functions."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self._items = safe_globals

    def __enter__(self) -> safe_globals:
        self._before = dict(_allowed)
        add_safe_globals(self._items)
        return self

    def __exit__(self, *error: object) -> None:
        _allowed.clear()
        _allowed.update(self._before)


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The names a checkpoint refers to that are not allowed, sorted; nothing of it is loaded."""
    with open(f, "rb") as file:
        loader = Loader("cpu")
        found = _Missing({**_STANDARD, **_allowed})
        read_checkpoint(file, str(f), loader.tensor, loader.parameter, {}, lambda names: found.over(names))
    return sorted(found.asked)


class _Missing(Mapping[str, Any]):
    """An allow-list that answers everything, and notes what is not on it."""

    def __init__(self, allowed: Mapping[str, Any]) -> None:
        self._allowed, self.asked = dict(allowed), set[str]()

    def over(self, names: Mapping[str, Any]) -> _Missing:
        """This list with more names on it."""
        self._allowed |= names
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The name's meaning, or a stand-in."""
        if key not in self._allowed:
            self.asked.add(key.replace(" ", "."))
        return self._allowed.get(key, _StandIn)

    def values(self) -> Any:
        """What may be called: all of it."""
        return [*self._allowed.values(), _StandIn]

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def __iter__(self) -> Any:
        return iter(self._allowed)

    def __len__(self) -> int:
        return len(self._allowed)


class _StandIn:
    """An object nobody needs: made of anything, with any state."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def save(obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: int = 2, **_: Any) -> None:
    """Write `obj` (tensors in containers) to a path or a binary file, in the format PyTorch reads.

    UnsupportedError for objects that are not data; FileError when the file cannot be written. A path is replaced only
    when everything is written.
    """
    converter = _Converter()
    if hasattr(f, "write"):
        write_checkpoint(_seekable(f), obj, converter.convert, "archive")
        return
    folder = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
    buffer = io.BytesIO()  # what cannot be saved is found before a file is touched
    write_checkpoint(buffer, obj, converter.convert, folder)
    with replacing(f) as file:
        file.write(buffer.getbuffer())


def _seekable(file: Any) -> BinaryIO:
    return file


class _Converter:
    """Frontend objects as plain data. Tensors over one memory share a storage in the file."""

    def __init__(self) -> None:
        self._storages: dict[int, StorageRecord] = {}
        self._keep: list[Any] = []

    def convert(self, value: Any) -> Any:
        """The Pickler's hook: plain data, a record or a call; None for what is not data."""
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, Size):
            return Call("torch", "Size", (tuple(value),))
        if isinstance(value, device):
            return Call("torch", "device", (str(value),))
        found = described(value)
        return dict(value) if found is None and isinstance(value, dict) else found

    def _tensor(self, tensor: Tensor) -> TensorRecord:
        from ..nn.parameter import Parameter

        if isinstance(tensor, QuantizedTensor):
            storage, shape, stride, offset = self._memory(tensor._integers, tensor.dtype)
            quantizer = tuple(tensor._quantizer)[: 2 if tensor._quantizer.axis < 0 else 3]
            return TensorRecord(storage, offset, shape, stride, quantizer=(tensor._quantizer.scheme, *quantizer))
        is_parameter = isinstance(tensor, Parameter)
        tracked = bool(tensor.requires_grad)
        storage, shape, stride, offset = self._memory(tensor)
        return TensorRecord(storage, offset, shape, stride, tracked, is_parameter)

    def _memory(self, tensor: Tensor, dtype: DType | None = None) -> tuple[StorageRecord, tuple[int, ...], tuple[int, ...], int]:
        memory = tensor._storage
        shape = tuple(tensor.shape)
        whole = np.asarray(memory.host if memory.is_shared() else recorder.value(memory.node))
        if not whole.flags.c_contiguous:
            array = np.ascontiguousarray(tensor._value())
            return self._record(array, array, dtype), shape, row_major(shape), 0
        return self._record(memory, whole, dtype), shape, tuple(tensor.stride()), tensor.storage_offset()

    def _record(self, memory: Any, array: np.ndarray, dtype: DType | None) -> StorageRecord:
        found = self._storages.get(id(memory))
        if found is None:
            self._keep.append(memory)
            found = StorageRecord(str(len(self._storages)), "cpu", array.reshape(-1), dtype)
            self._storages[id(memory)] = found
        return found


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None, mmap: bool | None = None,
    **_: Any,
) -> Any:  # fmt: skip
    """What `save` or PyTorch wrote. FileError for missing, damaged or foreign files, with the place.

    Only data is rebuilt, never code. With weights_only=False also modules, from classes this program already has: their
    attributes are restored, nothing is called or imported. `map_location` may be a device, a function or a dict; the result is on the CPU.
    With mmap=True, `f` is a file name and storages are private mappings of the file: numbers are read when they are first
    used, and what is written to them stays in memory. RuntimeError if the file is of PyTorch before 1.6.
    """
    if hasattr(f, "read"):
        if mmap:
            raise ValueError("f must be a file name in order to use the mmap argument")
        return _read(_as_seekable(f), getattr(f, "name", "the file"), map_location, weights_only)
    name = os.fspath(f)
    try:
        with open(name, "rb") as file:
            return _read(file, str(name), map_location, weights_only, bool(mmap))
    except FileNotFoundError:
        raise _missing(str(name)) from None
    except (PermissionError, IsADirectoryError) as error:
        raise FileError(f"cannot read {name}: {error.strerror}", help="give a file you may read") from None


class MissingFileError(FileError, FileNotFoundError):
    """A file that is not there; programs that catch FileNotFoundError catch it."""


def _missing(name: str) -> FileError:
    folder = os.path.dirname(name) or "."
    near = sorted(entry for entry in os.listdir(folder) if entry.endswith((".pt", ".pth", ".safetensors"))) \
        if os.path.isdir(folder) else []  # fmt: skip
    help = f"in that folder: {', '.join(near[:5])}" if near else "check the path"
    return MissingFileError(f"[Errno 2] No such file or directory: '{name}'", help=help)


def _as_seekable(file: Any) -> BinaryIO:
    seekable = getattr(file, "seekable", None)
    return file if seekable is not None and seekable() and file.tell() == 0 else io.BytesIO(file.read())


def _read(file: BinaryIO, name: str, map_location: Any, weights_only: bool | None, mapped: bool = False) -> Any:
    if str(name).endswith(".safetensors"):
        arrays, _ = read_safetensors(file.read(), str(name))
        return {key: _leaf(array) for key, array in arrays.items()}
    loader = Loader(map_location)
    allowed: Mapping[str, Any] = {**_STANDARD, **_allowed}
    widen = Live if weights_only is False else None
    return read_checkpoint(file, str(name), loader.tensor, loader.parameter, allowed, widen, mapped)


def _leaf(array: np.ndarray) -> Tensor:
    return wrap(recorder.leaf(array, (array.shape, dtype_of(array.dtype))))


class Loader:
    """Tensors of one checkpoint. Those that share a storage share memory here too."""

    def __init__(self, map_location: Any) -> None:
        self._bases: dict[int, Tensor] = {}
        self._map = map_location

    def tensor(self, record: TensorRecord) -> Tensor:
        """The tensor a record describes."""
        location = self._place(record.storage.location)
        base = self._bases.get(id(record.storage))
        if base is None:
            base = self._bases[id(record.storage)] = _leaf(record.storage.data)
        made = _window(base, record)
        made._owns = True  # of one storage, as all of a file's tensors are, and no view
        made = made if location == "cpu" else made.to(location)
        if record.quantizer is not None:
            return QuantizedTensor(made, record.storage.dtype, _quantizer(record))  # type: ignore[arg-type]  # checked when it was read
        return made.requires_grad_() if record.requires_grad else made

    def parameter(self, data: Tensor, requires_grad: bool) -> Any:
        """A Parameter over a tensor."""
        from ..nn.parameter import Parameter

        return Parameter(data, requires_grad)

    def _place(self, location: str) -> str:
        """Where a storage goes. RuntimeError when that is a device that is not here."""
        target: Any = self._map
        if isinstance(target, dict):
            location = str(target.get(location, location))
        elif isinstance(target, (str, int, device)):
            location = str(device(target))
        elif target is not None:
            found = target(MappedStorage(), location)
            location = location if found is None else found.location
        kind = location.partition(":")[0]
        if kind == "cpu" or kind == "cuda" and cuda.is_available():
            return location
        if kind != "cuda":
            require(device(location))
        raise RuntimeError(
            f"Attempting to deserialize object on a {kind.upper()} device but "
            f"torch.{kind}.is_available() is False. If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )


def _quantizer(record: TensorRecord) -> Quantizer:
    """FileError where the scheme's numbers are none."""
    assert record.quantizer is not None
    _, *numbers = record.quantizer
    kinds = (Tensor, Tensor, int) if len(numbers) == 3 else ((int, float), int)
    axis = numbers[2] if len(numbers) == 3 else -1
    if not all(map(isinstance, numbers, kinds)) or not -1 <= axis < len(record.shape) or axis < 0 < len(numbers) - 2:
        raise FileError("a quantized tensor's scale and zero point are no numbers", help="the file is damaged or was made by hand")
    if axis >= 0 and any(t.numel() != record.shape[axis] for t in numbers[:2]):
        raise FileError("a quantized tensor has not as many scales as channels", help="the file is damaged or was made by hand")
    return Quantizer(*numbers)


class MappedStorage:
    """What a function given as map_location is called with: a storage on the CPU, which may be sent elsewhere."""

    def __init__(self, location: str = "cpu") -> None:
        self.location = location

    @property
    def device(self) -> device:
        """Where it is."""
        return device(self.location)

    def cpu(self) -> MappedStorage:
        """On the CPU."""
        return MappedStorage()

    def cuda(self, index: Any = None, non_blocking: bool = False) -> MappedStorage:
        """On a GPU."""
        return MappedStorage("cuda" if index is None else str(device("cuda", index) if isinstance(index, int) else index))


def _window(base: Tensor, record: TensorRecord) -> Tensor:
    if record.is_whole:
        return base if record.shape == tuple(base.shape) else base.view(record.shape)
    order = sorted(range(len(record.shape)), key=lambda d: -record.stride[d])
    rows = TensorRecord(record.storage, record.offset, tuple(record.shape[d] for d in order), tuple(record.stride[d] for d in order))
    if not rows.is_contiguous:
        return as_strided(base, record.shape, record.stride, record.offset)
    n = int(np.prod(record.shape, dtype=np.int64))
    return base[record.offset : record.offset + n].view(rows.shape).permute([order.index(d) for d in range(len(order))])


def save_safetensors(tensors: Mapping[str, Tensor], path: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors in the safetensors format."""
    with replacing(path) as file:
        write_safetensors(file, {name: np.asarray(t._value()) for name, t in tensors.items()}, metadata)


def load_safetensors(path: Any) -> dict[str, Tensor]:
    """Named tensors of a safetensors file. FileError when it is missing or damaged."""
    return load(path) if str(path).endswith(".safetensors") else _load_as_safetensors(path)


def _load_as_safetensors(path: Any) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        return {key: _leaf(array) for key, array in read_safetensors(file.read(), str(path))[0].items()}
