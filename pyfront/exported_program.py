"""Exported programs: a recorded call with its weights, without the Python that made it: called, trained, saved, compiled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..dialects.errors import DTypeError, FileError, LaminaError
from ..dialects.graph import Graph
from ..dialects.types import dtype_of
from . import recorder
from .dynamic_shapes import Labels
from .export import Example, Exported
from .files import load as load_file
from .files import save as save_file
from .grad_mode import is_grad_enabled, no_grad
from .nn.module import Module
from .nn.parameter import Parameter
from .optim.optimizer import Optimizer
from .origin import origin, source_line
from .program_draws import Draws, drawn_as_inputs, drawn_by_steps, drawn_now, stand_in
from .pytree import TreeSpec, tree_flatten, tree_unflatten
from .sampling import DRAWS
from .recordings import SizeError, record_at_sizes
from .tensor import Tensor, wrap

_FORMAT = "lamina program"
_VERSION = 2


class ExportedProgram:
    """What ``torch.export.export`` gives. Its weights are those of the model it was recorded from.

    state_dict: parameters and buffers by name; constants: other tensors the program reads.
    """

    def __init__(
        self, recorded: Any, state: Mapping[str, Tensor], weights: Mapping[int, Tensor], given: Sequence[int | None], args: TreeSpec,
        results: TreeSpec, open_sizes: Mapping[tuple[str, int], str], plain: Mapping[int, Any], updates: Sequence[int] = (), draws: Draws = (),
    ) -> None:  # fmt: skip
        """plain: leaves of what the call gives that are no tensors, by place. updates: graph inputs the call writes, whose new contents
        are the last results; draws: the random numbers the first steps stand for. recorded: the driver's RecordedProgram. state: parameters and buffers, read or not; weights: graph input -> tensor, of the
        state or a constant; given: per leaf of the arguments the graph input, None for what is no tensor; results: the structure of
        what the call gives; open_sizes: names of sizes it may be called with others of, by input and dimension."""
        self._recorded, self._weights, self._given, self._args, self._results = recorded, dict(weights), tuple(given), args, results
        self.state_dict, self.open_sizes, self._plain = dict(state), dict(open_sizes), dict(plain)
        self.updates, self.draws = tuple(updates), tuple(draws)
        self._with_draws: tuple[Graph, Graph] | None = None
        known = {id(t) for t in state.values()}
        self.constants = {f"constant_{i}": t for i, t in self._weights.items() if id(t) not in known}

    @property
    def graph(self) -> Graph:
        """The program at the sizes of its example."""
        return self._recorded.graphs[0]

    def parameters(self) -> list[Parameter]:
        """The parameters."""
        return [t for t in self.state_dict.values() if isinstance(t, Parameter)]

    def module(self) -> Module:
        """The program as a Module: same call, same parameter names."""
        return ReplayedModule(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program. ShapeError for sizes it was not recorded for, LaminaError for arguments of another structure."""
        leaves, spec = tree_flatten((args, kwargs))
        if spec != self._args or any((place is None) == isinstance(leaf, Tensor) for leaf, place in zip(leaves, self._given, strict=True)):
            raise LaminaError(
                f"the program was recorded for the arguments {self._args.shown()}, got {spec.shown()}", at=source_line(origin()),
                help="give tensors where the example had tensors, in the same containers",
            )  # fmt: skip
        tensors = dict(self._weights)
        tensors.update({place: leaf for leaf, place in zip(leaves, self._given, strict=True) if place is not None})
        given = [tensors[i] for i in range(len(self.graph.inputs))]
        for i, tensor in enumerate(given):
            if tensor.dtype is not self.graph.inputs[i][1]:
                raise DTypeError(f"the program was recorded with {self.graph.inputs[i][1].name} for {self.graph.names[i]}, got {tensor.dtype.name}", at=source_line(origin()))
        graph = self._recorded.at(tuple((tuple(t.shape), t.dtype) for t in given))
        graph, given = self._drawn(graph, given)
        derives = is_grad_enabled() and any(t.requires_grad for t in given) and all(op != recorder.GRAD for op, _, _ in graph.steps)
        found = _again(graph, given) if derives else _at_once(graph, given)
        first = len(found) - len(self.updates)
        with no_grad():
            for i, contents in zip(self.updates, found[first:], strict=True):
                given[i].copy_(contents)
        made = iter(found[:first])
        return tree_unflatten([self._plain[i] if i in self._plain else next(made) for i in range(self._results.num_leaves)], self._results)

    def _drawn(self, graph: Graph, given: list[Tensor]) -> tuple[Graph, list[Tensor]]:
        """The program with random numbers as inputs, and new ones."""
        if not self.draws:
            return graph, given
        if self._with_draws is None or self._with_draws[0] is not graph:
            self._with_draws = graph, drawn_as_inputs(graph, self.draws)
        numbers = drawn_now(graph, self.draws)
        return self._with_draws[1], [*given, *(wrap(recorder.leaf(a, (a.shape, dtype_of(a)))) for a in numbers)]

    def save(self, f: Any) -> None:
        """Write the program and its weights to a path or a binary file, in PyTorch's checkpoint format."""
        save_file(self._data(), f)

    def _data(self) -> dict[str, Any]:
        tensors = self.state_dict | self.constants
        names = {id(t): name for name, t in tensors.items()}
        return {
            "format": _FORMAT, "version": _VERSION, "program": self._recorded.text(), "given": list(self._given),
            "args": _spec_data(self._args), "results": _spec_data(self._results),
            "tensors": {name: t.detach() for name, t in tensors.items()}, "constants": list(self.constants),
            "parameters": {name: t.requires_grad for name, t in tensors.items() if isinstance(t, Parameter)},
            "weights": {i: names[id(t)] for i, t in self._weights.items()}, "open_sizes": [[*at, label] for at, label in self.open_sizes.items()],
            "plain": self._plain, "updates": list(self.updates), "draws": [[name, list(numbers)] for name, numbers in self.draws],
        }  # fmt: skip

    def to_c(self, directory: str | os.PathLike, **options: Any) -> list[Path]:
        """C files of the program at its example's sizes; see ``lamina compile`` for the options (main, shared, target)."""
        weights = {i: np.asarray(t._value()) for i, t in self._weights.items()}
        return write_c(Exported(self.graph, weights, self.updates, self.draws), directory, **options)

    def to_onnx(self, f: str | os.PathLike, opset_version: int | None = None) -> list[Path]:
        """The program as an ONNX file, its open sizes left open; see ``torch.onnx.export``."""
        from ..backends.driver import save_onnx

        return save_onnx(self.onnx_model((), opset_version), os.fspath(f))

    def onnx_model(self, output_names: Sequence[str], opset_version: int | None, **options: Any) -> Any:
        """The program as an ``onnx.ModelProto``."""
        from ..backends.driver import make_onnx

        weights = {i: np.asarray(t._value()) for i, t in self._weights.items()}
        recordings = [(graph, weights) for graph in self._recorded.graphs]
        return make_onnx(recordings, output_names, opset=opset_version, labels=self.open_sizes, updates=len(self.updates), draws=self.draws, **options)

    def __repr__(self) -> str:
        return f"ExportedProgram({self._args.shown()} -> {self._results.shown()}, {len(self.graph.steps)} steps)"


