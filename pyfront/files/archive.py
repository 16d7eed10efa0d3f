"""The zip container of PyTorch checkpoints: stored entries, bounds-checked reading, aligned and atomic writing."""

from __future__ import annotations

import io
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ...dialects.errors import FileError

_ALIGNMENT = 64  # data of every entry starts at a multiple, so that storages can be mapped
_LOCAL_HEADER = struct.Struct("<26xHH")  # of an entry: the lengths of its name and of its extra field come last
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SAVE_AGAIN = "the file is damaged or incomplete; download or save it again"


class Archive:
    """A zip file whose entries can be read by name below one top folder. All failures are FileErrors."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self._mapping: memoryview | None = None
        try:
            self._size = file.seek(0, io.SEEK_END)
            self._zip = zipfile.ZipFile(file)
            entries = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, OverflowError, ValueError, struct.error, NotImplementedError) as error:
            raise self._broken(str(error)) from None
        self.entries = {}
        self.folder = ""
        for entry in entries:
            self.folder, _, rest = entry.filename.partition("/")
            self.entries[rest] = entry

    def _broken(self, why: str) -> FileError:
        return FileError(
            f"{self.name} is not a readable checkpoint: {why}", [("file size", f"{self._size} bytes", "")], help=_SAVE_AGAIN
        )

    def offset_of(self, entry: str) -> int:
        """Where the entry's header starts in the file."""
        return self.entries[entry].header_offset

    def read(self, entry: str, limit: int | None = None) -> bytes:
        """The bytes of one entry. FileError when missing, compressed, longer than `limit`, or not as checksummed."""
        info, at = self._stored(entry)
        if info.file_size > self._size or (limit is not None and info.file_size > limit):
            raise self._broken(f"{at} claims {info.file_size} bytes")
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, EOFError, OSError, OverflowError, ValueError, struct.error, RuntimeError, zlib.error) as error:
            raise self._broken(f"{at}: {error}") from None

    def map(self, entry: str) -> memoryview:
        """The bytes of one entry as a private mapping of the file: pages are read when they are touched, and what is
        written stays in memory. FileError when missing, compressed or outside the file; its checksum is not looked at.
        """
        info, at = self._stored(entry)
        header = self._bytes(info.header_offset, _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise self._broken(f"{at} has no header there")
        names, extra = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + names + extra
        if start + info.file_size > self._size:
            raise self._broken(f"{at} claims {info.file_size} bytes")
        if self._mapping is None:
            self._mapping = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY))
        return self._mapping[start : start + info.file_size]

    def _stored(self, entry: str) -> tuple[zipfile.ZipInfo, str]:
        """An entry that is stored as it is, and where it is, in words."""
        info = self.entries.get(entry)
        if info is None:
            raise self._broken(f"it has no entry {self.folder}/{entry}")
        at = f"{info.filename} at offset {info.header_offset}"
        if info.compress_type != zipfile.ZIP_STORED:
            raise self._broken(f"{at} is compressed; PyTorch stores entries as they are")
        return info, at

    def _bytes(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count)


def is_archive(head: bytes) -> bool:
    """True when these first bytes start a zip file."""
    return head[:4] == b"PK\x03\x04"


def write_archive(file: BinaryIO, folder: str, entries: Iterable[tuple[str, bytes | memoryview]]) -> None:
    """Write stored entries below `folder`, each one's data aligned to 64 bytes; the same entries give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
        for name, data in entries:
            info = zipfile.ZipInfo(f"{folder}/{name}", _EPOCH)
            info.external_attr = 0o644 << 16
            header = out.start_dir + 30 + len(info.filename.encode())
            if len(data) >= 1 << 31:
                header += 20  # the zip64 field zipfile puts in front
            padding = -(header + 4) % _ALIGNMENT
            info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            out.writestr(info, bytes(data) if isinstance(data, memoryview) else data)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that appears under `path` only when everything was written: temporary file, then rename.

    FileError when the folder is missing or not writable; what was at `path` before stays as it was.
    """
    target = os.path.realpath(os.fspath(path))
    scratch = f"{target}.{os.getpid()}.part"
    try:
        with open(scratch, "wb") as file:
            yield file
        os.replace(scratch, target)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", help="choose a folder that exists and is writable") from None
    finally:
        if os.path.exists(scratch):
            os.remove(scratch)
