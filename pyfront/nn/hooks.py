"""Hooks: what programs have called around a module's forward and backward, and when modules get new parts."""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..creation import zeros_like
from ..function import Function
from ..tensor import Tensor
from . import changes

if TYPE_CHECKING:
    from .module import Module

_ids = itertools.count()
_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# The same for all modules, and what is called when a part is registered.
_GLOBAL: dict[str, OrderedDict[int, Callable]] = {name: OrderedDict() for name in _TABLES}
_REGISTRATION: dict[str, OrderedDict[int, Callable]] = {kind: OrderedDict() for kind in ("parameter", "buffer", "module")}
_MARKS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
_GLOBAL_MARKS: dict[str, set[int]] = {name: set() for name in _MARKS}
_are_global: list[bool] = [False]  # whether any global hook is there: asked at every call of every module


def for_all() -> tuple[int, ...]:
    """Identities of the hooks that are for all modules."""
    return tuple(id(hook) for table in _GLOBAL.values() for hook in table.values())


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes it out again; also a context manager."""

    def __init__(
        self, table: OrderedDict, hook: Callable, prepend: bool = False, changed: Callable[[], None] | None = None
    ) -> None:
        self.id = next(_ids)
        self._table = table
        self._changed = changed
        table[self.id] = hook
        if prepend:
            table.move_to_end(self.id, last=False)
        changes.changed()
        if changed is not None:
            changed()

    def remove(self) -> None:
        """Take the hook out; doing it twice is harmless."""
        self._table.pop(self.id, None)
        changes.changed()
        if self._changed is not None:
            self._changed()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class HookMethods:
    """The part of Module that hooks are registered with."""

    _forward_hooks: OrderedDict[int, Callable]
    _forward_pre_hooks: OrderedDict[int, Callable]
    _backward_hooks: OrderedDict[int, Callable]
    _backward_pre_hooks: OrderedDict[int, Callable]
    _is_full_backward_hook: bool | None

    @staticmethod
    def _fresh_hooks_() -> dict[str, Any]:
        tables: dict[str, Any] = {table: OrderedDict() for table in _TABLES}
        marks: dict[str, Any] = {marks: set() for marks in _MARKS}  # keys of the hooks to be called in another way
        return {**tables, **marks, "_is_full_backward_hook": None, "_plain_call_": True}

    def _hook_(self, table: str, hook: Callable, prepend: bool = False) -> RemovableHandle:
        return RemovableHandle(self.__dict__[table], hook, prepend, self._hooks_changed_)

    def _hooks_changed_(self) -> None:
        object.__setattr__(self, "_plain_call_", not any(self.__dict__[table] for table in _TABLES))
        changes.changed(self)

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """``hook(module, args)`` before each forward; what it returns replaces the arguments.

        with_kwargs: ``hook(module, args, kwargs)``, which returns None or both.
        """
        handle = self._hook_("_forward_pre_hooks", hook, prepend)
        _mark(self._forward_pre_hooks_with_kwargs, handle, with_kwargs)
        return handle

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """``hook(module, args, output)`` after each forward; what it returns replaces the output.

        with_kwargs: ``hook(module, args, kwargs, output)``. always_call: also when forward raises.
        """
        handle = self._hook_("_forward_hooks", hook, prepend)
        _mark(self._forward_hooks_with_kwargs, handle, with_kwargs)
        _mark(self._forward_hooks_always_called, handle, always_call)
        return handle

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` when the gradients of the inputs are known."""
        self._is_of_kind_(True)
        return self._hook_("_backward_hooks", hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_output)`` before the module's backward; what it returns replaces the gradients."""
        return self._hook_("_backward_pre_hooks", hook, prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The old form of ``register_full_backward_hook``; here it sees the gradients the full one sees."""
        self._is_of_kind_(False)
        return self._hook_("_backward_hooks", hook)

    def _is_of_kind_(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of them."
            )
        object.__setattr__(self, "_is_full_backward_hook", full)

    def _call_with_hooks_(self, args: tuple, kwargs: dict) -> Any:
        called: set[int] = set()
        hooks = [*_GLOBAL["_forward_hooks"].items(), *self._forward_hooks.items()]
        try:
            return self._between_hooks_(args, kwargs, hooks, called)
        except Exception:
            for key, hook in hooks:
                if key not in called and _is_marked(self, "_forward_hooks_always_called", key):
                    self._after_(key, hook, args, kwargs, None)
            raise

    def _between_hooks_(self, args: tuple, kwargs: dict, hooks: list, called: set[int]) -> Any:
        for key, hook in (*_GLOBAL["_forward_pre_hooks"].items(), *self._forward_pre_hooks.items()):
            args, kwargs = self._before_(key, hook, args, kwargs)
        before = [*_GLOBAL["_backward_pre_hooks"].values(), *self._backward_pre_hooks.values()]
        backward = [*_GLOBAL["_backward_hooks"].values(), *self._backward_hooks.values()]
        finish = None
        if before or backward:
            args, finish = _around(self, args, before, backward)
        result = self.forward(*args, **kwargs)  # type: ignore[attr-defined]  # Module has it
        for key, hook in hooks:
            called.add(key)
            result = self._after_(key, hook, args, kwargs, result)
        return result if finish is None else finish(result)

    def _before_(self, key: int, hook: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        with_kwargs = _is_marked(self, "_forward_pre_hooks_with_kwargs", key)
        replaced = hook(self, args, kwargs) if with_kwargs else hook(self, args)
        if replaced is None:
            return args, kwargs
        if not with_kwargs:
            return (replaced if isinstance(replaced, tuple) else (replaced,)), kwargs
        if not isinstance(replaced, tuple) or len(replaced) != 2:
            raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced}.")
        return replaced

    def _after_(self, key: int, hook: Callable, args: tuple, kwargs: dict, result: Any) -> Any:
        with_kwargs = _is_marked(self, "_forward_hooks_with_kwargs", key)
        replaced = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
        return result if replaced is None else replaced


def _mark(marks: set[int], handle: RemovableHandle, wanted: bool) -> None:
    if wanted:
        marks.add(handle.id)


def _is_marked(module: Any, marks: str, key: int) -> bool:
    return key in module.__dict__[marks] or key in _GLOBAL_MARKS[marks]


# -- backward ---------------------------------------------------------------------------------------------------


class _Inputs(Function):
    """Identity in front of a module: the gradients of all its inputs come by here together."""

    @staticmethod
    def forward(ctx: Any, module: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.module, ctx.call = module, call
        return tuple([t.clone() for t in tensors])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple:
        return (None, None, *ctx.call.at_inputs(gradients))


class _Outputs(Function):
    """Identity behind a module: the gradients of all its results come by here together."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        ctx.set_materialize_grads(False)
        return tuple([t.clone() for t in tensors])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple:
        return (None, *ctx.call.at_outputs(gradients))


class _Call:
    """One call of a module with backward hooks: which of its arguments and results are tensors."""

    def __init__(self, module: Any, args: tuple, before: list[Callable], backward: list[Callable]) -> None:
        self.module, self.before, self.backward = module, before, backward
        self.inputs = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        self.apart = {i: a for i, a in enumerate(args) if isinstance(a, Tensor) and a.is_floating_point() and i not in self.inputs}
        self.count = len(args)
        self.outputs: list[int] = []
        self.results = 0
        self.grad_outputs: tuple | None = None

    def at_inputs(self, gradients: tuple) -> tuple:
        """The backward hooks' turn; gives the gradients to go on with."""
        zeros = {i: zeros_like(a) for i, a in self.apart.items()}  # what PyTorch shows for arguments without a gradient
        whole = tuple([zeros.get(i, g) for i, g in enumerate(_spread(gradients, self.inputs, self.count))])
        for hook in self.backward:
            replaced = hook(self.module, whole, self.grad_outputs)
            if replaced is not None:
                whole = _checked(replaced, whole)
        self.grad_outputs = None
        return tuple([whole[i] for i in self.inputs])

    def at_outputs(self, gradients: tuple) -> tuple:
        """The pre-hooks' turn; gives the gradients to go on with."""
        whole = _spread(gradients, self.outputs, self.results)
        for hook in self.before:
            replaced = hook(self.module, whole)
            if replaced is not None:
                whole = _checked(replaced, whole)
        self.grad_outputs = whole
        if not self.inputs:
            if self.backward:
                warnings.warn(
                    "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
                    "require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module."
                    "register_full_backward_hook for more details.", stacklevel=5,
                )  # fmt: skip
            for hook in self.backward:
                if hook(self.module, (None,) * self.count, whole) is not None:
                    raise RuntimeError(
                        "Backward hooks can not modify gradients when no input of the module requires gradients: there is none"
                    )
        return tuple([whole[i] for i in self.outputs])


def _spread(gradients: tuple, places: list[int], count: int) -> tuple:
    whole: list[Any] = [None] * count
    for place, gradient in zip(places, gradients, strict=True):
        whole[place] = gradient
    return tuple(whole)


def _checked(replaced: Any, whole: tuple) -> tuple:
    replaced = replaced if isinstance(replaced, tuple) else (replaced,)
    if len(replaced) != len(whole):
        raise RuntimeError(
            f"Backward hook returned an invalid number of grad_input, got {len(replaced)}, but expected {len(whole)}"
        )
    return replaced


def _around(
    module: Module, args: tuple, before: list[Callable], backward: list[Callable]
) -> tuple[tuple, Callable[[Any], Any]]:
    """Put hooks around one forward: gives the arguments to use and what to do with the result."""
    call = _Call(module, args, before, backward)
    arguments = list(args)
    if call.inputs and backward:
        passed = _Inputs.apply(module, call, *[args[i] for i in call.inputs])
        for i, tensor in zip(call.inputs, passed, strict=True):
            arguments[i] = tensor

    def finish(result: Any) -> Any:
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}", stacklevel=4,
            )  # fmt: skip
            return result
        outputs = [result] if isinstance(result, Tensor) else list(result)
        call.outputs, call.results = [i for i, o in enumerate(outputs) if isinstance(o, Tensor) and o.requires_grad], len(outputs)
        if not call.outputs:
            return result
        for i, tensor in zip(call.outputs, _Outputs.apply(call, *[outputs[i] for i in call.outputs]), strict=True):
            outputs[i] = tensor
        if isinstance(result, Tensor):
            return outputs[0]
        return type(result)(*outputs) if hasattr(result, "_fields") else tuple(outputs)

    return tuple(arguments), finish


