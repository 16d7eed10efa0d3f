"""Recordings: one call of a model, recorded at the sizes of its example and, where sizes are to stay open, at others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dialects.errors import LaminaError
from .dynamic_shapes import Labels, examples
from .export import Example, Exported, export_call
from .nn.module import Module
from .optim.optimizer import Optimizer
from .recorded_state import RecordedState
from .tensor import Tensor


class SizeError(LaminaError):
    """A model that does not run at other sizes than its example's."""


def record_at_sizes(
    model: Module | None, function: Callable[..., Any], example: Example, arrays: Sequence[np.ndarray], names: Sequence[str], labels: Labels,
    optimizers: Sequence[Optimizer] = (),
) -> list[Exported]:  # fmt: skip
    """``function`` called as the example says: once, or where sizes have labels three times. model: whose parameters are named.
    optimizers: those the function steps; then derivatives are taken in it.

    Raises SizeError when it fails at other sizes.
    """

    def record(arrays: Sequence[np.ndarray]) -> Exported:
        with RecordedState(model, optimizers) as state:
            return export_call(lambda tensors: example.call(function, tensors), arrays, example.tensors, names, state)

    if not labels:
        return [record(arrays)]
    base, *larger = examples(arrays, labels)
    first = record(base)
    try:
        return [first, *map(record, larger)]
    except Exception as error:  # the model's own, whatever it is
        try:
            return [first, *map(record, examples(arrays, labels, shrink=True)[1:])]
        except Exception:  # what it says of larger sizes is told
            sizes = ", ".join(dict.fromkeys(labels.values()))
            raise SizeError(f"the model does not run with other sizes of {sizes}: {error}", help="sizes without a name stay the example's") from error


def export(model: Module, examples: Sequence[Tensor], names: Sequence[str] | None = None) -> Exported:
    """Record ``model(*examples)`` once. The examples' shapes are the program's; their values do not matter.

    names: one per example (those of forward's parameters otherwise). LaminaError when the result depends on values read on the way
    (``.item()``, ``if x.sum() > 0``) or is not made of tensors.
    """
    example = Example.of(model, tuple(examples), {})
    return record_at_sizes(model, model, example, [np.array(t._value()) for t in examples], list(names or example.names), {})[0]
