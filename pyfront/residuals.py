"""Residuals: which forward values the derivative of a recorded step reads, asked of the op book itself.

A stanza's derivative is run once on placeholders that note which operand or result a rule touches. So "this
value was overwritten" and "this graph was freed" are decided by the book's ``d`` lines, not by a second list
of ops.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf

from ..dialects.book import OPS
from ..dialects.types import DType, Type, part_of
from .node import ALIAS, GRAD, RESULT, SAVED, Boundary, Node


class _Placeholder:
    """Stands for a value while a derivative is traced; ``index`` is its operand or result number."""

    __slots__ = ("type", "index")

    def __init__(self, type: Type, index: int | None = None) -> None:
        self.type = type
        self.index = index


class _Tracer:
    """A ``build`` that computes types only and remembers which placeholders were read."""

    def __init__(self) -> None:
        self.read: set[int] = set()

    def type(self, value: _Placeholder) -> Type:
        return value.type

    def build(self, op: str, operands: list[_Placeholder], attrs: tuple) -> tuple[_Placeholder, ...]:
        for operand in operands:
            if operand.index is not None:
                self.read.add(operand.index)
        types = OPS[op].infer(tuple([o.type for o in operands]), tuple(attrs))
        return tuple([_Placeholder(t) for t in types])

    __call__ = build


@lru_cache(maxsize=4096)
def reads(op: str, types: tuple[Type, ...], attrs: tuple, wanted: tuple[bool, ...]) -> frozenset[int]:
    """Operand numbers (results follow the operands) whose values the derivative needs."""
    stanza = OPS[op]
    if not stanza.has_derivative:  # opened and differentiated inside, from its operands on
        return frozenset(range(len(types)))
    if stanza.takes_complex and not any(p.dtype == "complex" for p in stanza.tensors):  # each part's derivative reads what that of a real number does
        types = tuple([(shape, part_of(dtype)) for shape, dtype in types])
        attrs = tuple([part_of(a) if isinstance(a, DType) else a for a in attrs])
    tracer = _Tracer()
    operands = [_Placeholder(t, i) for i, t in enumerate(types)]
    results = [_Placeholder(t, len(types) + i) for i, t in enumerate(stanza.infer(types, attrs))]
    cotangents = [_Placeholder(results[0].type), *[None] * (len(results) - 1)]
    stanza.gradients(tracer, operands, results, cotangents, attrs, wanted)
    return frozenset(tracer.read)


def _of(node: Node) -> frozenset[int]:
    wanted = tuple([n.requires_grad for n in node.inputs])
    return reads(node.op, tuple([n.type for n in node.inputs]), node.attrs, wanted)


def overwritten(node: Node) -> Node | None:
    """The value ``node``'s derivative reads that an in-place write has replaced since, if there is one."""
    op = node.op
    if op in (None, ALIAS, SAVED, GRAD, RESULT):
        return None
    stale = [i for i, n in enumerate(node.inputs) if was_overwritten(n, node.order)]
    own = len(node.inputs)
    if node.overwritten and not OPS[op].unsaved:
        stale.append(own)
    if not stale:
        return None
    needed = _of(node)
    for i in stale:
        if i in needed:
            return node if i == own else node.inputs[i]
    return None


_FAR = 64  # steps


def _still_there(node: Node, flushed: float) -> bool:
    """True when what a step was computed from is still to come, or can be computed again: from values that are there, in a few steps."""
    met, stack = {id(node)}, list(node.inputs)
    while stack:
        n = stack.pop()
        if n.value is not None or n.order > flushed or type(n) is Boundary or n.op == "full" or id(n) in met:
            continue
        if not n.inputs or len(met) == _FAR or n.requires_grad and needs_values(n):
            return False
        met.add(id(n))
        stack += n.inputs
    return True


def was_overwritten(operand: Node, order: int) -> bool:
    """True when the memory an operand came from was written after the step at ``order`` read it.

    Broadcasting is no copy: what is saved is what was expanded.
    """
    if operand.overwritten > order:
        return True
    if operand.op != "expand" or not operand.inputs:
        return False
    source = operand.inputs[0]
    if source.op == "reshape" and source.inputs and source.overwritten <= order:
        source = source.inputs[0] if len(source.type[0]) > len(source.inputs[0].type[0]) else source
    return source.overwritten > order


def saves(node: Node) -> bool:
    """True when PyTorch would have saved something of a step, constants included: it refuses a second backward."""
    if node.op in (None, ALIAS, SAVED, GRAD, RESULT):
        return False
    return bool(_of(node)) and not overwrites_all(node)


def overwrites_all(node: Node) -> bool:
    """True for the step that keeps what was written over reachable, with gradient 0: its mask is ours, PyTorch saves nothing."""
    return node.op == "select" and node.inputs[0].op == "full"


def differentiable_again(node: Node, flushed: float = inf) -> bool:
    """True when a second backward through a freed step needs nothing that freeing gave up. flushed: the order of the last flush; what
    was recorded since is computed together with whatever is asked for now."""
    if not node.inputs:
        return False
    return not needs_values(node) and _still_there(node, flushed)


def needs_values(node: Node) -> bool:
    """True when the derivative of a step reads values that freeing gives up: all but constants."""
    op = node.op
    if op in (ALIAS, SAVED):
        return False
    return op in (GRAD, RESULT) or not all(i < len(node.inputs) and node.inputs[i].op == "full" for i in _of(node))
