"""Line search: a step length along a direction that satisfies the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

_DECREASE, _CURVATURE = 1e-4, 0.9  # c1 and c2 of the conditions


class Point(NamedTuple):
    """What is known at a step length: loss, gradient, and slope along the direction."""

    t: float
    loss: float
    gradient: Any  # a Tensor or its values
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], start: Point, longest: float, tolerance: float, most: int
) -> tuple[Point, int]:
    """The accepted point and how often `at` was asked.

    start: loss, gradient and slope at 0, with the step length to try first. longest: the direction's largest element.
    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6.
    """
    origin = start._replace(t=0.0)
    bracket, done, asked = _bracket(at, origin, start.t, most)
    tries = asked - 1
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    stalled = False
    while not done and tries < most and abs(bracket[1].t - bracket[0].t) * longest >= tolerance:
        t, stalled = _trial(bracket, stalled)
        new = at(t)
        asked, tries = asked + 1, tries + 1
        if not _falls(origin, new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if abs(new.slope) <= -_CURVATURE * origin.slope:
            done = True
        elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return bracket[low], asked


def _falls(origin: Point, p: Point) -> bool:
    return not p.loss > origin.loss + _DECREASE * p.t * origin.slope


def _bracket(at: Callable[[float], Point], origin: Point, t: float, most: int) -> tuple[list[Point], bool, int]:
    """Two points with an acceptable one between them, or one acceptable point and True."""
    before, new, asked = origin, at(t), 1
    for i in range(most):
        if not _falls(origin, new) or (i > 1 and new.loss >= before.loss):
            return [before, new], False, asked
        if abs(new.slope) <= -_CURVATURE * origin.slope:
            return [new], True, asked
        if new.slope >= 0:
            return [before, new], False, asked
        further = _cubic(before, new, new.t + 0.01 * (new.t - before.t), new.t * 10)
        before, new, asked = new, at(further), asked + 1
    return [origin, new], False, asked


def _trial(bracket: list[Point], stalled: bool) -> tuple[float, bool]:
    """The next length between two points, away from both ends when the last one was not; whether this one is close."""
    a, b = bracket
    t, low, high = _cubic(a, b, min(a.t, b.t), max(a.t, b.t)), min(a.t, b.t), max(a.t, b.t)
    margin = 0.1 * (high - low)
    if min(high - t, t - low) >= margin:
        return t, False
    if stalled or t >= high or t <= low:
        return (high - margin if abs(t - high) < abs(t - low) else low + margin), False
    return t, True


def _cubic(a: Point, b: Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is least, kept within bounds."""
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return (low + high) / 2.0
    left, right = (a, b) if a.t <= b.t else (b, a)
    d2 = math.sqrt(square)
    best = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    return min(max(best, low), high)
