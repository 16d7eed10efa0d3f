"""What the maximum of a row says about what is computed from it: facts that leave out parts of kernels' bodies.

    m = max x;  e = exp(x - m)              no argument is above 0: kernel.exp_low, which need not look for overflow
    m = max x;  e = exp(x - m);  s = sum e;  y = e / s
                                            a NaN in x is in s, so in every y: the maximum need not look for it

Stages say it, whatever op they come from: the same elements under the same index maps, in any loop order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import Float32Type
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.kernel import ExpLowOp
from .nest_stages import Access, Buffer, Kernel, Linear, Stage

NO_NAN = arith.FastMathFlagsAttr([arith.FastMathFlag.NO_NANS])

_STRICT = (
    arith.AddfOp, arith.SubfOp, arith.MulfOp, arith.DivfOp, arith.NegfOp, arith.MaximumfOp, arith.MinimumfOp, arith.ExtFOp, arith.TruncFOp,
    math.ExpOp, math.Exp2Op, math.ExpM1Op, math.LogOp, math.Log1pOp, math.Log2Op, math.AbsFOp, math.SqrtOp, math.TanhOp, ExpLowOp,
)
"""Ops that give NaN where any operand is NaN."""

_EXACT = (*_STRICT[:9], arith.SelectOp, arith.CmpfOp, arith.CmpiOp, arith.SIToFPOp, arith.ExtUIOp, arith.IndexCastOp, arith.AddiOp, arith.SubiOp, arith.MuliOp)
"""Ops that give the same bits wherever they are computed, one by one or many at a time."""

Row = tuple[Linear, ...]


@dataclass(slots=True)
class _Fold:
    """A maximum of rows. element: what a row's maximum is taken of."""

    at: int
    stage: Stage
    combine: Operation
    element: SSAValue

    @property
    def result(self) -> Access:
        return self.stage.writes[0]


def note_facts(kernel: Kernel) -> None:
    """Rewrites bodies of the kernel's stages by what its maxima of rows say."""
    for at, stage in enumerate(kernel.stages):
        fold = _maximum(kernel, at, stage)
        if fold is None:
            continue
        if _tells_nan(kernel, fold):
            fold.combine.properties["fastmath"] = NO_NAN
        if fold.combine.name == "arith.maximumf":
            for later in kernel.stages[at + 1 :]:
                _mark_exponentials(kernel, fold, later)


def _maximum(kernel: Kernel, at: int, stage: Stage) -> _Fold | None:
    """The stage as a maximum (or minimum) of rows into a temporary that nothing else writes."""
    if stage.combiners not in (["arith.maximumf"], ["arith.minimumf"]) or not stage.reduces or stage.block is None:
        return None
    held = stage.writes[0]
    if not held.buffer.is_temporary or sum(w.buffer is held.buffer for s in kernel.stages for w in s.writes) != 1:
        return None
    if stage.starts[0] is None and not stage.neutral or "a" in stage.kinds:
        return None
    if set(_dims_of(held.dims) or ()) != {d for d, kind in enumerate(stage.kinds) if kind == "p"}:
        return None
    combine = stage.block.last_op.operands[0].owner
    accumulator = stage.block.args[-1]
    element = next(o for o in combine.operands if o is not accumulator)
    return _Fold(at, stage, combine, element)


def _dims_of(dims: Sequence[Linear]) -> list[int] | None:
    """The loops of an access each of whose dims is one loop alone, or the place 0; none twice."""
    found = [terms[0][0] for constant, terms in dims if terms]
    plain = all(constant == 0 and (not terms or (len(terms) == 1 and terms[0][1] == 1)) for constant, terms in dims)
    return found if plain and len(set(found)) == len(found) else None


# Arguments of exponentials


def _mark_exponentials(kernel: Kernel, fold: _Fold, stage: Stage) -> None:
    """exp(x - m) becomes kernel.exp_low where m is the maximum of what x is one of."""
    if stage.block is None:
        return
    for op in list(stage.block.ops):
        if not isinstance(op, math.ExpOp) or not isinstance(op.results[0].type, Float32Type):
            continue
        difference = op.operands[0].owner
        if not isinstance(difference, arith.SubfOp):
            continue
        access = _read(stage, difference.operands[1])
        if access is None or access.buffer is not fold.result.buffer:
            continue
        if _Same(kernel, fold, stage).element(difference.operands[0], access):
            low = ExpLowOp.create(operands=[op.operands[0]], result_types=[op.results[0].type])
            stage.block.insert_op_before(low, op)
            op.results[0].replace_all_uses_with(low.results[0])
            op.detach()
            op.erase()


def _read(stage: Stage, value: SSAValue) -> Access | None:
    """The access a body's value is read by, if it is one."""
    if not isinstance(value.owner, Block) or value.index >= len(stage.reads):
        return None
    return stage.reads[value.index]


