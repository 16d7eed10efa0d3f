"""Batches: the Graphs that programs recorded, many in one compiled program, against what the oracle says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from lamina.backends import driver
from lamina.backends.oracle import evaluate
from lamina.dialects import flags
from lamina.dialects.graph import Graph, Step
from lamina.dialects.text import print_module
from lamina.lowering.capture import capture
from lamina.pyfront import recorder


class Recorded(NamedTuple):
    """A Graph that was flushed, its inputs, and what the oracle made of them. number: of the program."""

    number: int
    graph: Graph
    arrays: list[np.ndarray]
    results: list[np.ndarray]


@contextmanager
def recording(into: list[Recorded], number: int) -> Iterator[None]:
    """Programs run on the oracle, and every Graph is kept. The same Graph again is compiled once only."""
    before = recorder.state.run
    known = {id(r.graph) for r in into}

    def run(graph: Graph, arrays: list[np.ndarray], *_: object) -> list[np.ndarray]:
        with flags.device("numpy"):
            results = driver.run(graph, arrays)
        if id(graph) not in known:
            into.append(Recorded(number, graph, [np.array(a) for a in arrays], [np.array(r) for r in results]))
        return results

    recorder.state.run = run
    try:
        yield
    finally:
        recorder.state.run = before


def merged(graphs: list[Graph]) -> Graph:
    """Independent programs as one: the inputs of all, then the steps of all, then the outputs of all."""
    inputs = [t for g in graphs for t in g.inputs]
    steps, origins, types, outputs = [], [], list(inputs), []
    first = 0
    for graph in graphs:
        own = len(graph.inputs)
        shift = len(types) - own  # of the values its steps make

        def place(value: int, own: int = own, first: int = first, shift: int = shift) -> int:
            return first + value if value < own else shift + value

        steps += [Step(s.op, s.attrs, tuple([place(v) for v in s.operands])) for s in graph.steps]
        origins += graph.origins
        types += graph.types[own:]
        outputs += [place(v) for v in graph.outputs]
        first += own
    return Graph(tuple(inputs), tuple(steps), tuple(outputs), tuple(origins), (None,) * len(inputs), tuple(types))


def compiled(records: list[Recorded], check: int = 0) -> list[list[np.ndarray]]:
    """What one compiled program makes of the inputs of all."""
    program = driver.compile_graph(merged([r.graph for r in records]), check=check)
    results = iter(program([a for r in records for a in r.arrays]))
    return [[np.array(next(results)) for _ in r.results] for r in records]


def differing(records: list[Recorded]) -> list[tuple[Recorded, str]]:
    """The Graphs whose compiled results are not the oracle's."""
    wrong = []
    for record, found in zip(records, compiled(records), strict=True):
        for want, got in zip(record.results, found, strict=True):
            if (said := off(record, want, got)) is not None:
                wrong.append((record, said))
                break
    return wrong


def off(record: Recorded, want: np.ndarray, got: np.ndarray) -> str | None:
    """How a result differs by more than its inputs' rounding explains; None when it does not."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{got.dtype}{got.shape} for {want.dtype}{want.shape}"
    if want.dtype.kind not in "fV":
        return None if np.array_equal(want, got) else f"{got} for {want}"
    a, b = want.astype(np.float64), got.astype(np.float64)
    sizes = {dtype.itemsize for _, dtype in record.graph.types if dtype.kind == "f"}  # the narrowest on the way decides
    tolerance = 1e-8 if min(sizes) == 8 else 1e-3 if min(sizes) == 4 else 5e-2
    scale = np.abs(a[np.isfinite(a)]).max(initial=1.0)
    return None if np.allclose(b, a, tolerance, tolerance * scale, equal_nan=True) else f"{got} for {want}"


def is_unstable(record: Recorded) -> bool:
    """True when inputs a few roundings away give other results on the oracle itself: a jump, or a difference of equals."""
    noise = np.random.default_rng(0)
    near = []
    for a in record.arrays:
        if a.dtype.kind == "f":
            a = (a * (1 + 16 * np.finfo(a.dtype).eps * noise.uniform(-1, 1, a.shape))).astype(a.dtype)
        near.append(np.asarray(a))
    again = evaluate(capture(record.graph), near)
    return any(off(record, want, np.asarray(got)) is not None for want, got in zip(record.results, again, strict=True))


def text(record: Recorded) -> str:
    """The Graph as a module."""
    return print_module(capture(record.graph))
