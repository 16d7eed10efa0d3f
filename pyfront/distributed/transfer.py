"""Transfer: streams of bytes to and from other processes, all of them moved at once by one loop."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Sequence

import numpy as np

from .errors import DistBackendError

BLOCK = 1 << 18  # bytes that are combined at once: small enough to be in the processor's cache still
_MOST = 1 << 22  # bytes handed to the system at once


def as_memory(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array."""
    return memoryview(array.reshape(-1).view(np.uint8))


class Outflow:
    """Bytes on their way to a peer. ready: how many of them may go now; more become ready as an inflow brings them.

    head: what the peer is told first.
    """

    def __init__(self, peer: int, head: bytes, parts: Sequence[np.ndarray], ready: int | None = None) -> None:
        self.peer = peer
        self._parts = [memoryview(head), *[as_memory(part) for part in parts if part.size]]
        total = sum(map(len, self._parts))
        self.left = total if ready is None else ready + len(head)  # bytes that may go and have not
        self._to_come = total - self.left
        self._index = self._at = 0

    @property
    def finished(self) -> bool:
        """Whether everything is gone."""
        return not self.left and not self._to_come

    def add(self, count: int) -> None:
        """So many more bytes are ready."""
        count = min(count, self._to_come)
        self.left += count
        self._to_come -= count

    def move(self, connection: socket.socket) -> bool:
        """Hand some bytes to the system; whether it took any."""
        part = self._parts[self._index]
        piece = part[self._at : self._at + min(self.left, _MOST)]
        try:
            sent = connection.send(piece)
        except (BlockingIOError, InterruptedError):
            return False
        self.left -= sent
        self._at += sent
        while self._index < len(self._parts) - 1 and self._at == len(self._parts[self._index]):
            self._index, self._at = self._index + 1, 0
        return True


class Inflow:
    """Bytes on their way from a peer into arrays. head: what it must tell first. onward: outflows of the same bytes.

    differs: makes the error for another head.
    """

    def __init__(
        self, peer: int, head: bytes, parts: Sequence[np.ndarray], differs: Callable[[int, bytes], Exception], onward: Sequence[Outflow] = ()
    ) -> None:
        self.peer, self._head, self._differs, self._onward = peer, head, differs, onward
        self._got = bytearray(len(head))
        self._parts = [memoryview(self._got), *self._targets(parts)]
        self._index = self._at = 0
        self.finished = False

    def _targets(self, parts: Sequence[np.ndarray]) -> list[memoryview]:
        return [as_memory(part) for part in parts if part.size]

    def move(self, connection: socket.socket) -> bool:
        """Take what is there; whether anything was. ConnectionResetError when the peer has gone."""
        try:
            count = connection.recv_into(self._parts[self._index][self._at :])
        except (BlockingIOError, InterruptedError):
            return False
        if not count:
            raise ConnectionResetError("it ended")
        self._at += count
        if self._index:
            self._took(count)
        whole = self._at == len(self._parts[self._index])
        if whole and not self._index and self._got != self._head:
            raise self._differs(self.peer, bytes(self._got))
        if whole:
            self._index, self._at = self._index + 1, 0
            self.finished = self._index == len(self._parts)
        return True

    def _took(self, count: int) -> None:
        self._hand_on(count)

    def _hand_on(self, count: int) -> None:
        for flow in self._onward:
            flow.add(count)


