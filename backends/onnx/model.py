"""A recorded graph and its weights as an ONNX model, in memory or as a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper

from ...dialects.errors import BackendError, FileError
from ...dialects.graph import Graph
from ...dialects.sizes import SMALLEST, Scope, any_symbolic
from ...dialects.types import Type
from ..families import Template, take_apart, template_of
from . import composites, contractions, indexing, scalars, views
from .writer import Value, Writer, type_info

FIRST_OPSET, DEFAULT_OPSET, LAST_OPSET = 17, 18, 22
_RULES = (composites, contractions, indexing, scalars, views)
_LARGEST_FILE = 1_800_000_000
"""Bytes of weights from which on they lie in a file of their own: a protobuf message holds less than 2 GiB."""


def onnx_model(
    graph: Graph, weights: Mapping[int, np.ndarray], names: Sequence[str | None], outputs: Sequence[str] = (), *,
    opset: int | None = None, labels: Mapping[tuple[int, int], str] | None = None,
    others: Sequence[tuple[Graph, Mapping[int, np.ndarray]]] = (), initializers_are_inputs: bool = False,
) -> ModelProto:  # fmt: skip
    """The graph as a model.

    weights: graph input index -> contents, initializers of the model under their names; other inputs are the model's. outputs: names
    of the first results ("output", "output_1", …). labels: (input index, dimension) -> the name of a size known only at the call, `others`
    being the same program, and its weights, recorded with other numbers there: the first says how numbers follow from sizes, the
    rest must agree. initializers_are_inputs: a caller may give other weights. BackendError where other sizes give another program, for an opset that
    is not written, and UnsupportedError, with the user's line, for what ONNX cannot say.
    """
    opset = DEFAULT_OPSET if opset is None else opset
    if not FIRST_OPSET <= opset <= LAST_OPSET:
        raise BackendError(f"opset {opset} is not written", help=f"opset_version from {FIRST_OPSET} to {LAST_OPSET}; {DEFAULT_OPSET} is the default")
    writer = Writer(opset)
    inputs = {i: writer.fresh(name or "x") for i, name in enumerate(names) if i not in weights}
    if labels:
        template, sources = _template(graph, [other for other, _ in others], labels)
        scope = Scope(list(template.values(template.numbers) or ()), [2**31] * len(sources))
        graph = template.in_scope(scope)
        writer.sizes.sources = [(inputs[i], dim, unit) for (i, dim), unit in zip(sources, template.units, strict=True)]
        named = [(graph.inputs[i][0][dim], labels[i, dim]) for i, dim in sources]
        writer.sizes.labels = {size._key: label for size, label in named}
    values = [
        Value(t, writer, name=inputs[i]) if i in inputs else _weight(writer, t, weights[i], others[0][1][i] if others else None, names[i])
        for i, t in enumerate(graph.inputs)
    ]
    made = writer.run(graph, values)
    wanted = [writer.fresh(outputs[k] if k < len(outputs) else "output") for k in range(len(made))]
    declared = [type_info(inputs[i], graph.inputs[i], writer.sizes.labels) for i in inputs]
    body = writer.graph_of("lamina", declared, list(zip(made, wanted, strict=True)))
    if initializers_are_inputs:
        body.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in body.initializer)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(body, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets), producer_name="lamina")


def _weight(writer: Writer, t: Type, array: np.ndarray, other: np.ndarray | None, name: str | None) -> Value:
    """A weight: an initializer, or where its sizes are known only at the call what makes it there."""
    if any_symbolic(t[0]):
        assert other is not None
        return _made_by_size(writer, t, array, other)
    value = Value(t, writer, array=np.asarray(array))
    value.label = name
    return value


def _made_by_size(writer: Writer, t: Type, array: np.ndarray, other: np.ndarray) -> Value:
    """An array the program made for its sizes: the same number everywhere, or one more at each step along a dimension. BackendError
    for any other."""
    for axis in (None, *range(array.ndim)):
        found = [_progression(a, axis) for a in (array, other)]
        if None in found or found[0] != found[1]:
            continue
        start, step = found[0] or (0, 0)
        first = writer.op("full", t[0], start, t[1])
        if axis is None:
            return first
        return writer.op("add", first, writer.op("mul", writer.op("iota", t[0], axis, t[1]), writer.op("full", t[0], step, t[1])))
    shape = ", ".join(map(str, array.shape))
    raise BackendError(
        f"the model has a constant [{shape}] whose numbers depend on sizes that are known only when it runs",
        help="compute it from the inputs, take it out of a buffer made for the largest size, or export with fixed sizes",
    )


def _progression(array: np.ndarray, axis: int | None) -> tuple[Any, Any] | None:
    """(start, step) of numbers that change along an axis only, by equal steps; None of others."""
    start = array.reshape(-1)[0].item()
    if axis is None or array.shape[axis] < 2:
        return (start, 0) if axis is None and bool((array == array.reshape(-1)[0]).all()) else None
    line = np.moveaxis(array, axis, -1)
    step = line.reshape(-1)[1].item() - start
    same = np.asarray(start + step * np.arange(array.shape[axis])).astype(array.dtype) == line
    return (start, step) if not isinstance(start, bool) and bool(same.all()) else None


def _template(
    graph: Graph, others: Sequence[Graph], labels: Mapping[tuple[int, int], str]
) -> tuple[Template, list[tuple[int, int]]]:  # fmt: skip
    """The template of all, and per symbol the input and dimension that is it."""
    skeleton, numbers = take_apart(graph)
    apart = [take_apart(other) for other in others]
    named = ", ".join(sorted(set(labels.values())))
    if any(theirs != skeleton for theirs, _ in apart):
        raise BackendError(
            f"the program is another one for other sizes of {named}",
            help="export with fixed sizes, or let the model compute the same steps whatever they are",
        )
    template = template_of(graph, apart[0][1], numbers)
    if template is None or any(template.values(theirs) is None for _, theirs in apart):
        raise BackendError(f"sizes of the program do not follow from {named}", help="export with fixed sizes")
    places = [(i, dim) for i, (shape, _) in enumerate(graph.inputs) for dim, d in enumerate(shape) if d >= SMALLEST]
    sources = [places[k] for k in template.sources]
    if any(source not in labels for source in sources) or {labels[s] for s in sources} != set(labels.values()):
        raise BackendError(f"the sizes {named} cannot be told apart", help="export with fixed sizes")
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