def _again(graph: Graph, given: Sequence[Tensor]) -> list[Tensor]:
    """The program's steps, recorded once more: derivatives go through them."""
    values = [t._read() for t in given]
    where = origin(2)
    for op, attrs, operands in graph.steps:
        values += recorder.record_many(op, tuple([values[i] for i in operands]), attrs, where)
    return [given[i] if i < len(given) else wrap(values[i]) for i in graph.outputs]


def _at_once(graph: Graph, given: Sequence[Tensor]) -> list[Tensor]:
    """The program run as it is."""
    arrays = [np.asarray(t._value()) for t in given]
    made = (recorder.state.run or recorder.driver())(graph, arrays)
    types = [graph.types[i] for i in graph.outputs]
    return [given[i] if i < len(given) else wrap(recorder.leaf(a, t)) for i, a, t in zip(graph.outputs, made, types, strict=True)]


def exported(
    model: Module | None, function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any], labels: Callable[[Example], Labels], 
    optimizers: Sequence[Optimizer] = (),
) -> ExportedProgram:  # fmt: skip
    """The program of ``function(*args, **kwargs)``. model: whose parameters it reads; labels: sizes that stay open, of the example;
    optimizers: those it steps."""
    from ..backends.driver import recorded_program

    example = Example.of(function, args, kwargs)
    arrays = [np.array(tensor._value()) for tensor in example.tensors]
    given_back: list[tuple[list[Any], TreeSpec]] = []  # of each recording

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        given_back.append(tree_flatten(result))
        return result

    open_sizes = labels(example)
    made = record_at_sizes(model, call, example, arrays, example.names, open_sizes, optimizers)
    recordings = [(each.graph, each.weights) for each in made]
    plain, *others = [{i: leaf for i, leaf in enumerate(leaves) if not isinstance(leaf, Tensor)} for leaves, _ in given_back]
    if any(other != plain for other in others):
        raise SizeError("the call gives numbers that depend on sizes which are to stay open", at=source_line(origin()), help="return tensors, or record it with fixed sizes")
    draws = made[0].draws
    updated = [made[0].weights[i] for i in made[0].updates]
    recorded, weights = recorded_program(recordings, len(draws))
    held = model.state_dict(keep_vars=True) if model is not None else {}
    state = {name: t for name, t in held.items() if isinstance(t, Tensor) and not t.is_quantized}  # packed weights are constants of the program
    owned = dict((*model.named_parameters(), *model.named_buffers())) if model is not None else {}
    names = recorded.graphs[0].names
    tensors = {}
    for i, array in weights.items():
        known = owned.get(names[i] or "")
        same = known is not None and tuple(known.shape) == array.shape
        tensors[i] = known if same else wrap(recorder.leaf(array, recorded.graphs[0].inputs[i]))
    leaves, spec = tree_flatten((tuple(args), dict(kwargs)))
    free = iter(example.names)
    given = [names.index(next(free)) if isinstance(leaf, Tensor) else None for leaf in leaves]
    named = {(example.names[i], dim): label for (i, dim), label in open_sizes.items()}
    return ExportedProgram(recorded, state, tensors, given, spec, given_back[0][1], named if recorded.template else {}, plain, [next(i for i, a in weights.items() if a is array) for array in updated], draws)


