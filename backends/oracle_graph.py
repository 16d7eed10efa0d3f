"""The oracle of a recorded Graph: its steps in numpy, one after the other, without a module and without xDSL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dialects.book import OPS
from ..dialects.errors import DTypeError, ShapeError
from ..dialects.graph import Graph
from ..dialects.types import show_type
from .oracle_gradients import GRAD, SAVED, Done, evaluate_grad


def evaluate_graph(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs for these inputs, bit for bit what `oracle.evaluate` gives for the captured module.

    arrays: one per input, of its shape and dtype (ShapeError, DTypeError).
    """
    if len(arrays) != len(graph.inputs):
        raise ShapeError(f"the program takes {len(graph.inputs)} inputs, got {len(arrays)}")
    for i, (array, (shape, dtype)) in enumerate(zip(arrays, graph.inputs, strict=True)):
        if array.shape != shape:
            raise ShapeError(f"input {i} has shape {list(array.shape)}", [("expected", show_type((shape, dtype)), "")])
        if array.dtype != dtype.numpy:
            raise DTypeError(f"input {i} holds {array.dtype}", [("expected", show_type((shape, dtype)), "")])
    values = list(arrays)
    done: list[Done[int]] = []
    for (name, attrs, operands), origin in zip(graph.steps, graph.origins, strict=True):
        if name == GRAD:
            results = evaluate_grad(operands, reversed(done), values)
        elif name == SAVED:
            results = [values[operands[1]]]
        else:
            results = OPS[name].evaluate([values[i] for i in operands], attrs)
        first = len(values)
        values += results
        done.append(Done(name, attrs, operands, range(first, len(values)), origin))
    return [values[i] for i in graph.outputs]
