"""Every pattern, for any number of ranks and elements, against numpy; and that all ranks get the same bits."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.pyfront.distributed import connections, patterns
from lamina.pyfront.distributed.errors import DistBackendError
from lamina.pyfront.distributed.patterns import Combination, Patterns, Told
from lamina.pyfront.distributed.process_group import ProcessGroup
from lamina.pyfront.distributed.stores import HashStore

_groups: dict[int, list[ProcessGroup]] = {}


def in_threads(size: int, work: Callable[[int], Any]) -> list[Any]:
    """``work(rank)`` for all ranks at once; what each gives, or the error it raises."""
    results: list[Any] = [None] * size

    def one(rank: int) -> None:
        try:
            results[rank] = work(rank)
        except Exception as error:
            results[rank] = error

    threads = [Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    return results


def new_groups(size: int, seconds: float = 30) -> list[ProcessGroup]:
    """A group of so many ranks, each of them a thread of this process."""
    store = HashStore()
    return in_threads(size, lambda rank: ProcessGroup(store, range(size), rank, "gloo", timedelta(seconds=seconds), "test"))


def groups(size: int) -> list[ProcessGroup]:
    return _groups.setdefault(size, None) or _groups.__setitem__(size, new_groups(size)) or _groups[size]


def told(group: ProcessGroup) -> Told:
    return group.told("barrier")


SIZES = st.sampled_from([1, 2, 3, 5])
COUNTS = st.sampled_from([0, 1, 7, 1000, 16385, 70001])
ADD = Combination(np.add, None)


def sources(size: int, count: int) -> list[np.ndarray]:
    random = np.random.default_rng(count)
    return [random.standard_normal(count).astype(np.float32) for _ in range(size)]


def check(size: int, call: Callable[[Patterns, Told, int], Any]) -> list[Any]:
    members = groups(size)
    made = in_threads(size, lambda rank: call(members[rank].patterns, told(members[rank]), rank))
    for result in made:
        if isinstance(result, Exception):
            raise result
    return made


@settings(max_examples=25, deadline=None)
@given(SIZES, COUNTS, st.booleans())
def test_all_reduce(size: int, count: int, in_place: bool) -> None:
    given = sources(size, count)

    def call(patterns: Patterns, head: Told, rank: int) -> np.ndarray:
        source = given[rank].copy()
        result = source if in_place else np.full_like(source, np.nan)
        patterns.all_reduce(head, source, result, Combination(np.add, lambda whole: np.divide(whole, size, out=whole)))
        return result

    made = check(size, call)
    for result in made:
        assert result.tobytes() == made[0].tobytes()
    np.testing.assert_allclose(made[0], np.mean(given, axis=0), rtol=1e-4, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(SIZES, COUNTS, st.integers(0, 4))
def test_one_to_all_and_all_to_one(size: int, count: int, root: int) -> None:
    root, given = root % size, sources(size, count)

    def call(patterns: Patterns, head: Told, rank: int) -> list[np.ndarray]:
        array = given[root].copy() if rank == root else np.zeros(count, np.float32)
        patterns.broadcast(head, array, root)
        total = np.zeros(count, np.float32)
        patterns.reduce(head, given[rank], total, root, ADD)
        rows = [np.zeros(count, np.float32) for _ in range(size)] if rank == root else None
        patterns.gather(head, given[rank], rows, root)
        own = np.zeros(count, np.float32)
        patterns.scatter(head, rows, own, root)
        return [array, total, own, *(rows or [])]

    for rank, (array, total, own, *rows) in enumerate(check(size, call)):
        np.testing.assert_array_equal(array, given[root])
        np.testing.assert_array_equal(own, given[rank])
        if rank == root:
            np.testing.assert_allclose(total, np.sum(given, axis=0), rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(rows, given)


@settings(max_examples=25, deadline=None)
@given(SIZES, st.sampled_from([0, 1, 5, 20001]))
def test_parts(size: int, count: int) -> None:
    given = [sources(size, count + rank) for rank in range(size)]  # of rank `rank`, for each rank
    equal = [[row[:count] for row in rows] for rows in given]

    def call(patterns: Patterns, head: Told, rank: int) -> tuple:
        whole = np.zeros(count, np.float32)
        patterns.reduce_scatter(head, equal[rank], whole, ADD)
        rows = [np.zeros(count, np.float32) for _ in range(size)]
        patterns.all_gather(head, equal[rank][0], rows)
        swapped = [np.zeros(count + other, np.float32) for other in range(size)]
        patterns.all_to_all(lambda _: head, given[rank], swapped, lambda _: head)
        patterns.barrier(head)
        return whole, rows, swapped

    for rank, (whole, rows, swapped) in enumerate(check(size, call)):
        np.testing.assert_allclose(whole, np.sum([equal[other][rank] for other in range(size)], axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(rows, [equal[other][0] for other in range(size)])
        for other in range(size):
            np.testing.assert_array_equal(swapped[other], given[other][rank])


def run(group: ProcessGroup, array: np.ndarray, call: str = "all_reduce") -> np.ndarray:
    head = group.told(call, array)
    result = np.empty_like(array)
    if call == "all_reduce":
        group.run(lambda: group.patterns.all_reduce(head, array, result, ADD), lambda: None, False)
    else:
        group.run(lambda: group.patterns.broadcast(head, result, 0), lambda: None, False)
    return result


@pytest.mark.parametrize("count", [4, 100000])
def test_other_shapes_are_an_error_of_both(count: int) -> None:
    members = new_groups(2)
    errors = in_threads(2, lambda rank: run(members[rank], np.ones(count + rank, np.float32)))
    texts = [str(error) for error in errors]
    assert all(isinstance(error, DistBackendError) for error in errors)
    assert any(f"all_reduce of float32, {count} elements" in t and f"{count + 1} elements" in t and "rank 1" in t for t in texts)
    with pytest.raises(DistBackendError, match="no use any more"):  # nothing can be told apart on these connections
        run(members[0], np.ones(1, np.float32))


def test_other_calls_and_dtypes_are_an_error_of_both() -> None:
    members = new_groups(2)
    errors = in_threads(2, lambda rank: run(members[rank], np.ones(4, (np.float32, np.float64)[rank])))
    assert any("float32" in str(error) and "float64" in str(error) for error in errors)
    members = new_groups(2)
    errors = in_threads(2, lambda rank: run(members[rank], np.ones(4, np.float32), ("all_reduce", "broadcast")[rank]))
    assert any("call 1: all_reduce" in str(error) and "call 1: broadcast" in str(error) for error in errors)


def test_a_rank_that_ended_or_stalls() -> None:
    members = new_groups(3)
    members[2].close()
    errors = in_threads(2, lambda rank: run(members[rank], np.ones(100000, np.float32)))
    assert all(isinstance(error, DistBackendError) and "Connection closed by peer: the process of rank" in str(error) for error in errors)
    members = new_groups(2, seconds=0.2)
    with pytest.raises(DistBackendError, match="Timed out waiting 200ms for rank 1"):
        run(members[0], np.ones(4, np.float32))


def test_ranks_that_never_come_are_named() -> None:
    store = HashStore()
    errors = in_threads(2, lambda rank: ProcessGroup(store, range(4), rank, "gloo", timedelta(seconds=0.3), "test"))
    assert all("ranks 2, 3 did not come within the timeout" in str(error) for error in errors)


@pytest.mark.parametrize("size", [2, 3])
def test_on_several_machines(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that do not share memory: TCP, and the ring."""
    names = iter(range(100))
    monkeypatch.setattr(connections, "host_identity", lambda: f"host {next(names)}")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    members = new_groups(size)
    assert members[0].patterns.areas is None and members[0].lines.connections[1].getpeername()[0] == "127.0.0.1"
    given = sources(size, 100003)

    def call(rank: int) -> np.ndarray:
        return [run(members[rank], given[rank]) for _ in range(3)][-1]

    made = in_threads(size, call)
    assert all(result.tobytes() == made[0].tobytes() for result in made)
    np.testing.assert_allclose(made[0], np.sum(given, axis=0), rtol=1e-4, atol=1e-6)
    for member in members:
        member.close()


def test_more_than_a_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SLAB", 1 << 14)
    members, given = groups(3), sources(3, 70001)
    made = in_threads(3, lambda rank: run(members[rank], given[rank]))
    np.testing.assert_allclose(made[1], np.sum(given, axis=0), rtol=1e-4, atol=1e-6)
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()


def test_strangers_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds the port of a group but does not know its secret disturbs nobody."""
    seen = []
    usual = connections._listener

    def listener(store: HashStore, near: bool) -> socket.socket:
        made = usual(store, near)
        stranger = socket.socket(made.family, socket.SOCK_STREAM)
        stranger.connect(made.getsockname())
        stranger.sendall(b"x" * 37)
        seen.append(stranger)
        return made

    monkeypatch.setattr(connections, "_listener", listener)
    members = new_groups(2)
    assert run_both(members)
    for stranger in seen:
        stranger.close()


def run_both(members: list[ProcessGroup]) -> bool:
    made = in_threads(2, lambda rank: run(members[rank], np.ones(5, np.float32)))
    return all((result == 2).all() for result in made)
