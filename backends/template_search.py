"""Searching a family's template: which sizes of its members are symbols, and what every other number is made of.

Dimensions of inputs that differ between the members become symbols, as many as there are kinds of them; where the steps do not fit
together so, one of them is a function of another, or a multiple of something (images that are halved and doubled again). Then the
steps are gone through in order: a number among their attributes that differs is a dimension that is there already, a product of some,
a multiple, a part or a difference, whatever is right for all members and gives types that the book accepts. What follows from nothing
is a symbol of its own (a place in a cache). A wrong guess costs a program, never a result: an instance is what the template is with
numbers in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice, product
from math import gcd, prod
from typing import Any

from ..dialects.book import OPS
from ..dialects.errors import LaminaError
from ..dialects.graph import Graph, Step
from ..dialects.sizes import SMALLEST, Scope, Size, plain, substituted
from .families import SIZED, Template, result_types, take_apart

MOST_SYMBOLS = 3
MOST_COLUMNS = 6
"""Different ways in which dimensions of inputs change."""
MOST_TRIES = 48
"""Openings that are tried."""
MOST_FAILURES = 64
"""Steps that do not fit, of one opening, before it is given up."""
MOST_CHOICES = 12
"""Of one step's attributes."""
GRAINS = (2, 4, 8, 16, 32)
"""What symbols may be counted in."""
_FAR = 1 << 31

Column = tuple[int, ...]
"""A number in each member."""


def template_of(graph: Graph, members: Sequence[Sequence[int]]) -> Template | None:
    """The template of a graph, whose numbers are the last of these members', and its relatives; None where there is none that all of them
    are instances of.
    """
    columns = list(zip(*members, strict=True))
    inputs = sum(1 for shape, _ in graph.inputs for d in shape if d >= SMALLEST)
    for opening in islice(_openings(columns, inputs), MOST_TRIES):
        search = _Search(graph, columns, opening)
        if search.fits():
            holes = {k: plain(size) for k, size in search.holes.items()}
            return Template(graph, tuple(members[-1]), holes, tuple(search.sources))
    return None


def common_template(graphs: Sequence[Graph]) -> Template | None:
    """The template of the first graph that all of them are instances of; None where they have none in common."""
    (skeleton, numbers), *others = [take_apart(graph) for graph in graphs]
    if not others or any(theirs != skeleton for theirs, _ in others):
        return None
    return template_of(graphs[0], [*(theirs for _, theirs in others), numbers])


Sizes = dict[Column, Any]
Opening = list[tuple[Column, int, Callable[[Sizes], Any] | None]]
"""Per kind of dimensions: how it differs, what its symbol is counted in, and, where it has none, how it follows from the symbols."""


def _openings(columns: Sequence[Column], inputs: int) -> Iterator[Opening]:
    """Ways to begin, those with most symbols first."""
    kinds = sorted({c for c in columns[:inputs] if _differs(c)}, key=lambda c: (max(c) - min(c), columns.index(c)))
    if len(kinds) > MOST_COLUMNS:
        return
    plans: list[Opening] = [[]]
    for kind in kinds:
        plans = [[*plan, (kind, 1, how)] for plan in plans for how in (None, *_relations([c for c, _, h in plan if h is None], kind))]
    plans = [p for p in plans if len(_free(p)) <= MOST_SYMBOLS]
    plans.sort(key=lambda p: -len(_free(p)))
    plans += [p for plan in plans for p in _with_factors(plan, columns) if len(_free(p)) <= MOST_SYMBOLS]
    yield from plans
    for plan in plans:
        free = _free(plan)
        for count in range(1, len(free) + 1):
            for chosen in combinations(free, count):
                for grain in GRAINS:
                    if all(gcd(*c) % grain == 0 and min(c) >= SMALLEST * grain for c in chosen):
                        yield [(kind, grain if kind in chosen else 1, how) for kind, _, how in plan]


def _free(plan: Opening) -> list[Column]:
    return [kind for kind, _, how in plan if how is None]


def _relations(symbols: Sequence[Column], kind: Column) -> Iterator[Callable[[Sizes], Any]]:
    """How a dimension may follow from symbols: a multiple of one or of two, or one and a few more."""
    for parts in (*combinations(symbols, 1), *combinations(symbols, 2)):
        line = _line(tuple(map(prod, zip(*parts, strict=True))), kind)
        if line is not None and line[0] > 0 and (line[1] == 0 or line[0] == len(parts) == 1):
            yield _multiple(parts, line)


def _multiple(parts: Sequence[Column], line: tuple[int, int]) -> Callable[[Sizes], Any]:
    return lambda sizes: prod(sizes[p] for p in parts) * line[0] + line[1]


