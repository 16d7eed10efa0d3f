"""Summary: a model's layers as a table, with the shapes they give, their parameters and their multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import recorder
from .autograd import no_grad
from .creation import zeros
from .export import _argument
from .nn.module import Module
from .node import Node
from .products import multiply_adds, steps_of, tensors_of
from .tensor import Tensor


class Row(NamedTuple):
    """One call of one layer. parameters and macs are the layer's with all below it."""

    depth: int
    name: str
    kind: str
    shape: str
    parameters: int
    macs: int


class Summary:
    """What `summary` found; printed as a table."""

    def __init__(self, rows: Sequence[Row], trainable: int, frozen: int) -> None:
        self.rows, self.trainable, self.frozen = tuple(rows), trainable, frozen
        self.macs = rows[0].macs if rows else 0

    def __str__(self) -> str:
        cells = [("layer", "output", "parameters", "multiply-adds")]
        for row in self.rows:
            label = "  " * row.depth + (f"{row.name}: {row.kind}" if row.name else row.kind)
            cells.append((label, row.shape, f"{row.parameters:,}" if row.parameters else "-", f"{row.macs:,}" if row.macs else "-"))
        widths = [max(len(line[i]) for line in cells) for i in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in cells
        ]
        rule = "-" * max(len(line) for line in lines)
        total = self.trainable + self.frozen
        return "\n".join(
            [lines[0], rule, *lines[1:], rule, f"parameters: {total:,} ({self.trainable:,} trainable, {self.frozen:,} frozen)",
             f"multiply-adds: {self.macs:,}"]
        )  # fmt: skip

    __repr__ = __str__


def summary(model: Module, *inputs: Tensor, input_size: Sequence[Any] | None = None, depth: int = 3) -> Summary:
    """The table of one call ``model(*inputs)``, in evaluation mode; nothing is computed and nothing of the model changes.

    input_size: a shape, or several, in place of inputs: zeros of that shape. depth: how many levels below the model are
    listed. Multiply-adds are those of the op book's sums of products (matrix products, convolutions), whatever calls them.
    ValueError without inputs.
    """
    if not inputs:
        if input_size is None:
            raise ValueError("summary needs inputs, or their shapes: summary(model, input_size=(1, 3, 32, 32))")
        sizes = [input_size] if isinstance(input_size[0], int) else list(input_size)
        inputs = tuple([zeros(*size) for size in sizes])
    recorder.flush()
    watch = _Watch(model, depth)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    recorder.state.traces += 1
    try:
        with no_grad():
            model(*[_argument(x._value().copy(), x, f"input {i}") if isinstance(x, Tensor) else x for i, x in enumerate(inputs)])
    finally:
        recorder.state.traces -= 1
        watch.end()
        for module, mode in modes.items():
            module.training = mode
    counts = [0, 0]
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return Summary([row for row in watch.rows if row is not None], counts[1], counts[0])


class _Watch:
    """Hooks on all modules while one call runs."""

    def __init__(self, model: Module, depth: int) -> None:
        self.rows: list[Row | None] = []
        self._open: list[tuple[int, int]] = []  # place of the row, recording position at the start
        self._depth = depth
        self._names = {module: name.rpartition(".")[2] for name, module in model.named_modules()}
        self._handles = []
        for module in self._names:
            self._handles.append(module.register_forward_pre_hook(self._enter_, prepend=True))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def _enter_(self, module: Module, args: tuple) -> None:
        self._open.append((len(self.rows), recorder.state.order))
        self.rows.append(None)

    def _leave(self, module: Module, args: tuple, result: Any) -> None:
        place, start = self._open.pop()
        level = len(self._open)
        if level > self._depth or result is None:
            return
        nodes, seen = [t._read() for t in tensors_of(result)], set[int]()
        macs = sum(multiply_adds(*step) for node in _since(nodes, start, seen) for step in steps_of(node))
        own = sum({id(p): p.numel() for p in module.parameters()}.values())
        self.rows[place] = Row(level, self._names[module] if level else "", type(module).__name__, _shape(result), own, macs)

    def end(self) -> None:
        """Take the hooks out again."""
        for handle in self._handles:
            handle.remove()


def _shape(result: Any) -> str:
    shapes = [str(list(t.shape)) for t in tensors_of(result)]
    return ", ".join(shapes[:2]) + (", ..." if len(shapes) > 2 else "")


def _since(nodes: list[Node], start: int, seen: set[int]) -> list[Node]:
    """All Nodes behind these that were recorded after `start`."""
    found, waiting = [], list(nodes)
    while waiting:
        node = waiting.pop()
        if id(node) not in seen and node.order > start:
            seen.add(id(node))
            found.append(node)
            waiting.extend(node.inputs or ())
    return found
