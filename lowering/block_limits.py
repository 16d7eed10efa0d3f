"""How many columns of a block's matrices matter: what a comparison of indices masks in all of its rows is not computed.

    S[m, n] = index n <= index m ? Q[m] K[n] : -inf;  P = softmax(S);  O[m, d] = sum_n P[m, n] V[n, d]
    block of rows 0 to 31      columns 0 to 31: behind them P is 0, and 0 adds nothing to O

Loops that step through one direction of one buffer of the chain are the same direction; stages are read as expressions of
indices, and what a mask leaves over of them is found as for a GPU's chains (chain_bounds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from xdsl.dialects import arith
from xdsl.dialects.linalg.ops import FillOp, GenericOp, IndexOp
from xdsl.ir import BlockArgument, Operation, SSAValue

from .block_analysis import Cut
from .block_parts import Member
from .chain_bounds import bounds_where
from .chain_expressions import COLUMN, ROW, Expression, Expressions, Place, number_in, values_in
from .contraction_body import filled_number, product_of
from .contraction_match import Access, access_of, loop_sizes
from .storage import Storage

There = Callable[[Expression], Expression]
Direction = tuple[Storage, int]
"""Elements of a buffer that are so far apart."""


def asks_positions(member: Member) -> bool:
    """Whether the bodies of its stages know where they are: without it there is no mask of indices."""
    return any(isinstance(op, IndexOp) for op in member.function.walk())


def columns_that_matter(members: Sequence[Member], rows: Sequence[Direction], columns: Sequence[Direction]) -> tuple[int, list[Cut]] | None:
    """``(high, cuts)``: only where column - row <= high do the chain's matrices matter, and the loops along the columns of each member.

    rows, columns: directions of buffers that only the members touch, one of rows for each buffer that is cut. None where no mask
    says which columns can be left out.
    """
    inside = [s for s, _ in (*rows, *columns)]
    try:
        directions = _Directions(members, inside)
    except _Unknown:
        return None
    found: list[tuple[int, int, dict[Operation, int]]] = []
    for root in dict.fromkeys(directions.find(c) for c in columns):
        try:
            chain = _Chain(directions, {directions.find(r) for r in rows}, root)
        except _Unknown:
            continue
        high = bounds_where(chain.made, chain.values, lambda there, checks=chain.checks: all(check(there) for check in checks)).high
        loops = chain.loops()
        if high is not None and not any(op in other for *_, other in found for op in loops):
            found.append((high, chain.extent, loops))
    if not found:
        return None
    high, extent = max(high for high, *_ in found), found[0][1]
    loops = {op: d for _, size, along in found if size == extent for op, d in along.items()}
    return high, [Cut(extent, {op: d for op, d in loops.items() if op.parent_op() is m.function}) for m in members]


class _Unknown(Exception):
    """Columns cannot be left out, or nobody can say."""


class _Directions:
    """Which loops of which stages, and which steps through buffers, go the same way."""

    def __init__(self, members: Sequence[Member], inside: Sequence[Storage]) -> None:
        self.inside = inside
        self.parent: dict[object, object] = {}
        self.homes: dict[SSAValue, Storage] = {}
        self.sizes: dict[GenericOp, list[int]] = {}
        self.accesses: dict[GenericOp, list[Access]] = {}
        self.fills: dict[object, float | int | None] = {}
        for m in members:
            self._read(m)

    def find(self, x: object) -> object:
        """What stands for all that go the same way."""
        while (above := self.parent.setdefault(x, x)) is not x:
            x = above
        return x

    def buffer(self, value: SSAValue) -> object:
        """The chain's buffer or the member's own temporary; None: memory from outside."""
        if not isinstance(value, BlockArgument):
            return value
        home = self.homes[value]
        return home if home in self.inside else None

    def _read(self, m: Member) -> None:
        block = m.function.body.block
        self.homes.update(zip(block.args, (s for s, _ in m.homes), strict=True))
        self.fills.update((self.buffer(op.outputs[0]), filled_number(op)) for op in block.ops if isinstance(op, FillOp))
        sums = [cut.sums for cut in m.cuts if cut.sums is not None]  # what goes on with such a sum waits for all blocks
        for op in sums[:1] or [op for op in block.ops if isinstance(op, GenericOp)]:
            sizes = loop_sizes(op)
            found = [access_of(v, m.data, len(sizes or ())) for v, m in zip(op.operands, op.indexing_maps.data, strict=True)]
            if sizes is None or any(a is None for a in found):
                raise _Unknown
            self.sizes[op], self.accesses[op] = sizes, [a for a in found if a is not None]
            for value, access in zip(op.operands, self.accesses[op], strict=True):
                self._unite(op, self.buffer(value), access)

    def _unite(self, op: GenericOp, buffer: object, access: Access) -> None:
        if buffer is None:
            return
        if access.offset:
            raise _Unknown
        for d, step in enumerate(access.strides):
            if step and self.sizes[op][d] > 1:
                self.parent[self.find((op, d))] = self.find((buffer, step))


class _Chain:
    """The stages of all members as expressions. checks: of every sum, whether it does without some columns; values: what they look at."""

    def __init__(self, directions: _Directions, rows: set[object], column: object) -> None:
        self.directions = directions
        self.sizes, self.accesses, self._buffer = directions.sizes, directions.accesses, directions.buffer
        self.made = Expressions()
        self.known: dict[object, Expression] = {}
        self.values: list[Expression] = []
        self.checks: list[Callable[[There], bool]] = []
        if column in rows:
            raise _Unknown
        self.roles = {**dict.fromkeys(rows, ROW), column: COLUMN}
        extents = {size for op in self.sizes for d, size in enumerate(self.sizes[op]) if self._role(op, d) == COLUMN}
        if len(extents) != 1:
            raise _Unknown
        (self.extent,) = extents
        for op in self.sizes:
            self._read(op)

    def loops(self) -> dict[Operation, int]:
        """The loop along the columns of every stage that has one."""
        return {op: d for op in self.sizes for d in range(len(self.sizes[op])) if self._role(op, d) == COLUMN}

    def _role(self, op: GenericOp, d: int) -> str | None:
        """Of a loop; None where it is of length 1."""
        if self.sizes[op][d] == 1:
            return None
        root = self.directions.find((op, d))
        return self.roles.setdefault(root, f"other{len(self.roles)}")

    # Expressions

    def _read(self, op: GenericOp) -> None:
        block, last = op.body.block, op.body.block.last_op
        assert last is not None
        roles = [self._role(op, d) for d in range(len(self.sizes[op]))]
        summed = [kind.data.value == "reduction" and role is not None for kind, role in zip(op.iterator_types, roles, strict=True)]
        if roles.count(COLUMN) > 1:
            raise _Unknown
        inputs = [self._element(op, k) for k in range(len(op.inputs))]
        outside = [v for v in op.outputs if self._buffer(v) is None]
        if any(summed):
            over = {role for role, is_sum in zip(roles, summed, strict=True) if is_sum}
            if COLUMN in over or (ROW in over and COLUMN in roles):
                self._sum(op, inputs, roles)
            elif outside and COLUMN in roles:
                raise _Unknown
            return
        if outside and COLUMN in roles:
            raise _Unknown
        found = values_in(self.made, block, [*inputs, *([None] * len(op.outputs))], lambda d: self.made.position([(roles[d], 1)]), last.operands)
        self.known.update((self._buffer(v), e) for v, e in zip(op.outputs, found, strict=True) if e is not None and v not in outside)

    def _element(self, op: GenericOp, k: int) -> Expression:
        """An element read: what was written there, or a value nobody knows."""
        value, access = op.inputs[k], self.accesses[op][k]
        buffer = self._buffer(value)
        steps = ((self._role(op, d), step) for d, step in enumerate(access.strides) if step)
        place = Place(value, access.element, access.offset, tuple(sorted((r, s) for r, s in steps if r is not None)))
        written = self.known.get(buffer)
        return written if written is not None and written.roles & {ROW, COLUMN} <= place.roles else self.made.read(place)

    def _sum(self, op: GenericOp, inputs: Sequence[Expression], roles: Sequence[str | None]) -> None:
        """A sum that must do without columns: a factor of its products is 0 there, or its terms are what it begins with."""
        product = product_of(op)
        if product is not None:
            factors = [inputs[product.left], inputs[product.right]]
            self.values += factors
            self.checks.append(lambda there: any(number_in(there(e)) == 0 for e in factors))
            return
        block, last = op.body.block, op.body.block.last_op
        assert last is not None
        combined = last.operands[0].owner
        if len(op.outputs) != 1 or not isinstance(combined, arith.AddfOp | arith.MaximumfOp) or self._buffer(op.outputs[0]) is None:
            raise _Unknown
        others = [v for v in combined.operands if v is not block.args[-1]]
        neutral = 0 if isinstance(combined, arith.AddfOp) else -inf
        if len(others) != 1 or self.directions.fills.get(self._buffer(op.outputs[0])) != neutral:
            raise _Unknown
        (term,) = values_in(self.made, block, [*inputs, None], lambda d: self.made.position([(roles[d], 1)]), others)
        if term is None:
            raise _Unknown
        self.values.append(term)
        self.checks.append(lambda there: number_in(there(term)) == neutral)
