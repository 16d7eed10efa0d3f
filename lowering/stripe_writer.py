"""The function of a chain that runs stripe by stripe: a loop over the stripes, memory for one per task, calls of the parts.

A member makes the rows that the next one reads, wherever these lie in its result: at the ends of it fewer are there, and as many
are made all the same, a little further on. `lead` rows in front of a buffer leave room for that. Where the next one reads a result
reshaped, its rows are parts of the member's, or several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import IntegerAttr, MemRefType, i8, i64
from xdsl.ir import Block, Region, SSAValue

from ..dialects.kernel import RunOp
from ..dialects.target import Target
from .block_parts import has_scratch
from .block_writer import typed_window
from .kernel_functions import make_function
from .loop_writer import LoopWriter
from .memory_plan import aligned
from .memref_layout import bytes_of, element_bytes, memref_type, strides_of
from .storage import Call
from .stripe_parts import Reads, RowCut, dense_rows, rows_of

Slab = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Link:
    """How a member reads what the one before it makes: `parts` rows of its operand are `rows` of that."""

    reads: Reads
    rows: int = 1
    parts: int = 1

    def start(self, row: int) -> int | None:
        """The first row that one of the reader is made from; None where it begins within a row."""
        whole, rest = divmod(row * self.reads.step * self.rows, self.parts)
        return None if rest else whole

    def count(self, rows: int) -> int | None:
        """How many so many rows of the reader need; None where they end within a row."""
        whole, rest = divmod(self.reads.count(rows) * self.rows, self.parts)
        return None if rest else whole


@dataclass(slots=True)
class Stripe:
    """A member of a chain. given: its operand that the member before makes, and link, how it reads that. rows: of its result, per
    stripe. Of its buffer for the next one: `held` rows, of which that reads `asked`, from row `lead` on. part: its function for one stripe.
    """

    call: Call
    cut: RowCut
    given: int | None
    link: Link | None = None
    rows: int = 0
    asked: int = 0
    lead: int = 0
    held: int = 0
    border: tuple[Slab, ...] = ()
    part: func.FuncOp | None = None

    @property
    def kind(self) -> MemRefType:
        """The type of its result as a whole."""
        return self.call.results[0][1]

    @property
    def small(self) -> MemRefType:
        """Its buffer for one stripe."""
        return dense_rows(self.kind, self.cut.dim, self.held)

    def others(self) -> list[int]:
        """Operands that lie outside of the chain."""
        return [k for k in range(len(self.call.operands)) if k != self.given]


def fit(chain: Sequence[Stripe], rows: int) -> bool:
    """Settles how many rows every member makes and keeps, for so many of the last one's results; whether they are whole rows of all."""
    chain[-1].rows = rows
    starts = [*range(0, chain[-1].cut.extent, rows)]
    for m, reader in reversed([*zip(chain, chain[1:], strict=False)]):
        assert reader.link is not None
        extent, asked = m.cut.extent, reader.link.count(reader.rows)
        wanted = [first - m.cut.box[m.cut.dim][0] for s in starts if (first := reader.link.start(s)) is not None]
        if asked is None or len(wanted) < len(starts):
            return False
        m.asked = asked
        m.rows = min(m.asked, extent)
        starts = [min(max(w, 0), extent - m.rows) for w in wanted]
        moved = [s - w for s, w in zip(starts, wanted, strict=True)]
        m.lead = max(0, -min(moved))
        m.held = m.lead + max(m.asked, max(moved) + m.rows)
        m.border = _border(m, max(0, -min(wanted)), extent - max(wanted)) if m.cut.border is not None else ()
    return True