# -- for all modules --------------------------------------------------------------------------------------------


def _globals_changed() -> None:
    _are_global[0] = any(_GLOBAL.values())


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, args)`` before the forward of every module."""
    return RemovableHandle(_GLOBAL["_forward_pre_hooks"], hook, changed=_globals_changed)


def register_module_forward_hook(hook: Callable, *, with_kwargs: bool = False, always_call: bool = False) -> RemovableHandle:
    """``hook(module, args, output)`` after the forward of every module."""
    handle = RemovableHandle(_GLOBAL["_forward_hooks"], hook, changed=_globals_changed)
    _mark(_GLOBAL_MARKS["_forward_hooks_with_kwargs"], handle, with_kwargs)
    _mark(_GLOBAL_MARKS["_forward_hooks_always_called"], handle, always_call)
    return handle


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, grad_output)`` before the backward of every module."""
    return RemovableHandle(_GLOBAL["_backward_pre_hooks"], hook, changed=_globals_changed)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, grad_input, grad_output)`` after the backward of every module."""
    return RemovableHandle(_GLOBAL["_backward_hooks"], hook, changed=_globals_changed)


register_module_backward_hook = register_module_full_backward_hook


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, name, parameter)`` when a parameter is registered; what it returns takes its place."""
    return RemovableHandle(_REGISTRATION["parameter"], hook)


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, name, buffer)`` when a buffer is registered; what it returns takes its place."""
    return RemovableHandle(_REGISTRATION["buffer"], hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """``hook(module, name, submodule)`` when a submodule is registered; what it returns takes its place."""
    return RemovableHandle(_REGISTRATION["module"], hook)


def registered(kind: str, module: Any, name: str, part: Any) -> Any:
    """A part that is about to be registered, after the hooks that look at it."""
    for hook in _REGISTRATION[kind].values():
        replaced = hook(module, name, part)
        part = part if replaced is None else replaced
    return part
