"""Constants a program makes for its sizes (masks, positions), as steps: what differs between two recordings is made from the sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dialects.book import OPS
from ..dialects.errors import BackendError
from ..dialects.graph import Graph, Step
from ..dialects.types import Type

Recording = tuple[Graph, Mapping[int, np.ndarray]]


class Progression(NamedTuple):
    """The same number everywhere (axis None), or one that grows by a step along an axis."""

    start: Any
    step: Any
    axis: int | None


def constants_as_steps(recordings: Sequence[Recording], first: int = 0) -> list[Recording]:
    """Recordings of one program at several sizes, each with its constants by input: those whose shapes differ become steps. first: how
    many steps stay in front of them.

    BackendError for a constant that is no progression, or another one at other sizes.
    """
    example, constants = recordings[0]
    if any(len(graph.inputs) != len(example.inputs) for graph, _ in recordings):
        return list(recordings)  # another program altogether, as who compares them will see
    found: dict[int, Progression] = {}
    for i, array in constants.items():
        arrays = [own[i] for _, own in recordings if i in own]
        if any(other.shape != array.shape for other in arrays):
            found[i] = _progression(arrays)
    return [_rewritten(graph, own, found, first) for graph, own in recordings] if found else list(recordings)


def _progression(arrays: Sequence[np.ndarray]) -> Progression:
    arrays = [array for array in arrays if array.size] or [np.zeros(1, arrays[0].dtype)]  # an empty one may hold anything
    for axis in (None, *range(arrays[0].ndim)):
        forms = [_along(array, axis) for array in arrays]
        if forms[0] is not None and all(form == forms[0] for form in forms):
            return forms[0]
    shape = ", ".join(map(str, arrays[0].shape))
    raise BackendError(
        f"the model has a constant [{shape}] whose numbers depend on sizes that are known only when it runs",
        help="compute it from the inputs, take it out of a buffer made for the largest size, or export with fixed sizes",
    )


def _along(array: np.ndarray, axis: int | None) -> Progression | None:
    """The progression an array is along an axis, if it is one."""
    start = array.reshape(-1)[0].item()
    if isinstance(start, complex):
        return None
    if axis is None:
        return Progression(start, 0, None) if bool((array == start).all()) else None
    if array.shape[axis] < 2 or isinstance(start, bool):
        return None
    line = np.moveaxis(array, axis, -1)
    step = line.reshape(-1)[1].item() - start
    equal = np.asarray(start + step * np.arange(array.shape[axis])).astype(array.dtype) == line
    return Progression(start, step, axis) if bool(equal.all()) else None


def _rewritten(graph: Graph, constants: Mapping[int, np.ndarray], found: Mapping[int, Progression], first: int) -> Recording:
    """A recording without the inputs that are found, whose values its first steps make, but for those that stay in front."""
    kept = [i for i in range(len(graph.inputs)) if i not in found]
    place = {i: k for k, i in enumerate(kept)}
    types: list[Type] = [*(graph.inputs[i] for i in kept), *graph.types[len(graph.inputs) : len(graph.inputs) + first]]
    steps: list[Step] = list(graph.steps[:first])

    def add(op: str, attrs: tuple, *operands: int) -> int:
        steps.append(Step(op, attrs, operands))
        types.extend(OPS[op].infer(tuple(types[i] for i in operands), attrs))
        return len(types) - 1

    for i, form in found.items():
        shape, dtype = graph.inputs[i]
        place[i] = add("full", (shape, form.start, dtype))
        if form.axis is not None:
            grown = add("mul", (), add("iota", (shape, form.axis, dtype)), add("full", (shape, form.step, dtype)))
            place[i] = add("add", (), place[i], grown)
    origins = graph.origins[:first] + (graph.origins[0] if graph.origins else "?",) * (len(steps) - first) + graph.origins[first:]
    n = len(graph.inputs)
    place.update({n + i: len(kept) + i for i in range(first)})
    place.update({i: i + len(types) - n - first for i in range(n + first, len(graph.types))})
    steps += [Step(op, attrs, tuple(place[i] for i in operands)) for op, attrs, operands in graph.steps[first:]]
    types += graph.types[n + first :]
    names = tuple(graph.names[i] for i in kept)
    outputs = tuple(place[i] for i in graph.outputs)
    rewritten = Graph(tuple(graph.inputs[i] for i in kept), tuple(steps), outputs, origins, names, tuple(types))
    return rewritten, {place[i]: array for i, array in constants.items() if i not in found}
