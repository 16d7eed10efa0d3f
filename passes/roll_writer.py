"""Writes a graph whose loops were found: every loop one scan, and what others read of its turns as its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..dialects.book import OPS
from ..dialects.graph import Graph, Step
from ..dialects.types import Type
from .roll_loop import Loop, Row, Use, Views, window
from .roll_spine import CONSTANT, GRAD, INPUT, SAVED, STEP, Chain, Spine

Source = int | tuple[int, ...]
"""An input of a rolled graph: an input of the graph it was made of, or those it stacks."""

Target = tuple[int, ...]
"""An output of the graph it was made of: an output of the rolled graph, then rows of it."""


class Rolled(NamedTuple):
    """A graph with scans in it, and where its inputs and outputs are those of the graph it was made of."""

    graph: Graph
    inputs: tuple[Source, ...]
    outputs: tuple[Target, ...]


class Writer:
    """A graph being written. Views and constants are made once."""

    def __init__(self, inputs: Sequence[Type]) -> None:
        self.inputs = tuple(inputs)
        self.types: list[Type] = list(inputs)
        self.steps: list[Step] = []
        self.origins: list[str] = []
        self._made: dict[tuple, int] = {}

    def step(self, op: str, operands: Sequence[int], attrs: tuple, origin: str) -> int:
        """Append a step; the id of its first result."""
        types = [self.types[i] for i in operands]
        if op == GRAD:
            front = types[1][0][: len(types[1][0]) - len(types[0][0])]
            made: Sequence[Type] = [((*front, *shape), dtype) for shape, dtype in types[2:]]
        else:
            made = types[1:] if op == SAVED else OPS[op].infer(tuple(types), attrs)
        self.steps.append(Step(op, attrs, tuple(operands)))
        self.origins.append(origin)
        self.types.extend(made)
        return len(self.types) - len(made)

    def once(self, op: str, operands: tuple[int, ...], attrs: tuple, origin: str) -> int:
        """A view or a constant, made where it is needed first; nothing where a view shows all of what it reads as it is."""
        key = (op, operands, repr(attrs) if op == "full" else attrs)
        if key not in self._made:
            self._made[key] = operands[0] if self._shows_all(op, operands, attrs) else self.step(op, operands, attrs, origin)
        return self._made[key]

    def view(self, value: int, views: Sequence[tuple[str, tuple]], origin: str) -> int:
        """A value read through views."""
        for op, attrs in views:
            value = self.once(op, (value,), attrs, origin)
        return value

    def _shows_all(self, op: str, operands: tuple[int, ...], attrs: tuple) -> bool:
        shape = self.types[operands[0]][0] if operands else ()
        if op in ("reshape", "expand"):
            return attrs[0] == shape
        if op == "permute":
            return attrs[0] == tuple(range(len(shape)))
        return op == "slice" and attrs[1] == shape

    def graph(self, outputs: Sequence[int], names: Sequence[str | None]) -> Graph:
        """The graph with these outputs."""
        return Graph(self.inputs, tuple(self.steps), tuple(outputs), tuple(self.origins), tuple(names), tuple(self.types))


class _Results:
    """What is read of a loop behind it. last: values of the last turn, by slot; stacks: values of all turns, by number."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.turns: dict[tuple[int, int], set[int]] = {}
        self.stacks: dict[tuple[int, int], int] = {}

    def read(self, position: int, root: int) -> None:
        """Somebody reads this value of the turn the position is in."""
        turn, place = self.loop.place(position)
        self.turns.setdefault((place, root), set()).add(turn)

    def stack(self, place: int, chain: int) -> int:
        """The number of a stack."""
        return self.stacks.setdefault((place, chain), len(self.stacks))

    def settle(self) -> None:
        """Decide what is read from the last turn only, and what from a stack."""
        for (place, root), turns in self.turns.items():
            if turns == {self.loop.turns - 1}:
                self.loop.last(place, root)
            else:
                self.stack(place, root)


class _Piece(NamedTuple):
    """Operands of a concat that are the same value of consecutive turns: the first turn, how many, and backwards or not."""

    loop: Loop
    place: int
    chain: int
    first: int
    count: int
    step: int


def write(spine: Spine, loops: Sequence[Loop], rolled: Callable[[Graph], Graph], rows: bool) -> Rolled:
    """The graph with these loops as scans. rolled: what is done to their bodies. rows: outputs of single turns may be rows of an
    output, and inputs go where nobody reads them; else inputs and outputs stay what they are."""
    return _Rewrite(spine, loops, rolled, rows).write()


