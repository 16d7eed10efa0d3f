"""A recorded Graph of complex numbers as one of real numbers: before there is IR, and before derivatives are taken.

Complex inputs and outputs become real ones with a last dimension of 2, which is how they lie in memory; everything between is
what `dialects/book/complex_parts.py` makes of it. The derivative by a complex value is the derivative by its two parts: that
is PyTorch's convention (https://docs.pytorch.org/docs/stable/notes/autograd.html#autograd-for-complex-numbers).
"""

from __future__ import annotations

from typing import Any

from ..dialects.book import OPS
from ..dialects.book.complex_parts import OnParts, Parts
from ..dialects.graph import Graph, Step, is_complex
from ..dialects.types import Type, part_of

_GRAD, _SAVED = "autodiff.grad", "autodiff.saved"


def split_complex(graph: Graph) -> Graph:
    """The graph on real numbers; the graph itself where it is that."""
    return _Split(graph).graph() if is_complex(graph) else graph


def split_type(t: Type) -> Type:
    """The type an input or output has after the split."""
    shape, dtype = t
    return ((*shape, 2), part_of(dtype)) if dtype.is_complex else t


class _Split:
    """Writes the new graph; it is the build that makes steps of real numbers."""

    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.steps: list[Step] = []
        self.origins: list[str] = []
        self.types: list[Type] = []
        self.origin = graph.origins[0] if graph.origins else ""
        self.on = OnParts(self, OPS)

    def type(self, value: int) -> Type:
        return self.types[value]

    def __call__(self, op: str, operands: tuple[int, ...], attrs: tuple) -> tuple[int, ...]:
        return self._append(op, operands, attrs, OPS[op].infer(tuple([self.types[i] for i in operands]), attrs))

    def _append(self, op: str, operands: tuple[int, ...], attrs: tuple, results: tuple[Type, ...]) -> tuple[int, ...]:
        self.steps.append(Step(op, attrs, operands))
        self.origins.append(self.origin)
        first = len(self.types)
        self.types += results
        return tuple(range(first, len(self.types)))

    def graph(self) -> Graph:
        """The whole graph, rewritten."""
        old = self.old
        inputs = tuple(map(split_type, old.inputs))
        self.types += inputs
        wrt = {i for step in old.steps if step.op == _GRAD for i in step.operands[2:]}
        values: list[Any] = []
        for i, (_, dtype) in enumerate(old.inputs):
            values.append(self.on("from_parts", (i,), (dtype,))[0] if dtype.is_complex else i)
            if i in wrt and dtype.is_complex:
                values[i].pair = None  # a derivative is taken by each part: nothing may read both at once
        for step, self.origin in zip(old.steps, old.origins, strict=True):
            operands = tuple([values[i] for i in step.operands])
            made = self._own(step.op, operands, step.attrs) if step.op in (_GRAD, _SAVED) else self.on(step.op, operands, step.attrs)
            for value in made:
                if len(values) in wrt and type(value) is Parts:
                    self.on.imaginary(value)  # a derivative is taken by it, too
                    value.pair = None
                values.append(value)
        outputs = []
        for i in old.outputs:
            value, dtype = values[i], old.types[i][1]
            outputs.append(self.on("as_parts", (value,), (part_of(dtype),))[0] if dtype.is_complex else value)
        return Graph(inputs, tuple(self.steps), tuple(outputs), tuple(self.origins), old.names, tuple(self.types))

    def _own(self, op: str, operands: tuple, attrs: tuple) -> list[Any]:
        """`autodiff.grad` and `autodiff.saved`, which are not in the book."""
        if op == _SAVED:
            value, contents = operands
            if type(value) is not Parts:
                return list(self._append(op, operands, attrs, (self.types[contents],)))
            pairs = ((value.re, contents.re), (self.on.imaginary(value), self.on.imaginary(contents)))
            return [Parts(*[self._append(op, pair, attrs, (self.types[pair[1]],))[0] for pair in pairs])]
        loss, seed, *wrt = operands
        flat = [part for v in wrt for part in ((v.re, v.im) if type(v) is Parts else (v,))]
        whole = self.on.type(loss)[0]
        several = self.on.type(seed)[0][: len(self.on.type(seed)[0]) - len(whole)]  # one derivative for each of many seeds
        types = tuple([((*several, *shape), dtype) for shape, dtype in (self.types[i] for i in flat)])
        pairs = [(loss.re, seed.re), (loss.im, seed.im)] if type(loss) is Parts else [(loss, seed)]
        found = [self._append(op, (a, b, *flat), attrs, types) for a, b in pairs if a is not None and b is not None]
        total = found[0]
        for more in found[1:]:
            total = tuple([self("add", pair, ())[0] for pair in zip(total, more, strict=True)])
        parts = iter(total)
        return [Parts(next(parts), next(parts)) if type(v) is Parts else next(parts) for v in wrt]
