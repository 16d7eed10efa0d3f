"""Recorder: appends Nodes as the program runs, and has what is still wanted computed at a flush.

Nothing here holds a Node strongly: what no Tensor, Storage or later Node refers to any more was dead code and
is never computed. A flush collects the values that live Storages still lack, builds one Graph and calls the
driver.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..dialects import flags
from ..dialects.book import OPS
from ..dialects.errors import LaminaError
from ..dialects.types import Type, show_type
from . import meta
from .node import ALIAS, ANYWHERE, EXAMPLE, FIXED, GRAD, RESULT, SAVED, Node
from .origin import origin, source_line
from .plan import Run, plan_of
from .schedule import Schedule
from .walk import Walk

PENDING_LIMIT = 5000
"""Nodes recorded since the last flush at which something is done about it."""

LONGEST = 1 << 17
"""What repeats itself is recorded this far: a loop becomes one scan of the compiler, as long as it is not cut to pieces."""

_OFTEN = 2
"""How often a program came before recording it is worth some trouble."""

REPEATS = 8
"""How often every op of a line must be there, on average, for a recording to repeat itself."""


class Cell(Protocol):
    """What owns a value: a Storage."""

    node: Node | None


class Placement(Protocol):
    """What is asked about devices (see placement.py)."""

    def check(self, op: str, inputs: tuple[Node, ...]) -> Any:
        """Where a step is; refuses operands on different devices."""

    def together(self, nodes: Sequence[Node]) -> Any:
        """The one device all are on, or None."""

    def array_of(self, storage: Any) -> Any:
        """The array of a memory on a GPU."""

    def send(self, node: Node) -> None:
        """A number of the host is used on a GPU only."""

    def device_of(self, node: Node) -> Any:
        """Where a value is; None: anywhere."""

    def settled(self, old: Node, new: Node) -> Node:
        """New contents of a memory, where the old ones were."""

    def end_if_over(self) -> None:
        """Devices may matter no longer."""


class _State:
    """The recording: its length, the autograd mode, and weak references to the Storages without a value.

    levels: the vmaps that are running, outermost first. escaped: Storages that hold an example of one that ended.
    arrived: leaves whose gradient may be a Node that nobody has asked for as a Tensor (see leaves.py).
    watchers: asked before each in-place write: the vmaps and derivatives of functions that are running.
    duals: the forward-mode level that is open (autograd.forward_ad). keeps_old: values that were overwritten may be
    differentiated through (autograd.graph). inference: inference mode is on. asked: how often somebody looked at more than types:
    at values, or (places) at where elements lie in memory, or (shown) whether a view of an array can be one; lines: at the user's line (see known_calls.py). origin: gives that line: the function of that
    name, until there is one in C; nodes_of: the same for what tensors hold now; holds: once it is in C, whether tensors hold these very Nodes; are_at: whether they are where they were, at the same versions; in_place: see assignment.py; holding: what makes a tensor of an array. quick: it was looked for. noted: random numbers that were drawn and questions about values that were
    asked, while a call is looked at that may be kept (see nn/calls.py); None for what cannot be repeated. told: the same, and arrays that were joined, while a call of a function is (see known_calls.py).
    """

    __slots__ = (
        "order", "flushed", "bound", "cut", "loop", "grad", "pending", "run", "levels", "escaped", "watchers", "duals", "keeps_old",
        "inference", "watch", "placement", "doubts", "suspected", "captured", "traces", "seen", "draws", "fresh", "arrived", "asked", "lines", "origin", "quick", "noted", "places", "shown", "nodes_of", "witness", "holds", "are_at", "holding", "tape", "in_place", "told",
    )  # fmt: skip

    def __init__(self) -> None:
        self.order = 0
        self.flushed = 0
        self.bound = PENDING_LIMIT
        self.cut: tuple[str | None, str] | None = None
        self.loop: list[Any] | None = None  # signature and contents of the walk that was found to be a loop last
        self.grad = True
        self.pending: list[weakref.ref] = []
        self.arrived: list[weakref.ref] = []
        self.levels: list[Any] = []
        self.watchers: list[Any] = []
        self.duals: list[Any] = []
        self.keeps_old = 0
        self.asked = 0
        self.places = 0
        self.shown = 0
        self.noted: list[Any] | None = None
        self.told: list[Any] | None = None
        self.lines = 0
        self.origin: Callable[[int], str] = origin
        self.nodes_of: Callable[[list[Any]], list[Node]] = list  # set where tensors are defined
        self.holds: Callable[[list[Any], list[Node]], bool] | None = None
        self.are_at: Callable[[list[Any], list[Any]], bool] | None = None
        self.holding: Callable[[np.ndarray, Type, str | None], Any]  # set where tensors are defined
        self.in_place: Callable[..., Any]  # set where in-place writes are
        self.tape: Callable[[Node, Collection[int]], tuple[list[Node], list[Any]]]  # set where backward is
        self.quick = False
        self.inference = False
        self.escaped: list[weakref.ref] = []
        self.run: Run | None = None
        self.witness: Callable[[list[Node]], None] | None = None  # told what is computed before it is
        self.watch: Any = None  # notes what a function does while `compile` records it
        self.doubts: list[tuple[Node, Callable[[], Exception]]] = []
        self.suspected: list[tuple[Callable[[], np.ndarray], Callable[[], Exception]]] = []  # doubts computed on a GPU, which nobody waited for: how they are read
        self.captured: list[tuple[Any, Callable[[], Exception]]] | None = None  # doubts of a region of a GPU that is captured: its replays have them
        self.traces = 0  # functions being recorded whose arguments are not what they will be called with
        self.seen: Callable[[list[Any]], None] | None = None  # told what a trace looks at without computing anything
        self.fresh: Callable[[np.ndarray], Any] | None = None  # makes new state of a step that is recorded
        self.draws: list[tuple[Any, str, tuple]] | None = None  # random numbers of a program that is recorded: array, distribution, its numbers
        self.placement: Placement | None = None  # set once there are tensors on another device than the CPU


state = _State()
_weakly = weakref.ref
constants: dict[tuple[Any, ...], Node] = {}  # those shared among programs, by number, shape and dtype (promote.py)
_results: dict[tuple[str, tuple[Type, ...], tuple], tuple[Type, ...]] = {}  # of steps, by what they depend on
_MEMO_LIMIT = 1 << 16
_infer: dict[str, Callable[[tuple[Type, ...], tuple], tuple[Type, ...]]] = {}


def _infer_once(key: tuple[str, tuple[Type, ...], tuple], inputs: Sequence[Node]) -> tuple[Type, ...]:
    """The result types of a step that was not recorded before. ShapeError/DTypeError at the user's line."""
    op, types, attrs = key
    rule = _infer.get(op)
    if rule is None:
        rule = _infer[op] = OPS[op].infer
    try:
        results = rule(types, attrs)
    except LaminaError as error:
        raise _explained(error, op, inputs) from None
    if len(_results) >= _MEMO_LIMIT:
        _results.clear()
    _results[key] = results
    return results


