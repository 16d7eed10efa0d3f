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
from ..dialects.types import Type
from . import recorder
from .autograd import no_grad
from .nn.module import Module
from .node import ALIAS
from .origin import origin, source_line
from .pytree import tree_flatten, tree_unflatten
from .schedule import Schedule
from .tensor import Tensor, wrap


class Exported(NamedTuple):
    """graph: the call, its inputs named. weights: input index -> contents."""

    graph: Graph
    weights: dict[int, np.ndarray]


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


def export(model: Module, examples: Sequence[Tensor], names: Sequence[str] | None = None) -> Exported:
    """Record ``model(*examples)`` once. The examples' shapes are the program's; their values do not matter.

    names: one per example ("x", "x2", … otherwise). LaminaError when the result depends on values read on the way
    (``.item()``, ``if x.sum() > 0``) or is not made of tensors.
    """
    labels = list(names) if names is not None else ["x" if i == 0 else f"x{i + 1}" for i in range(len(examples))]
    return export_call(model, lambda tensors: model(*tensors), [np.array(example._value()) for example in examples], examples, labels)


def export_call(
    model: Module | None, call: Callable[[Sequence[Tensor]], Any], arrays: Sequence[np.ndarray], examples: Sequence[Tensor], labels: Sequence[str]
) -> Exported:  # fmt: skip
    """Record a call of a model with tensors of these arrays in the place of its examples; see `export`."""
    recorder.flush()
    fresh = [_argument(array, example, label) for array, example, label in zip(arrays, examples, labels, strict=True)]
    with no_grad(), _nothing_computed(arrays, labels):
        results = [result._read() for result in tensors_of(call(fresh))]
        schedule = Schedule(results)
        returned = tuple(node.id for node in results)  # as they are returned: a flush has them in the order they were recorded
    known = {id(array): label for array, label in zip(arrays, labels, strict=True)}
    weights = {i: array for i, array in enumerate(schedule.arrays) if id(array) not in known}
    owned = _names_of_state(model) if model is not None else {}
    named = [
        known.get(id(array)) or owned.get(_place(array)) or schedule.graph.names[i] for i, array in enumerate(schedule.arrays)
    ]
    of = schedule.graph
    graph = Graph(of.inputs, of.steps, returned, of.origins, tuple(named), of.types)
    place = {id(array): i for i, array in enumerate(schedule.arrays)}
    given = [(place.get(id(array)), label, leaf._node.type) for array, label, leaf in zip(arrays, labels, fresh, strict=True)]
    return _in_order(graph, weights, given)


def _in_order(graph: Graph, weights: dict[int, np.ndarray], given: Sequence[tuple[int | None, str, Type]]) -> Exported:
    """The graph with its arguments in front, as they were given, and the other inputs by their first use. given: per argument the
    input it is (None: the results do not depend on it), its name and type."""
    first = {i for i, _, _ in given}
    read = dict.fromkeys([i for step in graph.steps for i in step.operands if i < len(graph.inputs)])
    rest = [i for i in (dict.fromkeys([*read, *range(len(graph.inputs))])) if i not in first]
    order = [*(i for i, _, _ in given), *rest]
    place = {old: new for new, old in enumerate(order) if old is not None}
    shift = len(order) - len(graph.inputs)
    place.update({i: i + shift for i in range(len(graph.inputs), len(graph.types))})
    steps = tuple(Step(op, attrs, tuple(place[i] for i in operands)) for op, attrs, operands in graph.steps)
    inputs = (*(t for _, _, t in given), *(graph.inputs[i] for i in rest))
    names = (*(label for _, label, _ in given), *(graph.names[i] for i in rest))
    types = (*inputs, *graph.types[len(graph.inputs) :])
    outputs = tuple(place[i] for i in graph.outputs)
    return Exported(Graph(inputs, steps, outputs, graph.origins, names, types), {place[i]: array for i, array in weights.items()})


@contextmanager
def _nothing_computed(arrays: Sequence[np.ndarray], labels: Sequence[str]) -> Iterator[None]:
    """While a model is recorded: what is computed of its arguments would be a constant of the program, so that is refused."""
    state = recorder.state
    run, bound = state.run, state.bound

    def guarded(graph: Graph, given: Sequence[Any], spare: Any = None) -> Any:
        read = [label for array, label in zip(arrays, labels, strict=True) if any(a is array for a in given)]
        if read:
            raise LaminaError(
                f"the model looks at a value on the way that depends on {', '.join(read)}", at=source_line(origin()),
                help="what .item(), .numpy(), bool() and printing see would be a constant of the program; compute with tensors instead",
            )  # fmt: skip
        return (run or recorder.driver())(graph, given, spare)

    state.run, state.bound = guarded, sys.maxsize
    state.traces += 1
    try:
        yield
    finally:
        state.traces -= 1
        state.run, state.bound = run, bound


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


def _names_of_state(model: Module) -> dict[tuple[int, int], str]:
    """Names of parameters and buffers by where their contents lie: another shape of the same memory is still that parameter."""
    found: dict[tuple[int, int], str] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        node = tensor._read()
        while node.value is None and node.op == ALIAS:
            node = node.inputs[0]
        array = node.value if node.value is not None else tensor._value()
        if array.size:
            found.setdefault(_place(array), name)
    return found


def _place(array: np.ndarray) -> tuple[int, int]:
    return array.__array_interface__["data"][0], array.nbytes
