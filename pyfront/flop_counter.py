"""torch.utils.flop_counter: operations of the products (matrix products, convolutions, attention) of a region, by module.

Counted is what is computed, forward and backward, from the op book's meaning of each recorded step: two operations per multiply-add. A gradient
counts for every operand it is taken by. So attention and recurrent layers count on every device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from . import recorder
from .nn.hooks import register_module_forward_hook, register_module_forward_pre_hook
from .nn.module import Module
from .node import GRAD, Boundary, Node
from .products import Sized, multiply_adds, multiply_adds_of_gradients, steps_of, tensors_of
from .torch_library import ops

__all__ = ["FlopCounterMode"]

_WORDS = ("", "K", "M", "B", "T")
_GLOBAL = "Global"


class FlopCounterMode:
    """A region whose products are counted. depth: how many levels of modules the table shows (None: all); display: print it at the end.

    Modules are named by the class of the outermost one and their places below it ("Net.encoder.0").
    """

    def __init__(self, mods: Any = None, depth: int | None = 2, display: bool = True, custom_mapping: Any = None) -> None:
        self.depth, self.display = depth, display
        self._counts: dict[str, dict[Any, int]] = {}
        self._reset()

    def _reset(self) -> None:
        self._open: list[tuple[Module, str, int]] = []  # modules that are running, their names, where recording stood
        self._names: dict[int, str] = {}
        self._places: dict[int, tuple[str, ...]] = {}  # modules that Nodes belong to
        self._held: list[Node] = []
        self._counted: set[int] = set()

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """Operations by module and by the kind of product; "Global" has all of them."""
        return {name: dict(counts) for name, counts in self._counts.items()}

    def get_total_flops(self) -> int:
        """Operations of the whole region."""
        return sum(self._counts.get(_GLOBAL, {}).values())

    def get_table(self, depth: int | None = None) -> str:
        """The counts as text: a line per module, and below it one for each kind of product."""
        depth = self.depth if depth is None else depth
        total = self.get_total_flops()
        same = [name for name, counts in self._counts.items() if name != _GLOBAL and "." not in name and sum(counts.values()) == total]
        lines = [("Module", "FLOP", "% Total")]
        for name, counts in sorted(self._counts.items(), key=lambda item: (item[0] != _GLOBAL, item[0])):
            if name == _GLOBAL and same and total or depth is not None and name.count(".") + 1 > depth and name != _GLOBAL:
                continue
            level = "  " * name.count(".")
            lines.append((level + name, _number(sum(counts.values()), total), _share(sum(counts.values()), total)))
            lines += [(f"{level} - {op}", _number(n, total), _share(n, total)) for op, n in counts.items()]
        widths = [max(len(line[i]) for line in lines) for i in range(3)]
        lines.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]  # three of them
        return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in lines)

    def __enter__(self) -> FlopCounterMode:
        recorder.flush()
        self._counts = {_GLOBAL: defaultdict(int)}
        self._reset()
        self._before, recorder.state.witness = recorder.state.witness, self._computed
        self._hooks = [register_module_forward_pre_hook(self._enter_), register_module_forward_hook(self._leave, always_call=True)]
        return self

    def __exit__(self, *_: Any) -> None:
        recorder.flush()
        recorder.state.witness = self._before
        for hook in self._hooks:
            hook.remove()
        self._reset()
        if self.display:
            print(self.get_table())

    # -- which module a step belongs to

    def _enter_(self, module: Module, args: tuple) -> None:
        if id(module) not in self._names:
            root = type(module).__name__
            for name, part in module.named_modules():
                self._names[id(part)] = f"{root}.{name}" if name else root
        self._open.append((module, self._names[id(module)], recorder.state.order))

    def _leave(self, module: Module, args: tuple, result: Any) -> None:
        self._count_all([t._read() for t in tensors_of(result)], self._open[-1][2] if self._open else 0)
        while self._open and self._open.pop()[0] is not module:  # more than one where a call raised
            pass

    def _owners(self, node: Node) -> list[str]:
        return [name for _, name, start in self._open if start < node.order]

    # -- what is computed

    def _computed(self, roots: Sequence[Node]) -> None:
        """These Nodes, and what they need, get values now."""
        self._count_all(list(roots), 0)

    def _count_all(self, waiting: list[Node], start: int) -> None:
        """Steps that have no value yet, recorded after a moment, once each: those of a call when it ends, whoever looks at its result."""
        while waiting:
            node = waiting.pop()
            if node.value is not None or node.order <= start or id(node) in self._counted:
                continue
            self._counted.add(id(node))
            self._held.append(node)  # no other Node gets its id
            waiting.extend(node.inputs)
            owners = self._places[id(node)] = tuple(dict.fromkeys(self._owners(node)))
            if node.op == GRAD:
                self._count_gradients(node)
            else:
                for op, attrs, operands in steps_of(node):
                    self._count(owners, _kind(op, operands, False), 2 * multiply_adds(op, attrs, operands))

    def _count(self, owners: Sequence[str], kind: str, flops: int) -> None:
        if flops:
            for name in (_GLOBAL, *owners):
                self._counts.setdefault(name, defaultdict(int))[getattr(ops.aten, kind)] += flops

    def _count_gradients(self, grad: Node) -> None:
        """Every step between the loss and what it is differentiated by, once."""
        root, _, *wrt = grad.inputs
        ends, between, seen, waiting = {id(n) for n in wrt}, [], set[int](), [root]
        while waiting:
            node = waiting.pop()
            if id(node) not in seen and node.requires_grad:
                seen.add(id(node))
                between.append(node)
                if id(node) not in ends:
                    waiting.extend(node.inputs)
        leads = set(ends)  # Nodes whose gradient is wanted on the way to those of the ends
        for node in sorted(between, key=lambda n: n.order):
            if id(node) in ends or type(node) is Boundary:
                continue
            wanted = [id(n) in leads for n in node.inputs]
            if any(wanted):
                leads.add(id(node))
                for op, attrs, operands in steps_of(node):
                    self._count(self._places.get(id(node), ()), _kind(op, operands, True), 2 * multiply_adds_of_gradients(op, attrs, operands, wanted))


def _kind(op: str, operands: Sequence[Sized], backward: bool) -> str:
    """What PyTorch calls a product."""
    if "conv" in op:
        return "convolution_backward" if backward else "convolution"
    if op in ("matmul", "linear"):
        return "bmm" if op == "matmul" and len(operands[0].type[0]) > 2 else "mm" if backward or op == "matmul" else "addmm"
    return "mm" if op == "scan" else f"{op}_backward" if backward else op


def _number(flops: int, total: int) -> str:
    """As many thousands as the total has."""
    level = max(0, min(len(_WORDS) - 1, (len(str(total)) - 1) // 3))
    return f"{flops / 1000**level:.3f}{_WORDS[level]}" if level else str(flops)


def _share(flops: int, total: int) -> str:
    return f"{flops / total:.2%}" if total else "0%"
