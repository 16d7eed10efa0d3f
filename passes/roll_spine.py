"""A Graph as a spine: the steps that compute, in order, every operand a root and the views it is read through.

Views and constants cost nothing and stand wherever they were first used, so loops are looked for without them: a loop's turns are
the same on the spine even if the first one also made what all of them read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..dialects.book import OPS
from ..dialects.graph import Graph, Step

ABSENT, INPUT, STEP, CONSTANT = range(4)
"""Kinds of roots: no operand, an input of the graph, a result of a spine step, what a `full` gives."""

MOST_OPERANDS = 24
"""Steps with more operands are not part of loops."""

GRAD, SAVED = "autodiff.grad", "autodiff.saved"


class Chain(NamedTuple):
    """How a root is read: which of its results, then a view of what the inner chain gives."""

    inner: int  # number of a chain, -1 for the root itself
    op: str
    attrs: tuple  # (result,) for the root itself


class Spine:
    """What the search for loops reads of a graph.

    steps: numbers of the graph's steps on the spine. firsts: the value id of each one's first result. tokens: equal for steps that
    may stand in the same place of two turns. kind, at, chain, mask: [position, operand] tables of the roots: kind, number of the input,
    the spine position or the constant, and how it is read, with and without the places slices start at.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[int] = []
        self.firsts: list[int] = []
        self.chains: list[Chain] = []
        self.constants: list[tuple] = []
        self.wrt = {i for s in graph.steps if s.op == GRAD for i in s.operands[2:]}
        self._chain_ids: dict[Chain, int] = {}
        self._masks: list[int] = []
        self._mask_ids: dict[tuple, int] = {}
        self._constant_ids: dict[tuple, int] = {}
        self._token_ids: dict[Any, int] = {}
        base = self.chain_id(Chain(-1, "", (0,)))
        self.roots: list[tuple[int, int, int]] = [(INPUT, i, base) for i in range(len(graph.inputs))]  # of each value
        self._read()

    @property
    def width(self) -> int:
        """Operands in a row of the tables."""
        return self.kind.shape[1]

    def operands(self, position: int) -> list[tuple[int, int, int]]:
        """(kind, at, chain) of each operand of a spine step."""
        return [self.roots[i] for i in self.graph.steps[self.steps[position]].operands]

    def chain_id(self, chain: Chain) -> int:
        """The number of a chain; equal chains have one number."""
        found = self._chain_ids.get(chain)
        if found is None:
            found = self._chain_ids[chain] = len(self.chains)
            self.chains.append(chain)
            inner = self._masks[chain.inner] if chain.inner >= 0 else -1
            attrs = (None, *chain.attrs[1:]) if chain.op == "slice" else chain.attrs
            self._masks.append(self._mask_ids.setdefault((inner, chain.op, attrs), len(self._mask_ids)))
        return found

    def views(self, chain: int) -> tuple[int, list[tuple[str, tuple]]]:
        """Which result of its root a chain reads, and the views from there on."""
        found = []
        while (c := self.chains[chain]).inner >= 0:
            found.append((c.op, c.attrs))
            chain = c.inner
        return c.attrs[0], found[::-1]

    def _read(self) -> None:
        graph = self.graph
        hard = {*self.wrt, *(s.operands[0] for s in graph.steps if s.op == SAVED)}
        shown = set(graph.outputs)
        positions: list[tuple[int, ...]] = []
        tokens: list[int] = []
        value = len(graph.inputs)
        for number, step in enumerate(graph.steps):
            count = results_of(step)
            fixed = value in hard or (value in shown and not self._reshapes(step, value))
            root = self._folded(step) if not fixed or (step.op == "full" and value not in self.wrt) else None
            if root is not None:
                self.roots.append(root)
            else:
                tokens.append(self._token(step, range(value, value + count)))
                self.roots += [(STEP, len(self.steps), self.chain_id(Chain(-1, "", (k,)))) for k in range(count)]
                self.steps.append(number)
                self.firsts.append(value)
                positions.append(step.operands if tokens[-1] >= 0 else ())
            value += count
        self.tokens = np.array(tokens, np.int64)
        self._fill_tables(positions)

    def _reshapes(self, step: Step, value: int) -> bool:
        """Whether an output is a result of the spine in another shape: the squeezed mean of every turn, say."""
        if step.op != "reshape" or self.roots[step.operands[0]][0] != STEP:
            return False
        return self.graph.types[step.operands[0]] != self.graph.types[value]

    def _folded(self, step: Step) -> tuple[int, int, int] | None:
        """The root and chain of a view or a constant; None for a step of the spine."""
        if step.op == "full":
            number = self._constant_ids.setdefault(_exact(step.attrs), len(self._constant_ids))
            if number == len(self.constants):
                self.constants.append(step.attrs)
            return CONSTANT, number, 0
        stanza = OPS.get(step.op)
        if stanza is None or stanza.family != "view" or stanza.is_placement or len(step.operands) != 1:
            return None
        kind, at, inner = self.roots[step.operands[0]]
        return kind, at, self.chain_id(Chain(inner, step.op, step.attrs))

    def _token(self, step: Step, results: range) -> int:
        """A number for what a step does to operands of which types; a negative one for what no loop can hold."""
        types = self.graph.types
        if step.op == GRAD or len(step.operands) > MOST_OPERANDS or not self.wrt.isdisjoint(results):
            return -1 - results.start
        key = (step.op, _exact(step.attrs), tuple([types[i] for i in step.operands]))
        return self._token_ids.setdefault(key, len(self._token_ids))

    def _fill_tables(self, operands: list[tuple[int, ...]]) -> None:
        shape = (len(operands), max(map(len, operands), default=0))
        self.kind, self.at, self.chain = (np.zeros(shape, np.int64) for _ in range(3))
        roots = self.roots
        for position, read in enumerate(operands):
            for k, value in enumerate(read):
                self.kind[position, k], self.at[position, k], self.chain[position, k] = roots[value]
        self.mask = np.array(self._masks, np.int64)[self.chain]


def results_of(step: Step) -> int:
    """How many values a step of a graph makes."""
    if step.op == GRAD:
        return len(step.operands) - 2
    return 1 if step.op == SAVED else OPS[step.op].result_count(len(step.operands), step.attrs)


def _exact(attrs: Iterable[Any]) -> tuple:
    """Attributes that are equal only if they mean the same: 0.0 and -0.0, 1 and 1.0 and True differ."""
    return tuple([(type(a), repr(a)) if isinstance(a, float | bool | int) else a for a in attrs])
