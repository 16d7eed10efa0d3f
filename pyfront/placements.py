"""Placements: how a tensor would lie on several devices, in words; libraries name them whether or not there are such tensors."""

from __future__ import annotations

from dataclasses import dataclass


class Placement:
    """How one dimension of a mesh of devices holds a tensor."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether it is cut (along this dimension)."""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Whether every device has all of it."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether every device has a part of each sum (or of what the operation says)."""
        return isinstance(self, Partial) and reduce_op in (None, self.reduce_op)


@dataclass(frozen=True)
class Shard(Placement):
    """Cut along a dimension, a piece for each device."""

    dim: int


@dataclass(frozen=True)
class _StridedShard(Shard):
    """Cut along a dimension that was cut before, ``split_factor`` times."""

    split_factor: int = 1


@dataclass(frozen=True)
class Replicate(Placement):
    """All of it on every device."""


@dataclass(frozen=True)
class Partial(Placement):
    """To be reduced over the devices."""

    reduce_op: str = "sum"
