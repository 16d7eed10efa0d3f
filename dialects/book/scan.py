"""`scan`: a body run once per step, with carried values; its derivative is another scan that walks back.

The body is a Graph. Its inputs are the carried values, one slice of each scanned operand, and the operands every
step sees whole; its outputs are the carried values for the next step, then one slice of each stacked result.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from ..errors import DTypeError, LaminaError, ShapeError
from ..graph import Graph, Step
from ..sizes import Size
from ..types import Type, dtype_of, show_type
from .batching import Batched, Batching
from .expr import Build
from .stanza import Stanza


SAVED = "autodiff.saved"
"""The one step of a body that is not in the book: contents an earlier run kept, differentiated as the value they are of."""


class Counts(NamedTuple):
    """Attributes of a scan beside its body: how many operands are carried, how many scanned, the steps, the direction."""

    carried: int
    scanned: int
    steps: int
    reverse: bool

    def order(self) -> range:
        """The steps in the order they run."""
        return range(self.steps - 1, -1, -1) if self.reverse else range(self.steps)

    def slices(self, types: Sequence[Type]) -> tuple[Type, ...]:
        """What the body gets for operands of these types."""
        first, last = self.carried, self.carried + self.scanned
        return tuple((shape[1:], dtype) if first <= i < last else (shape, dtype) for i, (shape, dtype) in enumerate(types))


class Scan(Stanza):
    """Any number of operands and results; types, values and derivative follow from the body."""

    in_code: ClassVar[bool] = True

    @property
    def has_derivative(self) -> bool:
        """Yes: that of the body, step by step."""
        return True

    def derives(self, cotangent_present: Sequence[bool]) -> bool:
        """Whichever results a cotangent arrives at."""
        return True

    def result_count(self, operands: int, attrs: tuple) -> int:
        """As many as the body has."""
        return len(attrs[0].outputs)

    def check_arity(self, types: Sequence[Type], attrs: tuple) -> None:
        """A body, three counts and a direction; at least one operand or a body that needs none."""
        if len(attrs) != 5 or not isinstance(attrs[0], Graph) or not all(isinstance(n, int | Size) for n in attrs[1:]):
            raise LaminaError(f"{self.name} takes tensors, a body, three counts and a direction", help=f"its signature is {self.signature}")
        carried, scanned, steps, _ = attrs[1:]
        if any(n < 0 for n in (carried, scanned, steps)) or carried + scanned > len(types):
            raise LaminaError(f"{self.name} has {len(types)} operands, not {carried} carried and {scanned} scanned ones")

    def _infer(self, types: tuple[Type, ...], attrs: tuple) -> tuple[Type, ...]:
        self.check_arity(types, attrs)
        body, counts = attrs[0], Counts(*attrs[1:])
        for i in range(counts.carried, counts.carried + counts.scanned):
            if not types[i][0] or types[i][0][0] != counts.steps:
                raise self.complain(ShapeError, f"scan of {counts.steps} steps needs operand {i} to have as many slices", types)
        wanted = counts.slices(types)
        if len(body.inputs) != len(wanted):
            raise self.complain(ShapeError, f"scan needs a body of {len(wanted)} inputs, got {len(body.inputs)}", types)
        made = tuple(body.types[i] for i in body.outputs)
        if len(made) < counts.carried:
            raise self.complain(ShapeError, f"scan carries {counts.carried} values, its body gives {len(made)}", types)
        pairs = [*zip(body.inputs, wanted, strict=True), *zip(made, types[: counts.carried], strict=False)]
        for have, want in pairs:
            if have != want:
                error = ShapeError if have[1] is want[1] else DTypeError
                raise self.complain(error, f"scan needs {show_type(want)} where its body has {show_type(have)}", types)
        stacked = (((counts.steps, *shape), dtype) for shape, dtype in made[counts.carried :])
        return (*made[: counts.carried], *stacked)

    def complain(self, error: type[LaminaError], sentence: str, types: Sequence[Type]) -> LaminaError:
        """An error that lists every operand."""
        facts = [(f"operand {i}", show_type(t), "") for i, t in enumerate(types)]
        return error(sentence, facts, help=f"{self.name} is {self.signature}")

    def evaluate(self, arrays: Sequence[np.ndarray], attrs: tuple = ()) -> tuple[np.ndarray, ...]:
        """The last carried values, then the stacked results."""
        arrays = tuple(map(np.asarray, arrays))
        types = self.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)
        body, counts = attrs[0], Counts(*attrs[1:])

        def step(values: list[np.ndarray]) -> list[np.ndarray]:
            return self._run(body, values)

        return run_steps(step, arrays, counts, types[counts.carried :])

    def _run(self, body: Graph, values: list[np.ndarray]) -> list[np.ndarray]:
        for op, attrs, operands in body.steps:
            given = [values[i] for i in operands]
            values.extend(given[1:] if op == SAVED else self.book[op].evaluate(given, attrs))
        return [values[i] for i in body.outputs]

    def on_batch(self, batch: Batching, operands: Sequence, attrs: tuple) -> tuple:
        """A scan of the body on a batch."""
        return _on_batch(self, batch, operands, attrs)

    def gradients(
        self, build: Build, operands: Sequence, results: Sequence, cotangents: Sequence, attrs: tuple, wanted: Sequence[bool]
    ) -> list:  # fmt: skip
        """One cotangent per operand: a second scan that also stacks what the derivative reads, then one that walks back.

        `passes/cse.py` makes one of the first scan and the second.
        """
        if not any(g is not None for g in cotangents):
            return [None] * len(operands)
        body, counts = attrs[0], Counts(*attrs[1:])
        arrived = tuple(g is not None for g in cotangents[counts.carried :])
        back = _derivative(self, body, counts, arrived, tuple(bool(w) for w in wanted))
        kept = build("scan", tuple(operands), (back.forward, *counts))[len(body.outputs) :] if back.kept else ()

        def zeros(i: int) -> object:
            shape, dtype = build.type(operands[i])
            return build("full", (), (shape, 0.0, dtype))[0]

        first, last = counts.carried, counts.carried + counts.scanned
        starts = [zeros(i) if cotangents[i] is None else cotangents[i] for i in back.carried]
        sums = [zeros(i) for i in back.summed]
        arriving = [g for g in cotangents[first:] if g is not None]
        values = [kept[k] if where is None else operands[where] for k, where in back.scanned]
        attrs = (back.body, len(starts) + len(sums), len(arriving) + len(values), counts.steps, not counts.reverse)
        made = build("scan", (*starts, *sums, *arriving, *values, *(operands[i] for i in back.whole)), attrs)
        found: list = [None] * len(operands)
        of_results = (*back.carried, *back.summed, *(i for i in range(first, last) if i in back.slices))
        for i, value in zip(of_results, made, strict=True):
            found[i] = value if wanted[i] else None
        return found


def _on_batch(scan: Scan, batch: Batching, outer: Sequence, attrs: tuple) -> tuple:
    """A scan of the body on batches: every carried value becomes one, slices keep the steps in front of the batch."""
    body, counts = attrs[0], Counts(*attrs[1:])
    first, last = counts.carried, counts.carried + counts.scanned
    flags = [i < first or type(v) is Batched for i, v in enumerate(outer)]
    inputs = [((batch.size, *shape), dtype) if flag else (shape, dtype) for (shape, dtype), flag in zip(body.inputs, flags, strict=True)]
    inner = GraphBuilder(scan.book, inputs)
    step = Batching(inner, scan.book, batch.size)
    values: list = [Batched(v) if flag else v for v, flag in zip(inner.values, flags, strict=True)]
    for (op, given, read), origin in zip(body.steps, body.origins, strict=True):
        inner.origin = origin
        operands = tuple(values[i] for i in read)
        values.extend(operands[1:] if op == SAVED else step(op, operands, given))
    made = [values[i] for i in body.outputs]
    outputs = [step.spread(v) if k < first or type(v) is Batched else v for k, v in enumerate(made)]
    starts = [batch.spread(v) for v in outer[:first]]
    slices = [_turned(batch, v.value) if type(v) is Batched else v for v in outer[first:last]]
    whole = [v.value if type(v) is Batched else v for v in outer[last:]]
    results = batch.build("scan", (*starts, *slices, *whole), (inner.graph([v.id for v in outputs]), *counts))
    stacked = [Batched(_turned(batch, r)) if type(v) is Batched else r for r, v in zip(results[first:], made[first:], strict=True)]
    return (*map(Batched, results[:first]), *stacked)


def _turned(batch: Batching, value: object) -> object:
    """[b, steps, ...] from [steps, b, ...], and back."""
    rank = len(batch.build.type(value)[0])
    return batch.op("permute", value, (1, 0, *range(2, rank)))


def run_steps(step, arrays: Sequence[np.ndarray], counts: Counts, stacked: Sequence[Type]) -> tuple[np.ndarray, ...]:
    """Run `step(values) -> outputs` once per step in order; the last carried values, then the stacked results."""
    first, last = counts.carried, counts.carried + counts.scanned
    state = list(arrays[:first])
    made = [np.empty(shape, dtype.numpy) for shape, dtype in stacked]
    for t in counts.order():
        outputs = step([*state, *(a[t] for a in arrays[first:last]), *arrays[last:]])
        state = list(outputs[:first])
        for target, value in zip(made, outputs[first:], strict=True):
            target[t] = value
    return (*state, *made)


class Value:
    """A value of a graph being built."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:
        self.id = id


