"""How a kernel function can be cut: which loops run along one loop of a buffer, and how far a step takes every operand.

Found from index maps alone. A cut through a written buffer must go through every stage that touches it as one parallel loop
of the same extent and step; what is only read may be read whole, or anywhere. A product may also sum over the loop: it then
adds up its result from block to block, and what follows on the sum waits for the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.linalg.ops import FillOp, GenericOp, IndexOp
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineDimExpr

from .contraction_body import product_of
from .contraction_match import linear_form, loop_sizes, match_contraction
from .memref_layout import strides_of

_PLAIN = (GenericOp, FillOp, arith.ConstantOp, memref.AllocaOp, func.ReturnOp)


@dataclass(slots=True)
class Cut:
    """One loop cut through a function: the loop of every stage, and per written value and per operand the elements one step is.

    sums: the product that sums over it.
    """

    extent: int
    loops: dict[Operation, int] = field(default_factory=dict)
    written: dict[SSAValue, int] = field(default_factory=dict)
    steps: dict[tuple[Operation, int], int] = field(default_factory=dict)
    sums: GenericOp | None = None


def is_plain(function: func.FuncOp) -> bool:
    """Whether a kernel consists of stages on whole buffers only."""
    return all(isinstance(op, _PLAIN) for op in function.body.block.ops)


def cut_function(function: func.FuncOp, value: SSAValue, extent: int, step: int) -> Cut | None:
    """The cut that goes through an argument the function writes, or reads element for element; None where there is none."""
    cut = Cut(extent, written={value: step})
    if not is_plain(function):
        return None
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    made = {v for op in stages for v in op.outputs}
    waiting = [value]
    while waiting:
        known = waiting.pop()
        for use in list(known.uses):
            op = use.operation
            if isinstance(op, GenericOp) and op not in cut.loops:
                found = _cut_stage(op, cut, made)
                if found is None:
                    return None
                waiting += found
    if cut.sums is not None:
        stages = [cut.sums] if len(cut.loops) == 1 and product_of(cut.sums) is not None and match_contraction(function) else []
    return cut if len(cut.loops) == len(stages) and _agrees(cut, stages) else None


def _cut_stage(op: GenericOp, cut: Cut, made: set[SSAValue]) -> list[SSAValue] | None:
    """Cuts one stage along the loop its known operands demand; the values that are newly cut."""
    sizes = loop_sizes(op)
    if sizes is None or any(inner.name == "memref.load" for inner in op.body.block.ops):
        return None
    steps = [_loop_steps(v, m.data, len(sizes)) for v, m in zip(op.operands, op.indexing_maps.data, strict=True)]
    if any(s is None for s in steps):
        return None
    wanted = next((d for v, s in zip(op.operands, steps, strict=True) if v in cut.written for d in _loops_of(s, sizes, cut, v)), None)
    if wanted is None or any(not isinstance(use.operation, arith.IndexCastOp) for i in asked(op, wanted) for use in i.results[0].uses):
        return None
    cut.loops[op] = wanted
    if op.iterator_types.data[wanted].data.value != "parallel":
        cut.sums = op
    fresh: list[SSAValue] = []
    for k, (value, found) in enumerate(zip(op.operands, steps, strict=True)):
        cut.steps[op, k] = found[wanted]  # type: ignore[index]  # no None is left
        if value in made and value not in cut.written and op is not cut.sums:
            cut.written[value] = found[wanted]  # type: ignore[index]
            fresh.append(value)
    return fresh


def _loops_of(steps: list[int] | None, sizes: list[int], cut: Cut, value: SSAValue) -> list[int]:
    return [d for d, s in enumerate(steps or ()) if s == cut.written[value] and sizes[d] == cut.extent]


def _loop_steps(value: SSAValue, map: object, dims: int) -> list[int] | None:
    """Elements between neighbouring indices of every loop."""
    steps = [0] * dims
    kind = value.type
    assert isinstance(kind, MemRefType)
    for stride, expr in zip(strides_of(kind), map.results, strict=True):  # type: ignore[attr-defined]  # an AffineMap
        form = linear_form(expr, dims)
        if form is None:
            return None
        for d in range(dims):
            steps[d] += stride * form[d]
    return steps


def _agrees(cut: Cut, stages: list[GenericOp]) -> bool:
    """Every access to what is written goes the step of the cut, and none stays where it is."""
    for op in stages:
        for k, value in enumerate(op.operands):
            if op is cut.sums and k >= len(op.inputs):
                if cut.steps[op, k]:
                    return False
            elif value in cut.written and (cut.steps[op, k] != cut.written[value] or not cut.steps[op, k]):
                return False
            elif k >= len(op.inputs) and value not in cut.written:
                return False
    return True


def asked(op: GenericOp, loop: int) -> list[IndexOp]:
    """Where the body of a stage asks for the position along a loop."""
    return [inner for inner in op.body.block.ops if isinstance(inner, IndexOp) and inner.dim.value.data == loop]


def pure_dims(op: GenericOp, k: int, loop: int) -> list[int]:
    """Dimensions of an operand that this loop indexes alone."""
    exprs = op.indexing_maps.data[k].data.results
    return [p for p, e in enumerate(exprs) if isinstance(e, AffineDimExpr) and e.position == loop]
