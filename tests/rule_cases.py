"""Programs a rewrite rule fires on, found by drawing types and attributes until its pattern fits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from graphs import Recorder
from lamina.dialects.book import OPS
from lamina.dialects.errors import LaminaError
from lamina.dialects.graph import Graph
from lamina.dialects.types import (
    DType,
    Shape,
    Type,
    bool_,
    float16,
    float32,
    float64,
    int32,
    int64,
    size_of,
)
from lamina.passes.rule_language import Call, Expr, Name, Number, Rule, is_number

CONSTANTS = (2.0, 0.5, -4.0, 0.25, 3.0)
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.5, 1e30, -1e30, 3e-39, 7.0])
RANDOM_DTYPES = (float32, float64, float16, int32, int64, bool_)


@dataclass
class Case:
    """One way to fill in a rule's names."""

    draw: random.Random
    shape: Shape
    dtype: DType
    names: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Type] = field(default_factory=dict)

    def graph(self, rule: Rule) -> Graph:
        """The pattern as a program. LaminaError, or a broken tuple operation, when the draw does not fit."""
        self.collect(rule.pattern, "tensor", "")
        recorder = Recorder()
        ids = {name: recorder.input(*self.tensors[name], name=name) for name in self.tensors}
        return recorder.graph(self.emit(rule.pattern, recorder, ids))

    def collect(self, e: Expr, kind: str, dtype: str) -> None:
        """Draw a value for every name of the pattern."""
        if isinstance(e, Name) and e.is_constant:
            self.names.setdefault(e.id, self.draw.choice(CONSTANTS))
        elif isinstance(e, Name) and kind == "tensor" and e.id not in self.tensors:
            self.tensors[e.id] = (self.thinned(), self.type_for(dtype))
        elif isinstance(e, Name) and e.id not in self.names:
            self.names[e.id] = self.attribute(kind)
        elif isinstance(e, Call):
            stanza = OPS[e.fn]
            for arg, p in zip(e.args, (*stanza.tensors, *stanza.attributes), strict=True):
                self.collect(arg, p.kind, p.dtype)

    def thinned(self) -> Shape:
        if self.draw.random() < 0.6:
            return self.shape
        return tuple(1 if self.draw.random() < 0.5 else d for d in self.shape)

    def type_for(self, word: str) -> DType:
        if word == "bool":
            return bool_
        if word in ("int", "bits", "int64"):
            return int64
        return self.draw.choice(RANDOM_DTYPES) if word == "any" and self.draw.random() < 0.2 else self.dtype

    def attribute(self, kind: str) -> Any:
        rank = len(self.shape)
        if kind == "axes":
            return tuple(a for a in range(rank) if self.draw.random() < 0.5)
        if kind == "perm":
            return tuple(self.draw.sample(range(rank), rank))
        if kind == "dtype":
            return self.draw.choice(RANDOM_DTYPES)
        if kind == "shape":
            choices = [
                self.shape,
                self.thinned(),
                (size_of(self.shape),),
                (1, *self.shape),
                tuple(max(d - 1, 1) for d in self.shape),
            ]
            return self.draw.choice(choices)
        if kind == "ints":
            return self.draw.choice(
                [(0,) * rank, (1,) * rank, tuple(self.draw.choice((-1, 0, 1, 2)) for _ in range(rank))]
            )
        return self.draw.choice((0, 1, 2))

    def emit(self, e: Expr, r: Recorder, ids: dict[str, int], like: int | None = None) -> int:
        """Record an expression; a number becomes a constant typed like its neighbour."""
        if isinstance(e, Name) and not e.is_constant:
            return ids[e.id]
        if is_number(e):
            shape, dtype = (self.shape, self.dtype) if like is None else r.types[like]
            return r.full(shape, self.number(e), dtype)
        assert isinstance(e, Call)
        count = len(OPS[e.fn].tensors)
        tensors: list[int | None] = [None if is_number(a) else self.emit(a, r, ids) for a in e.args[:count]]
        neighbour = next((t for t in reversed(tensors) if t is not None), None)
        operands = [
            self.emit(a, r, ids, neighbour) if t is None else t for a, t in zip(e.args, tensors, strict=False)
        ]
        attrs = tuple(self.number(a) for a in e.args[count:])
        return r(e.fn, *operands, attrs=attrs)

    def number(self, e: Expr) -> Any:
        return e.value if isinstance(e, Number) else self.names[e.id]  # type: ignore[union-attr]  # patterns hold names and numbers

    def inputs(self, graph: Graph, special: bool, seed: int) -> list[np.ndarray]:
        """Special values where a rule claims to keep them, else numbers that are easy on functions."""
        rng = np.random.default_rng(seed)
        arrays = []
        for shape, dtype in graph.inputs:
            if dtype.is_floating_point:
                drawn = rng.choice(SPECIAL, shape) if special else rng.uniform(0.3, 2, shape)
            else:
                drawn = rng.integers(0, 2, shape)
            with np.errstate(all="ignore"):
                arrays.append(np.asarray(drawn).astype(dtype.numpy))
        return arrays


def cases(rule: Rule, tries: int = 4000, seed: int = 0) -> Iterator[tuple[Case, Graph]]:
    """Programs that hold the rule's pattern."""
    draw = random.Random(seed)
    for _ in range(tries):
        rank = draw.choice((0, 1, 1, 2, 2, 3))
        case = Case(draw, tuple(draw.choice((1, 2, 3, 4)) for _ in range(rank)), float32)
        try:
            yield case, case.graph(rule)
        except (LaminaError, ValueError, IndexError, TypeError):
            continue