def numbers(attrs: tuple) -> tuple:
    """Attributes where a program gave a tensor of one element, or a number of numpy's, for a number: what it holds."""
    return tuple([a.item() if hasattr(a, "item") else a for a in attrs])


def infer(op: str, inputs: Sequence[Node], attrs: tuple) -> tuple[Type, ...]:
    """The result types of a step. ShapeError/DTypeError at the user's line when the operands do not fit."""
    key = op, tuple([n.type for n in inputs]), attrs
    return _results.get(key) or _infer_once(key, inputs)


def _explained(error: LaminaError, op: str, inputs: Sequence[Node]) -> LaminaError:
    """The book's error with what only the recorder knows: operand types, where they came from, the user's
    line."""
    names = [p.name for p in OPS[op].tensors]
    labels = names if len(names) == len(inputs) else [f"operand {i}" for i in range(len(inputs))]
    facts = [(label, show_type(n.type), n.origin) for label, n in zip(labels, inputs, strict=True)]
    at = source_line(origin())
    return type(error)(error.sentence, error.facts or facts, at, error.help)


def record(op: str, inputs: tuple[Node, ...], attrs: tuple = (), where: str | None = None) -> Node:
    """Append one step with one result. ShapeError/DTypeError at the user's line when the operands do not fit. where: that line, if
    the caller knows it."""
    types = (inputs[0].type,) if len(inputs) == 1 else tuple([n.type for n in inputs])
    key = (op, types, attrs)
    found = _results.get(key)
    if found is None:
        attrs = numbers(attrs)
        found = _infer_once((op, types, attrs), inputs)
    result = found[0]
    there = None if state.placement is None else state.placement.check(op, inputs)
    tracked = False
    if state.grad and result[1].kind in "fc":
        for n in inputs:
            if n.requires_grad:
                tracked = True
                break
    state.order = order = state.order + 1
    made = Node(op, attrs, inputs, result, where or state.origin(2), tracked, order)
    if there is not None:
        made.device = there
    return made