class GraphBuilder:
    """A `build` that appends steps to a graph."""

    def __init__(self, book: object, inputs: Sequence[Type], origin: str = "") -> None:
        self.book = book
        self.types: list[Type] = list(inputs)
        self.values = [Value(i) for i in range(len(self.types))]
        self.count = len(self.types)
        self.steps: list[Step] = []
        self.origins: list[str] = []
        self.origin = origin

    def __call__(self, op: str, operands: Sequence[Value], attrs: tuple) -> tuple[Value, ...]:
        read = tuple(v.id for v in operands)
        types = self.book[op].infer(tuple(self.types[i] for i in read), attrs)
        made = tuple(Value(len(self.types) + k) for k in range(len(types)))
        self.types.extend(types)
        self.values.extend(made)
        self.steps.append(Step(op, attrs, read))
        self.origins.append(self.origin)
        return made

    def type(self, value: Value) -> Type:
        """(shape, dtype) of a value."""
        return self.types[value.id]

    def graph(self, outputs: Sequence[int]) -> Graph:
        """The graph with these outputs."""
        inputs = tuple(self.types[: self.count])
        return Graph(inputs, tuple(self.steps), tuple(outputs), tuple(self.origins), (None,) * self.count, tuple(self.types))


class _Back(NamedTuple):
    """The derivative of a body, and where its operands come from.

    forward: the body, with what the derivative reads as further stacked results (`kept` of them). body: one step back.
    carried, summed: operands whose cotangent is carried, and those every step sees whole, whose cotangent is added up.
    slices: scanned operands with a cotangent. scanned: (number among the kept, None) or (_, operand); whole: operands.
    """

    forward: Graph
    kept: int
    body: Graph
    carried: tuple[int, ...]
    summed: tuple[int, ...]
    slices: tuple[int, ...]
    scanned: tuple[tuple[int, int | None], ...]
    whole: tuple[int, ...]


