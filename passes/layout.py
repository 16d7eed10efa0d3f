"""Layouts: in which order the dims of every kernel's results lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.kernel import FusedOp, layouts_attribute
from ..dialects.sizes import Size, any_symbolic, estimate
from .access import (
    CONTRACT,
    FOLD,
    INLINE,
    Domain,
    Seen,
    leaf_reads,
    role_of,
    shape_of,
    size_of_value,
    stage_domains,
    stage_roots,
)
from .base import Pass
from .linear_index import Index, Linear, loop_dims
from .placement import boxes, window_target
from .program import program_blocks

Order = tuple[int, ...]

VECTOR = 8  # a dim shorter than this is not worth being the innermost one


@dataclass(frozen=True)
class ChooseLayout(Pass):
    """Choose the order of dims in memory for every result of every kernel (`layouts`; absent: row-major).

    A contraction's result has the dim that is best computed as vectors innermost: one that only one factor has,
    read there by itself (the output channels of a convolution, the columns of a matrix product). What is computed
    elementwise follows its largest operands. Program outputs and what other ops than kernels read are row-major.
    """

    name: ClassVar[str] = "layout"
    takes: ClassVar[str] = "fused"

    def run(self, module: ModuleOp) -> int:
        return sum(_Layouts(block).choose() for block in program_blocks(module))


class _Layouts:
    def __init__(self, block: Block) -> None:
        self.block = block
        self.order: dict[SSAValue, Order] = {}  # of values that are not row-major
        self.row_major: set[SSAValue] = set()
        for op in block.ops:
            if not isinstance(op, FusedOp):
                self.row_major.update(op.operands)

    def choose(self) -> int:
        """Set `layouts` where something is not row-major; how many kernels that were."""
        changed = 0
        for op in self.block.ops:
            if isinstance(op, FusedOp):
                changed += self._choose_for(op)
        return changed

    def _choose_for(self, kernel: FusedOp) -> int:
        inside = dict(zip(kernel.body.block.args, (self.order.get(v) for v in kernel.operands), strict=True))
        orders = {value: order for value, order in inside.items() if order is not None}
        roots = [(op, role_of(op)) for op in stage_roots(kernel.body.block)]
        _stage_orders(kernel.body.block, roots, orders)
        roles = {role for _, role in roots}
        last = kernel.body.block.last_op
        assert last is not None
        chosen: list[Order | None] = []
        for value, result in zip(last.operands, kernel.results, strict=True):
            order = orders.get(value)
            if result in self.row_major or CONTRACT in roles and self._written_out_next(value, result):
                order = None
            elif order is None and CONTRACT not in roles and FOLD not in roles:
                order = self._wished(result)
            chosen.append(order)
            if order is not None:
                self.order[result] = order
        if all(order is None for order in chosen):
            return int(kernel.attributes.pop("layouts", None) is not None)
        layouts = layouts_attribute(chosen, [r.type for r in kernel.results])
        changed = kernel.attributes.get("layouts") != layouts
        kernel.attributes["layouts"] = layouts
        return int(changed)

    def _written_out_next(self, value: SSAValue, result: SSAValue) -> bool:
        """True if the result of a contraction is only read to make program outputs of the same size (a gradient by
        the optimizer): then it had better be stored as these are."""
        readers = [use.operation for use in result.uses]
        return all(
            isinstance(reader, FusedOp)
            and any(r in self.row_major and size_of_value(r) == size_of_value(value) for r in reader.results)
            for reader in readers
        )

    def _wished(self, result: SSAValue) -> Order | None:
        """The order of a result that is computed elementwise and whose readers only rearrange it into row-major memory: with the dim innermost
        that is innermost there. A kernel that pads what comes row-major turns it on the way."""
        if any_symbolic(shape_of(result)):
            return None
        rank = len(shape_of(result))
        wishes = {self._innermost_wish(use.operation, use.index) for use in result.uses}
        last = wishes.pop() if len(wishes) == 1 else None
        return None if last is None or last == rank - 1 else (*(d for d in range(rank) if d != last), last)

    def _innermost_wish(self, reader: Operation, operand: int) -> int | None:
        """The dim of an operand along which a reader writes row-major memory."""
        if not isinstance(reader, FusedOp) or not all(r in self.row_major for r in reader.results):
            return None
        wishes: set[int | None] = set()
        argument = reader.body.block.args[operand]
        roots = stage_roots(reader.body.block)
        leaves = set(reader.body.block.args) | {op.results[0] for op in roots}
        for op in roots:
            role = role_of(op)
            if role in (CONTRACT, FOLD):
                return None
            seen: dict[tuple, Seen] = {}
            for domain in stage_domains(op, role):
                known = seen.setdefault(domain.sizes, {})
                reads = leaf_reads(domain, leaves.__contains__, op.results[0] if role in INLINE else None, known)
                for index in (index for value, index in reads if value is argument and index is not None):
                    target = _target_index(op, role, domain)
                    last = target[-1] if target else 0
                    along = last.terms[-1][0] if isinstance(last, Linear) and last.terms else None
                    dims = [d for d, i in enumerate(index) if isinstance(i, Linear) and (along, 1) in i.terms]
                    wishes.add(dims[0] if len(dims) == 1 and shape_of(argument)[dims[0]] >= VECTOR else None)
        return wishes.pop() if len(wishes) == 1 else None


def _stage_orders(block: Block, roots: list[tuple[Operation, str]], orders: dict[SSAValue, Order]) -> None:
    """Add the orders of a kernel's stages (and their roles) to those of its arguments."""
    leaves = set(block.args) | {op.results[0] for op, _ in roots}
    for op, role in roots:
        domain = max(stage_domains(op, role), key=lambda d: max((estimate(size_of_value(v)) for v, _ in d.reads), default=0))
        if role == CONTRACT:
            reads = [(v, i) for v, i in leaf_reads(domain, leaves.__contains__, None) if i is not None]
            loops: Order | None = _contraction_loops(op, domain, {_innermost_loop(i, orders.get(v)) for v, i in reads})
        else:
            root = op.results[0] if role in INLINE else None
            reads = leaf_reads(domain, leaves.__contains__, root)
            loops = _followed_loops(domain, [(v, i) for v, i in reads if i is not None], orders)
        if loops is not None:
            order = _order_of_dims(_target_index(op, role, domain), loops)
            if order != tuple(range(len(order))):
                orders[op.results[0]] = order


