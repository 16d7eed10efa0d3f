"""Flat memory of an interpreted kernel: regions with gaps between them, every byte known to be written or not.

Global, parameter and constant memory are this; shared memory is in `shared.py`. An access is one element per thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .faults import Fault

Array = np.ndarray
GLOBAL, SHARED_WINDOW, PARAMETERS, LOCAL = 0x7000_0000_0000, 0x7100_0000_0000, 0x7200_0000_0000, 0x7300_0000_0000
"""Where state spaces lie among generic addresses. A shared address is an offset from its window."""
_GAP = 512
ATOMIC = -1
"""In the place of the block that wrote something: atomic instructions of any blocks."""
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True)
class Region:
    """Bytes one may touch, from an address on."""

    name: str
    start: int
    size: int


class Flat:
    """Regions one behind the other, with gaps nobody may touch. alignment: of every region's start."""

    def __init__(self, base: int, sizes: list[tuple[str, int]], alignment: int = 256) -> None:
        self.base = base
        self.regions: list[Region] = []
        at = _GAP
        for name, size in sizes:
            self.regions.append(Region(name, base + at, size))
            at += -(-(size + _GAP) // alignment) * alignment
        self.data = np.zeros(at + 16, np.uint8)
        self.written = np.zeros(at + 16, np.uint8)
        self.by_block = np.zeros(at + 16, np.int32)
        self._starts = np.array([r.start for r in self.regions], np.int64)
        self._ends = np.array([r.start + r.size for r in self.regions], np.int64)

    def place(self, region: int) -> slice:
        """Of a region's bytes in `data`."""
        r = self.regions[region]
        return slice(r.start - self.base, r.start - self.base + r.size)

    def fill(self, region: int, given: bytes | Array) -> None:
        """Bytes from outside: known from then on."""
        place = self.place(region)
        self.data[place] = np.frombuffer(given, np.uint8) if isinstance(given, bytes) else given
        self.written[place] = 0xFF

    def new_launch(self) -> None:
        """What earlier launches wrote is there for all."""
        self.by_block[:] = 0

    def _offsets(self, addresses: Array, size: int, count: int, what: str, threads: Array) -> Array:
        """Places in `data`, of accesses to `count` elements of `size` bytes. Fault when one is unaligned or outside."""
        wide = size * count
        odd = addresses & np.uint64(wide - 1)
        if odd.any():
            bad = int(np.flatnonzero(odd)[0])
            raise Fault(f"{what} of {wide} bytes at {self.described(int(addresses[bad]))}, which is not a multiple of {wide}", threads[bad : bad + 1])
        at = addresses.astype(np.int64)
        region = np.searchsorted(self._starts, at, side="right") - 1
        outside = (region < 0) | (at + wide > self._ends[region])
        if outside.any():
            bad = int(np.flatnonzero(outside)[0])
            raise Fault(f"{what} of {wide} bytes at {self.described(int(at[bad]))}: outside every array", threads[bad : bad + 1])
        return at - self.base

    def described(self, address: int) -> str:
        """An address in words: "buffer 2, byte 64 of 256"."""
        region = int(np.searchsorted(self._starts, address, side="right")) - 1
        if region < 0:
            return f"{address:#x}"
        r = self.regions[region]
        return f"{r.name}, byte {address - r.start} of {r.size}"

    def load(self, addresses: Array, size: int, count: int, threads: Array, blocks: Array) -> list[Array]:
        """`count` neighbouring elements of every thread as unsigned integers. Fault: unaligned, outside, never written."""
        offsets = self._offsets(addresses, size, count, "a read", threads)
        dtype = UNSIGNED[size]
        shift = size.bit_length() - 1
        data, written = self.data[: len(self.data) // size * size].view(dtype), self.written[: len(self.written) // size * size].view(dtype)
        made = []
        for i in range(count):
            at = (offsets >> shift) + i
            known = written[at] == np.iinfo(dtype).max
            if not known.all():
                bad = int(np.flatnonzero(~known)[0])
                raise Fault(f"a read of {self.described(int(addresses[bad]) + i * size)}, which nobody has written", threads[bad : bad + 1])
            self._check_block(offsets + i * size, blocks, threads, "read")
            made.append(data[at])
        return made

    def store(self, addresses: Array, size: int, values: list[Array], threads: Array, blocks: Array) -> None:
        """Neighbouring elements of every thread. Fault: unaligned, outside, two threads that write unlike things to one place."""
        offsets = self._offsets(addresses, size, len(values), "a write", threads)
        shift = size.bit_length() - 1
        whole = len(self.data) // size * size
        data, written = self.data[:whole].view(UNSIGNED[size]), self.written[:whole].view(UNSIGNED[size])
        for i, value in enumerate(values):
            at = (offsets >> shift) + i
            self._check_block(offsets + i * size, blocks, threads, "overwritten")
            value = np.broadcast_to(value, at.shape)
            data[at] = value
            written[at] = np.iinfo(UNSIGNED[size]).max
            self.by_block[offsets + i * size] = blocks
            self._check_block(offsets + i * size, blocks, threads, "overwritten")
            if (data[at] != value).any():
                bad = np.flatnonzero(data[at] != value)
                raise Fault(f"several threads write different values to {self.described(int(addresses[bad[0]]))}", threads[bad[:2]])

    def atomic(self, addresses: Array, dtype: np.dtype, change: Callable[[Array, int], Array], threads: Array, blocks: Array, order: list[int]) -> Array:
        """Read, change and write an element of every thread, one thread after the other; what was there. Fault: as of `load` and `store`.

        change: of what is there and which of the threads it is.
        """
        offsets = self._offsets(addresses, dtype.itemsize, 1, "an atomic access", threads)
        known = self.written[offsets] == 0xFF
        if not known.all():
            bad = int(np.flatnonzero(~known)[0])
            raise Fault(f"an atomic access to {self.described(int(addresses[bad]))}, which nobody has written", threads[bad : bad + 1])
        self._check_block(offsets, np.where(self.by_block[offsets] == ATOMIC, ATOMIC, blocks), threads, "changed")
        before = changed(self.data, offsets, dtype, change, order)
        self.by_block[offsets] = ATOMIC
        return before

    def _check_block(self, offsets: Array, blocks: Array, threads: Array, what: str) -> None:
        """Blocks of one launch are not ordered: what another one wrote in it is not there yet."""
        writer = self.by_block[offsets]
        wrong = (writer != 0) & (writer != blocks)
        if wrong.any():
            bad = int(np.flatnonzero(wrong)[0])
            where = self.described(int(offsets[bad]) + self.base)
            if writer[bad] == ATOMIC:
                raise Fault(f"{where} is {what} in the launch whose atomic instructions change it", threads[bad : bad + 1])
            raise Fault(f"{where} is {what} by block {blocks[bad] - 1} and written by block {writer[bad] - 1} of the same launch", threads[bad : bad + 1])


def changed(data: Array, offsets: Array, dtype: np.dtype, change: Callable[[Array, int], Array], order: list[int]) -> Array:
    """Changes an element of some bytes per offset, one after the other; what was there."""
    before = np.zeros(len(offsets), dtype)
    for k in order:
        place = data[offsets[k] : offsets[k] + dtype.itemsize].view(dtype)
        before[k] = place[0]
        place[:] = change(before[k : k + 1], k)
    return before


class Local:
    """The private memory of every thread."""

    def __init__(self, threads: int, size: int) -> None:
        self.size = size
        self.data = np.zeros((threads, size), np.uint8)
        self.written = np.zeros((threads, size), np.bool_)

    def _at(self, addresses: Array, size: int, count: int, threads: Array) -> Array:
        at = addresses.astype(np.int64) & 0xFFFFFFFF
        if (at % (size * count)).any() or (at + size * count > self.size).any():
            raise Fault(f"an access to {size * count} bytes of local memory that is unaligned or outside its {self.size}", threads[:1])
        return at[:, None] + np.arange(size * count)

    def load(self, addresses: Array, size: int, count: int, threads: Array, blocks: Array) -> list[Array]:
        """As of `Flat`."""
        at = self._at(addresses, size, count, threads)
        if not self.written[threads[:, None], at].all():
            raise Fault("a read of local memory that was never written", threads[:1])
        both = np.ascontiguousarray(self.data[threads[:, None], at]).view(UNSIGNED[size])
        return [both[:, i] for i in range(count)]

    def store(self, addresses: Array, size: int, values: list[Array], threads: Array, blocks: Array) -> None:
        """As of `Flat`."""
        at = self._at(addresses, size, len(values), threads)
        both = np.stack([np.broadcast_to(v, len(threads)).astype(UNSIGNED[size]) for v in values], 1)
        self.data[threads[:, None], at] = np.ascontiguousarray(both).view(np.uint8).reshape(len(threads), -1)
        self.written[threads[:, None], at] = True
