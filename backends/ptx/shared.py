"""Shared memory of an interpreted block, with who touched what when: races, missing fences and copies under way are seen in any order.

Every thread has a clock that goes on when it releases something (arrives at a barrier), and knows the clocks of others it has
acquired. An access is ordered behind an earlier one when its thread knows the clock at which that one was made; what is not
ordered is a race, whatever order the interpreter happened to run. Asynchronous writers (the copy engine, through a barrier)
are threads of their own, and so is a warpgroup where it multiplies: its product is one operation of all four warps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .faults import Fault
from .memory import changed

Array = np.ndarray
BASE = 1024
"""The first address: the system keeps the bytes before it."""
WARP, MOST_BARRIERS, MOST_WARPGROUPS = 32, 64, 8
GENERIC, ASYNC = "generic", "async"
MAPPED = 24
"""Bits of an address within a block; those above say, of what mapa has made, which block of the cluster it is."""


class Clocks:
    """What every thread (and every barrier's copies) knows of the others."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        count = threads + MOST_BARRIERS + MOST_WARPGROUPS
        self.known = np.zeros((count, count), np.int32)
        np.fill_diagonal(self.known, 1)
        self.fenced = np.zeros((count, count), np.int32)
        self.fences: list[list[int]] = [[] for _ in range(count)]

    def own(self, threads: Array) -> Array:
        """The threads' own clocks."""
        return self.known[threads, threads]

    def release(self, threads: Array) -> Array:
        """What the threads know, all of them together; their clocks go on."""
        together = self.known[threads].max(0)
        self.known[threads, threads] += 1
        return together

    def acquire(self, threads: Array, knowledge: Array) -> None:
        """The threads know this, too."""
        self.known[threads] = np.maximum(self.known[threads], knowledge)

    def meet(self, threads: Array) -> None:
        """A barrier of these threads."""
        self.acquire(threads, self.release(threads))

    def fence(self, threads: Array) -> None:
        """A proxy fence: what these threads know of now is shown to the asynchronous proxy; later accesses are later clocks."""
        self.fenced[threads] = self.known[threads]
        for thread in threads.tolist():
            self.fences[thread].append(int(self.known[thread, thread]))
        self.known[threads, threads] += 1

    def shows(self, writer: int, when: Array, seen: Array) -> Array:
        """Whether a thread's fence lies behind its clock `when` and before its clock `seen`, which somebody knows of."""
        fences = np.array([-1, *self.fences[writer]])
        return fences[np.searchsorted(fences, seen) - 1] >= when


class Shared:
    """The bytes of one block, or of those of a cluster. size: of a block; granule: bytes that are watched together, the smallest element the kernel touches.

    The blocks of a cluster lie one behind the other, a `stride` apart; what an instruction of a block calls an address is `own` there. What
    mapa makes of it, `mapped`, says of which block it is.
    """

    def __init__(self, size: int, threads: int, granule: int, blocks: int = 1) -> None:
        self.size, self.granule, self.blocks = size, granule, blocks
        self.block_threads = threads // blocks
        self.stride = -(-size // 1024) * 1024 + 1024
        self.clocks = Clocks(threads)
        self.data = np.full((blocks - 1) * self.stride + -(-max(size, 1) // 16) * 16 + 16, 0xFF, np.uint8)  # NaN, whatever the width
        self.told: list[tuple[int, int, int]] = []
        """What one block has done to another one's memory: which thread, at which of its clocks, to which block."""
        cells = len(self.data) // granule
        self.written = np.zeros(cells, np.bool_)
        self.writer, self.written_at = np.zeros(cells, np.int16), np.zeros(cells, np.int32)
        self.generic = np.zeros(cells, np.bool_)
        warps = -(-threads // WARP)
        self.reader, self.read_at = np.zeros((cells, warps), np.int16), np.zeros((cells, warps), np.int32)
        self.changer, self.changed_at = np.zeros((cells, warps), np.int16), np.zeros((cells, warps), np.int32)
        """Of atomic instructions, which need no order among themselves: by every warp the last."""
        self.landing, self.leaving = np.zeros(cells, np.int16), np.zeros(cells, np.int16)
        self.barrier_cells = np.zeros(cells, np.bool_)

    # -- Blocks of a cluster

    def own(self, addresses: Array, threads: Array) -> Array:
        """Addresses as the threads' blocks name them, among those of the cluster."""
        if self.blocks == 1:
            return addresses
        return addresses + (threads // self.block_threads * self.stride).astype(addresses.dtype)

    def mapped(self, addresses: Array, ranks: Array, threads: Array) -> Array:
        """mapa: the same place in another block. Fault: there is no such block."""
        if (ranks >= self.blocks).any():
            raise Fault(f"mapa to block {int(ranks.max())} of a cluster of {self.blocks}", threads)
        return (addresses & np.uint32((1 << MAPPED) - 1)) | (ranks + np.uint32(1)) << np.uint32(MAPPED)

    def elsewhere(self, addresses: Array, threads: Array) -> Array:
        """What `mapped` has made, among the addresses of the cluster, for something that is done there. Fault: mapa has not made it."""
        ranks = (addresses.astype(np.int64) >> MAPPED) - 1
        if (ranks < 0).any() or (ranks >= self.blocks).any():
            raise Fault("an address of shared::cluster that mapa has not made", threads)
        self.tell(ranks, threads)
        return (addresses.astype(np.int64) & (1 << MAPPED) - 1) + ranks * self.stride

    def tell(self, ranks: Array, threads: Array) -> None:
        """Threads do something to memory of these blocks, which must not have ended."""
        for thread, rank in zip(threads.tolist(), ranks.tolist(), strict=True):
            if rank != thread // self.block_threads:
                self.told.append((thread, int(self.clocks.known[thread, thread]), rank))

    def check_end(self) -> None:
        """Fault when a block may have ended before another one did something to its memory: none of its threads knows of that."""
        for thread, when, rank in self.told:
            first = rank * self.block_threads
            if (self.clocks.known[first : first + self.block_threads, thread] < when).all():
                raise Fault(f"block {rank} of the cluster may have ended before another one's thread uses its shared memory: it waits for nothing behind that", [thread])

    def check_told(self, threads: Array) -> None:
        """Fault: a thread has written memory since it last told anybody."""
        for thread in threads.tolist():
            if ((self.writer == thread) & (self.written_at == self.clocks.known[thread, thread]) & self.written).any():
                raise Fault("a relaxed arrival behind writes of the thread: it says only that reads have ended", [thread])

    def place(self, addresses: Array, size: int, what: str, threads: Array, alignment: int = 0) -> Array:
        """Offsets of accesses. Fault when one is unaligned or outside."""
        at = addresses.astype(np.int64) - BASE
        aligned = alignment or size
        odd = (addresses.astype(np.int64) % aligned) != 0
        if odd.any():
            bad = int(np.flatnonzero(odd)[0])
            raise Fault(f"{what} of {size} bytes at shared byte {at[bad]}, which is not a multiple of {aligned}", threads[bad : bad + 1])
        outside = (at < 0) | (at % self.stride + size > self.size) | (at >= self.blocks * self.stride)
        if outside.any():
            bad = int(np.flatnonzero(outside)[0])
            raise Fault(f"{what} of {size} bytes at shared byte {at[bad]}: outside the block's {self.size}", threads[bad : bad + 1])
        return at

    def cells(self, offsets: Array, size: int) -> Array:
        """[accesses, cells of each]."""
        return (offsets // self.granule)[:, None] + np.arange(max(1, size // self.granule))

    # -- Rules

    def _refuse(self, wrong: Array, cells: Array, threads: Array, what: str) -> None:
        row = int(np.flatnonzero(wrong.any(1))[0])
        cell = int(cells[row][np.flatnonzero(wrong[row])[0]])
        who = [int(threads[row])]
        what = what.replace("{writer}", self._named(int(self.writer[cell])))
        if "{reader}" in what:
            late = self.clocks.known[who[0], self.reader[cell]] < self.read_at[cell]
            what = what.replace("{reader}", self._named(int(self.reader[cell][late][0])))
        raise Fault(what.replace("{place}", f"shared byte {cell * self.granule}"), who)

    def _named(self, thread: int) -> str:
        if thread < self.clocks.threads:
            return f"thread {thread}"
        return "the copy engine" if thread < self.clocks.threads + MOST_BARRIERS else f"warpgroup {thread - self.clocks.threads - MOST_BARRIERS}"

    def check_read(self, cells: Array, threads: Array, proxy: str = GENERIC, record: bool = True, partly: bool = False) -> None:
        """Fault: nobody has written it, a copy to it is under way, its writer is not ordered before, no fence shows it.

        partly: what nobody has written is read as NaN, as a matrix's row that no result is made of may be.
        """
        if self.landing[cells].any():
            self._refuse(self.landing[cells] > 0, cells, threads, "a read of {place} while a copy to it is under way: it was not waited for")
        if self.barrier_cells[cells].any():
            self._refuse(self.barrier_cells[cells], cells, threads, "a read of {place}, which is a barrier")
        known = self.written[cells]
        if not partly and not known.all():
            self._refuse(~known, cells, threads, "a read of {place}, which nobody has written")
        writer, when = self.writer[cells], self.written_at[cells]
        late = self.clocks.known[threads[:, None], writer] < when
        if late.any():
            self._refuse(late, cells, threads, "a race: a read of {place} that is not ordered behind the write by {writer}")
        self._check_changes(cells, threads, "read")
        if proxy == ASYNC:
            self._check_shown(cells, threads, writer, when)
            for warp in np.flatnonzero(self.changed_at[cells].any((0, 1))):
                self._check_shown(cells, threads, self.changer[cells, warp], self.changed_at[cells, warp])
        if record:
            self.record_read(cells, threads)

    def _check_shown(self, cells: Array, threads: Array, writer: Array, when: Array) -> None:
        """A fence of the writer behind its write that the reader knows of, or one of the reader behind what it knows."""
        generic = self.generic[cells]
        if not generic.any():
            return
        shown = self.clocks.fenced[threads[:, None], writer] >= when
        seen = self.clocks.known[threads[:, None], writer]
        for one in np.unique(writer[generic & ~shown]).tolist():
            mine = writer == one
            shown[mine] |= self.clocks.shows(one, when[mine], seen[mine])
        hidden = generic & ~shown
        if hidden.any():
            what = "{place} was written by {writer} with ordinary instructions and is read by an asynchronous one: there is no fence.proxy.async between"
            self._refuse(hidden, cells, threads, what)

    def record_read(self, cells: Array, threads: Array) -> None:
        """The threads have read these cells now."""
        warp = threads[:, None] // WARP
        self.reader[cells, warp] = threads[:, None]
        self.read_at[cells, warp] = self.clocks.own(threads)[:, None]

    def check_write(self, cells: Array, threads: Array) -> None:
        """Fault: a copy from or to it is under way, an earlier read or write is not ordered before."""
        if self.landing[cells].any():
            self._refuse(self.landing[cells] > 0, cells, threads, "a write to {place} while a copy to it is under way")
        if self.leaving[cells].any():
            self._refuse(self.leaving[cells] > 0, cells, threads, "a write to {place} while an asynchronous instruction reads it: it was not waited for")
        if self.barrier_cells[cells].any():
            self._refuse(self.barrier_cells[cells], cells, threads, "a write to {place}, which is a barrier")
        self._check_changes(cells, threads, "write")
        self._check_order(cells, threads)

    def _check_changes(self, cells: Array, threads: Array, what: str) -> None:
        """Fault: an atomic instruction is not ordered before."""
        late = (self.clocks.known[threads[:, None, None], self.changer[cells]] < self.changed_at[cells]).any(-1)
        if late.any():
            self._refuse(late, cells, threads, f"a race: a {what} of {{place}} that is not ordered behind an atomic instruction of another thread")

    def _check_order(self, cells: Array, threads: Array) -> None:
        """Fault: an ordinary write or read is not ordered before a write."""
        known = self.clocks.known
        late = known[threads[:, None], self.writer[cells]] < self.written_at[cells]
        if late.any():
            self._refuse(late, cells, threads, "a race: a write to {place} that is not ordered behind the write by {writer}")
        unread = (known[threads[:, None, None], self.reader[cells]] < self.read_at[cells]).any(-1)
        if unread.any():
            self._refuse(unread, cells, threads, "a race: a write to {place} that is not ordered behind the read by {reader}")

    def record_product(self, cells: Array, group: Array) -> None:
        """A warpgroup's products have read these cells, and its threads know."""
        clocks, number = self.clocks, int(group[0]) // (4 * WARP)
        reader = clocks.threads + MOST_BARRIERS + number
        self.reader[cells, 4 * number] = reader
        self.read_at[cells, 4 * number] = clocks.known[reader, reader]
        clocks.acquire(group, clocks.release(np.array([reader])))

    def record_write(self, cells: Array, threads: Array, generic: bool) -> None:
        """The threads (or copies) have written these cells now."""
        self.written[cells] = True
        self.writer[cells] = threads[:, None]
        self.written_at[cells] = self.clocks.own(threads)[:, None]
        self.generic[cells] = generic

    # -- Ordinary accesses

    def load(self, addresses: Array, size: int, count: int, threads: Array) -> list[Array]:
        """`count` neighbouring elements of every thread as unsigned integers."""
        at = self.place(addresses, size * count, "a read", threads)
        self.check_read(self.cells(at, size * count), threads)
        bytes_ = self.data[at[:, None] + np.arange(size * count)]
        both = np.ascontiguousarray(bytes_).view(f"u{size}")
        return [both[:, i] for i in range(count)]

    def store(self, addresses: Array, size: int, values: list[Array], threads: Array) -> None:
        """Neighbouring elements of every thread."""
        at = self.place(addresses, size * len(values), "a write", threads)
        cells = self.cells(at, size * len(values))
        self.check_write(cells, threads)
        given = np.stack([np.broadcast_to(v, len(threads)).astype(f"u{size}") for v in values], 1)
        self.write_bytes(at, np.ascontiguousarray(given).view(np.uint8).reshape(len(threads), -1), threads)
        self.record_write(cells, threads, True)

    def atomic(self, addresses: Array, dtype: np.dtype, change: Callable[[Array, int], Array], threads: Array, order: list[int]) -> Array:
        """Read, change and write an element of every thread, one thread after the other; what was there. change: see `Flat.atomic`."""
        at = self.place(addresses, dtype.itemsize, "an atomic access", threads)
        cells = self.cells(at, dtype.itemsize)
        if not self.written[cells].all():
            self._refuse(~self.written[cells], cells, threads, "an atomic access to {place}, which nobody has written")
        if self.landing[cells].any() or self.leaving[cells].any() or self.barrier_cells[cells].any():
            busy = (self.landing[cells] > 0) | (self.leaving[cells] > 0) | self.barrier_cells[cells]
            self._refuse(busy, cells, threads, "an atomic access to {place}, which an asynchronous instruction uses, or is a barrier")
        self._check_order(cells, threads)
        before = changed(self.data, at, dtype, change, order)
        self.changer[cells, threads[:, None] // WARP] = threads[:, None]
        self.changed_at[cells, threads[:, None] // WARP] = self.clocks.own(threads)[:, None]
        self.generic[cells] = True
        return before

    def write_bytes(self, at: Array, given: Array, threads: Array) -> None:
        """[accesses, bytes] to their places. Fault when two of them write unlike things to one."""
        where = at[:, None] + np.arange(given.shape[1])
        self.data[where] = given
        if (self.data[where] != given).any():
            row = int(np.flatnonzero((self.data[where] != given).any(1))[0])
            raise Fault(f"a race: several threads write different values to shared byte {at[row]}", threads[row : row + 1])
