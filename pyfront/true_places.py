"""Where an array on the host is not zero."""

from __future__ import annotations

import numpy as np


def places(array: np.ndarray) -> tuple[np.ndarray, ...]:
    """``np.nonzero``: one contiguous int64 vector of indices per dimension, in row-major order.

    Numpy finds places along one dimension many times faster than along several, so that is all it is asked for.
    """
    if array.ndim < 2:
        return np.nonzero(array)
    rest = np.flatnonzero(array)
    found = []
    for size in array.shape[:0:-1]:
        above = rest // size
        rest %= size  # in place: fresh memory costs more than the division
        found.append(rest)
        rest = above
    return (rest, *found[::-1])
