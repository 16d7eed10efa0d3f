"""Random arrays as PyTorch's CPU kernels draw them from the engine: same words, same order, same rounding."""

from __future__ import annotations

import math

import numpy as np

from . import native_draws
from .fused import multiply_add
from .gaussian import box_muller_blocks
from .mersenne import Engine
from .native_draws import FEWEST_BLOCKS, WIDE_RANGE

_DOUBLE_MASK = np.uint64((1 << 53) - 1)
_HIGH_MASK = np.uint64((1 << 21) - 1)
_CHUNK = 1 << 15  # numbers made at a time: what is made on the way stays in the cache
_SQUEEZE = float(np.float32(0.0331))  # of Marsaglia and Tsang; PyTorch has it in single precision
_FEW = 8  # numbers from which on numpy, or C, is faster than Python
_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}


def doubles(engine: Engine, n: int) -> np.ndarray:
    """float64[n] in [0, 1): 53 low bits of a 64-bit word."""
    return (engine.double_words(n) & _DOUBLE_MASK).astype(np.float64) * 2.0**-53


def singles(engine: Engine, n: int) -> np.ndarray:
    """float32[n] in [0, 1): 24 low bits of a word."""
    if n < _FEW:
        return np.array([(engine.word() & 0xFFFFFF) * 2.0**-24 for _ in range(n)], np.float32)
    made = native_draws.singles(engine, n)
    if made is not None:
        return made
    words = engine.words(n).astype(np.int32)  # wraps; numpy converts 32-bit integers to float32 several at a time
    words &= 0xFFFFFF
    drawn = words.astype(np.float32)
    drawn *= np.float32(2.0**-24)
    return drawn


