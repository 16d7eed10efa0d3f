"""Stores: tables of bytes by name that several processes, or threads, read, write and wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from .errors import DistStoreError

DEFAULT_TIMEOUT = timedelta(seconds=300)
Value = str | bytes


def as_bytes(value: Value) -> bytes:
    """A value as it is kept."""
    return value.encode() if isinstance(value, str) else bytes(value)


class Table:
    """What a store keeps, and what can be done to it at once. `queues`: values pushed and not yet popped, by name."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.queues: dict[str, list[bytes]] = {}

    def apply(self, do: str, key: Any, *arguments: Any) -> Any:
        """One operation by name; KeyError when there is no such operation."""
        return self._OPERATIONS[do](self, key, *arguments)

    def has(self, keys: Sequence[str]) -> bool:
        """Whether all of these are there."""
        return all(key in self.values or self.queues.get(key) for key in keys)

    def _set(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def _add(self, key: str, amount: int) -> int:
        total = int(self.values.get(key, b"0")) + amount
        self.values[key] = str(total).encode()
        return total

    def _append(self, key: str, value: bytes) -> None:
        self.values[key] = self.values.get(key, b"") + value

    def _compare_set(self, key: str, expected: bytes, desired: bytes) -> bytes:
        if key not in self.values:
            if expected:
                return expected
            self.values[key] = desired
        elif self.values[key] == expected:
            self.values[key] = desired
        return self.values[key]

    def _push(self, key: str, value: bytes) -> None:
        self.queues.setdefault(key, []).append(value)

    def _pop(self, key: str) -> bytes | None:
        queue = self.queues.get(key)
        return queue.pop(0) if queue else None

    _OPERATIONS: dict[str, Callable[..., Any]] = {
        "set": _set, "add": _add, "append": _append, "compare_set": _compare_set, "push": _push, "pop": _pop,
        "get": lambda self, key: self.values.get(key), "delete": lambda self, key: self.values.pop(key, None) is not None,
        "count": lambda self, key: len(self.values), "check": lambda self, keys: self.has(keys),
        "queued": lambda self, key: len(self.queues.get(key, ())), "keys": lambda self, key: sorted(self.values),
    }  # fmt: skip


class Store:
    """Base of all stores: what is asked of one is a `_do` (an operation at once) or a `_await` (until names are there).

    rounds: how often this process met others through it.
    """

    rounds = 0

    def __init__(self, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout

    def _do(self, do: str, key: Any, *arguments: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not say how it is read and written")

    def _await(self, keys: Sequence[str], seconds: float) -> bool:
        raise NotImplementedError(f"{type(self).__name__} does not say how it is waited for")

    def set(self, key: str, value: Value) -> None:
        """Put a value under a name."""
        self._do("set", key, as_bytes(value))

    def get(self, key: str) -> bytes:
        """The value under a name, once it is there. DistStoreError when it is not within the timeout."""
        self.wait([key])
        found = self._do("get", key)
        return b"" if found is None else found

    def add(self, key: str, amount: int) -> int:
        """Count up (from 0) and return the new count."""
        return self._do("add", key, int(amount))

    def append(self, key: str, value: Value) -> None:
        """Put a value behind the one that is there."""
        self._do("append", key, as_bytes(value))

    def compare_set(self, key: str, expected_value: Value, desired_value: Value) -> bytes:
        """Replace the expected value (an empty one: none) by the desired one; what is there afterwards."""
        return self._do("compare_set", key, as_bytes(expected_value), as_bytes(desired_value))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all of these names are there."""
        return self._do("check", list(keys))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Return once all names are there. DistStoreError when they are not within the timeout."""
        patience = (timeout or self._timeout).total_seconds()
        if not self._await(list(keys), patience):
            missing = [key for key in keys if not self.check([key])]
            raise DistStoreError(
                f"wait timeout after {round(patience * 1000)}ms, keys: {', '.join(missing or keys)}",
                help="every process must run the same program: look for one that ended or never started",
            )

    def delete_key(self, key: str) -> bool:
        """Take a name away; whether it was there."""
        return self._do("delete", key)

    def num_keys(self) -> int:
        """How many names there are."""
        return self._do("count", "")

    def list_keys(self) -> list[str]:
        """The names that are there."""
        return self._do("keys", "")

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """The values under several names, once they are there."""
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[Value]) -> None:
        """Put values under several names."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def queue_push(self, key: str, value: Value) -> None:
        """Put a value at the end of a queue."""
        self._do("push", key, as_bytes(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Take the first value of a queue. DistQueueEmptyError when there is none and `block` is false."""
        from .errors import DistQueueEmptyError

        while True:
            if block:
                self.wait([key])
            found = self._do("pop", key)
            if found is not None:
                return found
            if not block:
                raise DistQueueEmptyError(f"queue {key} is empty")

    def queue_len(self, key: str) -> int:
        """How many values a queue has."""
        return self._do("queued", key)

    @property
    def timeout(self) -> timedelta:
        """How long ``get`` and ``wait`` wait."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """How long ``get`` and ``wait`` wait from now on."""
        self._timeout = timeout

    def has_extended_api(self) -> bool:
        """Whether append, multi_get and multi_set are there."""
        return True

    def close(self) -> None:
        """Give back what the store holds of the system."""


class HashStore(Store):
    """A store for the threads of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._table, self._changed = Table(), threading.Condition()

    def _do(self, do: str, key: Any, *arguments: Any) -> Any:
        with self._changed:
            result = self._table.apply(do, key, *arguments)
            self._changed.notify_all()
            return result

    def _await(self, keys: Sequence[str], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._table.has(keys), seconds)


class PrefixStore(Store):
    """Another store, all of whose names begin with `prefix` and a slash."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__(store.timeout)
        self._prefix, self._store = prefix, store

    @property
    def underlying_store(self) -> Store:
        """The store behind it."""
        return self._store

    def _named(self, key: Any) -> Any:
        return [self._named(k) for k in key] if isinstance(key, list) else f"{self._prefix}/{key}"

    def _do(self, do: str, key: Any, *arguments: Any) -> Any:
        return self._store._do(do, key if do in ("count", "keys") else self._named(key), *arguments)

    def _await(self, keys: Sequence[str], seconds: float) -> bool:
        return self._store._await(self._named(list(keys)), seconds)

    def set_timeout(self, timeout: timedelta) -> None:
        """How long ``get`` and ``wait`` wait from now on, in the store behind it, too."""
        self._timeout = timeout
        self._store.set_timeout(timeout)


def until(true: Callable[[], bool], seconds: float, pause: float = 0.01) -> bool:
    """Ask again and again; whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True