def record_many(op: str, inputs: tuple[Node, ...], attrs: tuple = (), where: str | None = None) -> list[Node]:
    """Append one step with several results; one Node per result. where: the user's line, if the caller knows it."""
    types = tuple([n.type for n in inputs])
    results = _results.get((op, types, attrs))
    if results is None:
        attrs = numbers(attrs)
        results = _infer_once((op, types, attrs), inputs)
    if state.placement is not None:
        state.placement.check(op, inputs)
    tracked = False
    if state.grad:
        for n in inputs:
            if n.requires_grad:
                tracked = True
                break
    return step(op, inputs, attrs, results, tracked, where)


def step(
    op: str, inputs: tuple[Node, ...], attrs: tuple, results: tuple[Type, ...], tracked: bool, where: str | None = None
) -> list[Node]:
    """A step whose result types the caller knows (``autodiff.grad`` is not in the book)."""
    order = state.order + 1
    state.order = order + len(results)
    where = where or state.origin(2)
    whole = (Node(op, attrs, inputs, results, where, tracked, order),)
    if op == GRAD:  # a loop ends here; what comes has the usual bound, however far the loop had moved it
        state.bound = min(state.bound, order + PENDING_LIMIT)
    made = []
    for number, type in enumerate(results):
        order += 1
        made.append(Node(RESULT, (number,), whole, type, where, tracked and type[1].kind in "fc", order))
    return made


def alias(source: Node, requires_grad: bool | None = None) -> Node:
    """The same value under a new identity; tracked as ``source`` is, unless said otherwise."""
    state.order += 1
    tracked = (source.requires_grad and state.grad) if requires_grad is None else requires_grad
    return Node(ALIAS, (), (source,), source.type, source.origin, tracked, state.order, source.value)


def saved(value: Node, contents: Node) -> Node:
    """The value of ``contents`` with the history of ``value``: what a write that autograd must not see leaves
    behind."""
    state.order += 1
    return Node(SAVED, (), (value, contents), value.type, contents.origin, True, state.order)


def leaf(array: np.ndarray, type: Type, where: str | None = None) -> Node:
    """A value the host already has. The array must not change afterwards."""
    state.order += 1
    return Node(None, (), (), type, where or state.origin(1), False, state.order, array)


def constant(array: np.ndarray, type: Type, where: str | None = None) -> Node:
    """Numbers an operation brings along: a leaf that is on whichever device the operation is."""
    made = leaf(array, type, where)
    made.device = ANYWHERE
    return made


def fixed(array: np.ndarray, type: Type) -> Node:
    """A `constant` that the next call of the same function, with operands of the same types and the same options, brings along, too."""
    made = constant(array, type)
    made.attrs = FIXED
    return made


def wait_for(cell: Cell) -> None:
    """Remember that ``cell`` has no value yet; computes everything when too much is pending."""
    state.pending.append(_weakly(cell))
    if state.order > state.bound:
        at_bound()


def at_bound() -> None:
    """Compute what is pending, unless it repeats itself: then the bound moves on. The longest recordings end where the last one
    did, so that all parts of a very long loop but the first are one program.
    """
    recorded = state.order - state.flushed
    if recorded < LONGEST and _is_loop(_pending(), recorded > 2 * PENDING_LIMIT):
        state.bound = state.flushed + min(4 * recorded, LONGEST)
        return
    if recorded >= LONGEST:
        node = state.pending[-1]().node
        place = node.op, node.origin
        if state.cut not in (None, place) and recorded < 2 * LONGEST:
            return
        state.cut = place
    flush()


def _is_loop(roots: list[Node], known: bool) -> bool:
    """Whether what the roots need is the same few ops of the same lines, again and again, and the compiler makes a loop of them.

    known: it was one already.
    """
    walk = Walk(roots)
    nodes = [node for node in walk.nodes if node.value is None]
    repeats = len({(node.op, node.origin, node.type) for node in nodes}) * REPEATS <= len(nodes)
    if not repeats or walk.grads:
        return False
    met = [walk.signature, walk.contents]
    if not known and met != state.loop:  # a training loop comes again and again: asked once
        if not _compiler().rolls(Schedule(roots, walk).graph):
            return False
        state.loop = met
    return True


