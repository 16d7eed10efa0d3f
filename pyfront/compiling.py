"""torch.compile: a function that was recorded twice with equal results replays its program without running Python.

Every program is compiled anyway; what `compile` saves is the recording. A call replays when all it depends on is what it was: shapes,
dtypes and sharing of the tensors it is given, other arguments by value, the gradient mode, and the state it captured (guards, see
`captured_state.py`). Whatever cannot be replayed truthfully is recorded, as if `compile` were not there: `reason` says why.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import recorder, views
from .captured_state import CapturedState, TooMuch
from .mersenne import DRAWS
from .nn.module import Module
from .links import Detached
from .node import GRAD, PHRASE, SAVED, Boundary, Node
from .promote import Defaults
from .replaying import Replay
from .tensor import Tensor

_PLAIN = (bool, int, float, str, type(None))
_RECORDINGS = 2
_MOST_TRIES = 4
_MOST_KEYS = 64


class Refusal(Exception):
    """Why a recorded call cannot be replayed."""


class Source(NamedTuple):
    """Where an input of the replayed program is read: argument number (or -1), captured Storage (or None), and the views."""

    argument: int
    storage: Any
    chain: views.Chain


class Trace(NamedTuple):
    """A recorded call: steps in order, operands as (kind, number): step, input or constant; roots are steps."""

    steps: tuple[tuple, ...]
    inputs: tuple[tuple[Source, Any], ...]  # with their types
    roots: tuple[int, ...]
    results: Any  # the nested result, tensors as (number of its storage's root, chain)
    written: tuple[Source, ...]  # what the last roots are written to
    constants: list[tuple[np.ndarray, Any]]
    origins: list[str]

    def equals(self, other: Trace) -> bool:
        """Whether both recorded the same call."""
        same = self[:5] == other[:5] and len(self.constants) == len(other.constants)
        pairs = zip(self.constants, other.constants, strict=False)
        return same and all(t == u and a.tobytes() == b.tobytes() for (a, t), (b, u) in pairs)


class Entry:
    """What is known about calls of one signature."""

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self.state: CapturedState | None = None
        self.tries = 0
        self.replay: Replay | None = None


class Compiled:
    """A function with its recorded calls. replays: how many calls ran no Python of the function. reason: why the last one did."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.entries: dict[Any, Entry] = {}
        self.replays = 0
        self.reason = "not called yet"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = recorder.state
        if state.watch is not None or state.witness is not None or kwargs or state.placement is not None or state.levels:
            return self.function(*args, **kwargs)
        key = _signature(args)
        entry = self.entries.get(key)
        if entry is not None and entry.replay is not None:
            done, result = entry.replay(args)
            if done:
                self.replays += 1
                return result
            self.entries[key] = entry = Entry()
            self.reason = "the captured state changed"
        if key is None:
            self.reason = "an argument is neither a tensor nor a number, text or None"
            return self.function(*args)
        return self._record(key, entry, args)

    def _record(self, key: Any, entry: Entry | None, args: tuple) -> Any:
        if entry is None:
            if len(self.entries) >= _MOST_KEYS:
                self.entries.pop(next(iter(self.entries)))
            entry = self.entries[key] = Entry()
        if entry.tries >= _MOST_TRIES:
            return self.function(*args)
        entry.tries += 1
        recording = _Recording(self.function, args)
        result = recording.run()
        try:
            trace = recording.trace(result)
        except (Refusal, TooMuch) as refusal:
            self.reason = str(refusal) or "too much is within reach of the function"
            entry.trace = None
            return result
        before, entry.trace = entry.trace, trace
        if before is None or not before.equals(trace):
            self.reason = "it was not recorded twice alike yet"
            return result
        entry.replay = Replay(trace, recording.state)
        return result


