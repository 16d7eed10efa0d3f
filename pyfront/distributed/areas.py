"""Areas: memory that all processes of one machine see: each rank writes its own, and reads everybody's."""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Sequence

import numpy as np

SLAB = 1 << 25
"""Bytes that are worked on at a time. An area has two, so that a rank may begin the next one while others still read the last."""


class Areas:
    """The areas of a group. files: one of each rank, which are mapped when they are first used."""

    def __init__(self, files: Sequence[int]) -> None:
        self._files = list(files)
        self._memory: list[np.ndarray] = []
        self._turn = 0

    def begin(self) -> None:
        """Another slab: the one before the last is nobody's any more, for all ranks have begun the last."""
        self._turn = 1 - self._turn
        if not self._memory:
            self._memory = [np.frombuffer(mmap.mmap(file, 2 * SLAB), np.uint8) for file in self._files]
            self.let_go()

    def array(self, rank: int, dtype: np.dtype, size: int) -> np.ndarray:
        """A rank's elements in this slab."""
        return self._memory[rank][self._turn * SLAB : self._turn * SLAB + size * dtype.itemsize].view(dtype)

    def let_go(self) -> None:
        """Close the files; what is mapped stays."""
        for file in self._files:
            os.close(file)
        self._files.clear()


def shared_areas(connections: Sequence[socket.socket | None], rank: int) -> Areas | None:
    """The areas of processes that are connected by local sockets; None where there is no such memory. Each tells whether it can, so that
    all or none do.
    """
    own = _file()
    for connection in connections:
        if connection is not None:
            socket.send_fds(connection, [b"1" if own is not None else b"0"], [own] if own is not None else [])
    files: list[int | None] = [own] * len(connections)
    for peer, connection in enumerate(connections):
        if connection is not None:
            _, received, _, _ = socket.recv_fds(connection, 1, 1)
            files[peer] = received[0] if received else None
    there = [file for file in files if file is not None]
    if len(there) == len(files):
        return Areas(there)
    for file in there:
        os.close(file)
    return None


def _file() -> int | None:
    """A file without a name, as large as an area; it takes memory where it is written."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        file = os.memfd_create("lamina-area")
        os.ftruncate(file, 2 * SLAB)
    except OSError:
        return None
    return file
