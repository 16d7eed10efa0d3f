"""Trials: kernels built as programs of their own, their memory as they find it in the program, and the time of a call.

What a program reads of its own inputs (weights) was last touched one run ago: calls go round over as many copies as the run
touches bytes, up to twice the last cache. What a kernel before made is near. One thread: plans do not depend on their number.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..dialects import flags
from .aligned_memory import aligned_array
from .toolchain import build_shared, find_compiler

if TYPE_CHECKING:
    from ..dialects.types import DType
    from ..lowering.kernel_trial import Argument

MOST_COPIES = 64
LINE = 64


@dataclass(frozen=True)
class Trial:
    """A kernel that can be called. run(n): n calls in turn over its copies of memory."""

    plan: str
    run: Callable[[int], None]


def build(sources: Sequence[str]) -> list[ctypes.CDLL]:
    """The C programs as libraries, compiled side by side. BackendError if the compiler refuses."""
    compiler = find_compiler()
    assert compiler is not None  # who tunes has compiled
    with tempfile.TemporaryDirectory(prefix="lamina-trial-") as folder, ThreadPoolExecutor(flags.available_processors()) as threads:

        def made(number: int) -> ctypes.CDLL:
            path = Path(folder) / f"k{number}.c"
            path.write_text(sources[number], encoding="utf-8")
            build_shared(compiler, path, path.with_suffix(".so"))
            return ctypes.CDLL(str(path.with_suffix(".so")))

        return list(threads.map(made, range(len(sources))))


class Memory:
    """The memory of one kernel's trials: all of them read the same operands. around: bytes between two uses of what is cold.

    turn: calls so far, of any of them. Each goes on to the next copy: none finds in the caches what the one before it has read.
    """

    def __init__(self, around: int) -> None:
        self.around = around
        self.turn = 0
        self._held: dict[tuple[str, int, int], list[np.ndarray]] = {}

    def copies(self, argument: Argument, cold: bool) -> list[np.ndarray]:
        """Arrays for an argument: one, or as many as go round."""
        key = argument.what, argument.number, argument.bytes
        if key not in self._held:
            count = min(MOST_COPIES, -(-self.around // max(1, argument.bytes))) if cold else 1
            first = filled(argument.bytes, argument.dtype)
            self._held[key] = [first] + [_copied(first) for _ in range(1, max(1, count))]
        return self._held[key]

    def trial(self, plan: str, library: ctypes.CDLL, arguments: Sequence[Argument], cold: Callable[[Argument], bool]) -> Trial:
        """A call of this library on this memory."""
        places = [self.copies(a, cold(a)) for a in arguments]
        rounds = max((len(p) for p in places), default=1)
        tables = [(ctypes.c_int64 * max(1, len(places)))(*(p[r % len(p)].ctypes.data for p in places)) for r in range(rounds)]
        addresses = [ctypes.addressof(t) for t in tables]
        main = library.lamina_main
        main.argtypes = [ctypes.c_void_p]

        def run(count: int) -> None:
            for _ in range(count):
                main(addresses[self.turn % rounds])
                self.turn += 1

        run.held = (library, places, tables)  # type: ignore[attr-defined]  # their memory is what the tables point at
        return Trial(plan, run)


def filled(bytes: int, dtype: DType) -> np.ndarray:
    """Memory with ordinary numbers; integers are 0, so that they are good as indices."""
    memory = aligned_array((bytes + -bytes % LINE,), np.dtype(np.uint8))
    memory[:] = 0
    if dtype.is_floating_point:
        numbers = np.random.default_rng(0).standard_normal(1021, dtype=np.float32)
        if dtype.code == "bf16":
            made = (numbers.view(np.uint32) >> 16).astype(np.uint16)
        else:
            made = numbers.astype(dtype.numpy)
        whole = memory[: bytes - bytes % made.itemsize].view(made.dtype)
        whole[:] = np.resize(made, whole.shape)
    return memory


def _copied(array: np.ndarray) -> np.ndarray:
    made = aligned_array(array.shape, array.dtype)
    made[:] = array
    return made


SHORT = 0.0005
"""Seconds of one measurement: others disturb a short one less often than a long one, and the fastest of many counts."""

MOST = 2.0
"""Seconds all measurements of some trials may take together; of slow ones there are fewer."""


def rounds_of(
    trials: Sequence[Trial], rounds: int, clock: Callable[[], float], more: Callable[[], bool]
) -> Iterator[tuple[float, ...]]:
    """Seconds per call of all trials, taken in turn, round by round. more: asked before each round whether there is time for it.

    All repeat equally often: who comes after others finds their memory in the caches.
    """
    once = []
    for trial in trials:
        trial.run(1)
        start = clock()
        trial.run(1)
        once.append(clock() - start)
    count = max(1, int(SHORT / max(min(once, default=0.0), 1e-7)))
    for _ in range(max(3, min(rounds, int(MOST / max(count * sum(once), 1e-7))))):
        if not more():
            return
        seconds = []
        for trial in trials:
            start = clock()
            trial.run(count)
            seconds.append((clock() - start) / count)
        yield tuple(seconds)
