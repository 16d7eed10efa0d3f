"""Folds of a leaf: accumulators in registers, several side by side, combined in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, IntegerType, VectorType
from xdsl.ir import Attribute, Operation, SSAValue

from ..dialects.sizes import Size, estimate, same
from .loop_builder import vector_of
from .nest_body import Point
from .nest_plan import Flat, LeafPlan, Loop, StagePlan
from .nest_schedule import is_window
from .nest_stages import COMBINERS, Buffer
from .nest_work import leaf_operations

if TYPE_CHECKING:
    from .nest import _Nest

NARROWEST = 4
"""Lanes of the smallest vectors: a tail element costs as much as a vector when the body is a long polynomial."""

Inside = Callable[[list[SSAValue]], list[SSAValue]]

CHAINS = 4
"""Independent accumulators wanted per output: an add takes about four cycles."""


@dataclass(slots=True)
class Output:
    """One output of a folding stage.

    combine: the combining op of the body, or None where order must be kept.
    """

    buffer: Buffer
    element: Attribute
    flat: Flat | None
    start: SSAValue | None
    combine: Operation | None
    neutral: bool


class Fold:
    """Emits the folding loops of a leaf for given points (copies along a parallel vector loop)."""

    def __init__(self, nest: _Nest, leaf: LeafPlan, points: Sequence[Point], shares: bool) -> None:
        self.nest, self.b, self.leaf, self.points, self.shares = nest, nest.b, leaf, points, shares
        self.loops = [x for x in leaf.own if x.kind == "r"]
        self.vector = leaf.vector if leaf.vector is not None and leaf.vector.kind == "r" else None
        self.outputs = [
            self._output(p, k) for p in leaf.stages if p.stage.reduces for k in range(len(p.stage.writes))
        ]
        self.ordered = any(o.combine is None for o in self.outputs)
        self.unrolled = is_window(leaf)
        self.chains = self._chains()
        self.tails = self._tails(leaf) if self.vector else []

    def _tails(self, leaf: LeafPlan) -> list[int]:
        """Widths of the pieces behind the last whole vector with sums of their own; where their number is known at the call only they are
        single elements, or the lanes of a masked vector, which is folded like the others.
        """
        if leaf.cut:
            return []
        left = self.vector.size % leaf.width
        return [1] if isinstance(left, Size) else list(narrower(left, leaf.width))

    def _output(self, plan: StagePlan, k: int) -> Output:
        stage = plan.stage
        combine = None
        if stage.combiners[k] is not None:
            combine = stage.block.last_op.operands[k].owner
        write = stage.writes[k]
        return Output(
            write.buffer, write.buffer.element, plan.writes[k], stage.starts[k], combine, stage.neutral
        )

    def _chains(self) -> int:
        """Accumulators per output and point, along the innermost fold loop."""
        if self.ordered or self.unrolled or self.leaf.by_rows:
            return 1
        if self.vector is not None:
            return self.leaf.copies
        chains = max(1, CHAINS // len(self.points)) if leaf_operations(self.leaf) <= 24 else 1
        while chains > 1 and estimate(self.loops[-1].size) < 2 * chains:
            chains //= 2
        return chains

    # Slots: accumulators of one output, `each` per point: `chains`, and along a vector fold one per narrower tail piece.
    # Single elements of rows side by side go into one, the first row's, a lane each.

    @property
    def each(self) -> int:
        return self.chains + len(self.tails)

    @property
    def slots(self) -> int:
        return self.each * len(self.points)

    def emit(self) -> None:
        sums = [self._first(output, slot) for output in self.outputs for slot in range(self.slots)]
        sums = self._windows(self.loops, sums) if self.unrolled else self._nest(self.loops, sums)
        n = self.slots
        for k, output in enumerate(self.outputs):
            self._finish(output, sums[k * n : (k + 1) * n])

    def _width(self, slot: int) -> int:
        if self.vector is not None:
            place = slot % self.each - self.chains
            return self.leaf.width if place < 0 else self.tails[place] if self.tails[place] > 1 else len(self.points)
        return self.points[slot // self.each].width

    def _first(self, output: Output, slot: int) -> SSAValue:
        width = self._width(slot)
        if output.combine is None:
            return self._spread(self._start(output, self.points[slot // self.each]), width)
        value = identity(output.combine.name, output.element)
        if width == 1:
            return self.b.constant(value, output.element)
        return self.b.splat(value, vector_of(output.element, width))

    def _spread(self, value: SSAValue, width: int) -> SSAValue:
        if width == 1 or isinstance(value.type, VectorType):
            return value
        return self.b.broadcast(value, width)

    def _start(self, output: Output, point: Point) -> SSAValue:
        """What the fold starts from: a constant, or what the output held."""
        if output.start is not None:
            return self.nest.scalar(output.start)
        return self.nest.body.load(output.flat, point)

    # Loops

    def _windows(self, loops: Sequence[Loop], sums: list[SSAValue]) -> list[SSAValue]:
        offsets: list[dict[Loop, int]] = [{}]
        for loop in loops:
            offsets = [{**o, loop: i} for o in offsets for i in range(loop.size)]
        for offset in offsets:
            sums = self._statements([(p.moved(offset), k) for k, p in enumerate(self.points)], sums)
        return sums

    def _nest(self, loops: Sequence[Loop], sums: list[SSAValue]) -> list[SSAValue]:
        loop, inner = loops[0], loops[1:]
        if self.leaf.by_rows and not inner:
            return self._windows(loops, sums)
        if inner:
            return self._loop(loop, 0, loop.size, 1, range(self.slots), sums, lambda s: self._nest(inner, s))
        for start, stop, step, pairs in self._pieces(loop):
            sums = self._loop(
                loop,
                start,
                stop,
                step,
                [slot for _, slot in pairs],
                sums,
                lambda s, pairs=pairs: self._statements(pairs, s),
            )
        return sums

    def _pieces(self, loop: Loop) -> list[tuple[int, int, int, list[tuple[Point, int]]]]:
        """The innermost loop: start, stop, step, and which point feeds which slot."""
        if self.vector is not None:
            width, found, at = self.leaf.width, [], 0
            for copies in sorted({self.chains, 1}, reverse=True):
                stop = loop.size - loop.size % (width * copies)
                if not same(stop, at):
                    points = [
                        (Point(width, loop, {**base.offsets, loop: k * width}, base.copy), row * self.each + k)
                        for row, base in enumerate(self.points)
                        for k in range(copies)
                    ]
                    found.append((at, stop, width * copies, points))
                    at = stop
            for slot, narrow in enumerate(self.tails, self.chains):
                stop = at + narrow if narrow > 1 else loop.size
                points = [
                    (Point(narrow, loop, {**base.offsets, loop: 0}, base.copy), row * self.each + slot)
                    for row, base in enumerate(self.points)
                ]
                found.append((at, stop, narrow, points if narrow > 1 else [(self.nest.together(self.points), slot)]))
                at = stop
            if self.leaf.cut and not same(at, loop.size):
                filled = self.b.index(loop.size - at)
                points = [
                    (Point(width, loop, {**base.offsets, loop: 0}, base.copy, filled=filled), row * self.each) for row, base in enumerate(self.points)
                ]
                found.append((at, loop.size, width, points))
            return found
        n = self.chains
        full = loop.size - loop.size % n
        wide = [(p.moved({loop: u}), k * n + u) for k, p in enumerate(self.points) for u in range(n)]
        found = [(0, full, n, wide)]
        if not same(full, loop.size):
            found.append((full, loop.size, 1, [(p, k * n) for k, p in enumerate(self.points)]))
        return found

    def _loop(
        self,
        loop: Loop,
        start: int,
        stop: int,
        step: int,
        slots: Sequence[int],
        sums: list[SSAValue],
        inside: Inside,
    ) -> list[SSAValue]:
        """A loop (or, for one iteration, its body) that carries the accumulators of these slots."""
        variables = self.nest.body.variables
        if same(stop - start, step):
            variables[loop] = None if same(start, 0) else self.b.index(start)
            return inside(sums)
        n = self.slots
        carried = [k * n + s for k in range(len(self.outputs)) for s in slots]
        variables[loop], inner = self.b.open_for(
            self.b.index(start), self.b.index(stop), step, [sums[c] for c in carried]
        )
        within = list(sums)
        for c, value in zip(carried, inner, strict=True):
            within[c] = value
        within = inside(within)
        after = self.b.close_for([within[c] for c in carried])
        result = list(sums)
        for c, value in zip(carried, after, strict=True):
            result[c] = value
        return result

    def _statements(self, pairs: Sequence[tuple[Point, int]], sums: list[SSAValue]) -> list[SSAValue]:
        n, sums = self.slots, list(sums)
        for point, slot in pairs:
            mine = [sums[k * n + slot] for k in range(len(self.outputs))]
            new, _ = self.nest.statements(self.leaf, point, mine)
            for k, value in enumerate(new):
                whole = self._spread(value, self._width(slot))
                if point.filled is not None and point.vector is self.vector:  # lanes that do not count keep their sums
                    mask = self.b.mask(point.filled, point.width)
                    whole = self.b.emit(arith.SelectOp, (mask, whole, mine[k]), whole.type)
                sums[k * n + slot] = whole
        self.nest.catch_up(self.leaf, [point for point, _ in pairs])
        return sums

    # Ends

    def _finish(self, output: Output, slots: Sequence[SSAValue]) -> None:
        rows = [slots[k * self.each : (k + 1) * self.each] for k in range(len(self.points))]
        if self.vector is None:
            for point, row in zip(self.points, rows, strict=True):
                self._deliver(output, point, self._tree(output, row))
            return
        total = self._across(output, [self._tree(output, row[: self.chains]) for row in rows])
        for tail in range(self.chains, self.each):
            narrow = [row[tail] for row in rows]
            total = self._join(output, total, narrow[0] if self.tails[tail - self.chains] == 1 else self._across(output, narrow))
        self._deliver(output, self.nest.together(self.points), total)

    def _deliver(self, output: Output, point: Point, total: SSAValue) -> None:
        if output.combine is not None and not self._starts_neutral(output):
            total = self._join(output, self._spread(self._start(output, point), self._lanes(total)), total)
        if output.flat is not None:
            self.nest.body.store(output.flat, point, total)
        if self.shares:
            self.nest.share(output.buffer, total, point)

    @staticmethod
    def _lanes(value: SSAValue) -> int:
        return value.type.get_shape()[0] if isinstance(value.type, VectorType) else 1

    @staticmethod
    def _starts_neutral(output: Output) -> bool:
        if output.neutral:
            return True
        start = output.start.owner if output.start is not None else None
        return isinstance(start, arith.ConstantOp) and start.properties["value"] == identity(
            output.combine.name, output.element
        )

    def _join(self, output: Output, a: SSAValue, b: SSAValue) -> SSAValue:
        op = output.combine
        return self.b.emit(type(op), (a, b), a.type, op.properties)

    def _tree(self, output: Output, values: Sequence[SSAValue]) -> SSAValue:
        values = list(values)
        while len(values) > 1:
            half = len(values) // 2
            values = [self._join(output, a, b) for a, b in zip(values[:half], values[half:], strict=True)]
        return values[0]

    def _across(self, output: Output, values: Sequence[SSAValue]) -> SSAValue:
        """All lanes of a row's vector combined, halving it again and again; of several rows in one vector, a lane each.

        Every row is halved alike, however many there are: two vectors with half the lanes each are joined as one.
        """
        values, lanes, rows = list(values), self._lanes(values[0]), 1
        while lanes > 1:
            starts = [row * lanes for row in range(rows if len(values) == 1 else 2 * rows)]
            lanes //= 2
            low = [start + lane for start in starts for lane in range(lanes)]
            pairs = [(values[0], None)] if len(values) == 1 else list(zip(values[::2], values[1::2], strict=True))
            rows = len(starts)
            if rows == lanes == 1:
                return self._join(output, self.b.extract(values[0], 0), self.b.extract(values[0], 1))
            values = [
                self._join(output, self.b.shuffled(a, low, b), self.b.shuffled(a, [lane + lanes for lane in low], b)) for a, b in pairs
            ]
        if rows == 1:
            return values[0] if len(values) == 1 else self.b.from_lanes(values)
        while len(values) > 1:
            rows *= 2
            values = [self.b.shuffled(a, range(rows), b) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]


def narrower(left: int, width: int) -> Iterator[int]:
    """Widths of the pieces after whole vectors: halves, quarters, … while there are lanes enough, then scalars."""
    width //= 2
    while width >= NARROWEST:
        if left >= width:
            yield width
            left -= width
        width //= 2
    if left:
        yield 1


def identity(combiner: str, element: Attribute) -> Attribute:
    """The value that changes nothing when combined: 0 for sums, -inf for maxima, and so on."""
    kind = COMBINERS[combiner]
    if isinstance(element, IntegerType):
        width = element.width.data
        low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if width > 1 else (0, 1)
        value = {
            "addi": 0, "muli": 1, "maxsi": low, "minsi": high, "maxui": 0, "minui": -1 if width > 1 else 1,
            "and": -1 if width > 1 else 1, "or": 0, "xor": 0,
        }[kind]  # fmt: skip
        return IntegerAttr(value, element)
    return FloatAttr(
        {"add": 0.0, "mul": 1.0, "maximum": float("-inf"), "minimum": float("inf")}[kind], element
    )
