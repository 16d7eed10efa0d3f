"""Compute every value once."""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.ops import BookOp, ScanOp, ScanYieldOp, attrs_of, stanza_of
from .base import Pass
from .program import program_blocks
from .scan_region import with_stacks


@dataclass(frozen=True)
class ComputeOnce(Pass):
    """Compute every value once: an op with the attributes and operands of an earlier one is replaced by it.

    before  %1 = prim.mul %a, %b
            %2 = prim.mul %b, %a
            %3 = prim.add %1, %2
    after   %1 = prim.mul %a, %b
            %3 = prim.add %1, %1

    Scans over the same operands that carry the same values become one.
    """

    name = "cse"
    takes = ("differentiated", "primitive")

    def run(self, module: ModuleOp) -> int:
        """Number of ops replaced, scans that were made one included."""
        return sum(compute_once(block) + merge_scans(block) for block in program_blocks(module))


def compute_once(block: Block) -> int:
    """Replace the ops of a block that compute what an earlier one did; returns how many."""
    seen: dict[tuple[object, ...], BookOp] = {}
    count = 0
    op = block.first_op
    while op is not None:
        following = op.next_op
        if isinstance(op, BookOp):
            known = seen.setdefault(_key(op, tuple(map(id, op.operands))), op)
            if known is not op:
                for old, new in zip(op.results, known.results, strict=True):
                    old.replace_all_uses_with(new)
                block.erase_op(op)
                count += 1
        op = following
    return count


def merge_scans(block: Block) -> int:
    """Make one of scans over the same operands that carry the same values: what the later one stacks, the earlier does
    on the way. Returns how many went."""
    seen: dict[tuple[object, ...], list[ScanOp]] = {}
    count = 0
    for op in [op for op in block.ops if isinstance(op, ScanOp)]:
        group = seen.setdefault((*op.counts, *map(id, op.operands)), [])
        for k, early in enumerate(group):
            merged = _merged(early, op)
            if merged is not None:
                group[k] = merged
                count += 1
                break
        else:
            group.append(op)
    return count


def _merged(early: ScanOp, late: ScanOp) -> ScanOp | None:
    """One scan in the place of the earlier of two; None when they carry different values."""
    table: dict[object, object] = {}
    numbers: dict[SSAValue, object] = {}
    for scan in (early, late):
        _number(scan.body, table, numbers)
    carried = early.counts.carried
    first, second = (list(scan.body.last_op.operands) for scan in (early, late))
    if any(numbers[a] != numbers[b] for a, b in zip(first[:carried], second[:carried], strict=True)):
        return None
    known: dict[object, SSAValue] = {}
    for value, number in numbers.items():
        if value.owner is early.body or (isinstance(value.owner, Operation) and value.owner.parent is early.body):
            known.setdefault(number, value)
    copies: dict[SSAValue, SSAValue] = {}
    last = early.body.last_op
    for op in late.body.ops:
        if isinstance(op, ScanYieldOp):
            break
        if all(numbers[r] in known for r in op.results):
            continue
        copy = op.clone({v: copies.get(v) or known[numbers[v]] for v in op.operands})
        early.body.insert_op_before(copy, last)
        copies.update(zip(op.results, copy.results, strict=True))
    more = [copies.get(v) or known[numbers[v]] for v in second[carried:]]
    merged = with_stacks(early, more)
    new = [*merged.results[:carried], *merged.results[len(first) :]]
    for old, value in zip(late.results, new, strict=True):
        old.replace_all_uses_with(value)
    late.parent.erase_op(late)
    return merged


def _number(body: Block, table: dict[object, object], numbers: dict[SSAValue, object]) -> None:
    """Number the values of a body: equal numbers, equal values, as long as the arguments are the same."""
    for i, arg in enumerate(body.args):
        numbers[arg] = ("argument", i)
    for op in body.ops:
        if isinstance(op, BookOp):
            number = table.setdefault(_key(op, tuple(numbers[v] for v in op.operands)), len(table))
            numbers.update((r, (number, k)) for k, r in enumerate(op.results))


def _key(op: BookOp, operands: tuple) -> tuple[object, ...]:
    if len(operands) == 2 and stanza_of(op).commutes:
        operands = tuple(sorted(operands, key=repr))
    attrs = attrs_of(op)
    if 0 in attrs:  # 0.0 == -0.0, but they are not the same constant
        attrs = tuple(
            "-0.0" if a == 0 and isinstance(a, float) and copysign(1.0, a) < 0 else a for a in attrs
        )
    return (op.name, attrs, operands)
