"""Replaying: a recorded call as one program over argument and captured arrays, called with guards and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects import flags
from ..dialects.graph import Graph
from . import recorder, views
from .captured_state import CapturedState
from .nn.changes import CHANGES
from .node import Node
from .schedule import Schedule
from .storage import Storage
from .tensor import from_storage, whereabouts

if TYPE_CHECKING:
    from .compiling import Trace

_NOT = (False, None)
_OFTEN = 8  # calls after which more are expected


class Replay:
    """A Trace as a Graph. Call it with the arguments: (True, result), or (False, None) when a guard does not hold."""

    def __init__(self, trace: Trace, state: CapturedState) -> None:
        self.state = state
        self.results = trace.results
        self.written = trace.written
        self.graph, order, self.outputs = _graph(trace)
        self.types = [trace.steps[number][3] for number in trace.roots]
        self.origins = [trace.origins[number] for number in trace.roots]
        sources = [trace.inputs[n][0] if kind == "input" else None for kind, n in order]
        self.arrays: list[Any] = [trace.constants[n][0] if kind == "constant" else None for kind, n in order]
        self.given = [(i, s.argument, s.chain) for i, s in enumerate(sources) if s is not None and s.argument >= 0]
        self.captured = [(i, s.storage, s.chain) for i, s in enumerate(sources) if s is not None and s.argument < 0]
        self.seen: list[Any] = []
        self.calls = 0  # in Python
        self.program: Callable[[list[np.ndarray]], list[np.ndarray]] | None = None
        self.roots = len(trace.roots) - len(trace.written)
        self.single = trace.results == ("tensor", 0, ()) and not trace.written and self.outputs == [0]

    def __call__(self, args: tuple) -> tuple[bool, Any]:
        state = self.state
        if (state.count != CHANGES[0] or state.has_slots) and not state.holds():
            return _NOT
        are_at = recorder.state.are_at
        if are_at is None or not are_at(state.tensors, self.seen):
            if list(map(whereabouts, state.tensors)) != self.seen and not self._refresh():
                return _NOT
            if are_at is None and not recorder.state.quick:
                self.calls += 1
                if self.calls == _OFTEN:
                    recorder.quicken()
        given = []
        for _, number, chain in self.given:
            tensor = args[number]
            storage = tensor._storage
            is_read = tensor._seen == storage.version and tensor._chain == chain
            node = tensor._node if is_read else views.read(storage, chain)
            given.append(node.value if node.value is not None else recorder.value(node))
        program = self.program
        made = program(given) if program is not None and flags.device.value == "c" else self._run(given)
        if self.single:
            return True, recorder.state.holding(made[0], self.types[0], self.origins[0])
        return True, self._deliver([made[k] if k >= 0 else self.arrays[-1 - k] for k in self.outputs], args)

    def _run(self, given: list[np.ndarray]) -> list[np.ndarray]:
        """Through the driver, as long as it has no compiled program."""
        from ..backends import driver

        for (i, _, _), array in zip(self.given, given, strict=True):
            self.arrays[i] = array
        made = driver.run(self.graph, self.arrays)
        if -1 not in map(lambda k: min(k, 0), self.outputs):  # an output that is an input is read from the list
            changing = {i for i, _, _ in self.given}
            self.program = driver.bound(self.graph, [None if i in changing else a for i, a in enumerate(self.arrays)])
        return made

    def _refresh(self) -> bool:
        """Take the arrays of captured tensors anew; False when it is not the state that was captured, or numpy sees it."""
        self.seen, self.program = [], None
        if not self.state.holds():
            return False
        for _, storage, _ in self.captured:
            if storage.host is not None and storage.is_shared():
                return False
        for i, storage, chain in self.captured:
            self.arrays[i] = recorder.value(views.read(storage, chain))
        self.seen = list(map(whereabouts, self.state.tensors))
        return True

    def _deliver(self, values: list[np.ndarray], args: tuple) -> Any:
        recorder.state.order = start = recorder.state.order + 1
        leaves = [
            Node(None, (), (), type, origin, False, start, value)
            for value, type, origin in zip(values, self.types, self.origins, strict=True)
        ]
        for source, leaf in zip(self.written, leaves[self.roots :], strict=True):
            storage = source.storage if source.argument < 0 else args[source.argument]._storage
            storage.replace(leaf, start)
        storages = [Storage(leaf) for leaf in leaves[: self.roots]]
        return _rebuilt(self.results, storages)


def _rebuilt(shape: Any, storages: list[Storage]) -> Any:
    kind = shape[0]
    if kind == "tensor":
        return from_storage(storages[shape[1]], shape[2])
    if kind == "plain":
        return shape[2]
    if kind == "dict":
        return {key: _rebuilt(part, storages) for key, part in shape[1]}
    parts = [_rebuilt(part, storages) for part in shape[1]]
    return tuple(parts) if kind == "tuple" else parts


def _graph(trace: Trace) -> tuple[Graph, list[tuple[str, int]], list[int]]:
    """The Graph of a trace, what its inputs are, and per root its output number (or -1 - the number of the input it is)."""
    made: dict[tuple[str, int], Node] = {}
    for kind, types in (("input", [t for _, t in trace.inputs]), ("constant", [t for _, t in trace.constants])):
        for number, type in enumerate(types):
            made[kind, number] = Node(None, (), (), type, "", False, 0, np.empty(0))
    for number, (op, attrs, operands, type) in enumerate(trace.steps):
        recorder.state.order += 1
        inputs = tuple(made[o] for o in operands)
        made["step", number] = Node(op, attrs, inputs, type, trace.origins[number], False, recorder.state.order)
    roots = [made["step", number] for number in trace.roots]
    schedule = Schedule(list({id(r): r for r in roots}.values()))
    held = {id(node.value): place for place, node in made.items() if node.value is not None}
    output = {number: k for k, number in enumerate(schedule.outputs)}
    outputs = [output[root.id] if root.id in output else -1 - root.id for root in roots]
    return schedule.graph, [held[id(array)] for array in schedule.arrays], outputs
