"""Plans a chain for a GPU: which sweeps over its matrices are made, what each sums, and the sizes of the tiles.

A sweep gives every block of threads some rows (or columns) and walks over the tiles of the other direction; matrices exist
one tile at a time. The first sweep goes along the rows and makes their folds; an exponential of what a row's maximum is taken
of is summed while the maximum is still growing (what was summed is scaled each time it grows). What needs finished folds
waits for the next sweep, what sums over rows for one along the columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import BFloat16Type, Float16Type, FloatAttr, f32
from xdsl.ir import Attribute

from ..dialects.target import GpuTarget
from .chain_bounds import Bounds, bounds_of
from .chain_expressions import COLUMN, DEPTH, ROW, Apply, Expression, Fold, Place, Read, Sum, leaves, number_in
from .chain_reader import Chain

CORE = 16
SHALLOWEST, DEEPEST = 8, 256
LEAST = 16
"""Rows and columns below which a matrix is not worth a sweep."""
MOST_SUMS = 160
"""Registers of one thread for sums and tiles."""


@dataclass(frozen=True)
class Factor:
    """One operand of a product: along `role` and `depth`. value: its element; place, scale: where it is `scale * memory[place]`."""

    role: str
    depth: str
    value: Expression
    place: Place | None
    scale: float


@dataclass(frozen=True)
class Term:
    """factor * exp(reference - maximum)^power * inner, inner without folds that are not finished."""

    factor: Expression | None
    power: int
    inner: Expression | None


@dataclass(frozen=True)
class RunningSum:
    """A sum over the tiles of a sweep. term: of one element of the matrix; right: what it is multiplied with (None: a fold)."""

    whole: Expression
    term: Term
    right: Factor | None


@dataclass(frozen=True)
class Sweep:
    """own: the role a block of threads has some of; other: the one it walks along. tiles: products with one tile as result.

    maximum: the fold that grows meanwhile. outputs: what is stored at the end. loaded: rows' values earlier sweeps left behind.
    saved: those this one leaves. read: what memory says of a block's own rows (columns), as large parts as there are. bounds: which
    part of `other` matters.
    """

    own: str
    other: str
    tiles: tuple[Sum, ...]
    maximum: Fold | None
    sums: tuple[RunningSum, ...]
    outputs: tuple[tuple[Place, Expression], ...]
    loaded: tuple[Expression, ...]
    saved: tuple[Expression, ...]
    read: tuple[Expression, ...]
    bounds: Bounds


@dataclass(frozen=True)
class ChainPlan:
    """kind: the 16-bit float of the tensor cores' operands (None: f32 by threads); kept: rows' values in scratch, in this order.

    depths: what tiles have of each depth, in whole sixteens: zeros behind its end.
    """

    chain: Chain
    sweeps: tuple[Sweep, ...]
    kept: tuple[Expression, ...]
    factors: dict[Expression, Factor]
    kind: Attribute | None
    depths: dict[str, int]

    @property
    def problems(self) -> int:
        count = 1
        for role in self.chain.batch:
            count *= self.chain.sizes[role]
        return count

    @property
    def scratch_bytes(self) -> int:
        return 4 * len(self.kept) * self.problems * self.chain.sizes[ROW]


def plan_chain(chain: Chain, target: GpuTarget, apart: bool = False) -> ChainPlan | None:
    """The sweeps of a chain; None when it needs what no sweep gives, or is too small or too deep.

    apart: sums that wait for the first sweep have one each, which takes fewer registers and makes matrices more often.
    """
    try:
        return _Planner(chain, target, apart).plan()
    except _NoPlan:
        return None


class _NoPlan(Exception):
    """The chain has no plan."""


class _Planner:
    def __init__(self, chain: Chain, target: GpuTarget, apart: bool) -> None:
        self.chain, self.target, self.apart, self.made = chain, target, apart, chain.made
        self.matrix = frozenset((ROW, COLUMN))
        self.factors: dict[Expression, Factor] = {}

    def plan(self) -> ChainPlan:
        sizes = self.chain.sizes
        if min(sizes[ROW], sizes[COLUMN]) < LEAST:
            raise _NoPlan
        values = [value for _, value in self.chain.outputs]
        if any(self.matrix <= v.roles for v in values):
            raise _NoPlan
        self.folds = list(dict.fromkeys(f for v in values for f in self._folds(v)))
        if any(f.over != COLUMN or f.value.roles & {DEPTH} or not self.matrix <= f.value.roles for f in self.folds):
            raise _NoPlan
        largest = [f for f in self.folds if f.combiner is arith.MaximumfOp]
        if len(largest) > 1 or any(self._folds(f.value) for f in largest):
            raise _NoPlan
        self.maximum = largest[0] if largest else None
        sweeps = self._sweeps()
        kinds = {_half(f) for f in self.factors.values()}
        depths = {f.depth: -(-sizes[f.depth] // CORE) * CORE for f in self.factors.values()}
        if any(sizes[d] < SHALLOWEST or n > DEEPEST for d, n in depths.items()):
            raise _NoPlan
        kind = next(iter(kinds)) if len(kinds) == 1 and self.target.compute >= 80 and self.target.access_bytes >= 16 else None
        kept = tuple(dict.fromkeys(e for s in sweeps for e in s.loaded))
        if any(e.type != f32 for e in kept):
            raise _NoPlan
        sweeps = [replace(s, saved=tuple(e for e in kept if not s.loaded and k == 0)) for k, s in enumerate(sweeps)]
        return ChainPlan(self.chain, tuple(sweeps), kept, self.factors, kind, depths)

    # Sweeps

    def _sweeps(self) -> list[Sweep]:
        sums = list(dict.fromkeys(s for _, v in self.chain.outputs for s in self._sums(v)))
        along = [s for s in sums if s.over == COLUMN]
        across = [s for s in sums if s.over == ROW]
        if len(along) + len(across) < len(sums):
            raise _NoPlan
        early = {s: t for s in along if (t := self._term(self._matrix_of(s))) is not None}
        late = [s for s in along if s not in early]
        rows = [(p, v) for p, v in self.chain.outputs if not self._sums(v)]
        found: list[Sweep] = []
        if self.folds or early:
            running = [self._fold_sum(f) for f in self.folds if f is not self.maximum]
            running += [RunningSum(s, t, self._right(s)) for s, t in early.items()]
            found.append(self._sweep(ROW, running, [*rows, *self._outputs_of(early)], first=True))
        for own, every in ((ROW, late), (COLUMN, across)):
            for waiting in ([s] for s in every) if self.apart else filter(None, [every]):
                running = [RunningSum(s, Term(None, 0, self._matrix_of(s)), self._right(s)) for s in waiting]
                found.append(self._sweep(own, running, self._outputs_of(waiting), first=False))
        if sum(len(s.outputs) for s in found) != len(self.chain.outputs):
            raise _NoPlan
        return found

    def _sweep(self, own: str, running: Sequence[RunningSum], outputs: Sequence[tuple[Place, Expression]], first: bool) -> Sweep:
        other = COLUMN if own == ROW else ROW
        inner = [r.term.inner for r in running if r.term.inner is not None]
        if first and self.maximum is not None:
            inner.append(self.maximum.value)
        tiles = list(dict.fromkeys(t for e in inner for t in leaves(e) if isinstance(t, Sum)))
        for t in tiles:
            if not self.matrix <= t.roles or t.over in (ROW, COLUMN):
                raise _NoPlan
            self._factor(t.left, t.over), self._factor(t.right, t.over)
        needed = [*inner, *(v for _, v in outputs)]
        loaded = () if first else tuple(dict.fromkeys(e for n in needed for e in self._row_values(n)))
        read = tuple(dict.fromkeys(e for n in inner for e in self._read_once(n, own)))
        bounds = bounds_of(self.made, self.maximum if first else None, [r.term for r in running])
        if any(self._folds(e) for e in inner) and first:
            raise _NoPlan
        return Sweep(own, other, tuple(tiles), self.maximum if first else None, tuple(running), tuple(outputs), loaded, (), read, bounds)

    def _outputs_of(self, sums: Iterable[Expression]) -> list[tuple[Place, Expression]]:
        wanted = set(sums)
        found = []
        for place, value in self.chain.outputs:
            inside = self._sums(value)
            if inside and set(inside) <= wanted:
                found.append((place, value))
        return found

    # Parts of expressions

    def _folds(self, e: Expression) -> list[Fold]:
        """All folds in an expression, also within folds and sums, inner ones first."""
        found: dict[Fold, None] = {}
        for leaf in leaves(e):
            within = [leaf.value] if isinstance(leaf, Fold) else [leaf.left, leaf.right] if isinstance(leaf, Sum) else []
            for inner in within:
                found.update(dict.fromkeys(self._folds(inner)))
            if isinstance(leaf, Fold):
                found[leaf] = None
        return list(found)

    def _sums(self, e: Expression) -> list[Sum]:
        """The sums over rows or columns in an expression."""
        return [s for s in leaves(e) if isinstance(s, Sum) and s.over in (ROW, COLUMN)]

    def _row_values(self, e: Expression) -> list[Expression]:
        """The largest parts that are one number per row and need a fold."""
        if not self._folds_here(e):
            return []
        if not e.roles - {ROW, *self.chain.batch}:
            return [e]
        return [found for o in (e.operands if isinstance(e, Apply) else ()) for found in self._row_values(o)]

    def _read_once(self, e: Expression, own: str) -> list[Expression]:
        """The largest parts that are one number per own row (column) and need memory, but no fold."""
        if e.type == f32 and not e.roles - {own, *self.chain.batch}:
            return [e] if any(isinstance(leaf, Read) for leaf in leaves(e)) and not self._folds_here(e) else []
        return [found for o in (e.operands if isinstance(e, Apply) else ()) for found in self._read_once(o, own)]

    def _folds_here(self, e: Expression) -> bool:
        return any(isinstance(leaf, Fold) for leaf in leaves(e))

    def _matrix_of(self, s: Sum) -> Expression:
        return s.left if self.matrix <= s.left.roles else s.right

    def _right(self, s: Sum) -> Factor:
        other = s.right if self.matrix <= s.left.roles else s.left
        depth = s.roles & other.roles - {ROW, COLUMN, *self.chain.batch}
        if self.matrix <= other.roles or len(depth) != 1 or not s.over in other.roles:
            raise _NoPlan
        return self._factor(other, next(iter(depth)))

    def _factor(self, e: Expression, depth: str) -> Factor:
        found = self.factors.get(e)
        role = [r for r in (ROW, COLUMN) if r in e.roles]
        if found is None:
            if len(role) != 1 or e.type != f32 or self._folds(e) or any(isinstance(leaf, Sum) for leaf in leaves(e)) or not depth.startswith(DEPTH):
                raise _NoPlan
            place, scale = _scaled_place(e)
            found = self.factors[e] = Factor(role[0], depth, e, place, scale)
        if found.depth != depth or e.roles - {found.role, depth, *self.chain.batch}:
            raise _NoPlan
        return found

    # Sums while the maximum grows

    def _fold_sum(self, f: Fold) -> RunningSum:
        term = self._term(f.value)
        if term is None or f.combiner is not arith.AddfOp or not isinstance(f.start, FloatAttr) or f.start.value.data != 0:
            raise _NoPlan
        return RunningSum(f, term, None)

    def _term(self, e: Expression) -> Term | None:
        """The expression as a term that can be summed while the maximum grows; None when it is none."""
        if not self._folds_here(e):
            return Term(None, 0, e)
        if not e.roles - {ROW, *self.chain.batch}:
            return Term(e, 0, None)
        if not isinstance(e, Apply):
            return None
        if e.op is math.ExpOp:
            return Term(None, 1, None) if self._is_distance(e.operands[0]) else None
        if e.op in (arith.MulfOp, arith.DivfOp):
            return self._product(e)
        return self._choice(e) if e.op is arith.SelectOp else None

    def _is_distance(self, e: Expression) -> bool:
        if not isinstance(e, Apply) or e.op is not arith.SubfOp or self.maximum is None:
            return False
        return e.operands[0] is self.maximum.value and e.operands[1] is self.maximum

    def _product(self, e: Apply) -> Term | None:
        a, b = (self._term(o) for o in e.operands)
        if a is None or b is None or a.power + b.power > 1:
            return None
        if e.op is arith.DivfOp and (b.power or b.inner is not None and b.factor is not None):
            return None
        return Term(self._joined(e, a.factor, b.factor), a.power + b.power, self._joined(e, a.inner, b.inner))

    def _joined(self, e: Apply, a: Expression | None, b: Expression | None) -> Expression | None:
        if b is None:
            return a
        if a is None:
            if e.op is arith.MulfOp:
                return b
            a = self.made.number(FloatAttr(1.0, e.type), e.type)
        return self.made.apply(e.op, dict(e.properties), (a, b), e.type)

    def _choice(self, e: Apply) -> Term | None:
        """A choice between a term and 0, by what needs no fold."""
        condition, *ways = e.operands
        zero = [number_in(way) == 0 for way in ways]
        if sum(zero) != 1 or self._folds_here(condition):
            return None
        term = self._term(ways[zero.index(False)])
        if term is None:
            return None
        inner = term.inner or self.made.number(FloatAttr(1.0, e.type), e.type)
        chosen = [way if way_is_zero else inner for way, way_is_zero in zip(ways, zero, strict=True)]
        return Term(term.factor, term.power, self.made.apply(e.op, dict(e.properties), (condition, *chosen), e.type))


def _scaled_place(e: Expression) -> tuple[Place | None, float]:
    """The element as a number times memory, widened; no place when it is something else."""
    if isinstance(e, Read):
        return e.place, 1.0
    if isinstance(e, Apply) and e.op is arith.ExtFOp and isinstance(e.operands[0], Read):
        return e.operands[0].place, 1.0
    if isinstance(e, Apply) and e.op is arith.MulfOp:
        for a, b in (e.operands, e.operands[::-1]):
            factor = number_in(b)
            if factor is not None:
                place, scale = _scaled_place(a)
                return place, scale * float(factor)
    return None, 1.0


def _half(f: Factor) -> Attribute | None:
    """The 16-bit float a factor is in memory; None when it is no such thing."""
    if f.place is None or not isinstance(f.place.element, BFloat16Type | Float16Type):
        return None
    return f.place.element
