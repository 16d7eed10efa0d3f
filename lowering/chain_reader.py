"""Reads a kernel of several products as a chain: contraction, folds of its rows, contractions with what comes of them.

    S[z, row, column] = sum over depth of A[z, row, depth] * B[z, column, depth]
    w[z, row]         = folds over column of expressions of S
    O[z, row, depth]  = sum over column of f(S, w, ...) * C[z, column, depth]

Which loop of a stage is a row, a column, a depth follows from accesses alone: loops that step through one direction of one
temporary are the same direction. Whatever temporaries lie between is inlined (chain_expressions.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import FloatAttr, f32
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue

from .chain_expressions import COLUMN, DEPTH, ROW, Expression, Expressions, Fold, Place, Sum, values_in
from .contraction_body import Product, product_of
from .contraction_match import Access
from .cut_loops import CutStage, cut_alike

_COMBINERS = (arith.AddfOp, arith.MaximumfOp)
_OPS = GenericOp | FillOp | arith.ConstantOp | memref.AllocaOp | memref.ReinterpretCastOp | func.ReturnOp
Loop = tuple[Operation, int]


@dataclass(frozen=True)
class Chain:
    """sizes: of every role; batch: the roles of independent problems, outermost first; outputs: places and their elements."""

    sizes: dict[str, int]
    batch: tuple[str, ...]
    outputs: tuple[tuple[Place, Expression], ...]
    made: Expressions
    origin: Attribute | None


def read_chain(function: func.FuncOp) -> Chain | None:
    """The kernel as a chain; None when it is something else. Every op of the kernel is accounted for."""
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    products = {op: p for op in stages if (p := contraction_of(op)) is not None}
    if len(products) < 2 or any(not isinstance(op, _OPS) for op in function.body.block.ops):
        return None
    try:
        directions = _Directions(stages, products)
        return _Reader(function, products, directions).chain()
    except _NoChain:
        return None


def contraction_of(op: GenericOp) -> Product | None:
    """The stage's product, where each operand has parallel loops that the other has not (else it is a fold of products)."""
    found = product_of(op)
    if found is None:
        return None
    stage = CutStage(op)
    parallel = [d for d, (n, kind) in enumerate(zip(stage.sizes, stage.kinds, strict=True)) if n > 1 and kind == "parallel"]
    sides = (stage.accesses[i] for i in (found.left, found.right))
    left, right = ({d for d in parallel if a is not None and a.strides[d]} for a in sides)
    return found if left - right and right - left else None


class _NoChain(Exception):
    """The kernel is something else."""


