"""What reads and writes by index, sorts and scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...dialects.book.scan import Counts
from ...dialects.graph import Graph
from ...dialects.types import Type, int64
from .scalars import wide
from .writer import Use, Value, Writer, rule, type_info

_REDUCTIONS = {"set": None, "mul": "mul", "max": "max", "min": "min"}


@rule("gather")
def _gather(w: Writer, use: Use) -> Value:
    x, index = use.operands
    reach = _with(index.shape, use["axis"], x.shape[use["axis"]])
    part = w.op("slice", x, (0,) * len(reach), reach, (1,) * len(reach))
    return w.emit("GatherElements", (part, index), use.types[0], axis=use["axis"])


@rule("take")
def _take(w: Writer, use: Use) -> Value:
    return w.emit("Gather", use.operands, use.types[0], axis=use["axis"])


@rule("scatter_add", "scatter")
def _scatter(w: Writer, use: Use) -> Value:
    """The part of src that the index reaches; a reduction of max or min needs opset 18."""
    x, index, src = use.operands
    rank = len(x.shape)
    part = w.op("slice", src, (0,) * rank, index.shape, (1,) * rank)
    return _scattered(w, x, index, part, use["axis"], "add" if use.op == "scatter_add" else _REDUCTIONS[use["by"]])


def _scattered(w: Writer, x: Value, index: Value, src: Value, axis: int, reduction: str | None) -> Value:
    """The node: what is combined is combined in wide numbers."""
    t = x.shape, x.dtype if reduction is None else wide(x.dtype)
    return w.cast(w.emit("ScatterElements", (w.cast(x, t[1]), index, w.cast(src, t[1])), t, axis=axis, reduction=reduction), x.dtype)


@rule("put", "put_add")
def _put(w: Writer, use: Use) -> Value:
    """Rows: the index is one dimension, repeated for every element of a row."""
    x, index, src = use.operands
    axis, rank = use["axis"], len(x.shape)
    count = 1
    for d in index.shape:
        count = count * d
    rows = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    line = w.op("reshape", index, (*(1,) * axis, count, *(1,) * (rank - axis - 1)))
    return _scattered(w, x, w.op("expand", line, rows), w.op("reshape", src, rows), axis, "add" if use.op == "put_add" else None)


@rule("sort")
def _sort(w: Writer, use: Use) -> tuple[Value, Value]:
    """TopK of all elements: equal ones stay in order."""
    return _largest(w, use, use["axis"], use["descending"])


@rule("topk")
def _topk(w: Writer, use: Use) -> tuple[Value, Value]:
    return _largest(w, use, len(use.operands[0].shape) - 1, use["largest"])


def _largest(w: Writer, use: Use, axis: int, largest: bool) -> tuple[Value, Value]:
    """The first elements of an order along an axis, as many as the results have, and their places."""
    (x,) = use.operands
    shape = use.types[0][0]
    t = shape, wide(x.dtype)
    inputs = (w.cast(x, t[1]), w.ints((shape[axis],)))
    y, index = w.emit("TopK", inputs, t, (shape, int64), axis=axis, largest=int(largest), sorted=1)
    return w.cast(y, x.dtype), index


@rule("cumsum")
def _cumsum(w: Writer, use: Use) -> Value:
    (x,) = use.operands
    t = x.shape, wide(x.dtype)
    return w.cast(w.emit("CumSum", (w.cast(x, t[1]), w.scalar(use["axis"], int64)), t), x.dtype)


@rule("cumprod")
def _cumprod(w: Writer, use: Use) -> Value:
    """A scan: ONNX has no product of everything so far."""

    def step(inner: Writer, states: list[Value], row: Value) -> list[Value]:
        return [inner.op("mul", states[0], row)]

    (x,) = use.operands
    return _along(w, x, use["axis"], step, lambda line: [w.op("full", line, 1, x.dtype)])[0]


@rule("running")
def _running(w: Writer, use: Use) -> tuple[Value, ...]:
    """A scan that carries the extreme, where it was, and where it is."""
    (x,) = use.operands
    largest = use["largest"]

    def step(inner: Writer, states: list[Value], row: Value) -> list[Value]:
        best, where, here = states
        again = inner.op("greater_equal" if largest else "less_equal", row, best)
        if x.dtype.kind == "f":
            again = inner.op("logical_or", again, inner.op("is_nan", row))
            known = inner.op("logical_and", inner.op("is_nan", best), inner.op("logical_not", inner.op("is_nan", row)))
            again = inner.op("logical_and", again, inner.op("logical_not", known))
        one = inner.op("full", row.shape, 1, int64)
        return [inner.op("select", again, row, best), inner.op("select", again, here, where), inner.op("add", here, one)]

    def starts(line: tuple) -> list[Value]:
        first = w.op("slice", x, (0,) * len(x.shape), _with(x.shape, use["axis"], 1), (1,) * len(x.shape))
        return [w.op("reshape", first, line), w.op("full", line, 0, int64), w.op("full", line, 0, int64)]

    return tuple(_along(w, x, use["axis"], step, starts)[:2])


def _with(shape: tuple, axis: int, size: int) -> tuple:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _along(
    w: Writer, x: Value, axis: int, step: Callable[[Writer, list[Value], Value], list[Value]], starts: Callable[[tuple], list[Value]]
) -> list[Value]:
    """The states of a scan along an axis of x, each stacked along it."""
    order = (axis, *(i for i in range(len(x.shape)) if i != axis))
    rows = x if axis == 0 else w.op("permute", x, order)
    line = rows.shape[1:]
    first = starts(line)
    inner = Writer(w.opset, w)
    types = [v.type for v in first]
    states = [Value(t, inner, name=inner.fresh("state")) for t in types]
    row = Value((line, x.dtype), inner, name=inner.fresh("row"))
    made = step(inner, states, row)
    made = [*made, *made]  # carried, and stacked
    stacked = _scan(w, inner, [*states, row], made, first, [rows], False)[len(first) :]
    back = tuple(order.index(i) for i in range(len(order)))
    return [v if axis == 0 else w.op("permute", v, back) for v in stacked]


@rule("scan")
def _scan_rule(w: Writer, use: Use) -> tuple[Value, ...]:
    """Scan: what every step sees whole is read from the outer graph."""
    body: Graph = use["body"]
    counts = Counts(use["carried"], use["scanned"], use["steps"], use["reverse"])
    first, last = counts.carried, counts.carried + counts.scanned
    inner = Writer(w.opset, w)
    given = [Value(t, inner, name=inner.fresh("state" if i < first else "slice")) for i, t in enumerate(body.inputs[:last])]
    made = inner.run(body, [*given, *use.operands[last:]])
    scanned = use.operands[first:last]
    if not scanned:  # a Scan runs once per slice
        scanned = (w.op("iota", (counts.steps,), 0, int64),)
        given.append(Value(((), int64), inner, name=inner.fresh("step")))
    return tuple(_scan(w, inner, given, made, use.operands[:first], scanned, counts.reverse))


def _scan(
    w: Writer, inner: Writer, given: Sequence[Value], made: Sequence[Value], starts: Sequence[Value], scanned: Sequence[Value], reverse: bool
) -> list[Value]:  # fmt: skip
    """The node. given: the body's states and slices; made: its next states and what it stacks."""
    steps, carried = scanned[0].shape[0], len(starts)
    labels = w.root.sizes.labels
    inputs = [type_info(inner.name(v), v.type, labels) for v in given]
    body = inner.graph_of("body", inputs, [(v, inner.fresh("next" if i < carried else "part")) for i, v in enumerate(made)])
    types: list[Type] = [v.type if i < carried else ((steps, *v.shape), v.dtype) for i, v in enumerate(made)]
    stacked = len(made) - carried
    made_here = w.emit(
        "Scan", (*starts, *scanned), *types, num_scan_inputs=len(scanned), body=body,
        scan_input_directions=[1] * len(scanned) if reverse else None, scan_output_directions=[1] * stacked if reverse and stacked else None,
    )  # fmt: skip
    return [made_here] if isinstance(made_here, Value) else list(made_here)
