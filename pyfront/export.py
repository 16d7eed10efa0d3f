"""Export: one call of a model as a Graph whose inputs are its weights and its examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dialects.errors import LaminaError
from ..dialects.graph import Graph
from . import recorder
from .autograd import no_grad
from .nn.module import Module
from .schedule import Schedule
from .tensor import Tensor, wrap


class Exported(NamedTuple):
    """graph: the call. weights: input index -> contents. names: one per input."""

    graph: Graph
    weights: dict[int, np.ndarray]
    names: tuple[str | None, ...]


def export(model: Module, examples: Sequence[Tensor], names: Sequence[str] | None = None) -> Exported:
    """Record ``model(*examples)`` once. The examples' shapes are the program's; their values do not matter.

    names: one per example ("x", "x2", … otherwise). LaminaError when the result depends on values read on the way
    (``.item()``, ``if x.sum() > 0``) or is not made of tensors.
    """
    recorder.flush()
    labels = list(names) if names is not None else ["x" if i == 0 else f"x{i + 1}" for i in range(len(examples))]
    arrays = [np.array(example._value()) for example in examples]
    fresh = [_argument(array, example, label) for array, example, label in zip(arrays, examples, labels, strict=True)]
    recorder.state.traces += 1
    try:
        with no_grad():
            results = _tensors(model(*fresh))
            schedule = Schedule([result._read() for result in results])
    finally:
        recorder.state.traces -= 1
    known = {id(array): label for array, label in zip(arrays, labels, strict=True)}
    weights = {i: array for i, array in enumerate(schedule.arrays) if id(array) not in known}
    owned = _names_of_state(model)
    named = [
        known.get(id(array)) or owned.get(id(array)) or schedule.graph.names[i] for i, array in enumerate(schedule.arrays)
    ]
    unused = [label for array, label in zip(arrays, labels, strict=True) if not any(a is array for a in schedule.arrays)]
    if unused:
        raise LaminaError(
            f"the result does not depend on {', '.join(unused)}",
            help="values that are read with .item() or .numpy() on the way become constants; compute with tensors instead",
        )
    return Exported(schedule.graph, weights, tuple(named))


def _argument(array: np.ndarray, example: Tensor, label: str) -> Tensor:
    """An input of the program; errors call it by its name. It has no value while the model runs, so that what the recorder
    would do on the host with values it has (a reshape, a concatenation) is recorded as a step of the program."""
    leaf = recorder.leaf(array, example._type)
    leaf.origin = label
    node = recorder.alias(leaf)
    node.value = None
    return wrap(node)


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [tensor for part in result for tensor in _tensors(part)]
    if isinstance(result, dict):
        return [tensor for part in result.values() for tensor in _tensors(part)]
    raise LaminaError(
        f"forward gives a {type(result).__name__}, not tensors", help="return a tensor, or tensors in tuples, lists or dicts"
    )


def _names_of_state(model: Module) -> dict[int, str]:
    """Names of parameters and buffers by the array that holds them."""
    found: dict[int, str] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found.setdefault(id(tensor._read().value if tensor._read().value is not None else tensor._value()), name)
    return found