@lru_cache(maxsize=256)
def _derivative(scan: Scan, body: Graph, counts: Counts, arrived: tuple[bool, ...], wanted: tuple[bool, ...]) -> _Back:
    """arrived: per stacked result, whether a cotangent comes; wanted: per operand."""
    return _Differentiator(scan, body, counts, arrived, wanted).run()


class _Differentiator:
    """Writes body and derivative as one graph, then takes them apart."""

    def __init__(self, scan: Scan, body: Graph, counts: Counts, arrived: tuple[bool, ...], wanted: tuple[bool, ...]) -> None:
        self.book, self.source, self.counts = scan.book, body, counts
        self.first, self.last = counts.carried, counts.carried + counts.scanned
        floats = [dtype.is_floating_point for _, dtype in body.inputs]
        self.carried = tuple(i for i in range(self.first) if floats[i])
        self.summed = tuple(i for i in range(self.last, len(wanted)) if wanted[i] and floats[i])
        self.slices = tuple(i for i in range(self.first, self.last) if wanted[i] and floats[i])
        self.arriving = tuple(body.outputs[self.first + k] for k, there in enumerate(arrived) if there)
        own = [body.types[i] for i in (*self.carried, *self.summed)]
        given = [*body.inputs, *own, *(body.types[i] for i in self.arriving)]
        self.build = GraphBuilder(scan.book, given)

    def run(self) -> _Back:
        forward = self._forward()
        edge = len(self.build.types)
        outputs = self._backward(forward)
        return self._split(edge, outputs)

    def _forward(self) -> list[tuple[str, tuple, tuple[Value, ...], tuple[Value, ...]]]:
        """The body's steps, composites without a derivative opened; fills `self.place`: body value to joint value."""
        build, source = self.build, self.source
        self.place = list(build.values[: len(source.inputs)])
        tape: list[tuple[str, tuple, tuple[Value, ...], tuple[Value, ...]]] = []
        self.saved: dict[Value, Value] = {}
        for (op, attrs, operands), origin in zip(source.steps, source.origins, strict=True):
            build.origin = origin
            given = tuple(self.place[i] for i in operands)
            self.place.extend(self._contents(tape, *given) if op == SAVED else self._replay(tape, op, given, attrs))
        return tape

    def _contents(self, tape: list, value: Value, contents: Value) -> tuple[Value]:
        """Contents with the history of a value: under another name where they have one of their own."""
        if contents.id in (*self.carried, *self.slices, *self.summed) or contents.id >= self.build.count or contents in self.saved.values():
            (contents,) = self.build("reshape", (contents,), (self.build.type(contents)[0],))
        tape.append((SAVED, (), (value,), (contents,)))
        self.saved[value] = contents
        return (contents,)

    def _replay(self, tape: list, op: str, operands: tuple[Value, ...], attrs: tuple) -> tuple[Value, ...]:
        stanza = self.book[op]
        if stanza.family == "is" and (not stanza.has_derivative or len(stanza.results) > 1):
            inner = _Recording(self, tape)
            return stanza.open(inner, operands, attrs)
        results = self.build(op, operands, attrs)
        tape.append((op, attrs, operands, results))
        return results

    def _backward(self, tape: list) -> list[Value]:
        build, values = self.build, self.build.values
        start = len(self.source.inputs)
        own = values[start : start + len(self.carried) + len(self.summed)]
        arriving = values[start + len(own) : build.count]
        active = {values[i] for i in (*self.carried, *self.slices, *self.summed)}
        for _, _, operands, results in tape:
            if not active.isdisjoint(operands):
                active.update(r for r in results if build.type(r)[1].is_floating_point)
        cotangents: dict[Value, Value] = {}

        def add(value: Value, g: Value | None) -> None:
            if g is not None and value in active:
                known = cotangents.get(value)
                cotangents[value] = g if known is None else build("add", (known, g), ())[0]

        for i, g in zip(self.carried, own, strict=False):
            add(self.place[self.source.outputs[i]], g)
        for i, g in zip(self.arriving, arriving, strict=True):
            add(self.place[i], g)
        for op, attrs, operands, results in reversed(tape):
            reached = [cotangents.get(r) for r in results]
            if any(reached) and not active.isdisjoint(operands):
                want = tuple(v in active for v in operands)
                known = [self.saved.get(r, r) for r in results]
                found = reached if op == SAVED else self.book[op].gradients(build, operands, known, reached, attrs, want)
                for value, g in zip(operands, found, strict=True):
                    add(value, g)
        return self._outputs(cotangents, own[len(self.carried) :])

    def _outputs(self, cotangents: dict[Value, Value], sums: list[Value]) -> list[Value]:
        build, values = self.build, self.build.values

        def of(i: int) -> Value:
            found = cotangents.get(values[i])
            if found is None:
                shape, dtype = self.source.types[i]
                (found,) = build("full", (), (shape, 0.0, dtype))
            return found

        carried = [of(i) for i in self.carried]
        for i, total in zip(self.summed, sums, strict=True):
            g = cotangents.get(values[i])
            carried.append(total if g is None else build("add", (total, g), ())[0])
        return carried + [of(i) for i in self.slices]

    def _split(self, edge: int, outputs: list[Value]) -> _Back:
        """What the backward half reads of the forward half becomes operands of the new body."""
        build, inputs = self.build, len(self.source.inputs)
        made_by: dict[int, tuple[int, int]] = {}  # value: (step, which result)
        at = build.count
        for number, (op, attrs, operands) in enumerate(build.steps):
            for k in range(self.book[op].result_count(len(operands), attrs)):
                made_by[at] = number, k
                at += 1
        needed: dict[int, None] = {}
        read: dict[int, None] = {}
        todo = [v.id for v in reversed(outputs)]
        while todo:
            value = todo.pop()
            if value in needed or value in read:
                continue
            if value < inputs or (value < edge and value in made_by and not self._is_cheap(build.steps[made_by[value][0]])):
                read[value] = None
            elif value in made_by:
                needed[value] = None
                todo.extend(reversed(build.steps[made_by[value][0]].operands))
        kept = tuple(sorted(v for v in read if v >= inputs or v < self.first))
        slices = tuple(sorted(v for v in read if self.first <= v < self.last))
        whole = tuple(sorted(v for v in read if self.last <= v < inputs))
        body = self._extract(needed, made_by, outputs, (*kept, *slices), whole)
        scanned = (*((k, None) for k in range(len(kept))), *((0, v) for v in slices))
        return _Back(self._kept_forward(edge, kept), len(kept), body, self.carried, self.summed, self.slices, scanned, whole)

    def _is_cheap(self, step: Step) -> bool:
        """Rather made again than kept: views, and what reads nothing."""
        stanza = self.book[step.op]
        return not step.operands or (stanza.family == "view" and not stanza.is_placement)

    def _extract(self, needed: dict, made_by: dict, outputs: list[Value], slices: tuple[int, ...], whole: tuple[int, ...]) -> Graph:
        build, inputs = self.build, len(self.source.inputs)
        own = range(inputs, inputs + len(self.carried) + len(self.summed))
        order = (*own, *range(own.stop, build.count), *slices, *whole)
        new = GraphBuilder(self.book, [build.types[i] for i in order])
        renamed = dict(zip(order, new.values, strict=True))
        chosen = sorted({made_by[value][0] for value in needed})
        firsts = {number: value for value, (number, k) in made_by.items() if k == 0}
        for number in chosen:
            op, attrs, operands = build.steps[number]
            new.origin = build.origins[number]
            results = new(op, tuple(renamed[i] for i in operands), attrs)
            renamed.update((firsts[number] + k, r) for k, r in enumerate(results))
        return new.graph([renamed[v.id].id for v in outputs])

    def _kept_forward(self, edge: int, kept: tuple[int, ...]) -> Graph:
        """The body again, with more results."""
        build, inputs = self.build, len(self.source.inputs)
        new = GraphBuilder(self.book, self.source.inputs)
        shift = build.count - inputs
        at = build.count
        for (op, attrs, operands), origin in zip(build.steps, build.origins, strict=True):
            if at >= edge:
                break
            new.origin = origin
            made = new(op, tuple(new.values[i if i < inputs else i - shift] for i in operands), attrs)
            at += len(made)
        outputs = [self.place[i].id for i in self.source.outputs] + list(kept)
        return new.graph([i if i < inputs else i - shift for i in outputs])


class _Recording:
    """A `build` for opened composites: what they are made of goes on the tape, opened in turn."""

    def __init__(self, owner: _Differentiator, tape: list) -> None:
        self.owner, self.tape = owner, tape

    def __call__(self, op: str, operands: tuple[Value, ...], attrs: tuple) -> tuple[Value, ...]:
        return self.owner._replay(self.tape, op, tuple(operands), attrs)

    def type(self, value: Value) -> Type:
        """(shape, dtype) of a value."""
        return self.owner.build.type(value)
