"""Timing on a GPU: the median time of a program by events, of a copy, and of the host's part of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dialects.graph import Graph
from ...dialects.types import size_of
from .check_programs import arrays_for
from .memory import DeviceArray
from .runtime import Runtime

ROUNDS, WARM = 15, 3
ROUND_MS = 5.0
"""A round's length: so many calls between two events that what the host adds is hidden."""
MOST_CALLS = 200
HOST_ELEMENTS = 1 << 22
"""Larger arrays are copies of a smaller one's contents: making random numbers would take longer than measuring."""


class Timed:
    """A program with its arrays on the GPU. Random data."""

    def __init__(self, gpu: Runtime, graph: Graph) -> None:
        self.gpu, self.graph = gpu, graph
        contents = zip(_contents(graph), graph.inputs, strict=True)
        self.arrays: list[DeviceArray] = [gpu.upload(_whole(array, shape)) for array, (shape, _) in contents]

    def run(self) -> None:
        self.gpu.run(self.graph, self.arrays)

    def median(self) -> float:
        """Milliseconds per call."""
        return median_ms(self.gpu, self.run)


def _contents(graph: Graph) -> list[np.ndarray]:
    cut = Graph(
        tuple(((min(size_of(shape), HOST_ELEMENTS),) if shape else (), dtype) for shape, dtype in graph.inputs), (), (), (), (), ()
    )
    return arrays_for(cut)


def _whole(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.resize(array, shape) if shape else array


class Clock:
    """Time between two events of a GPU."""

    def __init__(self, gpu: Runtime) -> None:
        self.device = gpu.device
        self.start, self.end = self.device.new_event(), self.device.new_event()

    def of(self, run: Callable[[], Any], calls: int = 1) -> float:
        """Milliseconds per call, of so many calls one after the other."""
        self.device.record(self.start)
        for _ in range(calls):
            run()
        self.device.record(self.end)
        self.device.wait(self.end)
        return self.device.milliseconds(self.start, self.end) / calls


def calls_of_a_round(once: float) -> int:
    """How many calls that take so many milliseconds are one round."""
    return max(1, min(MOST_CALLS, int(ROUND_MS / max(once, 1e-3))))


def median_ms(gpu: Runtime, run: Callable[[], Any]) -> float:
    """Milliseconds per call: the median of some rounds."""
    clock = Clock(gpu)
    for _ in range(WARM):
        once = clock.of(run)
    calls = calls_of_a_round(once)
    return float(np.median([clock.of(run, calls) for _ in range(ROUNDS)]))


def copy_rate(gpu: Runtime, size: int) -> float:
    """Bytes read and written per millisecond by the device's own copy."""
    block = gpu.pool.take(2 * size, "what a copy is measured on")
    ms = median_ms(gpu, lambda: gpu.device.copy(block.address + size, block.address, size))
    return 2 * size / ms


def host_us(gpu: Runtime, run: Callable[[], Any], calls: int = 40) -> float:
    """Microseconds the host spends in a call that does not wait: the median of some rounds, each waited for."""
    times: list[float] = []
    for _ in range(WARM + ROUNDS):
        gpu.device.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return float(np.median(times[WARM:]))