def link_of(reads: Reads, made: MemRefType, held: MemRefType) -> tuple[int, Link] | None:
    """The dim of what was made along which rows of an operand lie, and how; None where there is none. Of what is reshaped both are row-major."""
    if made == held:
        return reads.dim, Link(reads)
    own, shape = made.get_shape(), held.get_shape()
    assert made.element_type == held.element_type and prod(own) == prod(shape), "one memory, two shapes"
    outer, inner = prod(shape[: reads.dim]), prod(shape[reads.dim + 1 :])
    for dim, size in enumerate(own):
        after = prod(own[dim + 1 :])
        if size > 1 and prod(own[:dim]) == outer and (after % inner == 0 or inner % after == 0):
            return dim, Link(reads, max(1, inner // after), max(1, after // inner))
    return None


def _border(m: Stripe, above: int, inside: int) -> tuple[Slab, ...]:
    """What around a member's rows no stripe writes, or only some do."""
    shape = m.small.get_shape()
    slabs: list[Slab] = []
    for d, ((low, count), size) in enumerate(zip(m.cut.box, shape, strict=True)):
        parts = ((0, low), (low + count, size)) if d != m.cut.dim else ((m.lead, m.lead + above), (m.lead + inside, m.lead + m.asked))
        slabs += [[*((0, n) for n in shape[:d]), part, *((0, n) for n in shape[d + 1 :])] for part in parts if part[0] < part[1]]
    return tuple(slabs)


def types_within(m: Stripe, before: Stripe | None) -> list[MemRefType]:
    """The types of a member's arguments in one stripe."""
    found = []
    for k, (_, held) in enumerate(m.call.operands):
        reads = m.cut.reads.get(k)
        if k == m.given:
            assert before is not None and reads is not None
            found.append(_rows_within(before, held, reads, m.rows))
        else:
            found.append(held if reads is None else rows_of(held, reads.dim, reads.count(m.rows)))
    if m.held or m.cut.border is not None:
        held = m.small if m.held else m.kind
        shape = [m.rows if d == m.cut.dim else count for d, (_, count) in enumerate(m.cut.box)]
        return [*found, memref_type(tuple(shape), held.element_type, strides_of(held))]
    return [*found, *(rows_of(kind, dim, m.rows) for (_, kind), dim in zip(m.call.results, m.cut.dims, strict=True))]


def _rows_within(before: Stripe, held: MemRefType, reads: Reads, rows: int) -> MemRefType:
    """What a member reads of the buffer of the one before it. held: the operand as a whole."""
    small, whole = before.small, before.kind
    count = reads.count(rows)
    if held == whole:
        return rows_of(small, reads.dim, count)
    dim = before.cut.dim
    near, far = _apart(small, dim), _apart(whole, dim)  # what lies in front of the rows is so far from the next of it
    strides = [step // far * near if d < reads.dim else step for d, step in enumerate(strides_of(held))]
    return memref_type(tuple(count if d == reads.dim else n for d, n in enumerate(held.get_shape())), held.element_type, tuple(strides))


def _apart(kind: MemRefType, dim: int) -> int:
    """Elements from what has rows to the next of such, in a row-major buffer or one with a gap behind the rows."""
    outer = [step for step, n in zip(strides_of(kind)[:dim], kind.get_shape()[:dim], strict=True) if n > 1]
    return outer[-1] if outer else strides_of(kind)[dim] * kind.get_shape()[dim]


class StripeWriter:
    """The function of the loop that calls the parts, and what fills the borders before. Its results are the last member's."""

    def __init__(self, target: Target, chain: Sequence[Stripe], borders: Sequence[func.FuncOp | None]) -> None:
        self.chain, self.borders = chain, borders
        self.parts = parts = [m.part for m in chain if m.part is not None]
        self.count = chain[-1].cut.extent // chain[-1].rows
        self.tasks = min(target.tasks, self.count)
        self.places, total = [], 0
        for m in chain[:-1]:
            self.places.append(total)
            total += aligned(bytes_of(m.small))
        self.part_place = total
        self.task_bytes = total + max((aligned(bytes_of(p.body.block.args[-1].type)) for p in parts if has_scratch(p)), default=0)

    @property
    def scratch_bytes(self) -> int:
        return self.tasks * self.task_bytes

    def function(self, name: str) -> func.FuncOp:
        """``name(what members read of others, the results, scratch)``."""
        reads = [m.call.operands[k][1] for m in self.chain for k in m.others()]
        results = [kind for _, kind in self.chain[-1].call.results]
        block = Block(arg_types=[*reads, *results, MemRefType(i8, [self.scratch_bytes])])
        block.args[-1].name_hint = "scratch"
        block.add_op(end := func.ReturnOp())
        self.w = w = LoopWriter(end, self.chain[0].call.origin)
        with w.tasks(self.tasks, threads=True) as task:
            own = w.value(RunOp.create(operands=(task,), result_types=(task.type,)))
            self.memory, self.scratch = block.args[-1], w.times(own, self.task_bytes)
            low = w.divided(w.times(task, self.count), self.tasks)
            high = w.divided(w.times(w.plus(task, 1), self.count), self.tasks)
            with w.loop(low, high) as loop:
                self._stripe(loop.counter, list(block.args))
        function = make_function(name, reads, results, Region(block))
        function.attributes["lamina.scratch"] = IntegerAttr(self.scratch_bytes, i64)
        return function

    def _stripe(self, number: SSAValue, given: list[SSAValue]) -> None:
        """The calls of one stripe, and where its rows begin in every result."""
        w = self.w
        starts = [w.times(number, self.chain[-1].rows)]
        moved: list[SSAValue | None] = [None]  # rows by which a member's begin further on than was asked
        for m, reader in reversed([*zip(self.chain, self.chain[1:], strict=False)]):
            assert (link := reader.link) is not None
            wanted = w.plus(_start(w, link, starts[0]), -m.cut.box[m.cut.dim][0])
            start = w.binary(arith.MaxSIOp, wanted, w.index(0))
            start = w.binary(arith.MinSIOp, start, w.index(m.cut.extent - m.rows))
            starts.insert(0, start)
            moved.insert(0, w.binary(arith.SubiOp, start, wanted))
        for i, (m, part) in enumerate(zip(self.chain, self.parts, strict=True)):
            border = self.borders[i]
            if border is not None:
                w.add(func.CallOp(border.sym_name.data, [self._inside(i, w.index(0), m.small)], []))
            kinds = [a.type for a in part.body.block.args]
            arguments = []
            for k in range(len(m.call.operands)):
                arguments.append(self._read(i, k, kinds[k], starts[i], given))
            if (shift := moved[i]) is not None:
                arguments.append(self._kept(i, kinds[len(arguments)], shift))
            else:
                arguments += self._results(kinds[len(arguments) :], starts[i], given)
            if has_scratch(part):
                place = w.plus(self.scratch, self.part_place)
                arguments.append(typed_window(w, self.memory, place, kinds[-1]))  # type: ignore[arg-type]  # a memref
            w.add(func.CallOp(part.sym_name.data, arguments, []))

    def _read(self, i: int, k: int, kind: object, start: SSAValue, given: list[SSAValue]) -> SSAValue:
        """An operand of a member: rows of the member before, of an array outside, or all of it."""
        m, w = self.chain[i], self.w
        if k == m.given:
            before = self.chain[i - 1]
            return self._inside(i - 1, w.index(before.lead * strides_of(before.small)[before.cut.dim]), kind)
        whole = given.pop(0)
        reads = m.cut.reads.get(k)
        if reads is None:
            return whole
        step = strides_of(whole.type)[reads.dim]  # type: ignore[arg-type]  # a memref
        return self._rows(whole, w.times(start, reads.step * step), kind)

    def _kept(self, i: int, kind: object, moved: SSAValue) -> SSAValue:
        """Where a member's rows go in its buffer for one stripe."""
        m, w = self.chain[i], self.w
        strides = strides_of(m.small)
        first = sum(low * step for d, ((low, _), step) in enumerate(zip(m.cut.box, strides, strict=True)) if d != m.cut.dim)
        return self._inside(i, w.plus(w.times(moved, strides[m.cut.dim]), first + m.lead * strides[m.cut.dim]), kind)

    def _results(self, kinds: Sequence[object], start: SSAValue, given: list[SSAValue]) -> list[SSAValue]:
        """Where the last member's rows go: in the chain's results."""
        m, w = self.chain[-1], self.w
        found = []
        for k, ((_, held), dim) in enumerate(zip(m.call.results, m.cut.dims, strict=True)):
            strides = strides_of(held)
            first = sum(low * step for (low, _), step in zip(m.cut.box, strides, strict=True)) if m.cut.border is not None else 0
            found.append(self._rows(given.pop(0), w.plus(w.times(start, strides[dim]), first), kinds[k]))
        return found

    def _rows(self, buffer: SSAValue, at: SSAValue, kind: object) -> SSAValue:
        assert isinstance(kind, MemRefType)
        return self.w.value(memref.ReinterpretCastOp.from_dynamic(buffer, [at], kind.get_shape(), strides_of(kind), kind))

    def _inside(self, i: int, at: SSAValue, kind: object) -> SSAValue:
        """A member's buffer, from an element on."""
        assert isinstance(kind, MemRefType)
        w = self.w
        place = w.plus(w.times(at, element_bytes(kind.element_type)), self.places[i])
        return typed_window(w, self.memory, w.binary(arith.AddiOp, self.scratch, place), kind)


def _start(w: LoopWriter, link: Link, row: SSAValue) -> SSAValue:
    """The first row a row of the reader is made from."""
    return w.divided(w.times(row, link.reads.step * link.rows), link.parts)
