"""``torch.jit``: traced calls as programs of their own. Functions and modules that are scripted stay what they are: every program is compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ..dialects.errors import BackendError, LaminaError, UnsupportedError
from .distributed.futures import Future
from .dynamic_shapes import Labels
from .export import Example
from .exported_program import ExportedProgram, ReplayedModule, exported
from .exported_program import load as load_program
from .nn.module import Module
from .origin import origin, source_line
from .recordings import SizeError
from .tensor import Tensor

__all__ = [
    "Final", "Future", "ScriptFunction", "ScriptModule", "TracerWarning", "annotate", "export", "fork", "freeze", "ignore", "interface", "is_scripting", "is_tracing", "load",
    "optimize_for_inference", "save", "script", "script_if_tracing", "trace", "trace_module",
    "unused", "wait",
]  # fmt: skip

ScriptModule = ReplayedModule


class TracerWarning(Warning):
    """What PyTorch warns of while it traces; programs filter it. Nothing is warned of here: what a trace may not look at is refused."""


class ScriptFunction:
    """A traced function: the recorded call."""

    def __init__(self, program: ExportedProgram, function: Callable[..., Any]) -> None:
        self.program = program
        self.__name__ = getattr(function, "__name__", "traced")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.program(*args, **kwargs)

    def save(self, f: Any) -> None:
        """Write the program; `load` reads it as a Module."""
        self.program.save(f)


def trace(func: Any, example_inputs: Any = None, *, example_kwarg_inputs: dict[str, Any] | None = None, **_: Any) -> Any:
    """The call ``func(*example_inputs)`` as a program: a Module for a Module (it shares its parameters), else a ScriptFunction.

    It may be called with another size in the first dimension of all tensors where the function computes the same steps then.
    What checks and strictness options PyTorch takes changes nothing. LaminaError where a value of an argument is looked at on the way.
    """
    args = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs or ())
    model = func if isinstance(func, Module) else None
    program = _traced(model, func, args, example_kwarg_inputs or {})
    return ReplayedModule(program) if model is not None else ScriptFunction(program, func)


def _traced(model: Module | None, function: Any, args: tuple, kwargs: dict[str, Any]) -> ExportedProgram:
    try:
        program = exported(model, function, args, kwargs, _batch)
        if program._recorded.template is not None:
            return program
    except (SizeError, BackendError):  # it does not run with other batches, or has constants made for this one
        pass
    return exported(model, function, args, kwargs, lambda _: {})


def _batch(example: Example) -> Labels:
    """The first dimension of every tensor, if it is one for all of them."""
    sizes = {tuple(t.shape)[:1] for t in example.tensors}
    return {(i, 0): "batch" for i in range(len(example.tensors))} if len(sizes) == 1 and sizes != {()} else {}


def script(obj: Any, *_: Any, **__: Any) -> Any:
    """The function, class or Module itself: it runs as it is, and what it computes is compiled. Its ``save`` says how it becomes a file."""
    if not isinstance(obj, type) and hasattr(obj, "__dict__") and not hasattr(obj, "save"):
        obj.__dict__["save"] = partial(_save_scripted, getattr(obj, "__name__", type(obj).__name__))
    return obj


def _save_scripted(name: str, f: Any, **_: Any) -> None:
    raise LaminaError(
        f"{name} was scripted, and has no program to save: programs are recorded from a call", at=source_line(origin()),
        help="torch.jit.trace(model, example).save(f) writes one; torch.save(model.state_dict(), f) keeps the weights",
    )  # fmt: skip


def load(f: Any, map_location: Any = None, **_: Any) -> ReplayedModule:
    """What `save` wrote, as a Module. FileError for archives of PyTorch's own: they hold code, which is not executed."""
    return load_program(f).module()


def save(m: Any, f: Any, **_: Any) -> None:
    """Write a traced program. LaminaError for a Module that was not traced: it has no program yet."""
    if not hasattr(m, "program"):
        raise LaminaError(
            f"a {type(m).__name__} that was not traced has no program to save", at=source_line(origin()),
            help="torch.jit.trace(model, example) makes one; torch.save(model.state_dict(), f) keeps the weights",
        )  # fmt: skip
    m.save(f)


def freeze(mod: Any, *_: Any, **__: Any) -> Any:
    """The module itself."""
    return mod


optimize_for_inference = freeze


def ignore(drop: Any = None, **_: Any) -> Any:
    """A decorator that changes nothing."""
    return drop if callable(drop) else lambda function: function


def unused(fn: Any) -> Any:
    """A decorator that changes nothing."""
    return fn


def export(fn: Any) -> Any:
    """A decorator that changes nothing."""
    return fn


def interface(obj: Any) -> Any:
    """A decorator that changes nothing."""
    return obj


def script_if_tracing(fn: Any) -> Any:
    """A decorator that changes nothing: what a traced function calls is recorded with it."""
    return fn


def _overload(func: Any) -> Any:
    return func


_overload_method = _overload
_drop = unused


def is_scripting() -> bool:
    """False: no code is read."""
    return False


def is_tracing() -> bool:
    """Whether a call is being recorded to be a program of its own."""
    from . import recorder

    return recorder.state.traces > 0


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
    """What ``func(*args, **kwargs)`` gives, as a Future: the call is recorded at once, what it computes when somebody looks."""
    future = Future()
    try:
        future.set_result(func(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future


def wait(future: Future) -> Any:
    """What a forked call gave. Its error is raised."""
    return future.wait()


def trace_module(mod: Module, inputs: dict[str, Any], **options: Any) -> Any:
    """`trace` of a module's forward, given the arguments by its name. UnsupportedError for other methods beside it: trace each."""
    if set(inputs) != {"forward"}:
        raise UnsupportedError(
            f"torch.jit.trace_module: a program is one call of forward, not of {', '.join(sorted(inputs))}", at=source_line(origin()),
            help="trace each method as a function: torch.jit.trace(lambda x: module.method(x), (x,))",
        )  # fmt: skip
    return trace(mod, inputs["forward"], **options)


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value
