"""Memory of a device: a pool of blocks that are used again, and the arrays that lie in them.

Blocks that nobody refers to any more go back to the pool at once: everything a program launches runs in one order, so
whoever gets the block next writes it after its last reader. Of several blocks the one with the lowest address comes first: a loop that takes
and gives back the same then comes to the same addresses, and its CUDA graphs fit again.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

import numpy as np

from ...dialects.errors import OutOfMemoryError

SMALL, LARGE = 512, 2 << 20
"""Block sizes are multiples of SMALL, above LARGE multiples of LARGE: what is freed fits what comes next more often."""


class Block:
    """Bytes of a device; they go back to the pool with the last reference."""

    __slots__ = ("pool", "address", "size")

    def __init__(self, pool: Pool, address: int, size: int) -> None:
        self.pool, self.address, self.size = pool, address, size

    def __del__(self) -> None:
        self.pool.give_back(self.address, self.size)


class DeviceArray:
    """A row-major array in a device's memory. shape, dtype (numpy's): as of an ndarray."""

    __slots__ = ("shape", "dtype", "block", "device", "__weakref__")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, block: Block, device: str) -> None:
        self.shape, self.dtype, self.block, self.device = shape, dtype, block, device

    @property
    def address(self) -> int:
        """Where its first element lies."""
        return self.block.address

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def reshaped(self, shape: tuple[int, ...]) -> DeviceArray:
        """The same memory under another shape."""
        return DeviceArray(shape, self.dtype, self.block, self.device)


class Pool:
    """Blocks of a device. allocate: bytes to an address, 0 when there is no memory left; release: gives an address back."""

    def __init__(self, allocate: Callable[[int], int], release: Callable[[int], None], total: int) -> None:
        self._allocate, self._release, self.total = allocate, release, total
        self._free: dict[int, list[int]] = {}
        self.allocated = self.reserved = self.most_allocated = self.most_reserved = 0

    def take(self, size: int, what: str = "an array") -> Block:
        """At least this many bytes. OutOfMemoryError says how much there is and who has it."""
        return self.take_rounded(rounded(size), what)

    def take_rounded(self, size: int, what: str = "an array") -> Block:
        """The same for a size that is `rounded` already."""
        free = self._free.get(size)
        address = heappop(free) if free else self._fresh(size, what)
        self.allocated = now = self.allocated + size
        if now > self.most_allocated:
            self.most_allocated = now
        return Block(self, address, size)

    def _fresh(self, size: int, what: str) -> int:
        address = self._allocate(size)
        if not address and self._free:
            self.empty()
            address = self._allocate(size)
        if not address:
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {_readable(size)} for {what}",
                [
                    ("in use", _readable(self.allocated), "by arrays that are referred to"),
                    ("in the pool", _readable(self.reserved - self.allocated), "free, in blocks that are too small"),
                    ("the device has", _readable(self.total), ""),
                ],
                help="use smaller batches, or let go of tensors (and call torch.cuda.empty_cache())",
            )
        self.reserved += size
        self.most_reserved = max(self.most_reserved, self.reserved)
        return address

    def give_back(self, address: int, size: int) -> None:
        """A block nobody uses any more."""
        self.allocated -= size
        free = self._free.get(size)
        if free is None:
            free = self._free[size] = []
        heappush(free, address)

    def empty(self) -> None:
        """Give every unused block back to the device."""
        for size, addresses in self._free.items():
            for address in addresses:
                self._release(address)
                self.reserved -= size
        self._free.clear()

    def forget_peaks(self) -> None:
        """Peaks count from now on."""
        self.most_allocated, self.most_reserved = self.allocated, self.reserved


def rounded(size: int) -> int:
    """Bytes of the block for this many."""
    unit = SMALL if size <= LARGE else LARGE
    return max(unit, -(-size // unit) * unit)


def _readable(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"
