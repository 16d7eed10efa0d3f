"""Meta tensors: a shape, a dtype and no contents. Operations on them give meta tensors; who asks for a value is refused."""

from __future__ import annotations

import weakref


class Absent:
    """What is in the place of a meta value's array."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        _alive.add(self)


_alive: weakref.WeakSet[Absent] = weakref.WeakSet()


def are_alive() -> bool:
    """Whether any meta value is still referred to."""
    return len(_alive) > 0


def refusal() -> NotImplementedError:
    """The error for who asks for contents."""
    return NotImplementedError("Cannot copy out of meta tensor; no data!")
