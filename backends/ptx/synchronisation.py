"""Barriers of an interpreted block: bar.sync, bar.warp.sync, barrier.cluster, and mbarriers with their phases, arrivals and bytes.

Source: PTX ISA 9.0, "Parallel Synchronization and Communication Instructions", "mbarrier". A phase ends when no arrival and no
bytes are missing. Waiting for a parity succeeds once the phase of that parity has ended: the current one has the other parity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .faults import Fault
from .shared import MOST_BARRIERS, Shared

if TYPE_CHECKING:
    from .machine import Machine

Array = np.ndarray
MOST_COUNT = (1 << 20) - 1


@dataclass
class Mbarrier:
    """One barrier in shared memory. writer: the thread that stands for what copies tell it; maker: who made it, and when."""

    address: int
    count: int
    writer: int
    maker: int
    made_at: int
    missing: int = 0
    bytes: int = 0
    phase: int = 0
    shown: bool = False
    from_afar: bool = False
    announced: int = 0
    collected: Array | None = None
    ended: Array | None = None
    sleepers: list[tuple[int, int, Array]] = field(default_factory=list)


@dataclass
class _Meeting:
    """Threads that have come to a named barrier, and the place they go on at."""

    here: list[Array] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    want: int = 0


@dataclass
class _ClusterBarrier:
    """The barrier of a cluster. times: how often each thread has arrived; phase: how often all have; waited: for which phases each has."""

    times: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    waited: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    here: int = 0
    phase: int = 0
    collected: Array | None = None
    ended: Array | None = None
    sleepers: list[tuple[int, Array]] = field(default_factory=list)


class Barriers:
    """All barriers of a block."""

    def __init__(self, shared: Shared | None) -> None:
        self.shared = shared
        self.named: dict[tuple[int, int], _Meeting] = {}
        self.made: dict[int, Mbarrier] = {}
        self.cluster = _ClusterBarrier()

    # -- bar

    def sync(self, machine: Machine, threads: Array, number: int, want: int, place: int) -> Array | None:
        """These threads have come to barrier `number`, for `want` threads. Those that go on, when they are the last."""
        machine.whole_warps(threads)
        if not 0 <= number < 16:
            raise Fault(f"there are barriers 0 to 15, and no {number}", threads)
        if want % 32 or not 0 < want <= machine.block_threads:
            raise Fault(f"a barrier is for a multiple of 32 threads of the block's {machine.block_threads}, not for {want}", threads)
        block = int(threads[0]) // machine.block_threads
        meeting = self.named.setdefault((block, number), _Meeting())
        if meeting.here and meeting.want != want:
            raise Fault(f"barrier {number} is for {meeting.want} threads for some and for {want} for others", threads)
        meeting.want = want
        meeting.here.append(threads)
        meeting.places.append(place)
        come = sum(map(len, meeting.here))
        if come < want:
            return None
        if come > want:
            raise Fault(f"{come} threads come to barrier {number}, which is for {want}", threads)
        del self.named[block, number]
        if self.shared is not None:
            self.shared.clocks.meet(np.concatenate(meeting.here))
        for some, where in zip(meeting.here[:-1], meeting.places[:-1], strict=True):
            machine.wake(where + 1, some)
        return threads

    def warp_sync(self, machine: Machine, threads: Array) -> None:
        """bar.warp.sync of all lanes."""
        for warp in machine.whole_warps(threads):
            if self.shared is not None:
                self.shared.clocks.meet(warp)

    # -- barrier.cluster

    def arrive_cluster(self, machine: Machine, threads: Array) -> None:
        """barrier.cluster.arrive. Fault: a thread arrives twice and has not waited."""
        c, clocks = self.cluster, self._memory().clocks
        if not len(c.times):
            c.times, c.waited = np.zeros(machine.count, np.int64), np.zeros(machine.count, np.int64)
        if (c.times[threads] != c.waited[threads]).any():
            raise Fault("barrier.cluster.arrive of a thread that has not waited since its last one", threads[c.times[threads] != c.waited[threads]])
        c.times[threads] += 1
        c.here += len(threads)
        known = clocks.release(threads)
        c.collected = known if c.collected is None else np.maximum(c.collected, known)
        if c.here == machine.count:
            c.phase, c.here, c.ended, c.collected = c.phase + 1, 0, c.collected, None
            sleepers, c.sleepers = c.sleepers, []
            for place, some in sleepers:
                machine.wake(place, some)

    def wait_cluster(self, threads: Array, place: int) -> Array | None:
        """barrier.cluster.wait: those that go on; the others sleep, and come to the same place again. Fault: a thread has not arrived."""
        c = self.cluster
        if not len(c.times) or (c.times[threads] == c.waited[threads]).any():
            raise Fault("barrier.cluster.wait of a thread that has not arrived", threads)
        done = threads[c.times[threads] <= c.phase]
        rest = threads[c.times[threads] > c.phase]
        if len(rest):
            c.sleepers.append((place, rest))
        if not len(done):
            return None
        assert c.ended is not None
        self._memory().clocks.acquire(done, c.ended)
        c.waited[done] = c.times[done]
        return done

    # -- mbarrier

    def init(self, threads: Array, addresses: Array, counts: Array) -> None:
        """mbarrier.init. Fault: unaligned, outside, a count that is none, one that is used already."""
        shared = self._memory()
        at = shared.place(addresses, 8, "a barrier", threads)
        cells = shared.cells(at, 8)
        for k, (thread, address, count) in enumerate(zip(threads.tolist(), addresses.tolist(), counts.tolist(), strict=True)):
            if not 1 <= count <= MOST_COUNT:
                raise Fault(f"a barrier is for 1 to {MOST_COUNT} arrivals, not for {count}", [thread])
            if address in self.made:
                raise Fault(f"the barrier at shared byte {at[k]} is made twice", [thread])
            if len(self.made) == MOST_BARRIERS:
                raise Fault(f"more than {MOST_BARRIERS} barriers are not implemented", [thread])
            shared.check_write(cells[k : k + 1], threads[k : k + 1])
            shared.barrier_cells[cells[k]] = True
            writer = shared.clocks.threads + len(self.made)
            own = int(shared.clocks.known[thread, thread])
            self.made[address] = Mbarrier(address, count, writer, thread, own, count)

    def show(self, threads: Array) -> None:
        """fence.mbarrier_init (or a proxy fence): the copy engine sees the barriers these threads have made."""
        for barrier in self.made.values():
            if barrier.maker in threads:
                barrier.shown = True

    def find(self, address: int, thread: int) -> Mbarrier:
        """The barrier at an address. Fault: there is none, or the thread cannot know that it was made."""
        barrier = self.made.get(address)
        if barrier is None:
            raise Fault(f"there is no barrier at shared byte {address - 1024}: mbarrier.init was not run there", [thread])
        if self._memory().clocks.known[thread, barrier.maker] < barrier.made_at:
            raise Fault("a race: the barrier is used, and its mbarrier.init by another thread is not ordered before", [thread])
        return barrier

    def arrive(self, machine: Machine, threads: Array, addresses: Array, announced: Array | None = None, relaxed: bool = False) -> None:
        """Arrivals, each after announcing bytes. relaxed: they say that reads have ended. Fault: the thread has written what nobody is told of."""
        clocks = self._memory().clocks
        if relaxed:
            self._memory().check_told(threads)
        for k, (thread, address) in enumerate(zip(threads.tolist(), addresses.tolist(), strict=True)):
            barrier = self.find(address, thread)
            if announced is not None:
                barrier.bytes += int(announced[k])
                barrier.announced += int(announced[k])
                self._check_bytes(barrier, thread)
            barrier.from_afar |= thread // machine.block_threads != barrier.maker // machine.block_threads
            barrier.missing -= 1
            if barrier.missing < 0:
                raise Fault(f"more than {barrier.count} arrivals at the barrier at shared byte {address - 1024} in one phase", [thread])
            self._collect(barrier, clocks.release(threads[k : k + 1]))
            self.check_phase(machine, barrier)

    def arrived_bytes(self, machine: Machine, barrier: Mbarrier, count: int) -> None:
        """A copy has brought bytes."""
        barrier.bytes -= count
        self._check_bytes(barrier, barrier.maker)
        clocks = self._memory().clocks
        self._collect(barrier, clocks.release(np.array([barrier.writer])))
        self.check_phase(machine, barrier)

    @staticmethod
    def _check_bytes(barrier: Mbarrier, thread: int) -> None:
        if abs(barrier.bytes) > MOST_COUNT:
            raise Fault(f"{barrier.bytes} bytes under way are more than a barrier counts ({MOST_COUNT})", [thread])

    @staticmethod
    def _collect(barrier: Mbarrier, knowledge: Array) -> None:
        barrier.collected = knowledge if barrier.collected is None else np.maximum(barrier.collected, knowledge)

    def check_phase(self, machine: Machine, barrier: Mbarrier) -> None:
        """End the phase when nothing is missing, and wake who waits for it."""
        if barrier.missing or barrier.bytes:
            return
        barrier.phase += 1
        barrier.missing, barrier.announced = barrier.count, 0
        assert barrier.collected is not None
        barrier.ended = barrier.collected if barrier.ended is None else np.maximum(barrier.ended, barrier.collected)
        barrier.collected = None
        sleepers, barrier.sleepers = barrier.sleepers, []
        for place, parity, threads in sleepers:
            if (barrier.phase & 1) == parity:
                barrier.sleepers.append((place, parity, threads))
            else:
                machine.wake(place, threads)

    def has_ended(self, threads: Array, address: int, parity: int, place: int, in_cluster: bool) -> bool:
        """try_wait.parity; who has to wait sleeps, and comes to the same place again. Fault: another block arrives, and the wait is one of this block's."""
        barrier = self.find(address, int(threads[0]))
        if barrier.from_afar and not in_cluster:
            raise Fault("another block arrives at the barrier, and this waits without .cluster", threads)
        for thread in threads.tolist():
            self.find(address, thread)
        if (barrier.phase & 1) != parity:
            if barrier.ended is not None:
                self._memory().clocks.acquire(threads, barrier.ended)
            return True
        barrier.sleepers.append((place, parity, threads))
        return False

    def _memory(self) -> Shared:
        if self.shared is None:
            raise Fault("the kernel has no shared memory")
        return self.shared

    def waiting(self) -> list[str]:
        """Who waits for what, in words."""
        said = [f"{sum(map(len, m.here))} of {m.want} threads have come to barrier {n}" for (_, n), m in self.named.items()]
        if self.cluster.sleepers:
            said.append(f"{sum(len(t) for _, t in self.cluster.sleepers)} threads wait at barrier.cluster, to which {self.cluster.here} have come")
        for b in self.made.values():
            if b.sleepers:
                count = sum(len(threads) for _, _, threads in b.sleepers)
                said.append(
                    f"{count} threads wait for phase parity {b.sleepers[0][1]} of the mbarrier at shared byte {b.address - 1024}, whose phase"
                    f" {b.phase} lacks {b.missing} of {b.count} arrivals and {b.bytes} bytes"
                )
        return said

    def check_end(self) -> None:
        """Fault when the block ends with bytes announced that never came."""
        for b in self.made.values():
            if b.bytes:
                raise Fault(f"the block ends while the mbarrier at shared byte {b.address - 1024} still lacks {b.bytes} bytes of copies")
