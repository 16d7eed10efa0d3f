"""Native draws: masks, uniforms, normals, integers and permutations made in C, bit for bit those that draws.py makes, once a program
draws many.

Each function gives None where numpy is to do it: no C compiler, a program that has not drawn much yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .mersenne import Engine
from .recorder import state

_FEWEST = 1
_ONE_BY_ONE = 64  # uniforms that numpy draws while Python makes one normal or exchanges two numbers
_BLOCKS = 1 << 14  # and while numpy makes a few normals of uniforms
_TRIED = 1024
FEWEST_BLOCKS = 16  # normal numbers that are drawn in blocks, not one by one
TRIED_AGAIN = 128
_AT_ONCE = 1 << 14  # as calling.c has it
WIDE_RANGE = 1 << 28  # from here on PyTorch spends two words per integer
_WORTH_LOADING = 1 << 15  # numbers numpy draws before the library is looked for on disk: half a millisecond
_WORTH_BUILDING = 1 << 20  # and before it is built: some milliseconds; building takes hundreds


class _Library:
    """loaded: the functions, once they were asked for; None where there are none. wanted: numbers drawn so far. looked: how many there
    were when the disk was looked at last."""

    loaded: Any = None
    asked = False
    looked = 0
    wanted = 0


def _library(n: int, work: int = 0) -> Any:
    """The functions. work: uniforms that take numpy as long as these n numbers."""
    if n < _FEWEST:
        return None
    if not _Library.asked:
        _Library.wanted += work or n
        build = _Library.wanted >= _WORTH_BUILDING
        if not build and (state.run is None or _Library.wanted - _Library.looked < _WORTH_LOADING):
            return None
        from ..backends import driver

        _Library.looked, _Library.loaded = _Library.wanted, driver.draws_library(build)
        _Library.asked = build or _Library.loaded is not None
        if _Library.loaded is not None and not _agrees():
            _Library.loaded = None
    return _Library.loaded


def _agrees() -> bool:
    """Whether the library sees numpy's state as numpy does."""
    one, other = Engine(1), Engine(1)
    drawn = singles(one, _TRIED)
    expected = (other.words(_TRIED) & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)
    return drawn is not None and drawn.tobytes() == expected.tobytes()


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _drawn(function: Any, engine: Engine, n: int, kind: type, *numbers: float) -> np.ndarray:
    """kind[n], filled by a function of the library."""
    drawn = np.empty(n, kind)
    engine.draw_with(lambda state, _: function(state, _address(drawn), n, *numbers))
    return drawn


def mask(engine: Engine, n: int, bound: int, kept: np.float32) -> np.ndarray | None:
    """float32[n]: ``kept`` where a 53-bit uniform is below bound / 2**53, else 0."""
    library = _library(n)
    if library is None:
        return None
    return _drawn(library.lamina_draw_mask, engine, n, np.float32, bound, kept)


def singles(engine: Engine, n: int) -> np.ndarray | None:
    """float32[n] in [0, 1): 24 low bits of a word."""
    library = _library(n)
    if library is None:
        return None
    return _drawn(library.lamina_draw_singles, engine, n, np.float32)


def box_muller(uniforms: np.ndarray, mean: float, std: float) -> np.ndarray | None:
    """float32 [16 * k]: each block of 16 uniforms becomes 8 cosine and 8 sine samples."""
    library = _library(uniforms.size, uniforms.size + _BLOCKS)
    if library is None:
        return None
    drawn = np.array(uniforms, order="C")
    library.lamina_box_muller(_address(drawn), drawn.size // 16, mean, std)
    return drawn


def integers(engine: Engine, n: int, span: int, low: int) -> np.ndarray | None:
    """int64[n]: a word modulo ``span``, which has at most 32 bits, from ``low`` on."""
    library = _library(n)
    if library is None:
        return None
    return _drawn(library.lamina_draw_integers, engine, n, np.int64, span, low)


def permutation(engine: Engine, n: int) -> np.ndarray | None:
    """int64[n]: 0 … n-1, shuffled from the front."""
    library = _library(n, n * _ONE_BY_ONE)
    if library is None:
        return None
    return _drawn(library.lamina_draw_permutation, engine, n, np.int64)


def normals(engine: Engine, n: int, mean: float, std: float) -> np.ndarray | None:
    """float64[n]: in pairs, one by one, the second one saved."""
    library = _library(n, n * _ONE_BY_ONE)
    if library is None:
        return None
    drawn = np.empty(n)
    engine.draw_with(lambda state, saved: library.lamina_draw_normals(state, _address(drawn), n, mean, std, saved))
    return drawn


def few(name: str, shape: tuple[int, ...], kind: np.dtype, numbers: tuple[float, ...]) -> Callable[[int, int], np.ndarray] | None:
    """What draws an array of a distribution of `sampling.py` each time it is called by `Engine.draw_with`, where what is around a draw costs more than
    the numbers; None where it cannot. To be asked once every `TRIED_AGAIN` times."""
    n = math.prod(shape)
    library = _library(n, max(_ONE_BY_ONE, n) * TRIED_AGAIN) if 0 < n <= _AT_ONCE else None
    if library is None:
        return None
    from ..backends import driver

    if name == "uniform" and kind == np.float32 and numbers in ((), (0.0, 1.0)):
        return driver.few_draws(library, "singles", shape, kind, 0, 0)
    if name == "normal" and kind == np.float32 and n >= FEWEST_BLOCKS:
        return driver.few_draws(library, "blocks", shape, kind, *(numbers or (0.0, 1.0)))
    if name == "normal" and kind.char in "fd" and n < FEWEST_BLOCKS:
        return driver.few_draws(library, "normals", shape, kind, *(numbers or (0.0, 1.0)))
    if name == "integers" and kind == np.int64 and numbers[1] - numbers[0] < WIDE_RANGE:
        return driver.few_draws(library, "integers", shape, kind, numbers[1] - numbers[0], numbers[0])
    return None