def _pending() -> list[Node]:
    """What live Storages and leaves lack."""
    nodes = []
    for reference in state.pending:
        cell = reference()
        if cell is not None and (node := cell.node) is not None and node.value is None:
            nodes.append(node)
    for reference in state.arrived:
        leaf = reference()
        if leaf is not None and type(node := leaf._grad) is Node and node.value is None:
            nodes.append(node)
    return nodes


def _start_anew() -> None:
    state.flushed = state.order
    state.bound = state.order + PENDING_LIMIT


def flush(wanted: Iterable[Node] = ()) -> None:
    """Compute what live Storages lack, and ``wanted``, in one Graph, and store the values. Within a trace only what is wanted: the
    rest waits for arguments."""
    if state.traces:
        _compute_alone(wanted)
        return
    if state.suspected:
        settle()
    if not state.pending and not state.arrived and not wanted:
        _start_anew()
        return
    roots = _pending()
    state.arrived.clear()
    for node in wanted:
        if node.value is None:
            roots.append(node)
    if state.levels or state.escaped:
        roots = _without_examples(roots)
    else:
        state.pending.clear()
    _start_anew()
    doubts = state.doubts
    if doubts:
        state.doubts = []
        roots += [node for node, _ in doubts if node.value is None]
    if roots:
        _compute(roots)
    for node, error in doubts:
        if state.captured is not None and not isinstance(node.value, np.ndarray):
            state.captured.append((node.value, error))
        elif not isinstance(node.value, np.ndarray):
            state.suspected.append((partial(_accelerator().download, node.value), error))
        elif node.value.item():
            raise error()


def settle() -> None:
    """Raise what was doubted of values on a GPU and turned out true. Asked where the host waits anyway, and before the next flush: while a
    training step is recorded, the one before it is computed.
    """
    suspected, state.suspected = state.suspected, []
    for read, error in suspected:
        if read().item():
            raise error()


def _compute_alone(wanted: Iterable[Node]) -> None:
    roots = [node for node in wanted if node.value is None]
    if roots:
        if state.seen is not None:
            state.seen([_source(node).value for node in roots])
        _compute(roots)


def _source(node: Node) -> Node:
    """Whose value a Node has, if it is one under another identity."""
    while node.value is None and node.op is ALIAS:
        node = node.inputs[0]
    return node


def can_doubt() -> bool:
    """False while what is recorded is not what will be computed: in vmap, traces and functions that are compiled."""
    return not (state.levels or state.escaped or state.traces or state.watch is not None)


def doubt(wrong: Node, error: Callable[[], Exception]) -> None:
    """Have ``error()`` raised by the next flush (on a GPU when something is waited for, or by the flush after it) if this truth value (of
    rank 0) turns out true. One that has no contents never does."""
    where = None if state.placement is None else state.placement.device_of(wrong)
    if where is None or where.type != "meta":
        state.doubts.append((wrong, error))


def _without_examples(roots: list[Node]) -> list[Node]:
    """The roots that can be computed; Storages whose contents are about one example of a vmap go on waiting."""
    known: dict[int, tuple[Node, bool]] = {}
    held = [reference for reference in _waiting(state.pending) if is_example(reference().node, known)]
    state.pending.clear()
    if state.levels:
        state.pending += held
    else:
        state.escaped = [*_waiting(state.escaped), *held]
    return [node for node in roots if not is_example(node, known)]


def _waiting(references: list[weakref.ref]) -> list[weakref.ref]:
    """Those whose Storage is there and lacks a value."""
    return [r for r in references if (cell := r()) is not None and cell.node is not None and cell.node.value is None]


def is_example(node: Node, known: dict[int, tuple[Node, bool]] | None = None) -> bool:
    """True when a Node's value depends on one example of a vmap. known: answers so far."""
    known = {} if known is None else known
    stack = [node]
    while stack:
        at = stack[-1]
        if id(at) not in known:
            inner = () if at.value is not None else at.inputs
            if at.op == EXAMPLE or any([known[id(n)][1] for n in inner if id(n) in known]):
                known[id(at)] = (at, True)
            elif waiting := [n for n in inner if id(n) not in known]:
                stack += waiting
                continue
            else:
                known[id(at)] = (at, False)
        stack.pop()
    return known[id(node)][1]


