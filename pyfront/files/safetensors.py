"""The safetensors format, both ways: a length, a JSON table, raw little-endian data."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ...dialects.errors import FileError, UnsupportedError
from ...dialects.types import DTYPES, DType, dtype_of, size_of

_LARGEST_HEADER = 100_000_000  # the format's own limit
_CODES: dict[str, DType] = {
    "F64": DTYPES["float64"], "F32": DTYPES["float32"], "F16": DTYPES["float16"], "BF16": DTYPES["bfloat16"],
    "I64": DTYPES["int64"], "I32": DTYPES["int32"], "I16": DTYPES["int16"], "I8": DTYPES["int8"],
    "U8": DTYPES["uint8"], "BOOL": DTYPES["bool"], "C64": DTYPES["complex64"],
}  # fmt: skip
_CODE_OF = {dtype: code for code, dtype in _CODES.items()}


def write_safetensors(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays in the order the reference writer uses: widest elements first, then by name."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    table: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name in order:
        array = arrays[name]
        table[name] = {
            "dtype": _CODE_OF[dtype_of(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    file.write(struct.pack("<Q", len(header)) + header)
    for name in order:
        file.write(np.ascontiguousarray(arrays[name]).tobytes())


def read_safetensors(data: bytes | memoryview, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays (writable copies) and metadata. FileError naming the offset when anything does not fit."""
    if len(data) < 8:
        raise _bad(name, f"{len(data)} bytes are too short for a header", 0)
    length = struct.unpack("<Q", data[:8])[0]
    if length > _LARGEST_HEADER or 8 + length > len(data):
        raise _bad(name, f"the header claims {length} bytes, the file has {len(data)}", 0)
    try:
        table = json.loads(bytes(data[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise _bad(name, f"the header is not JSON ({error})", 8) from None
    if not isinstance(table, dict):
        raise _bad(name, "the header is not a JSON object", 8)
    metadata = table.pop("__metadata__", {})
    body = data[8 + length :]
    ranges: list[tuple[int, int]] = []
    arrays = {key: _array(entry, body, name, key, ranges) for key, entry in table.items()}
    _check_cover(sorted(ranges), len(body), name, 8 + length)
    return arrays, metadata


def _array(entry: Any, body: bytes | memoryview, name: str, key: str, ranges: list[tuple[int, int]]) -> np.ndarray:
    try:
        code, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise _bad(name, f"{key!r} has no dtype, shape and data_offsets", 8) from None
    if not all(type(n) is int and n >= 0 for n in (*shape, start, end)):
        raise _bad(name, f"{key!r} has a shape or offset that is not a whole number", 8)
    if code not in _CODES:
        raise UnsupportedError(f"{name}: {key!r} has element type {code}", help=f"supported: {', '.join(_CODES)}")
    dtype = _CODES[code].numpy
    if end < start or end > len(body) or end - start != size_of(shape) * dtype.itemsize:
        raise _bad(name, f"{key!r} ({code} {list(shape)}) does not fit its bytes {start}..{end}", 8)
    ranges.append((start, end))
    return np.frombuffer(bytearray(body[start:end]), dtype).reshape(shape)


def _check_cover(ranges: list[tuple[int, int]], size: int, name: str, base: int) -> None:
    at = 0
    for start, end in ranges:
        if start != at:
            raise _bad(name, "tensors overlap or leave a gap", base + min(start, at))
        at = end
    if at != size:
        raise _bad(name, f"{size - at} bytes belong to no tensor", base + at)


def _bad(name: str, why: str, offset: int) -> FileError:
    return FileError(f"{name}: {why} (offset {offset})", help="the file is damaged or not a safetensors file")
