"""Gradients under the oracle: a backward walk over numpy values, the witness of the autodiff pass."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..dialects.book import OPS
from ..dialects.errors import UnsupportedError
from ..dialects.types import Type, dtype_of

Array = np.ndarray
Id = TypeVar("Id", bound=Hashable)

GRAD, SAVED = "autodiff.grad", "autodiff.saved"


class Done(NamedTuple, Generic[Id]):
    """A step that was evaluated, its values by whatever its program knows them by."""

    name: str
    attrs: tuple[Any, ...]
    operands: Sequence[Id]
    results: Sequence[Id]
    origin: str | None


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


def evaluate_grad(operands: Sequence[Id], before: Iterable[Done[Id]], arrays: Mapping[Id, Array] | Sequence[Array]) -> list[Array]:
    """The results of an autodiff.grad of a loss, a seed and wrt values: one array per wrt value. before: the steps before it, last
    first. arrays: every value before it.
    """
    tape, slots = _record(operands, _needed(operands, before), arrays)
    return [slot.array for slot in _of_seeds(tape, *(slots[value] for value in operands))]


def _needed(operands: Sequence[Id], before: Iterable[Done[Id]]) -> list[Done[Id]]:
    """The steps that a loss is computed by, from the first wrt value on: what is before is a constant to it."""
    needed, steps, edges = set(operands), [], set(operands[2:])
    for step in before:
        if not edges:
            break
        edges.difference_update(step.results)
        if not needed.isdisjoint(step.results):
            steps.append(step)
            needed.update(step.operands)
            if step.name == GRAD:  # it is spelled out: all of its own walk, too
                edges.update(step.operands[2:])
    return steps[::-1]


def _record(
    wanted: Sequence[Id], steps: Sequence[Done[Id]], arrays: Mapping[Id, Array] | Sequence[Array]
) -> tuple[Tape, dict[Id, Slot]]:
    """The steps a gradient walks through as a tape; earlier grads are spelled out on it."""
    tape = Tape()
    slots: dict[Id, Slot] = {}

    def of(value: Id) -> Slot:
        if value not in slots:
            slots[value] = Slot(arrays[value])  # type: ignore[index]  # an id of these arrays
        return slots[value]

    for step in steps:
        operands = tuple(map(of, step.operands))
        if step.name == GRAD:
            results = tuple(_of_seeds(tape, *operands))
        else:
            results = tuple(Slot(arrays[r]) for r in step.results)  # type: ignore[index]
            tape.entries.append(Entry(step.name, step.attrs, operands, results, step.origin))
        slots.update(zip(step.results, results, strict=True))
    for value in wanted:
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


_SAME = (SAVED, "same")
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