@dataclass(slots=True)
class _Same:
    """Whether a value of a later stage is an element of a fold's row. loops: of the fold, in the later stage's."""

    kernel: Kernel
    fold: _Fold
    stage: Stage
    loops: dict[int, Linear] = field(default_factory=dict)

    def element(self, value: SSAValue, row: Access) -> bool:
        """row: how the stage reads the fold's result. The value's own loops run along the row, over no more than it has."""
        if any(not self._unified(a, b) for a, b in zip(self.fold.result.dims, row.dims, strict=True)):
            return False
        return self._equal(self.fold.element, value) and all(self._within(d) for d in range(len(self.fold.stage.sizes)))

    def _within(self, dim: int) -> bool:
        """Whether the loop of the fold goes over all places that the later stage asks for."""
        constant, terms = self.loops.get(dim, (0, ((-1, 0),)))
        if constant or len(terms) > 1:
            return False
        return not terms or (terms[0][1] == 1 and self.stage.sizes[terms[0][0]] == self.fold.stage.sizes[dim])

    def _unified(self, ours: Linear, theirs: Linear) -> bool:
        """Whether a place of the fold's is one of the later stage's; a loop that stands alone is what the other place is from then on."""
        constant, terms = ours
        if constant == 0 and len(terms) == 1 and terms[0][1] == 1 and terms[0][0] not in self.loops:
            self.loops[terms[0][0]] = theirs
            return True
        total: dict[int, int] = {}
        for dim, factor in terms:
            if dim not in self.loops:
                return False
            base, inner = self.loops[dim]
            constant += factor * base
            for other, step in inner:
                total[other] = total.get(other, 0) + factor * step
        return (constant, tuple(sorted((d, c) for d, c in total.items() if c))) == theirs

    def _equal(self, ours: SSAValue, theirs: SSAValue) -> bool:
        """Whether two values are the same: read at the same places of what nobody writes in between, and computed alike."""
        a, b = ours.owner, theirs.owner
        if isinstance(a, Block) or isinstance(b, Block):
            x, y = _read(self.fold.stage, ours), _read(self.stage, theirs)
            if x is None or y is None or x.buffer is not y.buffer or self._changes(x.buffer):
                return False
            return all(self._unified(p, q) for p, q in zip(x.dims, y.dims, strict=True))
        if type(a) is not type(b) or a.properties != b.properties or ours.type != theirs.type:
            return False
        if isinstance(a, arith.ConstantOp):
            return True
        if a.name == "linalg.index":
            return False
        return isinstance(a, _EXACT) and all(self._equal(p, q) for p, q in zip(a.operands, b.operands, strict=True))

    def _changes(self, buffer: Buffer) -> bool:
        """Whether a buffer is written from the fold on."""
        between = self.kernel.stages[self.fold.at :]
        return any(w.buffer is buffer for s in between for w in s.writes) and buffer.written


# NaN that is found elsewhere


@dataclass(slots=True)
class _Held:
    """A buffer made from a maximum. row: whose, by the buffer's dims. along: the fold's loops in the buffer's dims, where each element
    is NaN if that of the fold is."""

    row: Row
    along: dict[int, int] | None = None


def _tells_nan(kernel: Kernel, fold: _Fold) -> bool:
    """Whether all that leaves a kernel and depends on a maximum is NaN where its row has a NaN, whatever the maximum is then."""
    result = fold.result
    identity = tuple((0, ((d, 1),)) for d in range(len(result.dims)))
    held: dict[Buffer, _Held] = {result.buffer: _Held(identity)}
    sums: dict[Buffer, Row] = {}
    if any(result.buffer in s.gathered for s in kernel.stages) or _used_by_others(kernel, result.buffer):
        return False
    for stage in kernel.stages[fold.at + 1 :]:
        tainted = [(k, r, held[r.buffer]) for k, r in enumerate(stage.reads) if r is not None and r.buffer in held]
        poisoned = [(k, r, sums[r.buffer]) for k, r in enumerate(stage.reads) if r is not None and r.buffer in sums]
        if not tainted:
            for k, read, row in poisoned[:1]:
                _follow_sum(stage, _through(row, read.dims), {k}, sums)
            continue
        rows = {_through(h.row, r.dims) for _, r, h in tainted}
        if len(rows) != 1 or stage.block is None:
            return False
        row = rows.pop()
        telling = {k for k, r, z in poisoned if _through(z, r.dims) == row}
        if telling and all(_is_strict(stage, y, telling) for y in stage.block.last_op.operands):
            continue
        if not _carries_on(kernel, fold, stage, row, tainted, held, sums):
            return False
    return True


def _used_by_others(kernel: Kernel, buffer: Buffer) -> bool:
    """Whether loops of another scheduler touch a buffer."""
    return any(o is buffer.value for ops in kernel.others.values() for op in ops for inner in op.walk() for o in inner.operands)


def _through(row: Row, dims: Sequence[Linear]) -> Row:
    """A row by a buffer's dims, as a row by the loops of who reads it there."""
    result = []
    for constant, terms in row:
        total: dict[int, int] = {}
        for dim, factor in terms:
            constant += factor * dims[dim][0]
            for loop, step in dims[dim][1]:
                total[loop] = total.get(loop, 0) + factor * step
        result.append((constant, tuple(sorted((d, c) for d, c in total.items() if c))))
    return tuple(result)


