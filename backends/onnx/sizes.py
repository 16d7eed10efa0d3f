"""Sizes known only at the call, computed by the model from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dialects.sizes import Real, Size
from ...dialects.types import DType, float64, int64

if TYPE_CHECKING:
    from .writer import Value, Writer

_ONE = ((1,), int64)
_SIGNS = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div"}


class Sizes:
    """What sizes are in nodes. Every size is a tensor of one int64 and is computed once, in the outermost graph.

    sources: of each symbol, the input and the dimension it is read from, and how many of it the symbol counts as one; labels: what a size's expression is called in types.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.sources: list[tuple[str, int, int]] = []
        self.labels: dict[tuple, str] = {}
        self.known: dict[tuple, Value] = {}

    def vector(self, numbers: Sequence[int | Size]) -> str:
        """The name of a tensor of these sizes."""
        root = self.writer.root
        parts = [root.sizes.one(n) for n in numbers]
        if len(parts) == 1:
            return root.name(parts[0])
        return root.name(root.emit("Concat", parts, ((len(parts),), int64), axis=0))

    def one(self, size: int | Size) -> Value:
        """A size as a tensor of one element."""
        root = self.writer.root
        if not isinstance(size, Size):
            return root.constant(np.array([size], np.int64))
        if root is not self.writer:
            return root.sizes.one(size)
        if size._key not in self.known:
            terms = [self._product(monomial, factor) for monomial, factor in sorted(size.terms.items(), reverse=True)]
            self.known[size._key] = self._folded("Add", terms)
        return self.known[size._key]

    def _product(self, monomial: tuple, factor: int) -> Value:
        parts = [self._atom(atom) for atom in monomial]
        if factor != 1 or not parts:
            parts.append(self.one(factor))
        return self._folded("Mul", parts)

    def _folded(self, op: str, parts: list[Value]) -> Value:
        total = parts[0]
        for part in parts[1:]:
            total = self.writer.emit(op, (total, part), _ONE)
        return total

    def _atom(self, atom: tuple) -> Value:
        """A symbol, a whole quotient or a remainder (of numbers that are not negative)."""
        key = ("atom", *atom[:3])
        if key not in self.known:
            if atom[0] == "s":
                name, dim, unit = self.sources[atom[1]]
                made = self.writer.emit("Shape", (name,), _ONE, start=dim, end=dim + 1)
                made = made if unit == 1 else self.writer.emit("Div", (made, self.one(unit)), _ONE)
            else:
                made = self.writer.emit("Div" if atom[0] == "q" else "Mod", (self.one(atom[3].size), self.one(atom[2])), _ONE)
            self.known[key] = made
        return self.known[key]

    def scalar(self, number: Size | Real, dtype: DType) -> str:
        """The name of a tensor of rank 0 that holds a number made of sizes."""
        root = self.writer.root
        value = root.sizes._real(number) if isinstance(number, Real) else root.sizes.one(number)
        flat = root.emit("Reshape", (value, root.ints(())), ((), value.dtype))
        return root.name(root.cast(flat, dtype))

    def _real(self, number: Any) -> Value:
        """A number of 64 bits as a tensor of one element."""
        writer = self.writer
        if isinstance(number, Real):
            sign, a, b = number.parts
            return writer.emit(_SIGNS[sign], (self._real(a), self._real(b)), ((1,), float64))
        if isinstance(number, Size):
            return writer.cast(self.one(number), float64)
        return writer.constant(np.array([number], np.float64))