def _with_factors(plan: Opening, columns: Sequence[Column]) -> Iterator[Opening]:
    """Openings in which a dimension is the product of two numbers that attributes speak of (rows of [time, batch, width])."""
    there = [kind for kind, *_ in plan]
    others = list(dict.fromkeys(c for c in columns if _differs(c)))[:MOST_COLUMNS]
    for kind in _free(plan):
        for parts in combinations([c for c in others if c != kind], 2):
            line = _line(tuple(map(prod, zip(*parts, strict=True))), kind)
            if line is not None and line[0] > 0 and line[1] == 0 and not all(p in there for p in parts):
                fresh: Opening = [(p, 1, None) for p in parts if p not in there]
                free = [each for each in plan if each[2] is None and each[0] != kind]
                yield [*fresh, *free, (kind, 1, _multiple(parts, line)), *(each for each in plan if each[2] is not None)]


def _line(have: Column, wanted: Column) -> tuple[int, int] | None:
    """factor, constant with wanted == factor * have + constant in all members."""
    k = next(i for i, n in enumerate(have) if n != have[0]) if _differs(have) else 0
    run, rise = have[k] - have[0], wanted[k] - wanted[0]
    if not run or not rise or rise % run:
        return None
    factor = rise // run
    constant = wanted[0] - factor * have[0]
    fits = all(w == factor * h + constant for h, w in zip(have, wanted, strict=True))
    return (factor, constant) if fits else None


def _differs(column: Column) -> bool:
    return any(n != column[0] for n in column)