def _by_buffer(row: Row, written: Access) -> Row | None:
    """A row by a stage's loops, as one by the dims of what the stage writes."""
    loops = _dims_of(written.dims)
    if loops is None:
        return None
    place = {terms[0][0]: k for k, (_, terms) in enumerate(written.dims) if terms}
    if any(d not in place for _, terms in row for d, _ in terms):
        return None
    return tuple((c, tuple(sorted((place[d], n) for d, n in terms))) for c, terms in row)


def _is_strict(stage: Stage, value: SSAValue, reads: set[int]) -> bool:
    """Whether a value is NaN where one of these reads is."""
    if isinstance(value.owner, Block):
        return value.index in reads
    return isinstance(value.owner, _STRICT) and any(_is_strict(stage, o, reads) for o in value.owner.operands)


def _follow_sum(stage: Stage, row: Row, reads: set[int], sums: dict[Buffer, Row]) -> None:
    """What is computed from a sum that is NaN, alone, is NaN as well."""
    if len(stage.writes) != 1 or stage.block is None or set(stage.kinds) != {"p"}:
        return
    mine = _by_buffer(row, stage.writes[0])
    if mine is not None and _is_strict(stage, stage.block.last_op.operands[0], reads):
        sums[stage.writes[0].buffer] = mine


def _carries_on(
    kernel: Kernel, fold: _Fold, stage: Stage, row: Row, tainted: Sequence[tuple[int, Access, _Held]],
    held: dict[Buffer, _Held], sums: dict[Buffer, Row],
) -> bool:  # fmt: skip
    """A stage that depends on the maximum and not on a sum yet: elements of a temporary, or the sum of a row's."""
    if len(stage.writes) != 1 or "a" in stage.kinds:
        return False
    written = stage.writes[0]
    mine = _by_buffer(row, written)
    if mine is None or sum(w.buffer is written.buffer for s in kernel.stages for w in s.writes) != 1:
        return False
    value = stage.block.last_op.operands[0]
    if not stage.reduces:
        if not written.buffer.is_temporary or any(written.buffer in s.gathered for s in kernel.stages) or _used_by_others(kernel, written.buffer):
            return False
        held[written.buffer] = _Held(mine, _along(kernel, fold, stage, value, tainted))
        return True
    if stage.combiners != ["arith.addf"]:
        return False
    addend = next((o for o in value.owner.operands if o is not stage.block.args[-1]), None)
    loops = None if addend is None else _loops_along(kernel, fold, stage, addend, tainted)
    folded = {d for d, kind in enumerate(fold.stage.kinds) if kind == "r"}
    if loops is None or not all(stage.kinds[loops[d]] == "r" for d in folded):
        return False
    sums[written.buffer] = mine
    return True


def _along(kernel: Kernel, fold: _Fold, stage: Stage, value: SSAValue, tainted: Sequence[tuple[int, Access, _Held]]) -> dict[int, int] | None:
    """The fold's folded loops in the dims of what the stage writes, if every element is NaN where the row's is."""
    loops = _loops_along(kernel, fold, stage, value, tainted)
    written = stage.writes[0]
    place = {terms[0][0]: k for k, (_, terms) in enumerate(written.dims) if terms}
    return None if loops is None or any(d not in place for d in loops.values()) else {d: place[loop] for d, loop in loops.items()}


def _loops_along(kernel: Kernel, fold: _Fold, stage: Stage, value: SSAValue, tainted: Sequence[tuple[int, Access, _Held]]) -> dict[int, int] | None:
    """The fold's folded loops as loops of the stage, each over all of its places, if the value is NaN where the row's element is."""
    folded = [d for d, kind in enumerate(fold.stage.kinds) if kind == "r"]
    for index, read, what in tainted:
        if what.along is not None and _is_strict(stage, value, {index}):
            found = {d: read.dims[place] for d, place in what.along.items()}
            return _whole(fold, stage, folded, found)
        if read.buffer is fold.result.buffer:
            for inner in _strict_parts(value):
                same = _Same(kernel, fold, stage)
                if same.element(inner, read):
                    return _whole(fold, stage, folded, {d: same.loops[d] for d in folded})
    return None


def _whole(fold: _Fold, stage: Stage, folded: Sequence[int], found: dict[int, Linear]) -> dict[int, int] | None:
    """Loops that stand alone and have the folded ones' sizes."""
    result = {}
    for d in folded:
        constant, terms = found[d]
        if constant or len(terms) != 1 or terms[0][1] != 1 or stage.sizes[terms[0][0]] != fold.stage.sizes[d]:
            return None
        result[d] = terms[0][0]
    return result if len(set(result.values())) == len(folded) else None


def _strict_parts(value: SSAValue) -> list[SSAValue]:
    """The values whose NaN a value takes over."""
    inner = [value]
    if isinstance(value.owner, _STRICT):
        for operand in value.owner.operands:
            inner += _strict_parts(operand)
    return inner