def load(f: Any) -> ExportedProgram:
    """A saved program. FileError for anything else; nothing of the file is executed."""
    from ..backends.driver import recorded_program_of_text

    where = str(getattr(f, "name", f))
    data = load_file(f, weights_only=True)
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise FileError(f"{where} is no exported program", help="torch.export.save and torch.jit.save write them; torch.load reads weights")
    if data.get("version") != _VERSION:
        raise FileError(f"{where} is of version {data.get('version')}, this lamina reads {_VERSION}", help="export it again")
    recorded = recorded_program_of_text(str(data.get("program")), where)
    graph = recorded.graphs[0]
    try:
        trains = data["parameters"]
        tensors = {name: Parameter(t, requires_grad=bool(trains[name])) if name in trains else t for name, t in data["tensors"].items()}
        weights = {i: tensors[name] for i, name in data["weights"].items()}
        if any((tuple(t.shape), t.dtype) != graph.inputs[i] for i, t in weights.items()):
            raise ValueError("weights have other types than the program")
        state = {name: t for name, t in tensors.items() if name not in data["constants"]}
        open_sizes = {(str(name), int(dim)): str(label) for name, dim, label in data["open_sizes"]}
        plain = {int(i): leaf for i, leaf in data["plain"].items()}
        given, args, results = data["given"], _spec_of(data["args"]), _spec_of(data["results"])
        updates, draws = [int(i) for i in data["updates"]], tuple((str(name), tuple(numbers)) for name, numbers in data["draws"])
        if any(i not in weights for i in updates) or not _stand_for(graph, draws):
            raise ValueError("it writes, or draws, what is not there")
        places = [i for i in given if i is not None]
        if sorted([*places, *weights]) != list(range(len(graph.inputs))) or args.num_leaves != len(given) or results.num_leaves != len(graph.outputs) + len(plain) - len(updates):
            raise ValueError("inputs or results are missing")
        if [args.kind, *(child.kind for child in args.children)] != [tuple, tuple, dict]:
            raise ValueError("its arguments are no arguments")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FileError(f"{where} holds a damaged program: {error}", help="export it again") from None
    return ExportedProgram(recorded, state, weights, given, args, results, open_sizes, plain, updates, draws)


def _stand_for(graph: Graph, draws: Draws) -> bool:
    """Whether the first steps are those that stand for random numbers of these distributions, whose numbers are plain ones."""
    known = all(name in DRAWS and all(type(n) in (int, float) for n in numbers) for name, numbers in draws)
    return known and len(draws) <= len(graph.steps) and all(step == stand_in(graph.types[len(graph.inputs) + i]) for i, step in enumerate(graph.steps[: len(draws)]))


def write_c(made: Exported, directory: str | os.PathLike, names: Sequence[str | None] | None = None, **options: Any) -> list[Path]:
    """Files of a recorded call ahead of time: its random numbers are computed from a state that lies among its weights and that each
    call moves on."""
    from ..backends import driver

    graph, weights, updates = made.graph, dict(made.weights), list(made.updates)
    if made.draws:
        graph, start = drawn_by_steps(graph, made.draws)
        weights[len(graph.inputs) - 1] = start
        updates.append(len(graph.inputs) - 1)
    return driver.write_c(graph, weights, names, directory, updates=tuple(updates), **options)


_KINDS = {"tuple": tuple, "list": list, "dict": dict}


def _spec_data(spec: TreeSpec) -> Any:
    if spec.kind is None:
        return None
    kind = next((name for name, kind in _KINDS.items() if issubclass(spec.kind, kind)), "tuple")
    return [kind, spec.context if kind == "dict" else None, [_spec_data(child) for child in spec.children]]


def _spec_of(data: Any) -> TreeSpec:
    if data is None:
        return TreeSpec(None, None, ())
    kind, context, children = data
    return TreeSpec(_KINDS[kind], context, [_spec_of(child) for child in children])


class ReplayedModule(Module):
    """An exported program as a Module: parameters and buffers under the names they had, ``forward`` the recorded call."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.__dict__["program"] = program
        for name, tensor in (program.state_dict | program.constants).items():
            *path, last = name.split(".")
            owner: Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, Module())
                owner = owner._modules[part]
            if isinstance(tensor, Parameter):
                owner.register_parameter(last, tensor)
            else:
                owner.register_buffer(last, tensor, persistent=name in program.state_dict)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The recorded call."""
        return self.program(*args, **kwargs)

    def save(self, f: Any) -> None:
        """Write program and weights; ``torch.jit.load`` and ``torch.export.load`` read them."""
        self.program.save(f)

    def extra_repr(self) -> str:
        """The program."""
        return repr(self.program)
