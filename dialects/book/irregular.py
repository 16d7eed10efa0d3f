"""Ops whose text is not enough: classes that stand in for Stanza (any number of operands, results from a body)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DTypeError, LaminaError, ShapeError
from ..types import Type, dtype_of, show_type
from .expr import Build, Evaluator
from .scan import Scan
from .stanza import Stanza


class Concat(Stanza):
    """One tensor parameter that stands for any number of operands, equal in everything but the axis."""

    def check_arity(self, types: Sequence[Type], attrs: tuple) -> None:
        """At least one operand, one axis."""
        if not types or len(attrs) != 1 or not isinstance(attrs[0], int):
            raise LaminaError(
                f"{self.name} takes tensors and an axis", help=f"its signature is {self.signature}"
            )

    def _infer(self, types: tuple[Type, ...], attrs: tuple) -> tuple[Type, ...]:
        self.check_arity(types, attrs)
        (axis,), (first, dtype) = attrs, types[0]
        if not 0 <= axis < len(first):
            raise self.complain(
                ShapeError, f"concat needs an axis of {len(first)} dimensions, got {axis}", types
            )
        for shape, other in types:
            if other is not dtype:
                raise self.complain(
                    DTypeError,
                    f"concat needs operands of one dtype, got {dtype.name} and {other.name}",
                    types,
                )
            if len(shape) != len(first) or any(
                a != b for k, (a, b) in enumerate(zip(shape, first)) if k != axis
            ):
                raise self.complain(
                    ShapeError, f"concat needs equal sizes beside axis {axis}, got {first} and {shape}", types
                )
        total = sum(shape[axis] for shape, _ in types)
        return (((*first[:axis], total, *first[axis + 1 :]), dtype),)

    def complain(self, error: type[LaminaError], sentence: str, types: Sequence[Type]) -> LaminaError:
        """An error that lists every operand."""
        facts = [(f"xs[{i}]", show_type(t), "") for i, t in enumerate(types)]
        return error(sentence, facts, help=f"{self.name} is {self.signature}")

    def evaluate(self, arrays: Sequence[np.ndarray], attrs: tuple = ()) -> tuple[np.ndarray, ...]:
        """The operands, one after the other."""
        arrays = tuple(map(np.asarray, arrays))
        self.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)
        return (np.concatenate(arrays, attrs[0]),)

    def gradients(
        self,
        build: Build,
        operands: Sequence,
        results: Sequence,
        cotangents: Sequence,
        attrs: tuple,
        wanted: Sequence[bool],
    ) -> list:
        """The slices of the cotangent that belong to the operands."""
        if cotangents[0] is None:
            return [None] * len(operands)
        env = {"g": cotangents[0], "xs": tuple(operands), "axis": attrs[0]}
        parts = Evaluator(build, env, self.bindings, self.book).value(self.derivatives["xs"])
        return [part if want else None for part, want in zip(parts, wanted)]


IRREGULAR: dict[str, type[Stanza]] = {"concat": Concat, "scan": Scan}