def _contraction_loops(op: Operation, domain: Domain, innermost: set[int | None]) -> Order | None:
    """Loops with the best vector dim innermost: the last long one that one factor alone has, by itself.

    innermost: loops along which a factor is contiguous in memory. A factor that has several loops of its own is no place for
    vectors if it is not contiguous along the last one: then the other's only loop serves better (the output channels of a
    1x1 convolution whose input has channels innermost). A factor read through windows is the worse holder: where the other has no such dim, one that both have comes
    before (the channels of depthwise convolutions).
    """
    result = loop_dims(shape_of(op.results[0]))[1]
    parallel = [i.terms[0][0] for i in result if isinstance(i, Linear)]
    factors = [index for _, index in domain.reads]
    plain = [index for index in factors if all(isinstance(i, int) or _has_own_digits(i) for i in index)]
    known = [d for d in reversed(parallel) if not isinstance(domain.sizes[d], Size)]  # vectors want to know how many they are
    long = [d for d in known if domain.sizes[d] >= VECTOR]
    alone = [d for d in long if sum(_has(index, d) for index in factors) == 1]
    shared = [d for d in long if all(_reads_purely(index, d) for index in factors)]
    best = [d for d in alone if any(_reads_purely(index, d) for index in plain)]
    if len(plain) < len(factors):
        best += shared
    best += [d for d in alone if any(_reads_purely(index, d) for index in factors)]
    if best and best[0] in alone and best[0] not in innermost:
        mine = next(index for index in factors if _has(index, best[0]))
        others = [d for d in alone if not _has(mine, d)]
        if len(others) == 1 and others[0] in best and sum(_has(mine, d) for d in alone) > 1:
            best.insert(0, others[0])
    return (*(p for p in parallel if p != best[0]), best[0]) if best else None