def forget_examples() -> None:
    """The outermost vmap ended: what is left of it waits no longer, and remembers only that it is there."""
    if not state.levels:
        known: dict[int, tuple[Node, bool]] = {}
        waiting = _waiting(state.pending)
        held = [r for r in waiting if is_example(r().node, known)]
        state.escaped = [*_waiting(state.escaped), *held]
        state.pending = [r for r in waiting if r not in held]


def _compute(roots: list[Node]) -> None:
    if state.witness is not None:
        state.witness(roots)
    if "nodes" in flags.show.value:
        sys.stderr.write(Schedule(roots).describe())
    try:
        _run(roots)
    except MemoryError as error:
        raise no_memory(error) from None


class OutOfMemory(RuntimeError, MemoryError):
    """Not enough memory of the host: PyTorch's kind of error, and Python's."""


def no_memory(error: MemoryError) -> OutOfMemory:
    """What PyTorch raises where there is not enough of it."""
    return OutOfMemory(f"DefaultCPUAllocator: not enough memory: {error}")


def failed(error: BaseException) -> None:
    """Raises what went wrong where values were computed without `_compute`."""
    if isinstance(error, MemoryError):
        raise no_memory(error) from None
    raise error


def _run(roots: list[Node]) -> None:
    if state.placement is None:
        nodes, plan, graph = plan_of(roots)
        plan.run(nodes, graph, state.run or driver())
        if plan.met > _OFTEN and not state.quick:
            quicken()
        return
    for run, there in _by_device(roots):
        nodes, plan, graph = plan_of(there)
        plan.run(nodes, graph, run)


def _by_device(roots: list[Node]) -> list[tuple[Run, list[Node]]]:
    """The roots of each device, with what runs their Graphs."""
    assert state.placement is not None
    host: list[Node] = []
    gpu: list[Node] = []
    for root in roots:
        where = state.placement.device_of(root)
        if where is None or where.type != "meta":  # there is nothing to compute
            (host if where is None or where.type == "cpu" else gpu).append(root)
    state.placement.end_if_over()
    groups: list[tuple[Run, list[Node]]] = []
    if host:
        run = state.run or driver()
        groups.append((lambda graph, arrays, spare: run(graph, [_on_host(a) for a in arrays]), host))
    if gpu:
        groups.append((_accelerator().run, gpu))
    return groups


def _on_host(array: Any) -> np.ndarray:
    """An array of any device as numpy's. NotImplementedError for a meta value, which has none."""
    if isinstance(array, np.ndarray):
        return array
    if array is None or isinstance(array, meta.Absent):
        raise meta.refusal()
    return _accelerator().download(array)


def _accelerator() -> Any:
    return _compiler().accelerator()


def quicken() -> None:
    """What is recorded comes again and again: from now on it is recorded in C, where there is a compiler."""
    from . import quick

    state.quick = True
    quick.quicken(*_compiler().recording_libraries())


def driver() -> Run:
    """What runs a Graph."""
    state.run = _compiler().run
    return state.run


def _compiler() -> Any:
    """The one door into the compiler, opened at the first flush so that ``import lamina`` stays light."""
    from ..backends import driver as door

    return door


def value(node: Node) -> np.ndarray:
    """The array of a Node on the host, computed now if need be. Do not write into it."""
    state.asked += 1
    if node.value is None:
        if state.levels or state.escaped:
            _refuse_example(node)
        flush((node,))
    found = node.value
    if type(found) is np.ndarray:
        return found
    if state.suspected:
        settle()
    return _on_host(found)


def known(node: Node) -> np.ndarray | None:
    """The array of a Node if the host has it already; None while a call is watched, whose record must not depend on values."""
    state.asked += 1
    return node.value if state.watch is None and isinstance(node.value, np.ndarray) else None


def batches() -> Any:
    """What is to be said about values inside of vmap; read when there are some."""
    from .func import level

    return level


def _refuse_example(node: Node) -> None:
    """RuntimeError for a value that only stands for one example of a vmap."""
    batches().refuse(node)
    if state.escaped and is_example(node):
        raise RuntimeError(
            f"this tensor was made inside of vmap (at {node.origin}) and stands for one example of a batch; outside it has "
            "no value. Return it from the function instead of keeping it."
        )