class _Rewrite:
    """One graph being rewritten."""

    def __init__(self, spine: Spine, loops: Sequence[Loop], rolled: Callable[[Graph], Graph], rows: bool) -> None:
        self.spine, self.source, self.rolled, self.rows = spine, spine.graph, rolled, rows
        self.starts = {loop.first: loop for loop in loops}
        self.results = {loop: _Results(loop) for loop in loops}
        self.inside: dict[int, Loop] = {i: loop for loop in loops for i in range(loop.first, loop.end)}
        self.pieces: dict[int, list[_Piece | int]] = {}
        self.used: set[int] = set()
        self.place: dict[int, int] = {}  # of a spine step outside of loops: its first value
        self.made: dict[Loop, int] = {}

    def write(self) -> Rolled:
        spine, source = self.spine, self.source
        self._demand()
        if not self.rows:
            self.used.update(range(len(source.inputs)))
        sources: list[Source] = sorted(self.used)
        groups = list(dict.fromkeys(group for loop in self.starts.values() for group in loop.inputs))
        kinds = [source.inputs[i] for i in sources]
        kinds += [((len(group), *source.inputs[group[0]][0]), source.inputs[group[0]][1]) for group in groups]
        self.out = Writer(kinds)
        self.input = {i: k for k, i in enumerate([*sources, *groups])}
        position = 0
        while position < len(spine.steps):
            loop = self.starts.get(position)
            if loop is not None:
                self._scan(loop)
                position = loop.end
                continue
            self._step(position)
            position += 1
        names = [source.names[i] for i in sources] + [None] * len(groups)
        if not self.rows:
            outputs = [self._output(value) for value in source.outputs]
            return Rolled(self.out.graph(outputs, names), tuple(sources), tuple((k,) for k in range(len(outputs))))
        numbers: dict[int, int] = {}
        targets = [self._target(value, numbers) for value in source.outputs]
        return Rolled(self.out.graph(tuple(numbers), names), (*sources, *groups), tuple(targets))

    # -- what is read of the loops

    def _demand(self) -> None:
        """Which inputs are still read one by one, and which values of loops behind them."""
        spine = self.spine
        for position, number in enumerate(spine.steps):
            if position in self.inside:
                continue
            if self.source.steps[number].op == "concat":
                self.pieces[position] = self._in_pieces(position)
            else:
                for link in spine.operands(position):
                    self._need(link)
        for loop in self.starts.values():
            for slot in loop.slots:
                if slot.start is not None:
                    self._need(slot.start)
            for root in (*loop.wholes, *loop.rows):
                self._need((root[0], root[1], spine.chain_id(Chain(-1, "", (root[2],)))))
        for (loop, place, chain), turns in self._shown().items():
            if self.rows and turns != {loop.turns - 1} and chain != self._root(chain):
                self.results[loop].stack(place, chain)
            else:
                self.results[loop].turns.setdefault((place, self._root(chain)), set()).update(turns)
        for results in self.results.values():
            results.settle()

    def _shown(self) -> dict[tuple[Loop, int, int], set[int]]:
        """Outputs that are values of loops: the place in the turn, how it is read, and of which turns. Of others, what they need."""
        found: dict[tuple[Loop, int, int], set[int]] = {}
        for value in self.source.outputs:
            kind, at, chain = self.spine.roots[value]
            loop = self.inside.get(at) if kind == STEP else None
            if loop is None:
                self._need((kind, at, chain))
            else:
                turn, place = loop.place(at)
                found.setdefault((loop, place, chain), set()).add(turn)
        return found

    def _need(self, link: tuple[int, int, int]) -> None:
        kind, at, chain = link
        if kind == INPUT:
            self.used.add(at)
        elif kind == STEP and at in self.inside:
            self.results[self.inside[at]].read(at, self._root(chain))

    def _root(self, chain: int) -> int:
        return self.spine.chain_id(Chain(-1, "", (self.spine.views(chain)[0],)))

    def _in_pieces(self, position: int) -> list[_Piece | int]:
        """The operands of a concat: pieces of stacks, and numbers of the others."""
        spine, found = self.spine, []
        links = spine.operands(position)
        k = 0
        while k < len(links):
            kind, at, chain = links[k]
            loop = self.inside.get(at) if kind == STEP else None
            count, step = self._consecutive(links, k, loop) if loop is not None else (1, 1)
            if loop is None or count < 2:
                self._need(links[k])
                found.append(k)
                k += 1
                continue
            turn, place = loop.place(at)
            self.results[loop].stack(place, chain)
            found.append(_Piece(loop, place, chain, turn if step > 0 else turn - count + 1, count, step))
            k += count
        return found

    def _consecutive(self, links: list[tuple[int, int, int]], k: int, loop: Loop) -> tuple[int, int]:
        """How many operands from number k on are one value of one turn after the other, and in which direction."""
        kind, at, chain = links[k]
        for step in (1, -1):
            count = 1
            while (
                k + count < len(links)
                and links[k + count] == (kind, at + step * count * loop.period, chain)
                and self.inside.get(at + step * count * loop.period) is loop
            ):
                count += 1
            if count > 1:
                return count, step
        return 1, 1

    # -- writing

    def _step(self, position: int) -> None:
        number = self.spine.steps[position]
        step, origin = self.source.steps[number], self.source.origins[number]
        if position in self.pieces:
            links = self.spine.operands(position)
            axis = step.attrs[0]
            operands = [self._piece(p, axis, origin) if isinstance(p, _Piece) else self._read(links[p], origin) for p in self.pieces[position]]
        else:
            operands = [self._read(link, origin) for link in self.spine.operands(position)]
        self.place[position] = self.out.step(step.op, operands, step.attrs, origin)

    def _read(self, link: tuple[int, int, int], origin: str) -> int:
        """The value an operand outside of loops reads."""
        result, views = self.spine.views(link[2])
        return self.out.view(self._value(link[0], link[1], result, origin), views, origin)

    def _value(self, kind: int, at: int, result: int, origin: str) -> int:
        if kind == INPUT:
            return self.input[at]
        if kind == CONSTANT:
            return self.out.once("full", (), self.spine.constants[at], origin)
        loop = self.inside.get(at)
        if loop is None:
            return self.place[at] + result
        turn, place = loop.place(at)
        found = self._of_loop(loop, place, self.spine.chain_id(Chain(-1, "", (result,))))
        return self.made[loop] + found if found >= 0 else self._row(loop, -1 - found, turn, origin)

    def _of_loop(self, loop: Loop, place: int, root: int) -> int:
        """The slot a value's last turn is in, or -1 - the stack it is on."""
        stack = self.results[loop].stacks.get((place, root))
        return -1 - stack if stack is not None else loop.last(place, root)

    def _stack(self, loop: Loop, stack: int) -> int:
        return self.made[loop] + len(loop.slots) + stack

    def _row(self, loop: Loop, stack: int, turn: int, origin: str) -> int:
        value = self._stack(loop, stack)
        shape = self.out.types[value][0][1:]
        views = [("slice", ((turn, *[0] * len(shape)), (1, *shape), (1,) * (len(shape) + 1))), ("reshape", (shape,))]
        return self.out.view(value, views, origin)

    def _piece(self, piece: _Piece, axis: int, origin: str) -> int:
        """Rows of a stack side by side along an axis."""
        value = self._stack(piece.loop, self.results[piece.loop].stacks[piece.place, piece.chain])
        shape = self.out.types[value][0][1:]
        rank = len(shape)
        views: list[tuple[str, tuple]] = [("slice", ((piece.first, *[0] * rank), (piece.count, *shape), (1,) * (rank + 1)))]
        if piece.step < 0:
            views.append(("flip", ((0,),)))
        views.append(("permute", ((*range(1, axis + 1), 0, *range(axis + 1, rank + 1)),)))
        views.append(("reshape", ((*shape[:axis], piece.count * shape[axis], *shape[axis + 1 :]),)))
        return self.out.view(value, views, origin)

    def _target(self, value: int, outputs: dict[int, int]) -> Target:
        """Where an output is: the number of the output that holds it, and its row there."""
        kind, at, chain = self.spine.roots[value]
        loop = self.inside.get(at) if kind == STEP else None
        if loop is not None:
            turn, place = loop.place(at)
            stack = self.results[loop].stacks.get((place, chain))
            if stack is not None:
                return outputs.setdefault(self._stack(loop, stack), len(outputs)), turn
        return (outputs.setdefault(self._output(value), len(outputs)),)

    def _output(self, value: int) -> int:
        return self._read(self.spine.roots[value], self.source.origins[-1])

    # -- loops

    def _scan(self, loop: Loop) -> None:
        origin = self.source.origins[self.spine.steps[loop.first]]
        stacks = list(self.results[loop].stacks)
        body = _body(loop, stacks, [self._row_type(loop, row) for row in loop.rows])
        starts = [self._start(slot.start, body.inputs[k], origin) for k, slot in enumerate(loop.slots)]
        rows = [self._slices(loop, row, origin) for row in loop.rows]
        rows += [self.input[group] for group in loop.inputs]
        wholes = [self._value(*whole, origin) for whole in loop.wholes]
        attrs = (self.rolled(body), len(starts), len(rows), loop.turns, False)
        self.made[loop] = self.out.step("scan", (*starts, *rows, *wholes), attrs, origin)

    def _start(self, link: tuple[int, int, int] | None, type: Type, origin: str) -> int:
        if link is None:
            return self.out.once("full", (), (type[0], 0.0 if type[1].kind == "f" else 0, type[1]), origin)
        return self._read(link, origin)

    def _row_type(self, loop: Loop, row: Row) -> Type:
        types = self.source.types
        dtype = types[row.at][1] if row.kind == INPUT else types[self.spine.firsts[row.at] + row.result][1]
        if row.kind == CONSTANT:
            dtype = self.spine.constants[row.at][2]
        return tuple(row.slice[1]), dtype

    def _slices(self, loop: Loop, row: Row, origin: str) -> int:
        """What the turns read one after the other, as [turns, ...]."""
        value = self.out.view(self._value(row.kind, row.at, row.result, origin), row.views, origin)
        shape, (start, size, step), dim = self.out.types[value][0], row.slice, row.dim
        found = window(row, shape, loop.turns)
        assert found is not None
        rank, by = len(shape), abs(row.by)

        def put(values: Sequence[int], *new: int) -> tuple[int, ...]:
            return (*values[:dim], *new, *values[dim + 1 :])

        views: Views
        if size[dim] == 1:
            views = (("slice", (put(start, found.start), put(size, loop.turns), put(step, by))),)
            split = put(size, loop.turns, 1)
        else:
            split = put(size, loop.turns, size[dim])
            inner = (put((0,) * rank, 0, found.skip), split, put((1,) * rank, 1, step[dim]))
            views = (
                ("slice", (put(start, found.start), put(size, loop.turns * by), put(step, 1))),
                ("reshape", (put(size, loop.turns, by),)),
                ("slice", inner),
            )
        views = (*views, ("reshape", (split,)), ("permute", ((dim, *(d for d in range(rank + 1) if d != dim)),)))
        if row.by < 0:
            views = (*views, ("flip", ((0,),)))
        return self.out.view(value, views, origin)