class _Directions:
    """The roles of all loops (pieces of loops), found by uniting them with the directions of temporaries they step through."""

    def __init__(self, stages: Sequence[GenericOp], products: dict[GenericOp, Product]) -> None:
        self.parent: dict[object, object] = {}
        self.cut = cut_alike(stages)
        self.sizes: dict[GenericOp, list[int]] = {}
        self.accesses: dict[GenericOp, list[Access]] = {}
        for op in stages:
            self._unite_stage(op)
        self._name(stages, products)

    def _find(self, x: object) -> object:
        while (above := self.parent.setdefault(x, x)) is not x:
            x = above
        return x

    def _unite_stage(self, op: GenericOp) -> None:
        sizes, found = self.cut[op].sizes, self.cut[op].accesses
        if self.cut[op].whole is None or 0 in sizes or any(a is None for a in found):
            raise _NoChain
        self.sizes[op], self.accesses[op] = sizes, [a for a in found if a is not None]
        for access in self.accesses[op]:
            if isinstance(access.buffer, BlockArgument):
                continue
            if access.offset:
                raise _NoChain
            for d, (step, size) in enumerate(zip(access.strides, sizes, strict=True)):
                if step and size > 1:
                    self.parent[self._find((op, d))] = self._find((access.buffer, step))

    def loops(self, op: GenericOp, kind: str) -> list[int]:
        """The loops of a stage that are parallel, or reductions, and longer than 1."""
        kinds = self.cut[op].kinds
        return [d for d, size in enumerate(self.sizes[op]) if size > 1 and kinds[d] == kind]

    def _name(self, stages: Sequence[GenericOp], products: dict[GenericOp, Product]) -> None:
        folded = {self._find((op, d)) for op in stages if op not in products for d in self.loops(op, "reduction")}
        if len(folded) > 1:
            raise _NoChain
        first = self._sides(*next(iter(products.items())))
        if not folded and len(first["right"]) == 1:  # what rows fold is there: the first product makes a matrix
            folded = {*first["right"]}
        if not folded:
            raise _NoChain
        self.roles: dict[object, str] = {folded.pop(): COLUMN}
        matrix = {self._find((op, d)) for op in stages for d in range(len(self.sizes[op])) if op not in products and self.sizes[op][d] > 1 and self.loops(op, "reduction")}
        matrix = matrix or {c for side in first.values() for c in side}
        self.extents: dict[str, int] = {}
        self.batch: list[str] = []
        for op, product in products.items():  # those that make matrices name the rows and batches
            sides = self._sides(op, product)
            if matrix == {c for side in sides.values() for c in side}:
                self._name_matrix(op, sides)
        for op in products:
            for d in range(len(self.sizes[op])):
                if self.sizes[op][d] > 1 and self._find((op, d)) not in self.roles:
                    self.roles[self._find((op, d))] = f"{DEPTH}{sum(r.startswith(DEPTH) for r in self.roles.values())}"

    def _sides(self, op: GenericOp, product: Product) -> dict[str, list[object]]:
        """The directions of a product's parallel loops that only the left, only the right, and both operands know."""
        left, right = (self.accesses[op][i].strides for i in (product.left, product.right))
        sides: dict[str, list[object]] = {"left": [], "right": [], "both": []}
        for d in self.loops(op, "parallel"):
            if not left[d] and not right[d]:
                raise _NoChain
            sides["both" if left[d] and right[d] else "left" if left[d] else "right"].append(self._find((op, d)))
        return sides

    def _name_matrix(self, op: GenericOp, sides: dict[str, list[object]]) -> None:
        """Rows and batches: of several directions that only one operand knows (queries that share their keys) rows are the longest."""
        outer = [c for c in sides["left"] + sides["right"] if self.roles.get(c) in (None, ROW)]
        if not outer or len(self.loops(op, "reduction")) != 1:
            raise _NoChain
        if ROW not in self.roles.values():
            lengths = {self._find((op, d)): size for d, size in enumerate(self.sizes[op])}
            self.roles[max(reversed(outer), key=lambda c: lengths[c])] = ROW
        if sum(self.roles.get(c) == ROW for c in outer) != 1:
            raise _NoChain
        for c in (*sides["both"], *outer):
            if c not in self.roles:
                self.batch.append(f"batch{len(self.batch)}")
                self.roles[c] = self.batch[-1]

    def role(self, op: GenericOp, d: int) -> str | None:
        """The role of a loop; None for loops of length 1."""
        size = self.sizes[op][d]
        if size == 1:
            return None
        role = self.roles.get(self._find((op, d)))
        if role is None or self.extents.setdefault(role, size) != size:
            raise _NoChain
        return role

    def position(self, op: GenericOp, loop: int, made: Expressions) -> Expression:
        """The index of one of the op's own loops."""
        return made.position([(self.role(op, d), unit) for d, unit in self.cut[op].of_loop(loop)])

    def place(self, op: GenericOp, k: int) -> Place:
        """Where an operand of a stage is."""
        access = self.accesses[op][k]
        steps: dict[str, int] = {}
        for d, step in enumerate(access.strides):
            role = self.role(op, d)
            if role is not None and step:
                steps[role] = steps.get(role, 0) + step
        return Place(access.buffer, access.element, access.offset, tuple(sorted(steps.items())))