def uniform(engine: Engine, n: int, dtype: np.dtype, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """dtype[n] in [low, high), scaled by one fused multiply-add; 16-bit types are drawn in float32 and rounded."""
    if low == 0.0 and high == 1.0 and dtype.itemsize >= 4 and n <= _CHUNK:
        return doubles(engine, n) if dtype.char == "d" else singles(engine, n)
    drawn = np.empty(n, dtype)
    draw, end = doubles if dtype == np.float64 else singles, dtype.type(high)
    for start in range(0, n, _CHUNK):
        part = draw(engine, min(n - start, _CHUNK))
        if (low, high) != (0.0, 1.0):
            first, last = np.asarray([low, high], part.dtype)
            part = multiply_add(part, last - first, first)
        elif part.dtype == dtype:
            drawn[start : start + _CHUNK] = part
            continue
        into = drawn[start : start + _CHUNK]
        into[:] = part
        into[into == end] = low  # what was rounded up to the end
    return drawn


def normal(
    engine: Engine, n: int, dtype: np.dtype, mean: float = 0.0, std: float = 1.0, is_contiguous: bool = True
) -> np.ndarray:
    """dtype[n]: Box-Muller in blocks of 16 from 16 elements on, pairs of doubles (the second one saved) below and for
    memory with gaps."""
    if n < FEWEST_BLOCKS or not is_contiguous:
        made = native_draws.normals(engine, n, mean, std) if n >= _FEW else None
        if made is not None:
            return made.astype(dtype, copy=False)
        samples = _normal_one_by_one(engine, n, mean, std)
        return np.array(samples, dtype) if dtype.char in "fd" else np.array(samples, np.float64).astype(dtype)
    draw = doubles if dtype == np.float64 else singles
    whole = n - n % 16
    values = np.empty(n, np.float64 if dtype == np.float64 else np.float32)
    values[:whole] = draw(engine, whole if dtype.itemsize == 2 else n)[:whole]  # half precision leaves the rest for later
    values[:whole] = box_muller_blocks(values[:whole], mean, std)
    if whole != n:  # the last 16 are drawn again, overlapping the block before
        values[n - 16 :] = box_muller_blocks(draw(engine, 16), mean, std)
    return values.astype(dtype, copy=False)


def _normal_one_by_one(engine: Engine, n: int, mean: float, std: float) -> list[float]:
    missing = n if engine.saved_normal is None else n - 1
    uniforms = iter(engine.few_doubles(missing + missing % 2))
    samples: list[float] = []
    for _ in range(n):
        if engine.saved_normal is not None:
            sample, engine.saved_normal = engine.saved_normal, None
        else:
            first, second = next(uniforms), next(uniforms)
            radius, angle = math.sqrt(-2.0 * math.log1p(-second)), 2.0 * math.pi * first
            sample, engine.saved_normal = radius * math.cos(angle), radius * math.sin(angle)
        samples.append(sample * std + mean)
    return samples


def integers(engine: Engine, n: int, low: int, high: int) -> np.ndarray:
    """int64[n] in [low, high): a word (two for ranges of 2**28 and more) modulo the range."""
    span = high - low
    if n < _FEW and span < WIDE_RANGE:
        return np.array([engine.word() % span + low for _ in range(n)], np.int64)
    made = native_draws.integers(engine, n, span, low) if span < WIDE_RANGE else None
    if made is not None:
        return made
    words = engine.double_words(n) if span >= WIDE_RANGE else engine.words(n)
    if span < 1 << 64:
        words = words % np.uint64(span)
    return words.astype(np.int64) + np.int64(low)


def any_integers(engine: Engine, n: int, dtype: np.dtype) -> np.ndarray:
    """dtype[n], what `random_()` fills in: integers up to the largest value, floats up to their exact integers."""
    if dtype == np.bool_:
        return (engine.words(n) % np.uint64(2)).astype(np.bool_)
    if dtype.name in _DIGITS:
        words = engine.double_words(n) if dtype == np.float64 else engine.words(n)
        return (words % np.uint64((1 << _DIGITS[dtype.name]) + 1)).astype(np.float64).astype(dtype)
    largest = int(np.iinfo(dtype).max)
    words = engine.double_words(n) if dtype.itemsize == 8 else engine.words(n)
    return (words % np.uint64(largest + 1)).astype(dtype)


def permutation(engine: Engine, n: int) -> np.ndarray:
    """int64[n]: Fisher-Yates from the front, one word per swap."""
    made = native_draws.permutation(engine, n) if n > 1 else None
    if made is not None:
        return made
    order = list(range(n))
    if n > 1:
        left = np.arange(n, 1, -1, dtype=np.uint64)
        for i, step in enumerate((engine.words(n - 1) % left).tolist()):
            order[i], order[i + step] = order[i + step], order[i]
    return np.array(order, np.int64)


def bernoulli(engine: Engine, n: int, p: float) -> np.ndarray:
    """bool[n]: a 53-bit uniform below p."""
    # u < p for u = k / 2**53 is k < ceil(p * 2**53): the comparison stays in integers, and the words' high halves
    # (drawn first) decide it but for ties.
    words = engine.words(2 * n)
    high, low = words[0::2] & _HIGH_MASK, words[1::2]
    bound = math.ceil(p * 2.0**53)
    drawn = high < np.uint64(bound >> 32)
    ties = high == np.uint64(bound >> 32)
    if np.count_nonzero(ties):
        drawn |= ties & (low < np.uint64(bound & 0xFFFFFFFF))
    return drawn


def mask(engine: Engine, n: int, dtype: np.dtype, p: float, kept: float = 1.0) -> np.ndarray:
    """dtype[n]: ``kept`` with probability p, else 0."""
    value = np.asarray(kept, dtype)
    made = native_draws.mask(engine, n, math.ceil(p * 2.0**53), value) if dtype == np.float32 else None
    return bernoulli(engine, n, p).astype(dtype) * value if made is None else made


def kept(engine: Engine, n: int, dtype: np.dtype, p: float) -> np.ndarray:
    """dtype[n]: what dropout multiplies by: 1 / p with probability p, else 0."""
    return mask(engine, n, dtype, p, np.asarray(1, dtype) / np.asarray(p, dtype))


def bernoulli_each(engine: Engine, p: np.ndarray) -> np.ndarray:
    """bool of p's shape: float64 probabilities take 53-bit uniforms, all others 24-bit ones."""
    if p.dtype == np.float64:
        return (doubles(engine, p.size) < p.ravel()).reshape(p.shape)
    return (singles(engine, p.size) < p.ravel().astype(np.float32)).reshape(p.shape)


def exponential(engine: Engine, n: int, dtype: np.dtype, rate: float = 1.0) -> np.ndarray:
    """dtype[n] by inversion in double precision."""
    return (-1.0 / rate * np.log1p(-doubles(engine, n))).astype(dtype)


def geometric(engine: Engine, n: int, dtype: np.dtype, p: float) -> np.ndarray:
    """dtype[n]: number of trials up to the first success."""
    return np.ceil(np.log(doubles(engine, n)) / math.log1p(-p)).astype(dtype)


def cauchy(engine: Engine, n: int, dtype: np.dtype, median: float, sigma: float) -> np.ndarray:
    """dtype[n] by inversion in double precision."""
    return (median + sigma * np.tan(math.pi * (doubles(engine, n) - 0.5))).astype(dtype)


def log_normal(engine: Engine, n: int, dtype: np.dtype, mean: float, std: float) -> np.ndarray:
    """dtype[n]: exponentials of normals drawn one by one in double precision, whatever the size."""
    return np.exp(_normal_one_by_one(engine, n, mean, std)).astype(dtype)


def gamma(engine: Engine, shapes: np.ndarray) -> np.ndarray:
    """float64 of the shapes' shape, gamma numbers of rate 1. The shapes' dtype is the precision small steps are made in."""
    one, third = shapes.dtype.type(1), shapes.dtype.type(np.float32(1) / np.float32(3))
    small = shapes < 1
    with np.errstate(divide="ignore"):
        roots = np.where(small, one / shapes, 0).ravel().tolist()
    centres = (np.where(small, shapes + one, shapes) - third).ravel().tolist()
    rows = zip(shapes.ravel().tolist(), centres, roots, strict=True)
    return np.array([_gamma(engine, *row) for row in rows], np.float64).reshape(shapes.shape)


def _gamma(engine: Engine, shape: float, d: float, root: float) -> float:
    """Marsaglia and Tsang (2000): a cube of a normal number, accepted by its density; shapes below 1 from one above."""
    if shape == 0:
        return 0.0
    scale = (1 - float(doubles(engine, 1)[0])) ** root if shape < 1 else 1.0
    c = 1 / math.sqrt(9 * d)
    while True:
        x = float(_normal_one_by_one(engine, 1, 0.0, 1.0)[0])
        v = (1 + c * x) ** 3
        if v <= 0:
            continue
        u = 1 - float(doubles(engine, 1)[0])
        if u < 1 - _SQUEEZE * x**4 or math.log(u) < 0.5 * x * x + d * (1 - v + math.log(v)):
            return scale * d * v


def poisson(engine: Engine, rates: np.ndarray) -> np.ndarray:
    """float64 of the rates' shape: products of uniforms below a rate of 10, Hoermann's transformed rejection (1993) above."""
    return np.array([_poisson(engine, rate) for rate in rates.ravel().tolist()], np.float64).reshape(rates.shape)


def _poisson(engine: Engine, rate: float) -> int:
    if rate == 0:
        return 0
    if rate < 10:
        bound, count, product = math.exp(-rate), 0, float(doubles(engine, 1)[0])
        while product > bound:
            count, product = count + 1, product * float(doubles(engine, 1)[0])
        return count
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    scale, accepted = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = (doubles(engine, 2) - (0.5, 0.0)).tolist()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= accepted:
            return k
        if k < 0 or us < 0.013 and v > us:
            continue
        if math.log(v * scale / (a / (us * us) + b)) <= k * math.log(rate) - rate - math.lgamma(k + 1):
            return k


def binomial(engine: Engine, counts: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """float64 of the common shape: numbers of successes. Few trials by geometric gaps, many by rejection."""
    n, p = np.broadcast_arrays(counts, chances)
    many = (n * np.minimum(p, 1 - p) >= 10).ravel().tolist()  # in the precision of the operands
    drawn = [_binomial(engine, *row) for row in zip(n.ravel().tolist(), p.ravel().tolist(), many, strict=True)]
    return np.array(drawn, np.float64).reshape(n.shape)


def _binomial(engine: Engine, n: float, p: float, many: bool) -> float:
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    if p > 0.5:
        return n - _binomial_below_half(engine, n, 1 - p, many)
    return _binomial_below_half(engine, n, p, many)


def _binomial_below_half(engine: Engine, n: float, p: float, many: bool) -> float:
    if many:
        return _binomial_by_rejection(engine, n, p)
    gaps, count = 0.0, 0
    while True:
        gaps += math.ceil(math.log(float(doubles(engine, 1)[0])) / math.log1p(-p))
        if gaps > n:
            return count
        count += 1


def _binomial_by_rejection(engine: Engine, n: float, p: float) -> float:
    """Hoermann's BTRS (1993)."""
    spread = math.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c, accepted, alpha = n * p + 0.5, 0.92 - 4.2 / b, (2.83 + 5.1 / b) * spread
    m = math.floor((n + 1) * p)
    while True:
        u, v = (doubles(engine, 2) - (0.5, 0.0)).tolist()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + c)
        if us >= 0.07 and v <= accepted:
            return k
        if k < 0 or k > n:
            continue
        v = math.log(v * alpha / (a / (us * us) + b))
        bound = (
            (m + 0.5) * math.log((m + 1) / (p / (1 - p) * (n - m + 1))) + (n + 1) * math.log((n - m + 1) / (n - k + 1))
            + (k + 0.5) * math.log(p / (1 - p) * (n - k + 1) / (k + 1)) + _stirling(m) + _stirling(n - m) - _stirling(k)
            - _stirling(n - k)
        )  # fmt: skip
        if v <= bound:
            return k


def _stirling(k: float) -> float:
    """What Stirling's formula lacks of log k!, shifted by one."""
    return math.lgamma(k + 1) - (0.5 * math.log(2 * math.pi) + (k + 0.5) * math.log(k + 1) - (k + 1))


def multinomial(engine: Engine, weights: np.ndarray, count: int, replacement: bool) -> np.ndarray:
    """int64[rows, count] category indices drawn by the rows of `weights` [rows, categories]."""
    if not replacement or count == 1:
        # the exponential race: the largest weight / Exp(1) wins
        race = weights / exponential(engine, weights.size, weights.dtype).reshape(weights.shape)
        if count == 1:
            return np.argmax(race, axis=1, keepdims=True).astype(np.int64)
        return np.argsort(-race, axis=1, kind="stable")[:, :count].astype(np.int64)
    picked = np.empty((weights.shape[0], count), np.int64)
    for row, weight in enumerate(weights):
        cumulated = np.cumsum(weight, dtype=weights.dtype)
        cumulated /= cumulated[-1]
        cumulated[-1] = 1
        picked[row] = np.searchsorted(cumulated.astype(np.float64), doubles(engine, count), side="left")
    return picked
