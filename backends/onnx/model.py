"""A recorded graph and its weights as an ONNX model, in memory or as a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper

from ...dialects.errors import BackendError, FileError
from ...dialects.graph import Graph
from ...dialects.sizes import SMALLEST, Scope
from ...dialects.types import Type
from ..families import Template
from ..template_search import common_template
from . import composites, contractions, fourier, indexing, random_numbers, scalars, views
from .writer import Value, Writer, type_info

FIRST_OPSET, DEFAULT_OPSET, LAST_OPSET = 17, 18, 22
_RULES = (composites, contractions, fourier, indexing, scalars, views)
_LARGEST_FILE = 1_800_000_000
"""Bytes of weights from which on they lie in a file of their own: a protobuf message holds less than 2 GiB."""


def onnx_model(
    graphs: Sequence[Graph], weights: Mapping[int, np.ndarray], outputs: Sequence[str] = (), *, opset: int | None = None,
    labels: Mapping[tuple[str, int], str] | None = None, initializers_are_inputs: bool = False, draws: Sequence[tuple[str, tuple]] = (),
) -> ModelProto:  # fmt: skip
    """The first graph as a model; the others are the same program recorded at other sizes.

    weights: graph input index -> contents, initializers of the model under their names; other inputs are the model's. outputs: names
    of the first results ("output", "output_1", …). labels: (input's name, dimension) -> the name of a size known only at the call.
    initializers_are_inputs: a caller may give other weights. draws: the random numbers the first steps stand for. BackendError where other sizes give another program and for an opset
    that is not written; UnsupportedError, with the user's line, for what ONNX cannot say.
    """
    graph = graphs[0]
    opset = DEFAULT_OPSET if opset is None else opset
    if not FIRST_OPSET <= opset <= LAST_OPSET:
        raise BackendError(f"opset {opset} is not written", help=f"opset_version from {FIRST_OPSET} to {LAST_OPSET}; {DEFAULT_OPSET} is the default")
    writer = Writer(opset)
    inputs = {i: writer.fresh(name or "x") for i, name in enumerate(graph.names) if i not in weights}
    if labels:
        places = {(graph.names.index(name), dim): label for (name, dim), label in labels.items()}
        template, sources = _template(graphs, places)
        scope = Scope(list(template.values(template.numbers) or ()), [2**31] * len(sources))
        graph = template.in_scope(scope)
        writer.sizes.sources = [(inputs[i], dim, unit) for i, dim, unit in sources]
        named = [(graph.inputs[i][0][dim], places[i, dim]) for i, dim, _ in sources]
        writer.sizes.labels = {size._key: label for size, label in named}
    values = [
        Value(t, writer, name=inputs[i]) if i in inputs else _weight(writer, t, weights[i], graph.names[i]) for i, t in enumerate(graph.inputs)
    ]
    if draws:
        k, n = len(draws), len(graph.inputs)
        types = graph.types[n : n + k] if not labels else [((*step.attrs[0],), step.attrs[2]) for step in graph.steps[:k]]
        values += [random_numbers.drawn(writer, name, numbers, t) for (name, numbers), t in zip(draws, types, strict=True)]
        graph = Graph((*graph.inputs, *types), graph.steps[k:], graph.outputs, graph.origins[k:], (*graph.names, *(None,) * k), graph.types)
    made = writer.run(graph, values)
    wanted = [writer.fresh(outputs[k] if k < len(outputs) else "output") for k in range(len(made))]
    declared = [type_info(inputs[i], graph.inputs[i], writer.sizes.labels) for i in inputs]
    body = writer.graph_of("lamina", declared, list(zip(made, wanted, strict=True)))
    if initializers_are_inputs:
        body.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in body.initializer)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(body, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets), producer_name="lamina")


def _weight(writer: Writer, t: Type, array: np.ndarray, name: str | None) -> Value:
    """A weight, which is an initializer under its name."""
    value = Value(t, writer, array=np.asarray(array))
    value.label = name
    return value


def _template(
    graphs: Sequence[Graph], labels: Mapping[tuple[int, int], str]
) -> tuple[Template, list[tuple[int, int, int]]]:  # fmt: skip
    """What the graphs have in common, and per symbol the input and dimension it is read from, and what divides that."""
    graph, template = graphs[0], common_template(graphs)
    named = ", ".join(sorted(set(labels.values())))
    if template is None:
        raise BackendError(
            f"the program is another one for other sizes of {named}, or sizes in it do not follow from them",
            help="export with fixed sizes, or let the model compute the same steps whatever they are",
        )
    places = [(i, dim) for i, (shape, _) in enumerate(graph.inputs) for dim, d in enumerate(shape) if d >= SMALLEST]
    sources = [(*places[k], unit) for k, unit in template.sources if k < len(places)]
    if len(sources) < len(template.sources) or {labels.get((i, dim)) for i, dim, _ in sources} != set(labels.values()):
        raise BackendError(f"the sizes {named} cannot be told apart, or are not all the program depends on", help="export with fixed sizes")
    return template, sources


def write_model(model: ModelProto, path: str | Path) -> list[Path]:
    """Write a model; what is there is replaced when all of it is written. Large weights go to `<name>.data` beside it."""
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}", help="make it first")
    apart = sum(len(t.raw_data) for t in model.graph.initializer) > _LARGEST_FILE
    draft = Path(tempfile.mkdtemp(prefix=".onnx-", dir=folder))
    try:
        onnx.save_model(model, draft / target.name, save_as_external_data=apart, location=f"{target.name}.data" if apart else None)
        written = [folder / p.name for p in sorted(draft.iterdir(), reverse=True)]
        for file in written:
            os.replace(draft / file.name, file)
    except OSError as error:
        raise FileError(f"{target} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written
