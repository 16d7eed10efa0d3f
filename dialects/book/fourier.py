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


# -- the same in numpy, with whatever roots are given


def dft(z: np.ndarray, roots: np.ndarray, axis: int, sign: int, scale: float) -> np.ndarray:
    """Stage by stage along an axis, times a scale; the other sign is the same between conjugates."""
    if sign > 0:
        return dft(z.conj(), roots, axis, -1, scale).conj()
    n, x = z.shape[axis], np.moveaxis(z, axis, -1)
    lead = x.shape[:-1]
    s = 1
    for r, m, at in places(n):
        y = np.einsum("...kpq,jk->...pjq", x.reshape(*lead, r, m, s), np.exp(-2j * np.pi * np.outer(np.arange(r), np.arange(r)) / r))
        if m > 1:
            real, imaginary = roots.ravel()[at : at + 2 * (r - 1) * m].reshape(2, r - 1, m)
            y[..., 1:, :] *= (real + 1j * imaginary).T[..., None]
        x, s = y, s * r
    return np.moveaxis(x.reshape(*lead, n) * scale, -1, axis).astype(z.dtype)


def _complex(x: np.ndarray) -> np.ndarray:
    return x[..., 0].astype(np.float64) + 1j * x[..., 1]


def _parts(z: np.ndarray, t: np.dtype) -> np.ndarray:
    return np.stack((z.real, z.imag), -1).astype(t)


def dft_parts(x: np.ndarray, roots: np.ndarray, axis: int, sign: int, scale: float) -> np.ndarray:
    """Of complex numbers whose parts are the last dimension."""
    return _parts(dft(_complex(x), roots, axis, sign, scale), x.dtype)


def _turns(roots: np.ndarray, n: int) -> np.ndarray:
    """What `real_table` has behind the stages' roots, for k from 1."""
    real, imaginary = roots.ravel()[table_length(n) : table_length(n) + 2 * n].reshape(2, n)[:, 1:]
    return real + 1j * imaginary


def real_dft(x: np.ndarray, roots: np.ndarray, scale: float) -> np.ndarray:
    """The first half of the transform of real numbers along the last dimension, in parts, times a scale."""
    n = x.shape[-1] // 2
    z = dft(_complex(x.reshape(*x.shape[:-1], n, 2)), roots, x.ndim - 1, -1, scale)
    first, inner, back = z[..., :1], z[..., 1:], z[..., :0:-1].conj()
    inner = ((inner + back) + (inner - back) * _turns(roots, n)) / 2
    return _parts(np.concatenate((first.real + first.imag, inner, first.real - first.imag), -1), x.dtype)


def dft_to_real(x: np.ndarray, roots: np.ndarray, scale: float) -> np.ndarray:
    """The real numbers whose transform begins with these, not divided by their number, times a scale."""
    z, n = _complex(x), x.shape[-2] - 1
    ends, inner, back = z.real, z[..., 1:-1], z[..., -2:0:-1].conj()
    first = (ends[..., :1] + ends[..., -1:]) + 1j * (ends[..., :1] - ends[..., -1:])
    inner = (inner + back) + (inner - back) * _turns(roots, n).conj()
    made = dft(np.concatenate((first, inner), -1), roots, z.ndim - 1, 1, scale)
    return _parts(made, x.dtype).reshape(*x.shape[:-2], 2 * n)