def _signature(args: tuple) -> Any:
    """What calls that may share a program have in common; None for arguments nobody can tell apart."""
    if len(args) == 1 and isinstance(args[0], Tensor):  # the most frequent call, and the one that must be quick
        (a,) = args
        node = a._node
        return recorder.state.grad, Defaults.dtype, (node.type, node.requires_grad, 0, a._chain and (_shape_of(a._chain), a._storage.type))
    parts: list[Any] = [recorder.state.grad, Defaults.dtype]
    places: dict[int, int] = {}
    for number, a in enumerate(args):
        if isinstance(a, Tensor):
            first = places.setdefault(id(a._storage), number)
            parts.append((a._node.type, a._node.requires_grad, first, a._chain and (_shape_of(a._chain), a._storage.type)))
        elif isinstance(a, _PLAIN):
            parts.append((type(a), a))
        else:
            return None
    return tuple(parts)


def _shape_of(chain: views.Chain) -> tuple:
    return tuple(link if type(link) is tuple else type(link) for link in chain)


class Watch:
    """What the recorder notes while a call is recorded. looked: a value was read. writes: (storage, order of what it held)."""

    def __init__(self) -> None:
        self.looked = False
        self.writes: list[tuple[Any, int]] = []


class _Recording:
    """One call of a function, watched."""

    def __init__(self, function: Callable, args: tuple) -> None:
        self.function, self.args = function, args
        self.watch = Watch()

    def run(self) -> Any:
        """The call itself."""
        self.tensors = [a for a in self.args if isinstance(a, Tensor)]
        try:
            self.state: CapturedState | None = CapturedState(self.function)
        except TooMuch:
            self.state = None
        self.sources = self._sources()
        self.gradients = [t.grad for t in self._reachable()]
        self.start, self.draws = recorder.state.order, DRAWS[0]
        before, recorder.state.watch = recorder.state.watch, self.watch
        try:
            return self.function(*self.args)
        finally:
            recorder.state.watch = before

    def _reachable(self) -> list[Tensor]:
        return self.tensors + (self.state.tensors if self.state is not None else [])

    def _sources(self) -> dict[int, Source]:
        """Node -> where it is read, for everything the function may find when it begins."""
        found: dict[int, Source] = {}
        self.homes: dict[int, Source] = {}
        self.nodes: list[Node] = []  # ids stay taken
        captured = self.state.tensors if self.state is not None else []
        for tensor, number in [(a, n) for n, a in enumerate(self.args) if isinstance(a, Tensor)] + [(t, -1) for t in captured]:
            storage = tensor._storage
            whole = Source(number, None if number >= 0 else storage, ())
            self.homes.setdefault(id(storage), whole)
            if storage.host is not None:
                continue
            chains = {tensor._chain, *(storage.views or ())}
            for chain in chains:
                node = views.read(storage, chain)
                self.nodes.append(node)
                found.setdefault(id(node), Source(number, whole.storage, chain))
            self.nodes.append(storage.node)
            found.setdefault(id(storage.node), whole)
        return found

    def trace(self, result: Any) -> Trace:
        """What was recorded. Refusal when a replay could not stand for it."""
        self._check()
        self.steps: list[tuple] = []
        self.inputs: dict[tuple[Source, Any], int] = {}
        self.constants: list[tuple[np.ndarray, Any]] = []
        self.origins: list[str] = []
        self.places: dict[int, tuple[str, int]] = {}
        self.storages: list[Any] = []
        shape = self._shape(result)
        written = []
        for storage in {id(s): s for s, _ in self.watch.writes}.values():
            home = self.homes.get(id(storage))
            if home is None:
                if any(s is storage and order <= self.start for s, order in self.watch.writes):
                    raise Refusal("it writes to a tensor that is out of reach")
                continue
            if storage.node is None:
                raise Refusal("it writes to memory it shares with numpy")
            written.append(home)
            self.storages.append(storage)
        places = [self._place(storage.node) for storage in self.storages]
        if any(kind != "step" for kind, _ in places):
            raise Refusal("it returns what it was given")
        roots = tuple(number for _, number in places)
        return Trace(tuple(self.steps), tuple(self.inputs), roots, shape, tuple(written), self.constants, self.origins)

    def _check(self) -> None:
        if self.state is None:
            raise TooMuch
        if self.watch.looked:
            raise Refusal("it reads values while it runs")
        if DRAWS[0] != self.draws:
            raise Refusal("it draws random numbers")
        if not self.state.holds():
            raise Refusal("it changes what it captured")
        if any(t.grad is not g for t, g in zip(self._reachable(), self.gradients, strict=True)):
            raise Refusal("it computes gradients")

    def _shape(self, result: Any) -> Any:
        """The nested result with tensors replaced by numbers."""
        if isinstance(result, Tensor):
            if type(result) is not Tensor or id(result._storage) in self.homes or result._storage.node is None:
                raise Refusal("it returns a tensor it was given, or a view of one")
            chain = result._chain
            if not result._storage.node.requires_grad:  # detached from nothing
                chain = tuple([link for link in chain if type(link) is not Detached or link.node is not None])
            if any(type(link) is not tuple for link in chain):
                raise Refusal("it returns a tensor with autograd history of its own")
            numbers = {id(s): k for k, s in enumerate(self.storages)}
            number = numbers.get(id(result._storage), len(self.storages))
            if number == len(self.storages):
                self.storages.append(result._storage)
            return ("tensor", number, chain)
        if type(result) in (tuple, list):
            return ("tuple" if type(result) is tuple else "list", tuple(self._shape(r) for r in result))
        if type(result) is dict:
            return ("dict", tuple((k, self._shape(r)) for k, r in result.items()))
        if isinstance(result, _PLAIN):
            return ("plain", type(result), result)
        raise Refusal(f"it returns a {type(result).__name__}")

    def _place(self, root: Node) -> tuple[str, int]:
        """Enter the steps a Node needs; what it is among steps, inputs and constants."""
        stack = [root]
        while stack:
            node = stack[-1]
            if id(node) in self.places:
                stack.pop()
                continue
            source = self.sources.get(id(node))
            if source is not None:
                self.places[id(node)] = ("input", self.inputs.setdefault((source, node.type), len(self.inputs)))
            elif node.value is not None and not node.inputs:
                if node.order <= self.start or (self.state is not None and self.state.has_arrays):
                    raise Refusal("it reads a tensor that is out of reach")
                self.places[id(node)] = ("constant", len(self.constants))
                self.constants.append((node.value, node.type))
            elif type(node) is Boundary or node.op in (GRAD, SAVED):
                raise Refusal("it takes gradients")
            elif node.requires_grad:
                raise Refusal("its result requires a gradient")
            else:
                if node.op == PHRASE and type(node.type[-1]) is tuple:
                    raise Refusal("it reads one of several results that were recorded before")
                if node.op == PHRASE:  # recorded before the call
                    node.attrs[0].write_out(node)
                waiting = [n for n in node.inputs if id(n) not in self.places]
                if waiting:
                    stack += waiting
                    continue
                self.places[id(node)] = ("step", len(self.steps))
                self.steps.append((node.op, node.attrs, tuple(self.places[id(n)] for n in node.inputs), node.type))
                self.origins.append(node.origin)
            stack.pop()
        return self.places[id(root)]


class OptimizedModule(Module):
    """A module whose call is compiled; everything else is the module's own."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._orig_mod = module
        self.__dict__["_compiled"] = Compiled(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_compiled"](*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The compiled call."""
        return self.__dict__["_compiled"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)


def compile(
    model: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "inductor",
    mode: str | None = None, options: dict | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """`model` (a function or a Module) with its recorded program kept: later calls do not run its Python. Also a decorator.

    The options are taken so that programs run; there is one compiler and one mode. RuntimeError for `mode` and `options` together.
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if model is None:
        return functools.partial(compile, disable=disable)
    if disable:
        return model
    if isinstance(model, Module):
        return OptimizedModule(model)
    compiled = Compiled(model)
    wrapper = functools.wraps(model, updated=())(lambda *args, **kwargs: compiled(*args, **kwargs))
    wrapper.compiled = compiled  # type: ignore[attr-defined]  # for those who ask why something is not replayed
    return wrapper
