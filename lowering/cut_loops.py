"""Loops of stages cut into pieces, so that every access steps evenly: where a head of queries reads `keys[head // 4]`, its loop of 8 is one
of 2 around one of 4.

A loop is cut where an index map divides it, and where another stage steps through the same temporary in longer steps (heads that
one kernel writes as groups and members, and the next one reads as heads). Everything follows from maps and strides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import BlockArgument, SSAValue
from xdsl.ir.affine import AffineBinaryOpExpr, AffineBinaryOpKind, AffineConstantExpr, AffineDimExpr, AffineExpr, AffineMap

from .contraction_match import Access, loop_sizes, placed

_CONSTANT = -1
"""Where a form has its number; other keys are numbers of pieces."""

Form = dict[int, int]


@dataclass(frozen=True)
class Piece:
    """Index of the loop = the sum of unit * index over its pieces."""

    loop: int
    unit: int
    size: int


class _Cut(Exception):
    """A piece is to be cut: its first `size` indices become a piece of their own."""

    def __init__(self, piece: Piece, size: int) -> None:
        super().__init__(piece, size)
        self.piece, self.size = piece, size


class _Uneven(Exception):
    """No cut makes the accesses even."""


class CutStage:
    """A stage as loops that are pieces of its own. accesses: of every operand; None where one is uneven, or not known."""

    def __init__(self, op: GenericOp) -> None:
        self.op, self.whole = op, loop_sizes(op)
        self.units: list[list[int]] = [[1, n] for n in self.whole or ()]
        self.accesses: list[Access | None] = []
        self._cut_by_maps()

    @property
    def sizes(self) -> list[int]:
        return [p.size for p in self.pieces]

    @property
    def kinds(self) -> list[str]:
        """Of every piece: "parallel" or "reduction"."""
        kinds = [k.data.value for k in self.op.iterator_types]
        return [kinds[p.loop] for p in self.pieces]

    def of_loop(self, loop: int) -> list[tuple[int, int]]:
        """The pieces of a loop: number, unit."""
        return [(i, p.unit) for i, p in enumerate(self.pieces) if p.loop == loop]

    def cut(self, piece: Piece, size: int) -> None:
        """Makes the first `size` indices of a piece one of its own."""
        self.units[piece.loop] = sorted({*self.units[piece.loop], piece.unit * size})
        self._cut_by_maps()

    def _cut_by_maps(self) -> None:
        maps = [(v, m.data) for v, m in zip(self.op.operands, self.op.indexing_maps.data, strict=True)]
        while True:
            self.pieces = [Piece(d, a, b // a) for d, units in enumerate(self.units) for a, b in zip(units, units[1:], strict=False)]
            try:
                self.accesses = [self._access(v, m) if self.whole is not None else None for v, m in maps]
                return
            except _Cut as cut:
                self.units[cut.piece.loop] = sorted({*self.units[cut.piece.loop], cut.piece.unit * cut.size})

    def _access(self, value: SSAValue, map: AffineMap) -> Access | None:
        place = placed(value)
        if place is None:
            return None
        assert isinstance(value.type, MemRefType)
        whole: Form = {_CONSTANT: place[1]}
        try:
            for step, expr in zip(place[2], map.results, strict=True):
                _add(whole, self._form(expr), step)
        except _Uneven:
            return None
        steps = tuple(whole.get(i, 0) for i in range(len(self.pieces)))
        return Access(place[0], value.type.element_type, whole[_CONSTANT], steps)

    def _form(self, expr: AffineExpr) -> Form:
        if isinstance(expr, AffineDimExpr):
            return {_CONSTANT: 0, **dict(self.of_loop(expr.position))}
        if isinstance(expr, AffineConstantExpr):
            return {_CONSTANT: expr.value}
        if not isinstance(expr, AffineBinaryOpExpr):
            raise _Uneven
        a, b = self._form(expr.lhs), self._form(expr.rhs)
        if expr.kind is AffineBinaryOpKind.Add:
            _add(a, b, 1)
            return a
        if expr.kind is AffineBinaryOpKind.Mul and len(a) == 1:
            a, b = b, a
        if len(b) > 1:
            raise _Uneven
        number = b[_CONSTANT]
        if expr.kind is AffineBinaryOpKind.Mul:
            return {i: n * number for i, n in a.items()}
        if expr.kind not in (AffineBinaryOpKind.FloorDiv, AffineBinaryOpKind.Mod) or number <= 0:
            raise _Uneven
        quotient, rest = self._divided(a, number)
        return quotient if expr.kind is AffineBinaryOpKind.FloorDiv else rest

    def _divided(self, form: Form, number: int) -> tuple[Form, Form]:
        quotient, rest = ({_CONSTANT: n} for n in divmod(form[_CONSTANT], number))
        largest = rest[_CONSTANT]
        for i, step in form.items():
            if i == _CONSTANT:
                continue
            if step % number == 0:
                quotient[i] = step // number
                continue
            piece, turn = self.pieces[i], number // step if step > 0 else 0
            if step > 0 and number % step == 0 and piece.size > turn and piece.size % turn == 0:
                raise _Cut(piece, turn)
            rest[i] = step
            largest += step * (piece.size - 1)
            if step < 0:
                raise _Uneven
        if largest >= number:
            raise _Uneven
        return quotient, rest


def _add(form: Form, other: Form, times: int) -> None:
    for i, n in other.items():
        form[i] = form.get(i, 0) + times * n


def cut_alike(ops: Iterable[GenericOp]) -> dict[GenericOp, CutStage]:
    """All stages, cut so that the loops which step through a temporary step through it in the same pieces."""
    stages = {op: CutStage(op) for op in ops}
    while _cut_once([*stages.values()]):
        pass
    return stages


def _cut_once(stages: Sequence[CutStage]) -> bool:
    """Cuts one piece that reaches over another one's steps; whether there was one."""
    steps: dict[SSAValue, set[int]] = {}
    temporary = [(s, a) for s in stages for a in s.accesses if a is not None and a.buffer is not None and not isinstance(a.buffer, BlockArgument)]
    for stage, access in temporary:
        assert access.buffer is not None
        moving = {step for step, size in zip(access.strides, stage.sizes, strict=True) if step > 0 and size > 1}
        steps.setdefault(access.buffer, set()).update(moving)
    for stage, access in temporary:
        assert access.buffer is not None
        for piece, step in zip(stage.pieces, access.strides, strict=True):
            for longer in sorted(steps[access.buffer]) if step > 0 and piece.size > 1 else ():
                turn = longer // step
                if longer > step and longer % step == 0 and piece.size > turn and piece.size % turn == 0:
                    stage.cut(piece, turn)
                    return True
    return False