class _Search:
    """One opening followed through. holes: what is at the places that differ; sources: of the symbols."""

    def __init__(self, graph: Graph, columns: Sequence[Column], opening: Opening) -> None:
        self.graph, self.columns, self.opening = graph, columns, opening
        self.holes: dict[int, Size] = {}
        self.sources: list[tuple[int, int]] = []
        self.values: list[list[int]] = [[SMALLEST] * MOST_SYMBOLS for _ in columns[0]]
        scope = Scope([SMALLEST] * MOST_SYMBOLS, [_FAR] * MOST_SYMBOLS)
        self.symbols, self.estimates = scope.symbols(), scope.estimates
        self.known: dict[Column, list[Size]] = {}
        self.seen: dict[Size, Column] = {}
        self.log: list[tuple[Column, Size]] = []
        self.place = self.failures = 0

    def fits(self) -> bool:
        """Whether all numbers are found."""
        sizes: Sizes = {}
        for kind, grain, how in self.opening:
            if how is None:
                self._open(self.columns.index(kind), grain)
                sizes[kind] = self.symbols[len(self.sources) - 1] * grain
            else:
                sizes[kind] = how(sizes)
        for kind, size in sizes.items():
            self._know(kind, size)
        inputs = [(tuple(self._input_number(n, sizes) for n in shape), dtype) for shape, dtype in self.graph.inputs]
        return self._walk(self.graph, inputs) is not None

    def _open(self, place: int, grain: int) -> None:
        """The number at a place becomes a symbol."""
        k = len(self.sources)
        self.sources.append((place, grain))
        for member, numbers in enumerate(self.values):
            numbers[k] = self.columns[place][member] // grain
        self.estimates[k] = self.values[-1][k]

    def _input_number(self, n: int, sizes: Sizes) -> Any:
        if n < SMALLEST:
            return n
        self.place += 1
        return self._put(self.place - 1, sizes.get(self.columns[self.place - 1], n))

    def _put(self, place: int, value: Any) -> Any:
        if isinstance(value, Size):
            self.holes[place] = value
        return value

    def _know(self, column: Column, size: Size) -> None:
        sizes = self.known.setdefault(column, [])
        if size not in sizes:
            sizes.append(size)
            self.log.append((column, size))

    def _column(self, size: Size) -> Column:
        if size not in self.seen:
            self.seen[size] = tuple(substituted(size, numbers) for numbers in self.values)
        return self.seen[size]

    # Steps

    def _walk(self, graph: Graph, inputs: Sequence[Any]) -> Graph | None:
        """The graph with what its numbers are; None where they are not found. What does not fit is undone back to the last choice."""
        types, steps = list(inputs), []
        choices: list[tuple[tuple, Iterator[Step]]] = []
        self._learn(types)
        while len(steps) < len(graph.steps):
            step = graph.steps[len(steps)]
            at = (len(steps), len(types), self.place, len(self.sources), len(self.log))
            options = self._options(step, types)
            while (made := self._first_fitting(options, types)) is None:
                if not choices or self.failures > MOST_FAILURES:
                    return None
                at, options = choices.pop()
                self._undo(at, steps, types)
            choices.append((at, options))
            steps.append(made[0])
            types += made[1]
            self._learn(made[1])
        return Graph(tuple(inputs), tuple(steps), graph.outputs, graph.origins, graph.names, tuple(types))

    def _first_fitting(self, options: Iterator[Step], types: Sequence[Any]) -> tuple[Step, Sequence[Any]] | None:
        for step in options:
            try:
                return step, result_types(step, types)
            except LaminaError:
                self.failures += 1
        return None

    def _undo(self, at: tuple[int, ...], steps: list[Step], types: list[Any]) -> None:
        del steps[at[0] :], types[at[1] :]
        self.place = at[2]
        del self.sources[at[3] :]
        while len(self.log) > at[4]:
            column, size = self.log.pop()
            self.known[column].remove(size)

    def _learn(self, types: Sequence[Any]) -> None:
        for shape, _ in types:
            for d in shape:
                if isinstance(d, Size):
                    self._know(self._column(d), d)

    def _options(self, step: Step, types: Sequence[Any]) -> Iterator[Step]:
        """The step with what its numbers may be, the likeliest first; the numbers are counted and put as each is given."""
        if step.op not in OPS:
            yield step
            return
        shapes = [types[i][0] for i in step.operands]
        slots: list[Sequence[Any]] = []
        shape_of: list[int | None] = []  # how many numbers an attribute is; None: a single one, or whatever else
        for param, value in zip(OPS[step.op].attributes, step.attrs, strict=True):
            if isinstance(value, Graph):
                body = self._body(value, shapes)
                if body is None:
                    return
                slots.append([body])
            elif param.kind in SIZED and isinstance(value, tuple):
                slots += [self._candidates(n, shapes) for n in value]
            else:
                slots.append(self._candidates(value, shapes) if param.kind in SIZED and type(value) is int else [value])
            shape_of.append(len(value) if param.kind in SIZED and isinstance(value, tuple) else None)
        end = self.place
        for chosen in islice(product(*slots), MOST_CHOICES):
            self.place = end
            for slot, value in zip(slots, chosen, strict=True):
                if isinstance(slot, _Differing):
                    self._put(slot.place, value)
            left = iter(chosen)
            yield Step(step.op, tuple(next(left) if n is None else tuple(islice(left, n)) for n in shape_of), step.operands)

    def _body(self, graph: Graph, shapes: Sequence[Any]) -> Graph | None:
        """The body of a loop: its inputs are parts of the loop's operands."""
        found = [([self._candidates(n, shapes) for n in shape], dtype) for shape, dtype in graph.inputs]
        if not all(each for dims, _ in found for each in dims):
            return None
        for each in (each for dims, _ in found for each in dims if isinstance(each, _Differing)):
            self._put(each.place, each[0])
        return self._walk(graph, [(tuple(each[0] for each in dims), dtype) for dims, dtype in found])

    # Numbers

    def _candidates(self, n: int, shapes: Sequence[Any]) -> Sequence[Any]:
        """What the next number may be; it opens a symbol if it follows from nothing and there is one left."""
        if n < SMALLEST:
            return [n]
        place = self.place
        self.place += 1
        column = self.columns[place]
        if not _differs(column):
            return [n]
        found = list(dict.fromkeys(islice(self._made_of(column, shapes), MOST_CHOICES)))
        if not found and len(self.sources) < MOST_SYMBOLS:
            self._open(place, 1)
            size = self.symbols[len(self.sources) - 1]
            self.seen = {}
            self._know(column, size)
            found = [size]
        return _Differing(found, place)

    def _made_of(self, column: Column, shapes: Sequence[Any]) -> Iterator[Size]:
        dims = [d for shape in shapes for d in shape if isinstance(d, Size)]
        yield from (d for d in dims if self._column(d) == column)
        yield from self.known.get(column, ())
        for shape in shapes:
            for i, j in combinations(range(len(shape) + 1), 2):
                size = prod(shape[i:j])
                if isinstance(size, Size):
                    found = self._ratio(size, column)
                    if found is not None:
                        yield found
        bases = [(c, sizes[0]) for c, sizes in self.known.items() if sizes]
        lines = [(line, size) for c, size in bases if (line := _line(c, column)) is not None]
        lines.sort(key=lambda item: (item[0][1] != 0, item[0][0] < 0, abs(item[0][1])))
        yield from (size * factor + constant for (factor, constant), size in lines if factor > 0 or factor == -1)
        for c, size in bases:
            yield from self._parts(c, size, column)
        for (a, x), (b, y) in combinations(bases[: 2 * MOST_SYMBOLS], 2):
            line = _line(tuple(p * q for p, q in zip(a, b, strict=True)), column)
            if line is not None and line[0] > 0 and line[1] == 0:
                yield x * y * line[0]

    def _ratio(self, size: Size, column: Column) -> Size | None:
        """A multiple of a size, or a part of it."""
        have = self._column(size)
        if min(have) < 1:
            return None
        if all(w % h == 0 and w // h == column[0] // have[0] for h, w in zip(have, column, strict=True)):
            return size * (column[0] // have[0])
        if all(h % w == 0 and h // w == have[0] // column[0] for h, w in zip(have, column, strict=True)):
            return size // (have[0] // column[0])
        return None

    def _parts(self, have: Column, size: Size, column: Column) -> Iterator[Size]:
        """A size divided by a number, rounded down or up."""
        number = round(have[0] / column[0])
        for n in {number, number + 1} if number > 1 else ():
            if all(h // n == w for h, w in zip(have, column, strict=True)):
                yield size // n
            if all(-(-h // n) == w for h, w in zip(have, column, strict=True)):
                yield -(-size // n)


class _Differing(list[Any]):
    """What a number may be that is not the same in all members, and its place."""

    def __init__(self, found: Sequence[Any], place: int) -> None:
        super().__init__(found)
        self.place = place
