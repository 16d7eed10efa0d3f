"""Asynchronous copies of an interpreted block: cp.async, and the copy engine's boxes (TMA) to and from shared memory.

Source: PTX ISA 9.0, "Data Movement and Conversion Instructions: Asynchronous copy", "Tensors", "Swizzling Modes"; CUDA driver API,
cuTensorMapEncodeTiled. Copies land as late as a wait allows; boxes in an order chosen by the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .faults import Fault
from .rounding import tf32
from .shared import ASYNC, BASE, Shared
from .synchronisation import Barriers, Mbarrier

if TYPE_CHECKING:
    from .machine import Machine
    from .memory import Flat

Array = np.ndarray
SWIZZLES = {0: (0, 16), 32: (1, 32), 64: (2, 64), 128: (3, 128)}
"""By a mode's bytes: how many bits of the address change, and the widest box."""


@dataclass(frozen=True)
class Tensor:
    """What cuTensorMapEncodeTiled was told. sizes, box (elements gone over), every: innermost first; strides: bytes, of all but the innermost."""

    address: int
    element_bytes: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    every: tuple[int, ...]
    swizzle: int = 128
    rounds: bool = False

    def __post_init__(self) -> None:
        size, rank = self.element_bytes, len(self.sizes)
        if not 1 <= rank <= 5 or len(self.strides) != rank - 1 or len(self.box) != rank or len(self.every) != rank:
            raise Fault(f"a tensor map of {rank} dimensions has {len(self.strides)} strides and a box of {len(self.box)}")
        if self.address % 16 or any(s % 16 or not 0 < s < 1 << 40 for s in self.strides):
            raise Fault("a tensor map's address and strides are multiples of 16 bytes")
        if not all(1 <= n <= 1 << 32 for n in self.sizes) or not all(1 <= b <= 256 for b in self.box) or not all(1 <= e <= 8 for e in self.every):
            raise Fault(f"a tensor map's sizes are up to 2^32, its box up to 256 and every 1 to 8, got {self.sizes}, {self.box}, {self.every}")
        inner = self.box[0] * size
        if inner % 16 or self.swizzle and inner > SWIZZLES[self.swizzle][1]:
            raise Fault(f"the innermost {inner} bytes of a box are a multiple of 16 and at most the {self.swizzle} of its swizzle")

    @property
    def counts(self) -> tuple[int, ...]:
        """Elements of a box along each dimension."""
        return tuple(-(-b // e) for b, e in zip(self.box, self.every, strict=True))

    def elements(self, places: tuple[int, ...]) -> tuple[Array, Array]:
        """Byte addresses of a box's elements in its order (innermost fastest), and which of them are inside."""
        at, inside = np.zeros(1, np.int64), np.ones(1, np.bool_)
        steps = (self.element_bytes, *self.strides)
        for place, count, every, size, step in zip(places, self.counts, self.every, self.sizes, steps, strict=True):
            x = place + np.arange(count) * every
            at = (at[None, :] + (x * step)[:, None]).reshape(-1)
            inside = (inside[None, :] & ((x >= 0) & (x < size))[:, None]).reshape(-1)
        return at + self.address, inside


def swizzled(address: Array, mode: int) -> Array:
    """Where a byte of a pattern lies: the 16-byte pieces change places by the 128-byte line they are in."""
    bits = SWIZZLES[mode][0]
    return address ^ (address >> 7 & (1 << bits) - 1) << 4


@dataclass
class _Box:
    """A box on its way to shared memory: where its bytes go, and who is told."""

    at: Array
    given: Array
    cells: Array
    barrier: Mbarrier


@dataclass
class _Async:
    """cp.async of some threads: where, what, and which of each thread's groups it belongs to."""

    threads: Array
    group: Array
    at: Array
    given: Array


@dataclass
class _Bulk:
    """A thread's box on its way to global memory."""

    thread: int
    group: int
    cells: Array
    read: bool = False


@dataclass
class Copies:
    """All copies of a block that are under way."""

    shared: Shared | None
    memory: Flat
    barriers: Barriers
    tensors: dict[int, Tensor]
    threads: int
    boxes: list[_Box] = field(default_factory=list)
    waiting: list[_Async] = field(default_factory=list)
    stores: list[_Bulk] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.groups = np.zeros(self.threads, np.int64)
        self.bulk_groups = np.zeros(self.threads, np.int64)

    def _shared(self) -> Shared:
        if self.shared is None:
            raise Fault("the kernel has no shared memory")
        return self.shared

    # -- cp.async

    def start(self, threads: Array, to: Array, given: Array) -> None:
        """cp.async: bytes [threads, size] to shared addresses, when they are waited for."""
        shared = self._shared()
        at = shared.place(to, given.shape[1], "a copy", threads)
        cells = shared.cells(at, given.shape[1])
        shared.check_write(cells, threads)
        np.add.at(shared.landing, cells, 1)
        if (shared.landing[cells] > 1).any():
            raise Fault("two copies to one place of shared memory are under way", threads)
        self.waiting.append(_Async(threads, self.groups[threads], at, given))

    def commit(self, threads: Array) -> None:
        """cp.async.commit_group."""
        self.groups[threads] += 1

    def wait(self, threads: Array, pending: int) -> None:
        """cp.async.wait_group: all but the last groups of these threads are there."""
        shared = self._shared() if self.waiting else None
        left = []
        for one in self.waiting:
            done = np.isin(one.threads, threads) & (one.group < self.groups[one.threads] - pending)
            if shared is not None and done.any():
                cells = shared.cells(one.at[done], one.given.shape[1])
                shared.landing[cells] -= 1
                shared.write_bytes(one.at[done], one.given[done], one.threads[done])
                shared.record_write(cells, one.threads[done], True)
            if not done.all():
                keep = ~done
                left.append(_Async(one.threads[keep], one.group[keep], one.at[keep], one.given[keep]))
        self.waiting = left

    # -- The copy engine

    def tensor(self, address: int, thread: int, rank: int) -> Tensor:
        """The map at an address. Fault: there is none, or it has another number of dimensions."""
        found = self.tensors.get(address)
        if found is None:
            raise Fault(f"there is no tensor map at {address:#x}", [thread])
        if len(found.sizes) != rank:
            raise Fault(f"a box of {rank} dimensions of a tensor map of {len(found.sizes)}", [thread])
        return found

    def _box(self, tensor: Tensor, address: int, thread: int, what: str) -> tuple[Array, Array, Array]:
        """A box in shared memory: the offset of every 16 bytes in its order, the cells, the thread for each."""
        shared = self._shared()
        size = int(np.prod(tensor.counts)) * tensor.element_bytes
        who = np.array([thread])
        shared.place(np.array([address]), size, what, who, 128)
        pieces = swizzled(address + np.arange(0, size, 16), tensor.swizzle) - BASE
        everyone = np.full(len(pieces), thread)
        shared.place(pieces + BASE, 16, what, everyone)
        return pieces, shared.cells(pieces, 16), everyone

    def load(self, thread: int, to: int, tensor: Tensor, places: tuple[int, ...], barrier: Mbarrier) -> None:
        """cp.async.bulk.tensor to shared memory. Fault: its barrier was never shown to the copy engine; what is there is in use."""
        shared = self._shared()
        if not barrier.shown:
            raise Fault("the copy engine is given a barrier before a fence (fence.mbarrier_init or fence.proxy.async) shows it", [thread])
        pieces, cells, everyone = self._box(tensor, to, thread, "a box")
        shared.check_write(cells, everyone)
        shared.landing[cells] += 1
        at, inside = tensor.elements(places)
        size = tensor.element_bytes
        given = np.zeros((len(at), size), np.uint8)
        here = at[inside] - self.memory.base
        self._check_global(at[inside], size, thread)
        given[inside] = self.memory.data[here[:, None] + np.arange(size)]
        if not self.memory.written[here[:, None] + np.arange(size)].all():
            raise Fault("a box of an array that nobody has written in full", [thread])
        if tensor.rounds:
            given = tf32(given.view(np.float32).reshape(-1)).view(np.uint8).reshape(-1, 4)
        self.boxes.append(_Box(pieces, given.reshape(-1, 16), cells, barrier))

    def _check_global(self, at: Array, size: int, thread: int) -> None:
        if len(at):
            ends = np.array([at.min(), at.max()], np.uint64)
            for one in ends:
                self.memory._offsets(np.array([one]), size, 1, "a box", np.array([thread]))

    def bring_one(self, machine: Machine) -> bool:
        """Let one box arrive; whether there was one."""
        if not self.boxes:
            return False
        shared = self._shared()
        box = self.boxes.pop(machine.random.randrange(len(self.boxes)))
        shared.landing[box.cells] -= 1
        writers = np.full(len(box.at), box.barrier.writer)
        shared.write_bytes(box.at, box.given, writers)
        shared.record_write(box.cells, writers, False)
        self.barriers.arrived_bytes(machine, box.barrier, box.given.size)
        return True

    def store(self, thread: int, tensor: Tensor, places: tuple[int, ...], source: int) -> None:
        """cp.async.bulk.tensor to global memory; its shared memory is in use until it is waited for."""
        shared = self._shared()
        pieces, cells, everyone = self._box(tensor, source, thread, "a box")
        shared.check_read(cells, everyone, ASYNC, record=False)
        shared.leaving[cells] += 1
        size = tensor.element_bytes
        given = shared.data[pieces[:, None] + np.arange(16)].reshape(-1, size)
        at, inside = tensor.elements(places)
        self._check_global(at[inside], size, thread)
        where = (at[inside] - self.memory.base)[:, None] + np.arange(size)
        self.memory.data[where] = given[inside]
        self.memory.written[where] = 0xFF
        self.stores.append(_Bulk(thread, int(self.bulk_groups[thread]), cells))

    def commit_bulk(self, threads: Array) -> None:
        """cp.async.bulk.commit_group."""
        self.bulk_groups[threads] += 1

    def wait_bulk(self, threads: Array, pending: int) -> None:
        """cp.async.bulk.wait_group: shared memory of all but the last groups has been read."""
        for one in self.stores:
            if one.thread in threads and one.group < self.bulk_groups[one.thread] - pending and not one.read:
                one.read = True
                shared = self._shared()
                shared.leaving[one.cells] -= 1
                shared.record_read(one.cells, np.full(len(one.cells), one.thread))
        self.stores = [one for one in self.stores if not one.read]

    def check_end(self) -> None:
        """Fault when the block ends while boxes to or from its shared memory are under way (the ISA asks nothing of cp.async)."""
        if self.boxes:
            raise Fault("the block ends while copies to its shared memory are under way")
        if self.stores:
            raise Fault("the block ends while the copy engine may still read its shared memory: cp.async.bulk.wait_group is missing", [self.stores[0].thread])
