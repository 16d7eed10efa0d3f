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

_INLINE = 4096  # bytes that travel through the socket itself; more travels as a file in memory
_HEADER = struct.Struct("<?Q")  # whether a file comes along, bytes
_ALIGNMENT = 64


class _Pickler(pickle.Pickler):
    """Tensors are sent by value; their arrays out of band."""

    def reducer_override(self, value: Any) -> Any:
        """How a Tensor is rebuilt on the other side."""
        if isinstance(value, Tensor):
            return _tensor, (np.ascontiguousarray(value._value()), bool(value.requires_grad))
        return NotImplemented


def _tensor(array: np.ndarray, requires_grad: bool) -> Tensor:
    made = wrap(recorder.leaf(array, (array.shape, dtype_of(array.dtype))))
    return made.requires_grad_() if requires_grad else made


def _aligned(n: int) -> int:
    return -(-n // _ALIGNMENT) * _ALIGNMENT


def _pieces(value: Any) -> list[Any]:
    """A table of lengths, the pickle, then the arrays' bytes."""
    buffers: list[pickle.PickleBuffer] = []
    out = io.BytesIO()
    _Pickler(out, 5, buffer_callback=buffers.append).dump(value)
    parts = [out.getbuffer(), *[b.raw() for b in buffers]]
    table = struct.pack(f"<{len(parts) + 1}Q", len(parts), *[len(p) for p in parts])
    return [table, *parts]


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
    pieces = _pieces(value)
    total = sum(_aligned(len(p)) for p in pieces)
    padded = (b for p in pieces for b in (p, bytes(_aligned(len(p)) - len(p))))
    if total <= _INLINE:
        to.sendall(_HEADER.pack(False, total) + b"".join(padded))
        return
    file = _memory_file()
    try:
        os.ftruncate(file, total)
        with mmap.mmap(file, total) as memory:
            for piece in padded:
                memory.write(piece)
        socket.send_fds(to, [_HEADER.pack(True, total)], [file])
    finally:
        os.close(file)


def receive(source: socket.socket) -> Any:
    """The next object. EOFError when the other side has gone; TimeoutError by the socket's timeout."""
    head, files, _, _ = socket.recv_fds(source, _HEADER.size, 1)
    if not head:
        raise EOFError
    head += _exactly(source, _HEADER.size - len(head))
    in_file, total = _HEADER.unpack(head)
    if not in_file:
        return _read(memoryview(_exactly(source, total)))
    try:
        return _read(memoryview(mmap.mmap(files[0], total)))
    finally:
        os.close(files[0])


def _exactly(source: socket.socket, n: int) -> bytearray:
    data = bytearray()
    while len(data) < n:
        piece = source.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
