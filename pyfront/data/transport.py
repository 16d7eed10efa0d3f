"""Messages between a loader and its workers: pickled objects, arrays beside them in memory both processes map.

What is unpickled (by multiprocessing's own function) comes from this program's own children, never from a file.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
import tempfile
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from ...dialects.types import dtype_of
from .. import recorder
from ..tensor import Tensor, wrap

LARGE = 1 << 16  # bytes from which a batch is worth a file of its own
_INLINE = 4096  # bytes that travel through the socket itself; more travels as a file in memory
_HEADER = struct.Struct("<?Q")  # whether a file comes along, bytes
_ALIGNMENT = 64


_MOST_FILES = 64  # files that travel with one message; the kernel takes 253


class _Memory(mmap.mmap):
    """Memory of a file without a name, which other processes can map."""

    file: int

    def __del__(self) -> None:
        os.close(self.file)


def shared_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that ``send`` hands over without copying it."""
    count = int(np.prod(shape, dtype=np.int64))
    file = _memory_file()
    os.ftruncate(file, max(count * dtype.itemsize, 1))
    memory = _Memory(file, max(count * dtype.itemsize, 1))
    memory.file = file
    return np.frombuffer(memory, dtype, count).reshape(shape)


def _memory_of(array: np.ndarray) -> _Memory | None:
    """The file's memory that an array is all of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    fits = isinstance(base, _Memory) and len(base) == array.nbytes and array.flags.c_contiguous
    return base if fits else None


class _Pickler(pickle.Pickler):
    """Tensors are sent by value; their arrays out of band, or as the files they are in already."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files: list[int] = []

    def reducer_override(self, value: Any) -> Any:
        """How a Tensor is rebuilt on the other side."""
        if not isinstance(value, Tensor):
            return NotImplemented
        array = value._value()
        memory = _memory_of(array)
        if memory is None or len(self.files) == _MOST_FILES:
            return _tensor, (np.ascontiguousarray(array), bool(value.requires_grad))
        self.files.append(memory.file)
        return _mapped, (len(self.files) - 1, array.shape, array.dtype, bool(value.requires_grad))


_arrived: list[list[int]] = []  # the files of the message that is being read


def _mapped(number: int, shape: tuple[int, ...], dtype: np.dtype, requires_grad: bool) -> Tensor:
    count = int(np.prod(shape, dtype=np.int64))
    memory = mmap.mmap(_arrived[-1][number], max(count * dtype.itemsize, 1))
    return _tensor(np.frombuffer(memory, dtype, count).reshape(shape), requires_grad)


def _tensor(array: np.ndarray, requires_grad: bool) -> Tensor:
    made = wrap(recorder.leaf(array, (array.shape, dtype_of(array.dtype))))
    return made.requires_grad_() if requires_grad else made


def _aligned(n: int) -> int:
    return -(-n // _ALIGNMENT) * _ALIGNMENT


def _pieces(value: Any) -> tuple[list[Any], list[int]]:
    """A table of lengths, the pickle, then the arrays' bytes; and the files of arrays that have one."""
    buffers: list[pickle.PickleBuffer] = []
    out = io.BytesIO()
    pickler = _Pickler(out, 5, buffer_callback=buffers.append)
    pickler.dump(value)
    parts = [out.getbuffer(), *[b.raw() for b in buffers]]
    table = struct.pack(f"<{len(parts) + 1}Q", len(parts), *[len(p) for p in parts])
    return [table, *parts], pickler.files


def _read(whole: memoryview) -> Any:
    (count,) = struct.unpack_from("<Q", whole)
    lengths = struct.unpack_from(f"<{count}Q", whole, 8)
    at, parts = _aligned(8 * (count + 1)), []
    for length in lengths:
        parts.append(whole[at : at + length])
        at += _aligned(length)
    return ForkingPickler.loads(parts[0], buffers=parts[1:])


def _memory_file() -> int:
    """A file descriptor without a name: it is gone when both processes have closed it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("lamina-batch")
    file, path = tempfile.mkstemp(prefix="lamina-batch-")
    os.unlink(path)
    return file


def send(to: socket.socket, value: Any) -> None:
    """Send one object. PicklingError (or what the object raises) when it cannot be pickled; OSError when nobody listens."""
    pieces, files = _pieces(value)
    total = sum(_aligned(len(p)) for p in pieces)
    padded = (b for p in pieces for b in (p, bytes(_aligned(len(p)) - len(p))))
    if total <= _INLINE:
        head = _HEADER.pack(False, total)
        if files:
            socket.send_fds(to, [head], files)
            head = b""
        to.sendall(head + b"".join(padded))
        return
    file = _memory_file()
    try:
        os.ftruncate(file, total)
        with mmap.mmap(file, total) as memory:
            for piece in padded:
                memory.write(piece)
        socket.send_fds(to, [_HEADER.pack(True, total)], [*files, file])
    finally:
        os.close(file)


def receive(source: socket.socket) -> Any:
    """The next object. EOFError when the other side has gone; TimeoutError by the socket's timeout."""
    head, files, _, _ = socket.recv_fds(source, _HEADER.size, _MOST_FILES + 1)
    try:
        if not head:
            raise EOFError
        head += _exactly(source, _HEADER.size - len(head))
        in_file, total = _HEADER.unpack(head)
        whole = mmap.mmap(files[-1], total) if in_file else _exactly(source, total)
        _arrived.append(files)
        try:
            return _read(memoryview(whole))
        finally:
            _arrived.pop()
    finally:
        for file in files:
            os.close(file)


def _exactly(source: socket.socket, n: int) -> bytearray:
    data = bytearray()
    while len(data) < n:
        piece = source.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
