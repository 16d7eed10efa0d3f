"""Doubts that the host answers at once: whether all indices are places of a dimension."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
from lamina.pyfront import doubts


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
@pytest.mark.parametrize("n", [1, 5, 1 << 7, 1 << 31, 1 << 40])
def test_one_pass_says_what_two_comparisons_say(dtype: type, n: int) -> None:
    limits = np.iinfo(dtype)
    for last in {0, n - 1, n, -1, limits.min, limits.max}:
        if limits.min <= last <= limits.max:
            values = np.array([0, last] * 50, dtype)
            for part in (values, values[::2], values.reshape(2, 50).T):
                assert doubts._all_below(part, n) == bool(((part >= 0) & (part < n)).all()), (last, n)


def test_other_kinds_and_no_elements_are_looked_at_otherwise() -> None:
    assert not doubts._all_below(np.zeros(0, np.int64), 3) and not doubts._all_below(np.zeros(3, bool), 3)


@pytest.mark.parametrize("wrong", [-1, 500])
def test_many_indices_of_which_one_is_outside(wrong: int) -> None:
    places = np.arange(200) % 500
    places[123] = wrong
    with pytest.raises((IndexError, RuntimeError)):
        lamina.nn.functional.embedding(lamina.from_numpy(places), lamina.zeros(500, 2)).tolist()
