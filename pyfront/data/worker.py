"""Workers: each has the random state, the copy of the dataset and the share of batches PyTorch gives it.

Worker stands for one where there is no process: samples are loaded in this process, one batch when it is asked for, and
what a worker draws does not touch the program's own random numbers.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..random import default_generator


class WorkerInfo(NamedTuple):
    """What get_worker_info() tells a dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_current: list[WorkerInfo] = []


def get_worker_info() -> WorkerInfo | None:
    """The worker that is loading now; None in the main program."""
    return _current[-1] if _current else None


_process: list[bool] = [False]


def is_process() -> bool:
    """Whether this process is a worker."""
    return _process[0]


def become_worker(number: int, workers: int, seed: int, dataset: Any) -> None:
    """This process is a worker from now on: its random numbers and get_worker_info() are that worker's."""
    _seed(seed, number)
    _current.append(WorkerInfo(number, workers, seed + number, dataset))
    _process[0] = True


def _seed(base_seed: int, number: int) -> None:
    default_generator.manual_seed(base_seed + number)
    random.seed(base_seed + number)
    np.random.seed(_numpy_seed(base_seed, number))


class Worker:
    """One worker of a loader, inside this process."""

    def __init__(self, number: int, workers: int, seed: int, dataset: Any, start: Callable[[int], Any] | None) -> None:
        self._info = WorkerInfo(number, workers, seed + number, copy.copy(dataset))
        self._states: tuple[Any, ...] | None = None
        with self.running():
            if start is not None:
                start(number)

    @property
    def dataset(self) -> Any:
        """This worker's dataset."""
        return self._info.dataset

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, random numbers and get_worker_info() are this worker's."""
        outside = _random_states()
        if self._states is None:
            _seed(self._info.seed - self._info.id, self._info.id)
        else:
            _restore(self._states)
        _current.append(self._info)
        try:
            yield
        finally:
            _current.pop()
            self._states = _random_states()
            _restore(outside)


def _random_states() -> tuple[Any, ...]:
    return default_generator.engine.state(), random.getstate(), np.random.get_state()


def _restore(states: tuple[Any, ...]) -> None:
    default_generator.engine.restore(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])


def _numpy_seed(base_seed: int, worker: int) -> list[int]:
    """Four 32-bit words for numpy's generator: its SeedSequence hash over the worker and the base seed."""
    entropy = [worker, base_seed & 0xFFFFFFFF, (base_seed >> 32) & 0xFFFFFFFF, 0]
    return np.random.SeedSequence(entropy).generate_state(4).tolist()
