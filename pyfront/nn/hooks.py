"""Hooks: removable entries in a module's tables, and the backward hooks built from tensor hooks."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

_ids = itertools.count()


class HookHandle:
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

    def remove(self) -> None:
        """Take the hook out; doing it twice is harmless."""
        self._table.pop(self.id, None)
        if self._changed is not None:
            self._changed()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def run_backward_hooks(module: Module, args: tuple) -> tuple[tuple, Callable[[Any], Any]]:
    """Put hooks around one forward: gives the arguments to use and what to do with the result.

    Arguments and results pass through a clone, so a hook sees the gradients of this call only.
    """
    pre_hooks, hooks = list(module._backward_pre_hooks.values()), list(module._backward_hooks.values())
    tracked = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    grad_output: list[Any] = []
    grad_input: dict[int, Any] = {}
    inputs = list(args)

    def arrived(i: int) -> Callable[[Tensor], Any]:
        def on_input(gradient: Tensor) -> Any:
            grad_input[i] = gradient
            if len(grad_input) < len(tracked):
                return None
            return _call_hooks(module, hooks, tuple(grad_input.get(k) for k in range(len(args))), grad_output, i)

        return on_input

    for i in tracked:
        inputs[i] = args[i].clone()
        inputs[i].register_hook(arrived(i))

    def finish(result: Any) -> Any:
        outputs = [result] if isinstance(result, Tensor) else list(result)
        grad_output.extend([None] * len(outputs))
        for position, output in enumerate(outputs):
            if isinstance(output, Tensor) and output.requires_grad:
                outputs[position] = output.clone()
                outputs[position].register_hook(_on_output(module, pre_hooks, hooks, grad_output, position, bool(tracked)))
        return outputs[0] if isinstance(result, Tensor) else type(result)(outputs)

    return tuple(inputs), finish


def _on_output(
    module: Module, pre_hooks: list, hooks: list, grad_output: list, position: int, has_inputs: bool
) -> Callable[[Tensor], Any]:
    def on_output(gradient: Tensor) -> Any:
        grad_output[position] = gradient
        for hook in pre_hooks:
            replaced = hook(module, tuple(grad_output))
            if replaced is not None:
                replaced = replaced if isinstance(replaced, tuple) else (replaced,)
                grad_output[position] = replaced[position]
        if not has_inputs:
            for hook in hooks:
                hook(module, (), tuple(grad_output))
        return grad_output[position]

    return on_output


def _call_hooks(module: Module, hooks: list, grad_input: tuple, grad_output: list, i: int) -> Any:
    for hook in hooks:
        replaced = hook(module, grad_input, tuple(grad_output))
        if replaced is not None:
            grad_input = replaced if isinstance(replaced, tuple) else (replaced,)
    return grad_input[i]