class Combining(Inflow):
    """An inflow that is not kept but combined with arrays of this process, block by block: ``made = combine(own, what came)``.

    The first `combined` parts are; those after them are kept as they come. finish: done to the blocks of the last combined part.
    """

    def __init__(
        self, peer: int, head: bytes, own: Sequence[np.ndarray], made: Sequence[np.ndarray], combine: Callable[..., object],
        finish: Callable[[np.ndarray], None] | None, kept: Sequence[np.ndarray], differs: Callable[[int, bytes], Exception],
        onward: Sequence[Outflow] = (),
    ) -> None:  # fmt: skip
        self._combine, self._finish = combine, finish
        self._blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray, bool]] = []
        for number, (mine, into) in enumerate(zip(own, made, strict=True)):
            step = max(1, BLOCK // mine.itemsize)
            for at in range(0, mine.size, step):
                a, b = mine[at : at + step], into[at : at + step]
                self._blocks.append((a, b, np.empty_like(a), number == len(own) - 1))
                if len(self._blocks) > 1 and len(self._blocks[0][0]) >= len(a):  # one scratch block serves them all
                    self._blocks[-1] = (a, b, self._blocks[0][2][: len(a)], number == len(own) - 1)
        super().__init__(peer, head, kept, differs, onward)

    def _targets(self, parts: Sequence[np.ndarray]) -> list[memoryview]:
        return [*[as_memory(scratch) for _, _, scratch, _ in self._blocks], *super()._targets(parts)]

    def _took(self, count: int) -> None:
        if self._index > len(self._blocks):
            self._hand_on(count)
        elif self._at == len(self._parts[self._index]):
            mine, into, scratch, last = self._blocks[self._index - 1]
            self._combine(mine, scratch, out=into)
            if last and self._finish is not None:
                self._finish(into)
            self._hand_on(self._at)


class Lines:
    """The collective connections of one rank. patience: seconds without a byte after which a transfer is given up."""

    def __init__(self, connections: list[socket.socket | None], patience: float, names: Sequence[int]) -> None:
        self.connections, self.patience, self.names = connections, patience, names

    def move(self, inflows: Sequence[Inflow], outflows: Sequence[Outflow], patience: float | None = None) -> None:
        """Bring all of them to their end. DistBackendError when a peer has gone, stalls, or does something else."""
        patience = self.patience if patience is None else patience
        while True:
            moved = False
            waiting = [flow for flow in inflows if not flow.finished]
            sending = [flow for flow in outflows if flow.left]
            for flow in (*waiting, *sending):
                try:
                    moved |= flow.move(self.connections[flow.peer])  # type: ignore[arg-type]  # there is one to every peer
                except OSError as error:
                    raise self._gone(flow.peer, error) from None
            if not waiting and all([flow.finished for flow in outflows]):
                return
            if not moved and not self._wait(waiting, sending, patience):
                raise self._late(waiting, sending, patience)

    def _wait(self, inflows: Sequence[Inflow], outflows: Sequence[Outflow], seconds: float) -> bool:
        """Until something can be moved; False when nothing can within these seconds."""
        wanted: dict[int, int] = {}
        for flow in inflows:
            wanted[flow.peer] = select.POLLIN
        for out in outflows:
            wanted[out.peer] = wanted.get(out.peer, 0) | select.POLLOUT
        poller = select.poll()
        for peer, events in wanted.items():
            poller.register(self.connections[peer], events)  # type: ignore[arg-type]  # there is one to every peer
        return bool(poller.poll(max(0, int(seconds * 1000))))

    def _gone(self, peer: int, error: OSError) -> DistBackendError:
        return DistBackendError(
            f"Connection closed by peer: the process of rank {self.names[peer]} has ended, or given up this group ({error})",
            help="its own output says why; every rank has to make the same calls and to end at the same place",
        )

    def _late(self, inflows: Sequence[Inflow], outflows: Sequence[Outflow], patience: float) -> DistBackendError:
        late = sorted({self.names[flow.peer] for flow in (*inflows, *outflows)})
        return DistBackendError(
            f"Timed out waiting {round(patience * 1000)}ms for {'rank' if len(late) == 1 else 'ranks'} {', '.join(map(str, late))}",
            help="that process does something else (another number of batches?), or needs longer: init_process_group(timeout=timedelta(...))",
        )


HEAD = struct.Struct("<4sBBBxIIQ")
"""What every stream begins with: a mark, the call, its op, the dtype, the root, the number of the call, elements."""