def _innermost_loop(index: tuple[Index, ...], order: Order | None) -> int | None:
    """The loop along which the value read is contiguous in memory."""
    for dim in reversed(order or range(len(index))):
        expr = index[dim]
        if isinstance(expr, Linear) and expr.terms:
            return min(expr.terms, key=lambda term: abs(term[1]))[0]
    return None


def _has(index: tuple[Index, ...], d: int) -> bool:
    return any(d == dim for i in index if isinstance(i, Linear) for dim, _ in i.terms)


def _reads_purely(index: tuple[Index, ...], d: int) -> bool:
    return any(isinstance(i, Linear) and (d, 1) in i.terms and _has_own_digits(i) for i in index)


def _has_own_digits(expr: Linear) -> bool:
    """True if no two steps of the loops lead to one place (a dim split in several loops); windows overlap."""
    reach = 1
    for d, c in sorted(expr.terms, key=lambda term: abs(term[1])):
        if abs(c) < reach:
            return False
        reach = abs(c) * expr.sizes[d]
    return True


def _followed_loops(
    domain: Domain, reads: list[tuple[SSAValue, tuple[Index, ...]]], orders: dict[SSAValue, Order]
) -> Order | None:
    """The order of loops most of the memory read asks for; None if that is the order they have."""
    votes: dict[Order, int] = {}
    for value, index in reads:
        order = orders.get(value) or tuple(range(len(index)))
        place: dict[int, tuple[int, int]] = {}
        for position, dim in enumerate(order):
            expr = index[dim]
            for d, c in expr.terms if isinstance(expr, Linear) else ():
                place.setdefault(d, (position, -abs(c)))
        loops = _with_missing(sorted(place, key=lambda d: (place[d], d)), len(domain.sizes))
        votes[loops] = votes.get(loops, 0) + estimate(size_of_value(value))
    natural = tuple(range(len(domain.sizes)))
    best = max(votes, key=lambda loops: (votes[loops], loops != natural), default=natural)
    return best if best != natural else None


def _with_missing(loops: list[int], count: int) -> Order:
    """An order of some loops, the others put in behind the loop they follow by nature."""
    for d in range(count):
        if d not in loops:
            loops.insert(loops.index(d - 1) + 1 if d else 0, d)
    return tuple(loops)


def _target_index(op: Operation, role: str, domain: Domain) -> tuple[Index, ...]:
    """Where a stage writes its result, over its loops."""
    if role == CONTRACT or role in INLINE:
        return loop_dims(shape_of(op.results[0]))[1]
    index = loop_dims(shape_of(domain.reads[0][0]))[1]
    if role == FOLD:
        kept = shape_of(op.results[0])
        return tuple(0 if n == 1 else i for i, n in zip(index, kept, strict=True))
    return index if boxes(op) is not None else window_target(op)


def _order_of_dims(index: tuple[Index, ...], loops: Order) -> Order:
    """Dims of a result from outermost to innermost, as the loops that write them; others lie outside."""
    position = {d: k for k, d in enumerate(loops)}

    def place(dim: int) -> int:
        expr = index[dim]
        if not isinstance(expr, Linear):
            return -1
        return position[max(expr.terms, key=lambda term: abs(term[1]))[0]]

    order = tuple(sorted(range(len(index)), key=lambda dim: (place(dim), dim)))
    moving = [dim for dim in order if place(dim) >= 0]
    return tuple(range(len(index))) if moving == sorted(moving) else order
