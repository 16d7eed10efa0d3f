"""A program whose loops were rolled, called as the graph that was recorded: what differs from turn to turn lies side by side in one
array.

Outputs of single turns are rows of the program's outputs, no copies; rows that come back as inputs of another program are found where
they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .wrapped_program import WrappedProgram

if TYPE_CHECKING:
    from ..passes.roll_writer import Rolled
    from .executable import Executable


class RolledProgram(WrappedProgram):
    """A program of a rolled graph behind the inputs and outputs of the graph it was rolled from."""

    def __init__(self, program: Executable | Callable[..., list[np.ndarray]], rolled: Rolled) -> None:
        super().__init__(program)
        self.inputs = rolled.inputs
        self._targets = [(k, (*rows, ...) if rows else None) for k, *rows in rolled.outputs]
        self._own = {source: k for k, source in enumerate(rolled.inputs) if isinstance(source, int)}
        self._spare: tuple[Mapping[int, int] | None, Mapping[int, int] | None] = (None, None)

    def __call__(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None = None) -> list[np.ndarray]:
        """Run on the recorded graph's inputs; see `Executable`."""
        if spare is not self._spare[0]:
            self._spare = spare, None if spare is None else {self._own[i]: n for i, n in spare.items() if i in self._own}
        return self._spread(self.program(self._gathered(arrays), self._spare[1]))

    def bind(self, arrays: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
        """This program as a function of the inputs that are None here; see `Executable.bind`."""
        places = [i for i, array in enumerate(arrays) if array is None]
        number = {i: k for k, i in enumerate(places)}
        fixed: list[np.ndarray | None] = []
        changing: list[int | list[int | np.ndarray]] = []  # of each input that is None: where its parts come from
        for source in self.inputs:
            group = (source,) if isinstance(source, int) else source
            if any(i in number for i in group):
                fixed.append(None)
                changing.append(number[source] if isinstance(source, int) else [number.get(i, arrays[i]) for i in source])  # type: ignore[misc]
            else:
                fixed.append(arrays[source] if isinstance(source, int) else stacked([arrays[i] for i in source]))  # type: ignore[misc]
        bound = self.program.bind(fixed)

        def call(values: Sequence[np.ndarray]) -> list[np.ndarray]:
            given = [
                values[part] if isinstance(part, int) else stacked([values[p] if isinstance(p, int) else p for p in part])
                for part in changing
            ]
            return self._spread(bound(given))

        return call

    def _gathered(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [arrays[s] if isinstance(s, int) else stacked([arrays[i] for i in s]) for s in self.inputs]

    def _spread(self, made: list[np.ndarray]) -> list[np.ndarray]:
        return [made[k] if at is None else made[k][at] for k, at in self._targets]


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one type as rows of one: the array they are the rows of, if they are, else a copy."""
    base = arrays[0].base
    if isinstance(base, np.ndarray) and base.shape == (len(arrays), *arrays[0].shape) and base.dtype == arrays[0].dtype and _are_rows(base, arrays):
        return base
    made = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for i, array in enumerate(arrays):
        made[i] = array
    return made


def _are_rows(base: np.ndarray, arrays: Sequence[np.ndarray]) -> bool:
    if not base.flags.c_contiguous or not all(array.base is base and array.flags.c_contiguous for array in arrays):
        return False
    start, step = base.ctypes.data, base.strides[0]
    return all(array.__array_interface__["data"][0] == start + i * step for i, array in enumerate(arrays))
