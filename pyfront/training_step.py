"""Training steps: a function that trains a model, as a program of its own: forward, backward and update in one call."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..dialects.errors import LaminaError
from .exported_program import ExportedProgram, exported
from .nn.module import Module
from .optim.optimizer import Optimizer
from .origin import origin, source_line

_MOST = 10000
_LEAVES = (bool, int, float, complex, str, bytes, type(None), types.ModuleType, type, types.BuiltinFunctionType)


def training_step(step: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any] | None = None) -> ExportedProgram:
    """Record ``step(*args, **kwargs)``, a function that takes one step of training: it computes a loss, calls ``backward()`` and steps
    its optimizers, and gives the loss or other tensors.

    Models and optimizers are those the function reaches: as globals it names, in its closure, or in the object it is a method of.
    Their parameters, buffers and state are the program's: each call of it, and each call of its C (`to_c`), trains them further, the
    optimizer's state from what it is now. The model itself shares its parameters with the program. A step begins without gradients.
    Learning rates are numbers of the program, unless the step sets ``group["lr"]`` to a tensor it is given. Random numbers are drawn
    anew in every step.

    LaminaError where there is no optimizer, where a value is looked at within the step (``loss.item()``), and where the step changes
    an optimizer's options.
    """
    models, optimizers = reached(step)
    if not optimizers:
        raise LaminaError(
            "the function reaches no optimizer", at=source_line(origin()),
            help="a training step names its model and its optimizer as globals, or has them in its closure",
        )  # fmt: skip
    return exported(_together(models), step, tuple(args), kwargs or {}, lambda _: {}, optimizers)


def _together(models: dict[str, Module]) -> Module | None:
    """One Module that has these as its children, or is the only one."""
    if len(models) == 1:
        return next(iter(models.values()))
    whole = Module()
    for name, model in models.items():
        whole.add_module(name, model)
    return whole if models else None


def reached(function: Callable[..., Any]) -> tuple[dict[str, Module], list[Optimizer]]:
    """Models by name, but for parts of others, and optimizers a function can reach."""
    models: dict[str, Module] = {}
    optimizers: list[Optimizer] = []
    seen: dict[int, Any] = {}
    stack: list[tuple[str, Any]] = [("step", function)]
    while stack and len(seen) < _MOST:
        name, found = stack.pop()
        if isinstance(found, _LEAVES) or id(found) in seen:
            continue
        seen[id(found)] = found
        if isinstance(found, Module):
            if not any(found is m for m in models.values()):
                models[name if name not in models else f"{name}_{len(models)}"] = found
        elif isinstance(found, Optimizer):
            optimizers.append(found)
        else:
            stack += reversed(list(_below(name, found)))
    parts = {id(part) for model in models.values() for part in model.modules() if part is not model}
    return {name.replace(".", "_"): model for name, model in models.items() if id(model) not in parts}, optimizers


def _below(name: str, found: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(found, types.MethodType):
        yield name, found.__func__
        yield "self", found.__self__
    elif isinstance(found, types.FunctionType):
        yield from _named(found.__code__, found.__globals__)
        yield from ((n, cell.cell_contents) for n, cell in zip(found.__code__.co_freevars, found.__closure__ or (), strict=True) if _is_filled(cell))
        yield from ((name, value) for value in found.__defaults__ or ())
        if hasattr(found, "__wrapped__"):
            yield name, found.__wrapped__
    elif isinstance(found, dict):
        yield from ((str(key), value) for key, value in found.items())
    elif isinstance(found, (list, tuple)):
        yield from ((f"{name}_{i}", value) for i, value in enumerate(found))
    elif type(found).__module__.partition(".")[0] not in ("torch", "lamina", "numpy", "builtins") and hasattr(found, "__dict__"):
        yield from vars(found).items()


def _named(code: types.CodeType, known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The globals a code names, and those of functions within it."""
    yield from ((name, known[name]) for name in code.co_names if name in known)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _named(part, known)


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
