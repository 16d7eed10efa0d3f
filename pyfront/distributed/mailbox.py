"""Mailbox: messages from one process to another, told apart by tag: read as they come, kept until somebody asks for them."""

from __future__ import annotations

import queue
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from .errors import DistBackendError
from .transfer import as_memory
from .work import Work

_HEAD = struct.Struct("<4sB3xqQ")  # a mark, the dtype, the tag, bytes
_MARK = b"lamm"
_PATIENCE = 3600.0  # seconds between looks when nothing comes


class Letter:
    """A message that is waited for. sender: a rank, or None for any."""

    def __init__(self, sender: int | None, tag: int, dtype: int, into: np.ndarray, work: Work) -> None:
        self.sender, self.tag, self.dtype, self.into, self.work = sender, tag, dtype, into, work

    def takes(self, sender: int, tag: int) -> bool:
        """Whether this message is the one."""
        return self.sender in (None, sender) and self.tag == tag


class _Reading:
    """A connection from which messages come, and how far the one that is coming has come."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Wait for the next message."""
        self.head, self.body = bytearray(_HEAD.size), None  # type: bytearray, memoryview | None
        self.array: np.ndarray | None = None
        self.letter: Letter | None = None
        self.at = 0


class Mailbox:
    """The messages of one rank of a group. names: what ranks are called in errors."""

    def __init__(self, connections: list[socket.socket | None], names: Sequence[int], describe: Callable[[int, int], str]) -> None:
        self._connections, self._names, self._describe = connections, names, describe
        self._lock = threading.Lock()
        self._letters: list[Letter] = []
        self._kept: deque[tuple[int, int, int, np.ndarray]] = deque()  # sender, tag, dtype, bytes
        self._lost: dict[int, str] = {}
        self._outboxes: dict[int, _Outbox] = {}
        self._reader = threading.Thread(target=self._read_all, name="lamina-mailbox", daemon=True)
        self._reader.start()

    # -- sending ----------------------------------------------------------------------------------------------

    def send(self, peer: int, tag: int, dtype: int, array: np.ndarray, work: Work) -> None:
        """Put a message (flat, contiguous) on its way; its work ends when the system has all of it."""
        outbox = self._outboxes.get(peer)
        if outbox is None:
            connection = self._connections[peer]
            assert connection is not None
            outbox = self._outboxes[peer] = _Outbox(connection, f"the process of rank {self._names[peer]} has ended, or given up this group")
        outbox.put(_HEAD.pack(_MARK, dtype, tag, array.nbytes), array, work)

    # -- receiving --------------------------------------------------------------------------------------------

    def receive(self, letter: Letter) -> None:
        """Wait for a message; its work ends when it is in the letter's array."""
        with self._lock:
            for number, (sender, tag, dtype, data) in enumerate(self._kept):
                if letter.takes(sender, tag):
                    del self._kept[number]
                    self._end(letter, sender, dtype, data)
                    return
            gone = self._lost if letter.sender is None else {k: v for k, v in self._lost.items() if k == letter.sender}
            if gone and (letter.sender is not None or len(gone) == len(self._names) - 1):
                letter.work.end(self._error(next(iter(gone)), next(iter(gone.values()))))
                return
            self._letters.append(letter)

    def forget(self, work: Work) -> None:
        """Nobody waits for this any more."""
        with self._lock:
            self._letters = [letter for letter in self._letters if letter.work is not work]

    def _end(self, letter: Letter, sender: int, dtype: int, data: np.ndarray) -> None:
        letter.work.came_from(sender)
        if dtype != letter.dtype or data.nbytes != letter.into.nbytes:
            letter.work.end(DistBackendError(
                f"rank {self._names[sender]} sent {self._describe(dtype, data.nbytes)} where {self._describe(letter.dtype, letter.into.nbytes)} is received",
                help="send and receive tensors of the same dtype and number of elements",
            ))  # fmt: skip
            return
        if data is not letter.into:
            np.copyto(letter.into.view(np.uint8), data)
        letter.work.end()

    def _error(self, peer: int, why: str) -> DistBackendError:
        return DistBackendError(
            f"Connection closed by peer: the process of rank {self._names[peer]} has ended, or given up this group ({why})", help="its own output says why"
        )

    # -- the reader -------------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        poller, by_file = select.poll(), {}
        for peer, connection in enumerate(self._connections):
            if connection is not None:
                poller.register(connection, select.POLLIN)
                by_file[connection.fileno()] = peer, connection, _Reading()
        while by_file:
            for file, _ in poller.poll(int(_PATIENCE * 1000)):
                peer, connection, reading = by_file[file]
                try:
                    self._read(peer, connection, reading)
                except OSError as error:
                    poller.unregister(file)
                    del by_file[file]
                    self._lose(peer, reading, str(error))

    def _read(self, peer: int, connection: socket.socket, reading: _Reading) -> None:
        into = memoryview(reading.head) if reading.body is None else reading.body
        try:
            count = connection.recv_into(into[reading.at :]) if len(into) else 0
        except (BlockingIOError, InterruptedError):
            return
        if not count and len(into):
            raise ConnectionResetError("it ended")
        reading.at += count
        if reading.at < len(into):
            return
        if reading.body is None:
            self._begin_body(peer, reading)
        if reading.body is not None and reading.at == len(reading.body):
            self._arrived(peer, reading)

    def _begin_body(self, peer: int, reading: _Reading) -> None:
        mark, dtype, tag, count = _HEAD.unpack(reading.head)
        if mark != _MARK:
            raise ConnectionResetError("it sends something else")
        with self._lock:
            for letter in self._letters:
                if letter.takes(peer, tag):
                    self._letters.remove(letter)
                    reading.letter = letter
                    break
        fits = reading.letter is not None and reading.letter.dtype == dtype and reading.letter.into.nbytes == count
        reading.array = reading.letter.into if fits else np.empty(count, np.uint8)  # type: ignore[union-attr]  # it is there
        reading.body, reading.at = as_memory(reading.array) if count else memoryview(b""), 0

    def _arrived(self, peer: int, reading: _Reading) -> None:
        _, dtype, tag, _ = _HEAD.unpack(reading.head)
        array, letter = reading.array, reading.letter
        assert array is not None
        reading.begin()
        with self._lock:
            if letter is None:  # somebody may have asked while it came
                letter = next((one for one in self._letters if one.takes(peer, tag)), None)
                if letter is None:
                    self._kept.append((peer, tag, dtype, array))
                    return
                self._letters.remove(letter)
            self._end(letter, peer, dtype, array)

    def _lose(self, peer: int, reading: _Reading, why: str) -> None:
        with self._lock:
            self._lost[peer] = why
            over = len(self._lost) == len(self._names) - 1
            ended = [letter for letter in self._letters if letter.sender == peer or over and letter.sender is None]
            if reading.letter is not None:
                ended.append(reading.letter)
            self._letters = [letter for letter in self._letters if letter not in ended]
        for letter in ended:
            letter.work.end(self._error(peer, why))

    def close(self) -> None:
        """Stop sending, after what is on its way, and receiving."""
        for outbox in self._outboxes.values():
            outbox.close()
        for connection in self._connections:
            if connection is not None:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was faster
        self._reader.join(1.0)


class _Outbox:
    """What goes to one peer, in order."""

    def __init__(self, connection: socket.socket, gone: str) -> None:
        self._connection, self._gone = connection, gone
        self._queue: queue.SimpleQueue[tuple[bytes, np.ndarray, Work] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="lamina-outbox", daemon=True)
        self._thread.start()

    def put(self, head: bytes, array: np.ndarray, work: Work) -> None:
        self._queue.put((head, array, work))

    def _send_all(self) -> None:
        while (entry := self._queue.get()) is not None:
            head, array, work = entry
            try:
                self._send(memoryview(head))
                if array.size:
                    self._send(as_memory(array))
            except OSError as error:
                work.end(DistBackendError(f"Connection closed by peer: {self._gone} ({error})", help="its own output says why"))
            else:
                work.end()

    def _send(self, data: memoryview) -> None:
        poller = select.poll()
        poller.register(self._connection, select.POLLOUT)
        while len(data):
            try:
                data = data[self._connection.send(data) :]
            except (BlockingIOError, InterruptedError):
                poller.poll()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(1.0)
