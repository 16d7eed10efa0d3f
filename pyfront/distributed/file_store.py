"""FileStore: a store in a file that all processes can open: a log of operations, read and written under a lock."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any

from ...dialects.errors import FileError, UnsupportedError
from .plain_data import DamagedError, decoded, encoded
from .stores import Store, Table, until

_READS = ("get", "check", "count", "keys", "queued")
_LENGTH = 8
_CLOSED = "lamina/closed"


class FileStore(Store):
    """A store in the file `file_name`. world_size: processes that share it; the last of so many takes the file away.

    FileError when the file cannot be opened, or holds something else.
    """

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self.path, self.world_size = file_name, world_size
        self._table, self._read = Table(), 0
        self._do("check", [])
        self._finalize = weakref.finalize(self, _leave, file_name, world_size)

    def _do(self, do: str, key: Any, *arguments: Any) -> Any:
        with _Locked(self.path) as file:
            self._catch_up(file)
            result = self._table.apply(do, key, *arguments)
            if do not in _READS:
                record = encoded([do, key, *arguments])
                file.seek(0, os.SEEK_END)
                file.write(len(record).to_bytes(_LENGTH, "little") + record)
                file.flush()
                self._read = file.tell()
            return result

    def _catch_up(self, file: Any) -> None:
        """Do what others have written down since the last time."""
        file.seek(self._read)
        size = os.fstat(file.fileno()).st_size
        while head := file.read(_LENGTH):
            try:
                do, key, *arguments = decoded(file.read(min(int.from_bytes(head, "little"), size)))
                self._table.apply(do, key, *arguments)
            except (DamagedError, KeyError, TypeError, ValueError):
                raise FileError(
                    f"{self.path} is not the file of a store", help="give the path of a file that does not exist yet, on a disk all processes see"
                ) from None
            self._read = file.tell()

    def _await(self, keys: Sequence[str], seconds: float) -> bool:
        return until(lambda: self._do("check", list(keys)), seconds)

    def close(self) -> None:
        """This process needs the file no longer."""
        self._finalize()


def _leave(path: str, world_size: int) -> None:
    if world_size <= 0 or not os.path.exists(path):
        return
    store = FileStore.__new__(FileStore)
    Store.__init__(store)
    store.path, store._table, store._read = path, Table(), 0
    try:
        if store._do("add", _CLOSED, 1) >= world_size:
            os.unlink(path)
    except (OSError, FileError):
        pass  # somebody else took it away


class _Locked:
    """The file, open and locked against all other processes."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> Any:
        try:
            import fcntl
        except ImportError:
            raise UnsupportedError("a FileStore needs file locks, which this system does not have", help="use tcp:// or env://") from None
        try:
            self.file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        except OSError as error:
            raise FileError(f"cannot open {self.path}: {error.strerror}", help="give a path all processes may write to") from None
        fcntl.flock(self.file, fcntl.LOCK_EX)
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()  # which lets go of the lock
