"""Gathered: the state of several parameters as one Node that holds all its arrays, for as long as nobody looks at it.

A step reads and writes every array of the state, a program looks at it when it saves a checkpoint. In between there need not be a
Tensor, a Storage and two Nodes for each of them. Whether somebody could look without asking the optimizer is seen in reference
counts: only what nobody else refers to is gathered.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from ...dialects.types import DTYPES
from .. import recorder
from ..node import HELD, RESULT, Node
from ..phrases import Phrase
from ..recorder import _weakly
from ..tensor import Tensor, wrap
from ..views import LeafMark
from .updates import write

_COUNT = (), DTYPES["float32"]
_TOLD = {"_told", "_label"}  # what a tensor may have of its own that says nothing about its contents


def _looking() -> int:
    """What looking through a list adds to a reference count; interpreters differ."""
    held = [Node(None, (), (), _COUNT, "", False, 0)]
    return list(map(getrefcount, held))[0] - 1


_TWICE = _looking() + 2


class Gathered:
    """group, params: whose state it is. names: the entries of each. step: of the last update; None: not counted.

    node: that with the arrays.
    """

    __slots__ = ("group", "params", "names", "step", "node", "_known", "__weakref__")

    def __init__(self, group: dict[str, Any], params: list[Tensor], names: tuple[str, ...], step: int | None, node: Node) -> None:
        self.group = group
        self.params = params
        self.names = names
        self.step = step
        self.node = node
        self._known: tuple[str, tuple, list, Phrase] | None = None

    def fits(self, group: dict[str, Any], params: list[Tensor], names: tuple[str, ...]) -> bool:
        """Whether this is the state of these, and of no others."""
        own = self.params
        return self.group is group and self.names == names and len(own) == len(params) and all(map(is_, own, params))

    def update(self, op: str, changing: tuple[Node, ...], attrs: tuple, where: str) -> None:
        """Record one step of every parameter: of `op`'s results the first is its new value, the others its state's."""
        self._compute()
        state, operands = recorder.state, []
        start = state.order
        for p in self.params:
            operands.append(p._node if p._seen == p._storage.version else p._read())
            operands.append(g if type(g := p._grad) is Node else g._read())
        operands += changing
        types, known = [n.type for n in operands], self._known
        if known is None or known[0] != op or known[1] != attrs or known[2] != types:
            known = self._known = op, attrs, types, self._phrase(op, operands, len(changing), attrs)
        operands.append(self.node)
        *values, self.node = known[3].with_held(operands, where)
        for p, node in zip(self.params, values):  # noqa: B905  # one for each
            storage, chain = p._storage, p._chain
            if storage.host is None and len(chain) == 1 and type(chain[0]) is LeafMark and not storage.node.requires_grad:
                storage.replace(node, start)  # what `write` does for most parameters
                p._forget()
            else:
                write(p, node, start)
        if self.step is not None:
            self.step += 1
        state.pending.append(_weakly(self))

    def _phrase(self, op: str, operands: list[Node], changing: int, attrs: tuple) -> Phrase:
        """The steps, from values, gradients, changing numbers and then the arrays, to the new values and arrays."""
        count, each = 2 * len(self.params), len(self.names)
        arrays = count + changing
        numbers = list(range(count, arrays))
        place = arrays + each * len(self.params)
        steps: list[tuple[str, tuple, Sequence[int], Any, bool]] = []
        results: list[int] = []
        for i in range(len(self.params)):
            own = [Node(None, (), (), type, "", False, 0) for type in self.node.type[each * i : each * (i + 1)]]
            types = recorder.infer(op, (*operands[2 * i : 2 * i + 2], *own, *operands[count:]), attrs)
            steps.append((op, attrs, [2 * i, 2 * i + 1, *range(arrays + each * i, arrays + each * (i + 1)), *numbers], types, False))
            steps += [(RESULT, (k,), [place], type, False) for k, type in enumerate(types)]
            results += range(place + 1, place + 2 + each)
            place += 1 + len(types)
        return Phrase.once(steps, results, [k for k in range(len(results)) if k % (1 + each)])

    def _compute(self) -> None:
        if self.node.value is None:
            recorder.flush((self.node,))

    def release(self, table: dict[Tensor, dict[str, Any]]) -> None:
        """Give every parameter its entries in the table again."""
        self._compute()
        step = None if self.step is None else wrap(recorder.constant(np.array(self.step, np.float32), _COUNT))
        tensors = [wrap(recorder.leaf(array, type)) for array, type in zip(self.node.value, self.node.type, strict=True)]
        self.node.value = []
        each = len(self.names)
        for i, p in enumerate(self.params):
            if step is not None:
                table[p]["step"] = step
            table[p].update(zip(self.names, tensors[each * i : each * (i + 1)], strict=True))


def gathered(
    owner: dict[str, Any], entry: str, group: dict[str, Any], params: list[Tensor], names: tuple[str, ...], counted: bool
) -> Gathered | None:
    """The state of some parameters in the table that is an entry of its owner; None where it is not all there, or not the owner's alone.

    The arrays are copied: no other Node of a program has one of them. counted: steps are, and all are at the same one.
    """
    looked: list[Any] = [owner[entry]]
    looked += map(owner[entry].get, params)
    expected = ("step", *names) if counted else names
    if not params or any([type(row) is not dict or tuple(row) != expected for row in looked[1:]]):
        return None
    step = looked[1]["step"] if counted else None
    if counted and (not isinstance(step, Tensor) or any([row["step"] is not step for row in looked[1:]])):
        return None
    looked += [row[name] for row in looked[1:] for name in names]
    first = 1 + len(params)
    if not all(map(_is_plain, looked[first:])):
        return None
    looked += [t._storage for t in looked[first:]]
    if any([count != _TWICE for count in map(getrefcount, looked)]):
        return None
    number = None if step is None else int(step.item())
    nodes = [t._storage.node for t in looked[first : first + len(params) * len(names)]]
    held = Node(HELD, (), (), tuple([n.type for n in nodes]), "", False, 0, [np.array(n.value, order="C") for n in nodes])
    for p in params:
        owner[entry][p].clear()
    return Gathered(group, list(params), names, number, held)


def _is_plain(entry: Any) -> bool:
    """A tensor whose memory is its own, known and without history."""
    if type(entry) is not Tensor or entry._chain or not entry.__dict__.keys() <= _TOLD:
        return False
    node = entry._storage.node
    return entry._storage.host is None and node is not None and isinstance(node.value, np.ndarray) and not node.requires_grad
