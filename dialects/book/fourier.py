"""How a discrete Fourier transform is cut into stages, and the roots of unity between them.

A transform of n = r * m points is m transforms of r points, products with roots of unity and r transforms of m points (Cooley and
Tukey, "An Algorithm for the Machine Calculation of Complex Fourier Series", 1965). ``radices`` says which r comes first, second, ...
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LARGEST = 16
"""Points of a stage: as many complex numbers fill the registers of a processor with 32 of them."""
LARGEST_PRIME = 13


@lru_cache(maxsize=1024)
def radices(n: int) -> tuple[int, ...]:
    """Points of each stage of a transform of n points; none where n has a large prime factor, or is 1.

    The first stage moves along its own lanes, the others along all that the stages before made: a power of two, of at least 8, in
    front fills vectors from then on.
    """
    first = next((r for r in (16, 8, 4) if n % r == 0 and (n // r >= r or n == r)), 1)
    rest = _cheapest(n // first)
    if rest is None:
        return ()
    return (first, *rest) if first > 1 else rest


@lru_cache(maxsize=4096)
def _cheapest(n: int) -> tuple[int, ...] | None:
    """The factors of n, each a stage, that take the fewest operations and passes over memory together."""
    if n == 1:
        return ()
    found = None
    for r in range(2, min(LARGEST, n) + 1):
        if n % r == 0 and _prime_factor(r) <= LARGEST_PRIME:
            rest = _cheapest(n // r)
            if rest is not None and (found is None or _cost((r, *rest)) < _cost(found)):
                found = (r, *rest)
    return found


def _cost(stages: tuple[int, ...]) -> float:
    """Instructions per point, about: what reads, turns and writes it, and its share of the stage's own work."""
    return sum(8 + _work(r) + max(0, r - 10) / 2 for r in stages)


def _work(r: int) -> float:
    p = _prime_factor(r)
    if p == r:
        return 2.0 if r == 2 else float(r)
    return _work(p) + _work(r // p) + 2


def _prime_factor(n: int) -> int:
    """The largest prime factor."""
    largest, p = 1, 2
    while n > 1:
        while n % p == 0:
            largest, n = p, n // p
        p += 1
    return largest


def places(n: int) -> list[tuple[int, int, int]]:
    """Of each stage: its points r, the transforms m left behind it, and where its roots begin in the table."""
    result, at, left = [], 0, n
    for r in radices(n):
        left //= r
        result.append((r, left, at))
        at += 2 * (r - 1) * left if left > 1 else 0
    return result


def table_length(n: int) -> int:
    """Numbers of the table for n points."""
    return max(1, sum(2 * (r - 1) * m for r, m, _ in places(n) if m > 1))


def table(n: int) -> np.ndarray:
    """Roots of all stages in float64: exp(-2 pi i j k / (r m)) for j from 1 to r - 1 and k below m, real parts, then imaginary ones."""
    parts = [np.zeros(1)]
    for r, m, _ in places(n):
        if m > 1:
            roots = np.exp(-2j * np.pi * (np.outer(np.arange(1, r), np.arange(m)) / (r * m)))
            parts += [roots.real.ravel(), roots.imag.ravel()]
    return np.concatenate(parts[1:] or parts)


def real_table(n: int) -> np.ndarray:
    """The table for n real numbers, seen as n / 2 complex ones, then -i * exp(-2 pi i k / n) for k below n / 2: real parts, imaginary parts."""
    roots = -1j * np.exp(-2j * np.pi * np.arange(n // 2) / n)
    return np.concatenate([table(n // 2), roots.real, roots.imag])
