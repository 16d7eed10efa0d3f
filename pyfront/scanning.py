"""Recording loops whose length the program does not grow with: a body traced once, and the scan that runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np

from ..dialects.graph import Graph, Step
from ..dialects.types import Type
from . import recorder
from .grad_mode import no_grad
from .schedule import Schedule
from .tensor import Tensor, wrap


def trace(function: Callable[..., Sequence[Tensor]], types: Sequence[Type]) -> Graph:
    """The Graph of ``function(*tensors) -> tensors`` for arguments of these types.

    Nothing is computed. RuntimeError when the function uses tensors that are not among its arguments.
    """
    state = recorder.state
    leaves = [recorder.leaf(np.broadcast_to(np.zeros((), dtype.numpy), shape), (shape, dtype)) for shape, dtype in types]
    before, state.bound = state.bound, sys.maxsize
    state.traces += 1
    try:
        with no_grad():
            outputs = [t._read() for t in function(*map(wrap, leaves))]
    finally:
        state.bound = before
        state.traces -= 1
    schedule = Schedule(list(dict.fromkeys(outputs)))
    place = {id(leaf.value): i for i, leaf in enumerate(leaves)}
    renamed: list[int] = []
    for array in schedule.arrays:
        if id(array) not in place:
            raise RuntimeError("the body of a scan may use its arguments only; hand other tensors to it as operands")
        renamed.append(place[id(array)])
    graph = schedule.graph
    renamed += range(len(types), len(types) + len(graph.types) - len(renamed))
    steps = tuple([Step(op, attrs, tuple([renamed[i] for i in operands])) for op, attrs, operands in graph.steps])
    made = graph.types[len(graph.inputs) :]
    names = (None,) * len(types)
    return Graph(tuple(types), steps, tuple([renamed[n.id] for n in outputs]), graph.origins, names, (*types, *made))


def scan(
    body: Graph, carried: Sequence[Tensor | Type], scanned: Sequence[Tensor], whole: Sequence[Tensor], steps: int, reverse: bool = False
) -> list[Tensor]:  # fmt: skip
    """Run a body once per step, from the last one on when reversed.

    carried: values handed from step to step; a type stands for zeros. scanned: read slice by slice along dimension 0. whole:
    seen by every step.
    Gives the last carried values, then what the body stacks: [steps, ...] each. ShapeError or DTypeError when operands and
    body do not fit.
    """
    starts = [t._read() if isinstance(t, Tensor) else recorder.record("full", (), (t[0], 0.0, t[1])) for t in carried]
    nodes = (*starts, *[t._read() for t in (*scanned, *whole)])
    made = recorder.record_many("scan", nodes, (body, len(carried), len(scanned), steps, reverse))
    return [wrap(node) for node in made]
