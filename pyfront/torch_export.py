"""``torch.export``: models as programs of their own; ``training_step``, which PyTorch does not have: whole training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..dialects.errors import LaminaError
from .dynamic_shapes import Dim, dims, labels_of_shapes, normalised
from .exported_program import ExportedProgram, exported, load
from .nn.module import Module
from .origin import origin, source_line
from .training_step import training_step

__all__ = ["Dim", "ExportedProgram", "dims", "export", "load", "save", "training_step"]


def export(mod: Module, args: tuple, kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None, strict: bool = False, **_: Any) -> ExportedProgram:
    """Record ``mod(*args, **kwargs)``. Tensors among the arguments are inputs of the program, everything else is part of it.

    dynamic_shapes: per argument, by name or in order, {dimension: Dim or name}: sizes the program may be called with others of. The
    mode of the layers (train, eval) is recorded as it is. LaminaError where a value of an argument is looked at on the way, or the
    program is another one for other sizes. https://docs.pytorch.org/docs/stable/export.html
    """
    if not isinstance(mod, Module):
        raise LaminaError(f"torch.export.export needs a torch.nn.Module, got a {type(mod).__name__}", at=source_line(origin()))

    def labels(example: Any) -> Any:
        if dynamic_shapes is None:
            return {}
        return normalised(labels_of_shapes(dynamic_shapes, example.names), [t._value() for t in example.tensors], example.names)

    program = exported(mod, mod, tuple(args), kwargs or {}, labels)
    if dynamic_shapes is not None and program._recorded.template is None and len(program._recorded.graphs) > 1:
        raise LaminaError(
            "the program is another one for other sizes, or sizes in it do not follow from those of its inputs", at=source_line(origin()),
            help="export with fixed sizes, or let the model compute the same steps whatever they are",
        )  # fmt: skip
    return program


def save(ep: ExportedProgram, f: Any, **_: Any) -> None:
    """Write a program and its weights to a path or a binary file."""
    ep.save(f)
