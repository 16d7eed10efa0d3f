"""Where a spine repeats itself: distances worth trying, and the stretches in which every step is that of the turn before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .roll_spine import ABSENT, CONSTANT, INPUT, STEP, Spine

MOST_PERIODS = 8
"""Distances that are tried per reading of the spine: those at which most comes back."""

OFTEN = 3
"""An input read so often belongs to a place in the turn; one read less often may be another one in every turn."""


def periods(spine: Spine) -> list[int]:
    """Distances at which long stretches of the spine come back, shortest first.

    The spine is read in three ways: ops alone; with the inputs that are read often (two layers of one shape that take turns are
    one turn, not two); with the distance to where an operand was made, too.
    """
    tokens = np.where(spine.tokens < 0, spine.tokens, spine.tokens + 1)
    inputs, links = _signs(spine)
    readings = (tokens, *(np.unique(np.column_stack([tokens, *signs]), axis=0, return_inverse=True)[1].ravel() for signs in (inputs, links)))
    return sorted({p for reading in readings for p in _distances(reading)})


def _signs(spine: Spine) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per operand what tells it from that of another turn: the input, if it is read often; the distance to its root as well."""
    inputs, links = [], []
    at = np.arange(len(spine.steps))
    reads = np.bincount(spine.at[spine.kind == INPUT], minlength=1)
    for k in range(spine.width):
        kind, root = spine.kind[:, k], spine.at[:, k]
        often = (kind == INPUT) & (reads[np.where(kind == INPUT, root, 0)] >= OFTEN)
        inputs.append(np.where(often, root + 1, 0))
        links.append(np.where(often, root + 1, np.where(kind == STEP, root - at, 0)))
    return inputs, links


def _distances(names: np.ndarray) -> list[int]:
    """The most frequent distances between one window of the reading and its next occurrence, for windows of 1, 2, 4, ... steps: in
    a loop the distance between equal windows that are as long as a turn is the turn.
    """
    found: dict[int, int] = {}
    width = 1
    while len(names) > 1:
        order = np.argsort(names, kind="stable")
        again = names[order[1:]] == names[order[:-1]]
        gaps, counts = np.unique((order[1:] - order[:-1])[again], return_counts=True)
        if not len(gaps):
            break
        for i in np.argsort(-counts, kind="stable")[:2]:
            found[int(gaps[i])] = max(found.get(int(gaps[i]), 0), int(gaps[i]) * int(counts[i]))
        if len(names) <= width:
            break
        names = _pairs(names[:-width], names[width:])
        width *= 2
    best = sorted(found, key=lambda p: (-found[p], p))
    return best[:MOST_PERIODS]


def _pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A number per pair, equal for equal pairs."""
    both = (left - left.min()) * (int(right.max()) - int(right.min()) + 1) + (right - right.min())
    return np.unique(both, return_inverse=True)[1].ravel()


def stretches(spine: Spine, period: int, free: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, end) of stretches in which every step from the second turn on is that of the turn before, at this distance.

    Every operand is the same, or was made one turn later, or is read from another place of the same root, or is another input. free:
    whether an input may be another one in every turn.
    """
    if period >= len(spine.steps):
        return
    same = _alike(spine, period, free)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield first, end + period


def _alike(spine: Spine, p: int, free: np.ndarray) -> np.ndarray:
    """Per step: is it that of one turn later?"""
    tokens = spine.tokens
    same = (tokens[:-p] == tokens[p:]) & (tokens[:-p] >= 0)
    for k in range(spine.width):
        (kind, at, chain, mask), (kind2, at2, chain2, mask2) = (
            [table[part, k] for table in (spine.kind, spine.at, spine.chain, spine.mask)] for part in (slice(None, -p), slice(p, None))
        )
        fixed = at == at2
        moves = (kind == STEP) & (at2 - at == p)
        varies = (kind == INPUT) & free[np.where(kind == INPUT, at, 0)] & free[np.where(kind2 == INPUT, at2, 0)]
        slides = fixed & (mask == mask2) & (kind != CONSTANT)
        same &= (kind == kind2) & ((kind == ABSENT) | (chain == chain2) & (fixed | moves | varies) | slides)
    return same
