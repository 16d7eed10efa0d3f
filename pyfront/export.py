"""Export: one call of a model as a Graph whose inputs are its weights and its examples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from ..dialects.errors import LaminaError
from ..dialects.graph import Graph, Step
from ..dialects.types import Type, dtype_of
from . import recorder
from .grad_mode import set_grad_enabled
from .origin import origin, source_line
from .program_draws import Draws, stand_in
from .pytree import tree_flatten, tree_unflatten
from .random import default_generator
from .recorded_state import RecordedState
from .schedule import Schedule
from .tensor import Tensor, wrap


class Exported(NamedTuple):
    """graph: the call, its inputs named. weights: input index -> contents. updates: inputs the call writes: their new contents are the
    last results. draws: the random numbers the first steps stand for."""

    graph: Graph
    weights: dict[int, np.ndarray]
    updates: tuple[int, ...] = ()
    draws: Draws = ()


class Example(NamedTuple):
    """Arguments of one call: its tensors, what each is called (by the parameter it is given for), and a way to call a function with
    others in their place."""

    tensors: list[Tensor]
    names: list[str]
    call: Callable[[Callable[..., Any], Sequence[Tensor]], Any]

    @classmethod
    def of(cls, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Example:
        """The example of ``function(*args, **kwargs)``: tensors in any nest of tuples, lists and dicts, everything else as it is."""
        leaves, spec = tree_flatten((tuple(args), dict(kwargs)))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        named = [name for label, part in _given(function, args, kwargs) for name in _names_within(label, part)]

        def call(function: Callable[..., Any], tensors: Sequence[Tensor]) -> Any:
            given = list(leaves)
            for i, tensor in zip(places, tensors, strict=True):
                given[i] = tensor
            args, kwargs = tree_unflatten(given, spec)
            return function(*args, **kwargs)

        return cls([leaves[i] for i in places], named, call)


def _given(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Arguments by the names of their parameters, in the order they are given."""
    called = getattr(function, "forward", function)
    try:
        known = [p.name for p in signature(called).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        known = []
    names = [known[i] if i < len(known) else f"x{i + 1}" for i in range(len(args))]
    return [*zip(names, args, strict=True), *kwargs.items()]


def _names_within(label: str, part: Any) -> list[str]:
    leaves = tree_flatten(part)[0]
    if len(leaves) == 1 and leaves[0] is part:
        return [label] if isinstance(part, Tensor) else []
    return [f"{label}_{i}" for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]


def export_call(
    call: Callable[[Sequence[Tensor]], Any], arrays: Sequence[np.ndarray], examples: Sequence[Tensor], labels: Sequence[str],
    state: RecordedState,
) -> Exported:  # fmt: skip
    """Record a call with tensors of these arrays in the place of its examples. state: what it may write.

    LaminaError when the result depends on values read on the way (``.item()``, ``if x.sum() > 0``) or is not made of tensors.
    """
    recorder.flush()
    fresh = [_argument(array, example, label) for array, example, label in zip(arrays, examples, labels, strict=True)]
    with set_grad_enabled(state.trains), _nothing_computed(arrays, labels, state) as drawn:
        arguments = [tensor._node for tensor in fresh]
        results = [result._read() for result in tensors_of(call(fresh))]
        assert all(node.value is None for node in arguments), "an argument would be a constant of the program"
        changes = state.written()
        results += [node for _, node in changes]
        schedule = Schedule(results)
        returned = tuple(node.id for node in results)  # as they are returned: a flush has them in the order they were recorded
    inputs = _Inputs(schedule, {_place(array): name for array, name in reversed(state.names())})
    given = [inputs.of(array, leaf._node.type, label) for array, leaf, label in zip(arrays, fresh, labels, strict=True)]
    held = [inputs.of(array, node.type, None) for array, node in changes]
    random = [inputs.of(array, (array.shape, dtype_of(array)), None) for array, _, _ in drawn]
    graph, place = inputs.in_order(schedule.graph, returned, given, random)
    weights = {place[i]: array for i, array in enumerate(inputs.arrays) if i not in given and i not in random}
    return Exported(graph, weights, tuple(place[i] for i in held), tuple((name, numbers) for _, name, numbers in drawn))


class _Inputs:
    """The inputs of a recorded call by their arrays: those its steps read, and those they do not."""

    def __init__(self, schedule: Schedule, owned: Mapping[tuple[int, int], str]) -> None:
        self.arrays: list[np.ndarray] = list(schedule.arrays)
        self.types: list[Type] = list(schedule.graph.inputs)
        self.names = [owned.get(_place(a)) or name for a, name in zip(schedule.arrays, schedule.graph.names, strict=True)]
        self.owned, self.index = owned, {id(a): i for i, a in enumerate(self.arrays)}

    def of(self, array: np.ndarray, type: Type, name: str | None) -> int:
        """The number of an array, which is an input from now on, and is called so."""
        i = self.index.setdefault(id(array), len(self.arrays))
        if i == len(self.arrays):
            self.arrays.append(array)
            self.types.append(type)
            self.names.append(self.owned.get(_place(array)))
        self.names[i] = name or self.names[i]
        return i

    def in_order(self, graph: Graph, outputs: Sequence[int], given: Sequence[int], random: Sequence[int]) -> tuple[Graph, dict[int, int]]:
        """The graph with its arguments in front, as they were given, the other inputs by their first use, and steps that stand for
        random numbers; and where inputs are now."""
        n = len(graph.inputs)
        read = dict.fromkeys([i for step in graph.steps for i in step.operands if i < n])
        order = [*given, *(i for i in dict.fromkeys([*read, *range(len(self.arrays))]) if i not in given and i not in random), *random]
        place = {old: new for new, old in enumerate(order)}
        shift = len(order) - n
        moved = {**{i: place[i] for i in range(n)}, **{i: i + shift for i in range(n, len(graph.types))}}
        steps = (*(stand_in(self.types[i]) for i in random), *(Step(op, attrs, tuple(moved[i] for i in operands)) for op, attrs, operands in graph.steps))
        inputs = order[: len(order) - len(random)]
        types = (*(self.types[i] for i in order), *graph.types[n:])
        origins = ("?",) * len(random) + graph.origins
        names = tuple(self.names[i] for i in inputs)
        whole = Graph(tuple(self.types[i] for i in inputs), steps, tuple(moved[i] for i in outputs), origins, names, types)
        return whole, place


@contextmanager
def _nothing_computed(arrays: Sequence[np.ndarray], labels: Sequence[str], kept: RecordedState) -> Iterator[list[tuple[Any, str, tuple]]]:
    """While a model is recorded: what is computed of its arguments would be a constant of the program, so that is refused. Gives the
    list of random numbers that are drawn, which leaves the generator where it was."""
    state = recorder.state
    run, bound, draws, before, engine = state.run, state.bound, state.draws, state.seen, default_generator.engine.state()
    drawn: list[tuple[Any, str, tuple]] = []

    def seen(given: Sequence[Any]) -> None:
        read = [label for array, label in zip(arrays, labels, strict=True) if any(a is array for a in given)]
        read += ["random numbers"] if any(a is array for array, _, _ in drawn for a in given) else []
        read += ["what the optimizer keeps"] if any(map(kept.hides, given)) else []
        if read == ["what the optimizer keeps"]:
            raise LaminaError(
                "the optimizer looks at what it keeps to know how far to go: its step cannot be a program", at=source_line(origin()),
                help="SGD, Adam, AdamW, Adamax, NAdam, RAdam, RMSprop, Adagrad, Adadelta and ASGD compute their steps with tensors",
            )  # fmt: skip
        if read:
            raise LaminaError(
                f"the model looks at a value on the way that depends on {', '.join(read)}", at=source_line(origin()),
                help="what .item(), .numpy(), bool() and printing see would be a constant of the program; compute with tensors instead",
            )  # fmt: skip

    def guarded(graph: Graph, given: Sequence[Any], spare: Any = None) -> Any:
        seen(given)
        return (run or recorder.driver())(graph, given, spare)

    state.run, state.bound, state.draws, state.seen = guarded, sys.maxsize, drawn, seen
    state.traces += 1
    try:
        yield drawn
    finally:
        state.traces -= 1
        state.run, state.bound, state.draws, state.seen = run, bound, draws, before
        default_generator.engine.restore(engine)


def _argument(array: np.ndarray, example: Tensor, label: str) -> Tensor:
    """An input of the program; errors call it by its name. It has no value while the model runs, so that what the recorder
    would do on the host with values it has (a reshape, a concatenation) is recorded as a step of the program."""
    leaf = recorder.leaf(array, (array.shape, example.dtype))
    leaf.origin = label
    node = recorder.alias(leaf)
    node.value = None
    return wrap(node)


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors a call gives, in order. Beside them it may give None and plain numbers and words, which are part of the program.
    LaminaError for anything else, and where there is no tensor."""
    leaves = tree_flatten(result)[0]
    wrong = next((leaf for leaf in leaves if not isinstance(leaf, (Tensor, *_PLAIN))), None)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if wrong is not None or not tensors:
        kind = type(result if wrong is None else wrong).__name__
        raise LaminaError(f"forward gives a {kind}, not tensors", help="return a tensor, or tensors in tuples, lists or dicts")
    return tensors


_PLAIN = (type(None), bool, int, float, str)


def _place(array: np.ndarray) -> tuple[int, int]:
    return array.__array_interface__["data"][0], array.nbytes