class _Reader:
    def __init__(self, function: func.FuncOp, products: dict[GenericOp, Product], directions: _Directions) -> None:
        self.block, self.products, self.directions = function.body.block, products, directions
        self.made = Expressions()
        self.fills: dict[SSAValue, Attribute] = {}
        self.known: dict[SSAValue, tuple[Place, Expression]] = {}
        self.outputs: list[tuple[Place, Expression]] = []
        self.origin: Attribute | None = None

    def chain(self) -> Chain:
        for op in self.block.ops:
            if isinstance(op, FillOp):
                owner = op.inputs[0].owner
                if not isinstance(owner, arith.ConstantOp):
                    raise _NoChain
                self.fills[op.outputs[0]] = owner.value
            elif isinstance(op, GenericOp):
                self._stage(op)
        d = self.directions
        if ROW not in d.extents or COLUMN not in d.extents or any(b not in d.extents for b in d.batch):
            raise _NoChain
        return Chain(d.extents, tuple(d.batch), tuple(self.outputs), self.made, self.origin)

    def _stage(self, op: GenericOp) -> None:
        self.origin = self.origin or op.attributes.get("origin")
        places = [self.directions.place(op, k) for k in range(len(op.operands))]
        inputs = [self._element(p) for p in places[: len(op.inputs)]]
        if op in self.products:
            values = [self._product(op, inputs)]
        elif self.directions.loops(op, "reduction"):
            values = [self._fold(op, inputs)]
        else:
            values = self._body(op, [*inputs, *([None] * len(op.outputs))], op.body.block)
        for place, value in zip(places[len(op.inputs) :], values, strict=True):
            if place.buffer in self.known or self.directions.loops(op, "parallel") and len(place.steps) != len(self.directions.loops(op, "parallel")):
                raise _NoChain
            self.known[place.buffer] = (place, value)
            if isinstance(place.buffer, BlockArgument):
                self.outputs.append((place, value))

    def _element(self, place: Place) -> Expression | None:
        """What is read there; None when nobody wrote it (an operand that only gives loops a size)."""
        written = self.known.get(place.buffer)
        if written is not None:
            same = dict(written[0].steps)
            if any(same.get(role) != step for role, step in place.steps) or len(same) != len(place.steps):
                raise _NoChain
            return written[1]
        return self.made.read(place) if isinstance(place.buffer, BlockArgument) else None

    def _product(self, op: GenericOp, inputs: Sequence[Expression | None]) -> Expression:
        p = self.products[op]
        over = self.directions.loops(op, "reduction")
        start = self.fills.get(op.outputs[0])
        if len(over) != 1 or p.sum_type != f32 or not isinstance(start, FloatAttr) or start.value.data != 0:
            raise _NoChain
        role = self.directions.role(op, over[0])
        factors = []
        for number, casts in ((p.left, p.left_casts), (p.right, p.right_casts)):
            e = inputs[number]
            for cast in casts:
                e = self.made.apply(type(cast), cast.properties, [_given(e)], cast.results[0].type)
            factors.append(_given(e))
        if any(role not in e.roles for e in factors):
            raise _NoChain
        roles = (factors[0].roles | factors[1].roles) - {role}
        return Sum(f32, roles, *factors, str(role), f"sum{len(self.known)}")

    def _fold(self, op: GenericOp, inputs: Sequence[Expression | None]) -> Expression:
        block, loops = op.body.block, self.directions.loops(op, "reduction")
        last = block.last_op
        assert last is not None
        combined = last.operands[0].owner
        start = self.fills.get(op.outputs[0])
        if len(loops) != 1 or len(op.outputs) != 1 or not isinstance(combined, _COMBINERS) or not isinstance(start, FloatAttr):
            raise _NoChain
        accumulator = block.args[-1]
        others = [v for v in combined.operands if v is not accumulator]
        if len(others) != 1 or len(list(accumulator.uses)) != 1 or combined.results[0].type != f32:
            raise _NoChain
        (value,) = self._values(op, [*inputs, None], block, others)
        role = self.directions.role(op, loops[0])
        return Fold(f32, value.roles - {role}, value, type(combined), start, str(role), f"fold{len(self.known)}")

    def _body(self, op: GenericOp, inputs: Sequence[Expression | None], block: Block) -> list[Expression]:
        last = block.last_op
        assert last is not None
        return self._values(op, inputs, block, last.operands)

    def _values(self, op: GenericOp, inputs: Sequence[Expression | None], block: Block, wanted: Sequence[SSAValue]) -> list[Expression]:
        return [_given(e) for e in values_in(self.made, block, inputs, lambda d: self.directions.position(op, d, self.made), wanted)]


def _given(e: Expression | None) -> Expression:
    if e is None:
        raise _NoChain
    return e