def _body(loop: Loop, stacks: Sequence[tuple[int, int]], rows: Sequence[Type]) -> Graph:
    """One turn of a loop as the body of a scan."""
    spine = loop.spine
    source = spine.graph

    def type_of(place: int, chain: int) -> Type:
        result, views = spine.views(chain)
        type = source.types[spine.firsts[loop.first + place] + result]
        for op, attrs in views:
            (type,) = OPS[op].infer((type,), attrs)
        return type

    carried: list[Type] = []
    for slot in loop.slots:
        carried.append(type_of(*slot.value) if isinstance(slot.value, tuple) else carried[slot.value])
    scanned = [*rows, *(source.inputs[group[0]] for group in loop.inputs)]
    whole = [source.inputs[at] if kind == INPUT else source.types[spine.firsts[at] + result] for kind, at, result in loop.wholes]
    out = Writer([*carried, *scanned, *whole])
    firsts = {"slot": 0, "row": len(carried), "input": len(carried) + len(rows), "whole": len(carried) + len(scanned)}
    places: list[int] = []

    def read(use: Use, origin: str) -> int:
        if use.kind == "constant":
            value = out.once("full", (), spine.constants[use.at], origin)
        else:
            value = places[use.at] + use.result if use.kind == "own" else firsts[use.kind] + use.at
        return out.view(value, use.views, origin)

    for place, uses in enumerate(loop.uses):
        number = spine.steps[loop.first + place]
        step, origin = source.steps[number], source.origins[number]
        places.append(out.step(step.op, [read(use, origin) for use in uses], step.attrs, origin))

    def handed_on(value: tuple[int, int] | int) -> int:
        if isinstance(value, int):
            return value
        result, views = spine.views(value[1])
        return out.view(places[value[0]] + result, views, source.origins[spine.steps[loop.first + value[0]]])

    outputs = [handed_on(slot.value) for slot in loop.slots] + [handed_on(stack) for stack in stacks]
    return out.graph(outputs, [None] * len(out.inputs))
