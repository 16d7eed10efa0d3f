"""The Mersenne Twister behind every CPU random number, with PyTorch's seeding and state bytes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np

STATE_BYTES = 5056  # what torch.get_rng_state() returns on the CPU
_WORDS = 624
_LOW_SEED, _HIGH_SEED = -(1 << 63), (1 << 64) - 1
_LOW_53 = (1 << 53) - 1
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "words", "normal", "has_normal"],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", (_WORDS,)), "<f8", "<i4"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040],
        "itemsize": STATE_BYTES,
    }
)


DRAWS = [0]
"""How often any engine drew: whoever records a function can tell whether it did."""


class Engine:
    """mt19937 as PyTorch's CPU generator keeps it: 32-bit words plus one saved normal sample (Box-Muller makes two)."""

    __slots__ = ("_bits", "_lock", "_address", "_initial", "_fresh", "_saved", "_saved_at")

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        self._lock = self._bits.lock
        self._address = self._bits.ctypes.state_address
        self._saved = (ctypes.c_double * 2)()  # the sample, and whether there is one
        self._saved_at = ctypes.addressof(self._saved)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the sequence of `seed`; negative seeds count from 2**64 as in PyTorch. ValueError outside 64 bits."""
        if not _LOW_SEED <= seed <= _HIGH_SEED:
            raise ValueError(f"Overflow when unpacking long long: seed {seed} needs more than 64 bits")
        self._initial = seed & _HIGH_SEED
        self._bits._legacy_seeding(self._initial & 0xFFFFFFFF)
        self._fresh = True
        self.saved_normal = None

    @property
    def saved_normal(self) -> float | None:
        """The second of the last pair, if it was not drawn yet."""
        return self._saved[0] if self._saved[1] else None

    @saved_normal.setter
    def saved_normal(self, sample: float | None) -> None:
        self._saved[:] = (0.0, 0.0) if sample is None else (sample, 1.0)

    @property
    def initial_seed(self) -> int:
        """The seed the current sequence started from, in [0, 2**64)."""
        return self._initial

    def words(self, n: int) -> np.ndarray:
        """The next `n` 32-bit words, uint64[n]."""
        if n:
            self._fresh = False
            DRAWS[0] += 1
        return self._bits.random_raw(n)

    def word(self) -> int:
        """The next 32-bit word."""
        self._fresh = False
        DRAWS[0] += 1
        return self._bits.random_raw()

    def few_doubles(self, n: int) -> list[float]:
        """Numbers in [0, 1): the 53 low bits of the next 64-bit words (high half drawn first)."""
        words = self.words(2 * n).tolist()
        return [((high << 32 | low) & _LOW_53) * 2.0**-53 for high, low in zip(words[::2], words[1::2], strict=True)]

    def draw_with(self, function: Callable[[int, int], Any]) -> Any:
        """Let ``function(address, saved)`` draw from numpy's state itself: 624 words of 32 bits, and the place of the next one. saved: where
        the sample that is left of a pair is, and whether there is one, as two doubles. Gives what the function does."""
        self._fresh = False
        DRAWS[0] += 1
        with self._lock:
            return function(self._address, self._saved_at)

    def double_words(self, n: int) -> np.ndarray:
        """The next `n` 64-bit words (high half drawn first), uint64[n]."""
        pairs = self.words(2 * n).reshape(n, 2)
        return (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]

    def state(self) -> np.ndarray:
        """The whole state as PyTorch lays it out, uint8[5056]."""
        held = self._bits.state["state"]
        row = np.zeros((), _STATE)
        row["seed"], row["seeded"] = self._initial, 1
        row["left"] = 1 if self._fresh else _WORDS + 1 - held["pos"]
        row["next"] = 0 if self._fresh else held["pos"]
        row["words"] = held["key"]
        if self.saved_normal is not None:
            row["normal"], row["has_normal"] = self.saved_normal, 1
        return np.frombuffer(row.tobytes(), np.uint8).copy()

    def restore(self, state: np.ndarray) -> None:
        """Take over a state made by `state` or by PyTorch. RuntimeError when it is not one."""
        if state.dtype != np.uint8 or state.size != STATE_BYTES:
            raise RuntimeError(
                f"RNG state is wrong size or type: expected uint8[{STATE_BYTES}], got {state.dtype}{list(state.shape)}"
            )
        row = np.frombuffer(state.tobytes(), _STATE)[0]
        left, position = int(row["left"]), int(row["next"])
        if row["seeded"] != 1 or not 1 <= left <= _WORDS or position > _WORDS:
            raise RuntimeError("Invalid mt19937 state")
        self._initial = int(row["seed"])
        self._fresh = left == 1 and position == 0
        words = row["words"].astype(np.uint32)
        # `left == 1` asks for a new block at the next word, whatever `next` says.
        where = _WORDS if left == 1 else position
        self._bits.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": where}}
        self.saved_normal = float(row["normal"]) if row["has_normal"] else None


def fresh_seed() -> int:
    """A seed nobody can guess, 53 bits as PyTorch draws it."""
    return int.from_bytes(os.urandom(7), "little") & ((1 << 53) - 1)
