"""Scans with more or fewer operands and results: the one place that knows how operands, arguments and results line up."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Operation, SSAValue

from ..dialects.ops import Counts, ScanOp, ScanYieldOp
from .program import origin_of


def with_stacks(op: ScanOp, values: Sequence[SSAValue]) -> ScanOp:
    """The scan, stacking these values of its body too (as its last results)."""
    last = op.body.last_op
    assert last is not None
    return _replaced(op, list(op.operands), op.counts, [*last.operands, *values], list(range(len(op.results))))


def with_operands(op: ScanOp, values: Sequence[SSAValue]) -> tuple[ScanOp, list[SSAValue]]:
    """The scan with more operands that every step sees whole, and their arguments."""
    made = [op.body.insert_arg(v.type, len(op.body.args)) for v in values]
    last = op.body.last_op
    assert last is not None
    kept = list(range(len(op.results)))
    return _replaced(op, [*op.operands, *values], op.counts, list(last.operands), kept), made


def without_unused(op: ScanOp) -> tuple[ScanOp, int]:
    """The scan without carried values, stacks and operands that nobody needs; and how many went.

    A value that is carried unchanged becomes an operand; what is stacked twice is stacked once.
    """
    counts, body = op.counts, op.body
    last = body.last_op
    assert last is not None
    yielded = list(last.operands)
    _stack_once(op, yielded)
    fixed = [i for i in range(counts.carried) if yielded[i] is body.args[i]]
    for i in fixed:
        op.results[i].replace_all_uses_with(op.operands[i])
    live = _live_values(op, yielded)
    carried = [i for i in range(counts.carried) if i not in fixed and (op.results[i].first_use or body.args[i] in live)]
    stacked = [i for i in range(counts.carried, len(yielded)) if op.results[i].first_use]
    scanned = [i for i in range(counts.carried, counts.carried + counts.scanned) if body.args[i] in live]
    whole = [i for i in (*fixed, *range(counts.carried + counts.scanned, len(body.args))) if body.args[i] in live]
    order = [*carried, *scanned, *whole]
    gone = len(body.args) - len(order) + len(yielded) - len(carried) - len(stacked) + len([i for i in fixed if i in whole])
    if not gone:
        return op, 0
    operands = [op.operands[i] for i in order]
    fresh = [body.insert_arg(body.args[i].type, len(body.args)) for i in order]
    before = len(body.args) - len(fresh)
    kept = [*carried, *stacked]
    outputs = [yielded[i] for i in kept]
    _set_yield(op, outputs)
    _remove_dead_ops(op)
    renamed = {body.args[i]: new for i, new in zip(order, fresh, strict=True)}
    for old, new in renamed.items():
        old.replace_all_uses_with(new)
    for arg in list(body.args[:before]):
        body.erase_arg(arg)
    outputs = [renamed.get(v, v) for v in outputs]
    return _replaced(op, operands, Counts(len(carried), len(scanned), counts.steps, counts.reverse), outputs, kept), gone


def _stack_once(op: ScanOp, yielded: list[SSAValue]) -> None:
    known: dict[SSAValue, int] = {}
    for i in range(op.counts.carried, len(yielded)):
        first = known.setdefault(yielded[i], i)
        if first != i:
            op.results[i].replace_all_uses_with(op.results[first])


def _live_values(op: ScanOp, yielded: list[SSAValue]) -> set[SSAValue]:
    """Values of the body that reach a result somebody uses."""
    carried, body = op.counts.carried, op.body
    live: set[SSAValue] = set()
    todo = [v for v, r in zip(yielded, op.results, strict=True) if r.first_use]
    place = {arg: i for i, arg in enumerate(body.args)}
    while todo:
        value = todo.pop()
        if value in live:
            continue
        live.add(value)
        if isinstance(value.owner, Operation):
            todo.extend(value.owner.operands)
        elif place[value] < carried:
            todo.append(yielded[place[value]])
    return live


def _remove_dead_ops(op: ScanOp) -> None:
    inner = op.body.last_op
    while inner is not None:
        before = inner.prev_op
        if inner.results and not any(r.first_use for r in inner.results):
            op.body.erase_op(inner)
        inner = before


def _set_yield(op: ScanOp, values: Sequence[SSAValue]) -> None:
    body = op.body
    assert body.last_op is not None
    body.erase_op(body.last_op)
    body.add_op(ScanYieldOp.create(operands=list(values)))


def _replaced(op: ScanOp, operands: list[SSAValue], counts: Counts, outputs: list[SSAValue], kept: list[int]) -> ScanOp:
    """The scan made anew around its region; its first results take the place of the old ones named in `kept`."""
    _set_yield(op, outputs)
    new = ScanOp.make(operands, op.detach_region(op.regions[0]), counts, origin_of(op))
    block = op.parent
    assert block is not None
    block.insert_op_before(new, op)
    for i, result in zip(kept, new.results, strict=False):
        op.results[i].replace_all_uses_with(result)
    block.erase_op(op)
    return new
