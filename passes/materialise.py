"""Which values of a program live in memory, and which are computed again by every stage that reads them."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from ..dialects.book.expr import Call, walk
from ..dialects.ops import stanza_of
from ..dialects.sizes import estimate
from ..dialects.types import size_of
from .access import (
    ALIAS,
    CONTRACT,
    EACH,
    FOLD,
    INLINE,
    OPAQUE,
    PLACE,
    READ,
    VIEW,
    fold_of_rows,
    role_of,
    shape_of,
    size_of_value,
    view_index,
    widens_bytes,
    without_ones,
)
from .linear_index import loop_dims, reads_at

# Per element, in units of one cheap vector op (about 0.02 ns): what an op, a load and a store cost.
_HEAVY = frozenset(
    """exp exp2 expm1 log log2 log10 log1p pow sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    erf erfc fmod remainder floor_divide""".split()
)
_HEAVY_COST, _DIVISION_COST = 20, 10
_LOAD, _STORE, _NEAR_LOAD, _NEAR_STORE, _SMALL_LOAD = 8, 16, 2, 3, 1
_BODY_LIMIT = 100
_POSITIONS_COST = 16
"""What is made of positions and constants alone (a causal mask) and costs no more is nowhere in memory, however often it is
read: who reads it can tell which parts of a loop it excludes."""


class Program:
    """The ops of a block with their roles, and the decision which results are in memory (`material`)."""

    def __init__(self, ops: list[Operation], kept: set[SSAValue]) -> None:
        """ops: in order, without the terminator. kept: values the terminator needs in memory."""
        self.ops = ops
        self.place = {op: i for i, op in enumerate(ops)}
        self.sources = [[(value, self.place_of(value)) for value in op.operands] for op in ops]  # operands, and where they are made
        self.roles = [role_of(op) for op in ops]
        self._sizes = [estimate(size_of_value(op.results[0])) if op.results else 1 for op in ops]
        self.material = [role not in INLINE for role in self.roles]
        self._in_products: set[int] = set()  # what is between products and the factors that they read
        self._require(kept)
        self._keep_what_follows_sums(kept)
        self._inlined = [0] * len(ops)
        self._leaves = [0] * len(ops)
        self._cost = [_cost(op, role) for op, role in zip(ops, self.roles, strict=True)]
        self._costly = int("".join("1" if cost else "0" for cost in reversed(self._cost)) or "0", 2)  # bit set of what costs anything
        self._leaf_place: dict[SSAValue, int] = {}
        self._leaf_sizes: list[int] = []
        for i in range(len(ops)):
            self._describe(i)
        self._choose(kept)

    def is_leaf(self, value: SSAValue) -> bool:
        """True for a value that is in memory: arguments, and results that were chosen to be."""
        place = self.place_of(value)
        return place is None or self.material[place]

    def place_of(self, value: SSAValue) -> int | None:
        """Where the op stands that makes a value; None for arguments."""
        return self.place.get(value.owner)  # type: ignore[arg-type]  # a Block is not a key

    def _require(self, kept: set[SSAValue]) -> None:
        """Values that must be in memory whatever they cost: read by ops that stay outside, or as factors."""
        for i in reversed(range(len(self.ops))):
            op, role = self.ops[i], self.roles[i]
            if role in INLINE and (self.material[i] or op.results[0] in kept):
                self.material[i] = True
                if role == VIEW and stanza_of(op).name == "reshape":
                    role = self.roles[i] = ALIAS
            needed: tuple[SSAValue, ...] = ()
            if role in (ALIAS, OPAQUE):
                needed = tuple(op.operands)
            elif role == READ:
                needed = (op.operands[0],)
            elif role == CONTRACT:
                needed = tuple(self._factor(v) for v in op.operands)
            for value in needed:
                place = self.place_of(value)
                if place is not None:
                    self.material[place] = True

    def _factor(self, value: SSAValue) -> SSAValue:
        """What a product reads: a value behind views, bytes as they are where they are only widened for it."""
        place = self.place_of(value)
        while place is not None and (self.roles[place] == VIEW or widens_bytes(self.ops[place])):
            self._in_products.add(place)
            value = self.ops[place].operands[0]
            place = self.place_of(value)
        return value

    def _keep_what_follows_sums(self, kept: set[SSAValue]) -> None:
        """Where a fold or contraction is only read by one each-op at its own index, that op's result can be in
        memory in its place: the work (bias, division by a count) is done once, and no more memory is needed."""
        readers: dict[SSAValue, list[Operation]] = {}
        for op in self.ops:
            for operand in dict.fromkeys(op.operands):
                readers.setdefault(operand, []).append(op)
        for op, role in zip(self.ops, self.roles, strict=True):
            if role not in (FOLD, CONTRACT):
                continue
            follower = self._follower(op.results[0], readers, kept)
            while follower is not None:
                last, follower = follower, self._follower(follower, readers, kept)
                if follower is None:
                    self.material[self.place[last.owner]] = True  # type: ignore[index]  # made by an op

    def _follower(
        self, value: SSAValue, readers: dict[SSAValue, list[Operation]], kept: set[SSAValue]
    ) -> SSAValue | None:
        """The result of the one each-op that reads a value at its own index, directly or through views that keep it."""
        shape = shape_of(value)
        while value not in kept and len(readers.get(value, ())) == 1:
            op = readers[value][0]
            role, result = self.roles[self.place[op]], op.results[0]
            if role == EACH:
                return result if size_of_value(result) == size_of(shape) else None
            if role != VIEW:
                return None
            sizes, index = loop_dims(shape_of(result))
            if sizes != loop_dims(shape)[0] or not reads_at(view_index(op, index), range(len(sizes))):
                return None
            value = result
        return None

    def _describe(self, i: int) -> None:
        """The ops that would be computed with this one where it is read, and their leaves (bit sets)."""
        inlined, leaves = 1 << i, 0
        for operand, place in self.sources[i]:
            if place is None or self.material[place]:
                leaves |= 1 << self._leaf(operand)
            else:
                inlined |= self._inlined[place]
                leaves |= self._leaves[place]
        self._inlined[i], self._leaves[i] = inlined, leaves

    def _leaf(self, value: SSAValue) -> int:
        if value not in self._leaf_place:
            self._leaf_place[value] = len(self._leaf_sizes)
            self._leaf_sizes.append(estimate(size_of_value(value)))
        return self._leaf_place[value]

    def _choose(self, kept: set[SSAValue]) -> None:
        """From the last op to the first: a value is in memory if that is cheaper than computing it where it is read. Then from the
        first to the last: what was chosen because it held something costly is given up where that is in memory itself.
        """
        readers: list[set[int]] = [set() for _ in self.ops]  # stages (places of their roots) that would compute the op
        loops = [self._loops(i) for i in range(len(self.ops))]
        team = self._fold_teams()
        chosen: set[int] = set()
        for i in reversed(range(len(self.ops))):
            if not self.material[i] and self._is_chosen(i, readers[i], loops):
                self.material[i] = True
                chosen.add(i)
            owners = {team.get(i, i)} if self.material[i] else readers[i]
            for _, place in self.sources[i]:
                if place is not None:
                    readers[place] |= owners
        for i in range(len(self.ops)):
            self._describe(i)
            if i in chosen and not self._is_chosen(i, readers[i], loops):
                self.material[i] = False

    def _is_chosen(self, i: int, stages: set[int], loops: list[int]) -> bool:
        if not stages or i in self._in_products or self.roles[i] not in (EACH, READ):
            return False
        return self._memory_is_cheaper(i, [loops[s] for s in stages], self._in_one_row(i, stages))

    def _loops(self, i: int) -> int:
        op = self.ops[i]
        if self.roles[i] in (FOLD, PLACE):
            return max(estimate(size_of_value(v)) for v in op.operands)
        return self._sizes[i]

    def _fold_teams(self) -> dict[int, int]:
        """Folds over the same loops that read something in common will be in one kernel: count them once."""
        team: dict[int, int] = {}
        latest: dict[tuple, int] = {}
        depends: list[int] = []  # bit set of the folds an op is made of
        bits: dict[int, int] = {}
        for i, op in enumerate(self.ops):
            above = 0
            for _, place in self.sources[i]:
                above |= 0 if place is None else depends[place] | bits.get(place, 0)
            depends.append(above)
            if self.roles[i] == FOLD:
                bits[i] = 1 << len(bits)
                key = (shape_of(op.operands[0]), shape_of(op.results[0]))
                other = latest.get(key)
                shared = other is not None and (
                    self._leaves[other] & self._leaves[i] or self._inlined[other] & self._inlined[i]
                )
                if other is not None and shared:
                    if fold_of_rows(op) or not above & bits[other]:
                        team[i] = team.get(other, other)
                latest[key] = i
        return team

    def _in_one_row(self, i: int, stages: set[int]) -> bool:
        """True if a fold of rows and elementwise stages over the same loops read the value: they will be one
        kernel, and what they share stays in the nearest cache."""
        folds = [s for s in stages if self.roles[s] == FOLD]
        if not folds:
            return False
        others = [s for s in stages if self.roles[s] != FOLD]
        shape = without_ones(shape_of(self.ops[i].results[0]))
        return (
            all(fold_of_rows(self.ops[s]) is not None for s in folds)
            and all(without_ones(shape_of(self.ops[s].operands[0])) == shape for s in folds)
            and all(without_ones(shape_of(self.ops[s].results[0])) == shape for s in others)
        )

    def _memory_is_cheaper(self, i: int, loops: list[int], near: bool) -> bool:
        """near: the value and what it is computed from are in the nearest cache when it is read."""
        load, store = (_NEAR_LOAD, _NEAR_STORE) if near else (_LOAD, _STORE)
        size = self._sizes[i]
        places = _bits(self._inlined[i] & self._costly)
        if len(places) > _BODY_LIMIT and self.roles[i] == EACH:
            return True
        # what is computed on far fewer elements will get a place of its own
        compute = sum(self._cost[p] for p in places if 8 * self._sizes[p] > size)
        if not self._leaves[i] and compute <= _POSITIONS_COST:
            return False
        for leaf in _bits(self._leaves[i]):
            compute += load if 2 * self._leaf_sizes[leaf] >= size > 1 else _SMALL_LOAD
        repeated = sum(n * compute for n in loops)
        reads = sum(n * (load if 2 * size >= n else _SMALL_LOAD) for n in loops)
        return size * (compute + store) + reads < repeated


def _cost(op: Operation, role: str) -> int:
    if role == READ:
        return 10
    if role != EACH:
        return 0
    cost = 0
    for node in walk(stanza_of(op).scalar):
        if isinstance(node, Call):
            cost += _HEAVY_COST if node.fn in _HEAVY else _DIVISION_COST if node.fn in ("div", "sqrt") else 1
    return cost


def _bits(mask: int) -> list[int]:
    found: list[int] = []
    first = (mask & -mask).bit_length() - 1
    mask >>= max(first, 0)  # an expression's ops stand near each other: what is left is short
    while mask:
        low = mask & -mask
        found.append(first + low.bit_length() - 1)
        mask ^= low
    return found
