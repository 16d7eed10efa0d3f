"""A program on real numbers, called as the graph of complex numbers it was made from: the same memory under another type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..dialects.graph import Graph
from ..dialects.types import Type, part_of
from .wrapped_program import WrappedProgram

if TYPE_CHECKING:
    from .executable import Executable


class ComplexProgram(WrappedProgram):
    """A program of a graph that was split into parts behind the inputs and outputs of the graph before."""

    def __init__(self, program: Executable | WrappedProgram | Callable[..., list[np.ndarray]], graph: Graph) -> None:
        super().__init__(program)
        self._inputs = graph.inputs
        self._outputs = [graph.types[i] for i in graph.outputs]

    def __call__(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None = None) -> list[np.ndarray]:
        """Run on complex arrays. spare is of no use here: a view of an array refers to it."""
        return self._joined(self.program([as_parts(a, t) for a, t in zip(arrays, self._inputs, strict=True)], None))

    def bind(self, arrays: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
        """This program as a function of the inputs that are None here; see `Executable.bind`."""
        types = [t for t, a in zip(self._inputs, arrays, strict=True) if a is None]
        bound = self.program.bind([None if a is None else as_parts(a, t) for a, t in zip(arrays, self._inputs, strict=True)])
        return lambda values: self._joined(bound([as_parts(a, t) for a, t in zip(values, types, strict=True)]))

    def _joined(self, made: list[np.ndarray]) -> list[np.ndarray]:
        return [a.view(t[1].numpy).reshape(t[0]) if t[1].is_complex else a for a, t in zip(made, self._outputs, strict=True)]


def as_parts(array: np.ndarray, t: Type) -> np.ndarray:
    """A complex array as a real one with a last dimension of 2; any other array as it is."""
    shape, dtype = t
    if not dtype.is_complex:
        return array
    return np.ascontiguousarray(array).reshape(-1).view(part_of(dtype).numpy).reshape((*shape, 2))
