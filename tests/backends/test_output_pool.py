"""Output arrays are used again exactly when nobody can see them any more."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.backends.output_pool import OutputPool
from lamina.dialects.types import float32, int64

TYPES = [((4,), float32), ((2, 3), float32), ((4,), float32), ((), int64)]
WAYS = {
    "array": lambda a: a,
    "view": lambda a: a.reshape(-1)[:1],
    "view of a view": lambda a: a.reshape(-1)[:1][:],
    "memoryview": lambda a: np.asarray(memoryview(a.reshape(-1))),
    "transposed": lambda a: a.T,
}
MOVES = st.lists(
    st.tuples(st.sampled_from(["keep", "drop", "feed"]), st.integers(0, len(TYPES) - 1), st.sampled_from(sorted(WAYS))),
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(MOVES, max_size=14))
def test_what_anybody_holds_is_never_written_again(calls):
    pool = OutputPool(TYPES, TYPES[:1])
    held: list[tuple[np.ndarray, np.ndarray]] = []  # what the user sees, and what it must stay
    fed: list[tuple[np.ndarray, np.ndarray]] = []  # inputs of the next call
    for number, moves in enumerate(calls):
        outputs, places = pool.take()
        assert [a.__array_interface__["data"][0] for a in outputs] == places
        for k, array in enumerate(outputs):
            assert (array.shape, array.dtype) == (TYPES[k][0], TYPES[k][1].numpy) and places[k] % 64 == 0
            array[...] = 100 * number + k
        for seen, wanted in fed:
            np.testing.assert_array_equal(seen, wanted)
        fed.clear()
        for move, k, way in moves:
            if move == "keep":
                seen = WAYS[way](outputs[k])
                held.append((seen, seen.copy()))
            elif move == "feed":
                fed.append((outputs[k], outputs[k].copy()))
            elif held:
                held.pop(k % len(held))
        outputs = array = seen = None  # nothing but `held` and `fed` refers to them
        for seen, wanted in held:
            np.testing.assert_array_equal(seen, wanted)


def memory_of(pool: OutputPool) -> list[int]:
    return pool.take()[1].copy()


def test_a_loop_that_holds_nothing_works_in_one_set_of_arrays():
    pool = OutputPool(TYPES)
    assert all(memory_of(pool) == memory_of(pool) for _ in range(6))
    assert sum(map(len, pool.addresses.values())) == len(TYPES)


def test_a_loop_that_feeds_results_back_rotates_two():
    pool, last = OutputPool(TYPES), None
    seen = set()
    for _ in range(12):
        arrays, places = pool.take()
        seen.add(tuple(places))
        last = arrays  # noqa: F841  # held for the next round
        del arrays
    assert len({p for places in seen for p in places}) == 2 * len(TYPES)


def test_arrays_kept_for_good_are_forgotten():
    pool, kept = OutputPool(TYPES), []
    for _ in range(20):
        kept.append(pool.take()[0])
    assert len({id(a) for arrays in kept for a in arrays}) == 20 * len(TYPES)
    assert sum(map(len, pool.addresses.values())) <= 4 * len(TYPES)


def test_nothing_is_known_of_arrays_of_a_pool_that_is_gone():
    """Another array may get the id of one of them."""
    pool = OutputPool(TYPES, TYPES[:1])
    other = OutputPool(TYPES, beside=pool)
    known = {t: dict(places) for t, places in pool.addresses.items()}
    outputs, _ = other.take()
    assert pool.addresses != known and len(pool.held) == len(TYPES)
    del outputs, other
    assert pool.addresses == known and not pool.held
