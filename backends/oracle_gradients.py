"""Gradients under the oracle: a backward walk over numpy values, the witness of the autodiff pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import Operation, SSAValue

from ..dialects.autodiff import GradOp, SavedOp
from ..dialects.book import OPS
from ..dialects.errors import UnsupportedError
from ..dialects.ops import BookOp, attrs_of, stanza_of
from ..dialects.types import Type, dtype_of
from ..passes.program import origin_text

Array = np.ndarray
Env = dict[SSAValue, Array]


class Entry:
    """One evaluated op on the tape: which slots it read and wrote, and how."""

    __slots__ = ("attrs", "name", "operands", "origin", "results")

    def __init__(
        self,
        name: str,
        attrs: tuple[Any, ...],
        operands: tuple[Slot, ...],
        results: tuple[Slot, ...],
        origin: str | None,
    ) -> None:
        self.name = name
        self.attrs = attrs
        self.operands = operands
        self.results = results
        self.origin = origin


class Slot:
    """A value on the tape."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array


class Tape:
    """Builds ops on slots and notes them, so that what a gradient computed can be differentiated again."""

    def __init__(self, origin: str | None = None) -> None:
        self.entries: list[Entry] = []
        self.origin = origin

    def __call__(self, name: str, operands: Sequence[Slot], attrs: tuple[Any, ...]) -> tuple[Slot, ...]:
        arrays = OPS[name].evaluate([slot.array for slot in operands], attrs)
        results = tuple(map(Slot, arrays))
        self.entries.append(Entry(name, attrs, tuple(operands), results, self.origin))
        return results

    def type(self, slot: Slot) -> Type:
        """Shape and dtype of a slot."""
        return slot.array.shape, dtype_of(slot.array)


def evaluate_grad(grad: GradOp, env: Env) -> list[Array]:
    """The results of an autodiff.grad: one array per wrt value. env: every value before it."""
    tape, slots = _record(grad, env)
    return [slot.array for slot in _of_seeds(tape, *(slots[value] for value in grad.operands))]


def _needed(end: GradOp) -> list[Operation]:
    """The ops before `end` that its loss is computed by, from the first wrt value on: what is before is a constant to it."""
    needed, ops = set(end.operands), []
    edges = {value.owner for value in end.wrt}
    op = end.prev_op
    while op is not None and edges:
        edges.discard(op)
        if not needed.isdisjoint(op.results):
            ops.append(op)
            needed.update(op.operands)
            if isinstance(op, GradOp):  # it is spelled out: all of its own walk, too
                edges.update(value.owner for value in op.wrt)
        op = op.prev_op
    return ops[::-1]


def _record(end: GradOp, env: Env) -> tuple[Tape, dict[SSAValue, Slot]]:
    """The ops a gradient walks through as a tape; earlier grads are spelled out on it."""
    tape = Tape()
    slots: dict[SSAValue, Slot] = {}

    def of(value: SSAValue) -> Slot:
        if value not in slots:
            slots[value] = Slot(env[value])
        return slots[value]

    for op in _needed(end):
        operands = tuple(of(value) for value in op.operands)
        if isinstance(op, GradOp):
            results = tuple(_of_seeds(tape, *operands))
        elif isinstance(op, SavedOp):
            results = (Slot(env[op.results[0]]),)
            tape.entries.append(Entry("autodiff.saved", (), operands, results, None))
        else:
            assert isinstance(op, BookOp)
            results = tuple(Slot(env[r]) for r in op.results)
            tape.entries.append(Entry(stanza_of(op).name, attrs_of(op), operands, results, origin_text(op)))
        slots.update(zip(op.results, results, strict=True))
    for value in end.operands:
        of(value)
    return tape, slots


def _of_seeds(tape: Tape, loss: Slot, seed: Slot, *wrt: Slot) -> list[Slot]:
    """Cotangents of the wrt slots: for several seeds, one walk after the other."""
    shape = loss.array.shape
    if seed.array.ndim == len(shape):
        return backward(tape, loss, seed, wrt)
    rows: list[list[Slot]] = []
    for i in range(len(seed.array)):
        (row,) = tape("slice", (seed,), ((i,) + (0,) * len(shape), (1, *shape), (1,) * (len(shape) + 1)))
        found = backward(tape, loss, tape("reshape", (row,), (shape,))[0], wrt)
        rows.append([tape("reshape", (slot,), ((1, *slot.array.shape),))[0] for slot in found])
    if not rows:
        return [Slot(np.zeros((0, *slot.array.shape), slot.array.dtype)) for slot in wrt]
    return [tape("concat", parts, (0,))[0] for parts in zip(*rows, strict=True)]


def backward(tape: Tape, loss: Slot, seed: Slot, wrt: Sequence[Slot]) -> list[Slot]:
    """Cotangents of the wrt slots; zeros where the loss does not depend on one. New ops go on the tape."""
    cotangents: dict[Slot, Slot] = {loss: seed}
    active = set(wrt)
    _spread(active, tape.entries)
    pending = list(tape.entries)
    while pending:
        entry = pending.pop()
        arrived = [cotangents.get(slot) for slot in entry.results]
        if not any(arrived) or active.isdisjoint(entry.operands):
            continue
        if entry.name in _SAME:
            found = arrived
        elif not OPS[entry.name].derives(tuple(g is not None for g in arrived)):
            opened = _opened(tape, entry)
            _spread(active, opened)
            pending += opened
            continue
        else:
            wanted = tuple(slot in active for slot in entry.operands)
            stanza = OPS[entry.name]
            found = stanza.gradients(tape, entry.operands, entry.results, arrived, entry.attrs, wanted)
        for slot, g in zip(entry.operands, found, strict=False):
            if g is not None:
                known = cotangents.get(slot)
                cotangents[slot] = g if known is None else tape("add", (known, g), ())[0]
    return [cotangents.get(slot) or Slot(np.zeros_like(slot.array)) for slot in wrt]


def _spread(active: set[Slot], entries: Sequence[Entry]) -> None:
    """Add the floating-point results that depend on an active slot."""
    for entry in entries:
        sources = entry.operands[:1] if entry.name in _SAME else entry.operands
        if not active.isdisjoint(sources):
            active.update(slot for slot in entry.results if dtype_of(slot.array).is_floating_point)


_SAME = ("autodiff.saved", "same")
"""Entries whose first operand and result are the same value to a derivative."""


def _opened(tape: Tape, entry: Entry) -> list[Entry]:
    """The ops a composite stands for, put in its place on the tape."""
    stanza = OPS[entry.name]
    if stanza.family != "is":
        raise UnsupportedError(f"{entry.name} has no derivative", at=entry.origin)
    inner = Tape(entry.origin)
    values = stanza.open(inner, entry.operands, entry.attrs)
    for value, result in zip(values, entry.results, strict=True):
        inner.entries.append(Entry("same", (), (value,), (result,), entry.origin))
    at = tape.entries.index(entry)
    tape.entries[at : at + 1] = inner.entries
    return inner.entries
