"""``torch.onnx``: models as ONNX files, which other runtimes load."""

from __future__ import annotations

import enum
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..dialects.errors import LaminaError
from .dynamic_shapes import labels_of_axes, labels_of_shapes, normalised
from .export import Example
from .exported_program import ExportedProgram
from .nn.module import Module
from .origin import origin, source_line
from .recordings import SizeError, record_at_sizes
from .tensor import Tensor

__all__ = ["ONNXProgram", "OnnxExporterError", "OperatorExportTypes", "TrainingMode", "export", "is_in_onnx_export"]


class OnnxExporterError(LaminaError):
    """A model that cannot be exported as it is asked for."""


class TrainingMode(enum.IntEnum):
    """In which mode the model is exported: its layers for inference, as they are, or for training."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(enum.IntEnum):
    """Kept for programs that pass one: all of them export ONNX's own operators."""

    ONNX = 0
    ONNX_ATEN = 1
    ONNX_ATEN_FALLBACK = 2
    ONNX_FALLTHROUGH = 3


class ONNXProgram:
    """What `export` gives. model_proto: the ``onnx.ModelProto``."""

    def __init__(self, model_proto: Any) -> None:
        self.model_proto = model_proto

    def save(self, destination: str | os.PathLike, **_: Any) -> list[Path]:
        """Write the model; the files it became. FileError where the folder is not there or cannot be written; a file in its place is
        replaced whole."""
        from ..backends.driver import save_onnx

        return save_onnx(self.model_proto, os.fspath(destination))

    def __repr__(self) -> str:
        graph = self.model_proto.graph
        names = [", ".join(v.name for v in part) for part in (graph.input, graph.output)]
        return f"ONNXProgram({names[0]} -> {names[1]}, {len(graph.node)} nodes)"


_exporting = False


def is_in_onnx_export() -> bool:
    """Whether a model is being exported right now."""
    return _exporting


def export(
    model: Module | ExportedProgram, args: Any = (), f: Any = None, *, kwargs: Mapping[str, Any] | None = None, verbose: bool | None = None,
    input_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None, opset_version: int | None = None,
    dynamo: bool = True, dynamic_shapes: Any = None, dynamic_axes: Mapping[str, Any] | None = None, export_params: bool = True,
    keep_initializers_as_inputs: bool = False, training: TrainingMode = TrainingMode.EVAL, **options: Any,
) -> ONNXProgram:  # fmt: skip
    """Record ``model(*args, **kwargs)`` and write it as an ONNX model to f (a path or a binary file; None: only return it). An
    ExportedProgram is written as it is.

    args: one tensor or a tuple; every tensor in it becomes an input of the model, everything else is part of it. input_names,
    output_names: of the first of each (else the names of forward's parameters, and "output", "output_1", …). opset_version: 17 to 22,
    18 if not given. dynamic_axes, dynamic_shapes: sizes known only when the model runs, as PyTorch takes them; sizes of results
    follow. export_params: False leaves weights out and makes them inputs. Weights beyond 1.8 GB lie in a file beside f.
    The layers are in inference mode meanwhile (`training`). Other options of PyTorch's are accepted and change nothing.
    https://docs.pytorch.org/docs/stable/onnx_export.html

    OnnxExporterError when the model cannot be recorded at other named sizes, UnsupportedError with the line of what ONNX cannot
    say, LaminaError when the result depends on values read on the way.
    """
    if isinstance(model, ExportedProgram):
        return _written(ONNXProgram(model.onnx_model(output_names or (), opset_version)), f, verbose)
    if not isinstance(model, Module):
        raise OnnxExporterError(f"torch.onnx.export needs a torch.nn.Module, got a {type(model).__name__}", at=source_line(origin()))
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    if not kwargs and args and isinstance(args[-1], dict):  # the older spelling: keyword arguments last
        args, kwargs = args[:-1], args[-1]
    example = Example.of(model, args, kwargs or {})
    names = [*(input_names or ()), *example.names[len(input_names or ()) :]][: len(example.names)]
    arrays = [np.array(tensor._value()) for tensor in example.tensors]
    labels = labels_of_shapes(dynamic_shapes, example.names) if dynamic_shapes is not None else {}
    labels |= labels_of_axes(dynamic_axes or {}, names, output_names or ("output",))
    labels = normalised(labels, arrays, names)
    with _mode(model, training):
        try:
            recorded = record_at_sizes(model, model, example, arrays, names, labels)
        except SizeError as error:
            raise OnnxExporterError(error.sentence, help="sizes without a name stay the example's") from error
    from ..backends.driver import make_onnx

    if labels and not export_params:
        raise OnnxExporterError("weights can be inputs of a model with fixed sizes only", help="leave export_params, or dynamic axes, out")
    recordings = [(each.graph, each.weights if export_params else {}) for each in recorded]
    proto = make_onnx(
        recordings, output_names or (), opset=opset_version, initializers_are_inputs=keep_initializers_as_inputs,
        labels={(names[i], dim): label for (i, dim), label in labels.items()}, updates=len(recorded[0].updates), draws=recorded[0].draws,
    )  # fmt: skip
    if recorded[0].updates:
        held = ", ".join(str(recorded[0].graph.names[i]) for i in recorded[0].updates)
        warnings.warn(f"the model writes {held}; an ONNX model keeps nothing, so each run of it starts from what they are now", stacklevel=2)
    return _written(ONNXProgram(proto), f, verbose)


def _written(program: ONNXProgram, f: Any, verbose: bool | None) -> ONNXProgram:
    """The program, on its way to a file if there is one."""
    if hasattr(f, "write"):
        f.write(program.model_proto.SerializeToString())
    elif f is not None:
        program.save(f)
    if verbose:
        print(program)
    return program


@contextmanager
def _mode(model: Module, training: TrainingMode) -> Iterator[None]:
    """The model in the mode it is exported in; each layer gets its own back."""
    global _exporting
    was = [(module, module.training) for module in model.modules()]
    if training is not TrainingMode.PRESERVE:
        model.train(training == TrainingMode.TRAINING)
    _exporting = True
    try:
        yield
    finally:
        _exporting = False
        for module, flag in was:
            module.training = flag
