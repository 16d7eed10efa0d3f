"""Optimizer: parameter groups, state, state_dict as PyTorch writes it, and a step that ends by computing everything."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from ...dialects.types import DTYPES
from .. import recorder, views
from ..autograd import RemovableHandle, enable_grad, no_grad
from ..node import Node
from ..tensor import Tensor, wrap

required = object()
_FLOAT32, _FLOAT64 = DTYPES["float32"], DTYPES["float64"]


class Optimizer:
    """Base of all optimizers. Subclasses define ``_update(group, parameters)``."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got torch.Tensor"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._stepped = 0
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    # -- groups -----------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train more parameters, with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        chosen = param_group["params"]
        if isinstance(chosen, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        group = dict(param_group, params=[chosen] if isinstance(chosen, Tensor) else list(chosen))
        if group["params"] and isinstance(group["params"][0], tuple):
            group["param_names"] = [name for name, _ in group["params"]]
            group["params"] = [parameter for _, parameter in group["params"]]
        self._check(group["params"])
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        self.param_groups.append(group)

    def _check(self, parameters: list[Any]) -> None:
        taken = {id(p) for group in self.param_groups for p in group["params"]}
        for p in parameters:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not (p.is_leaf or getattr(p, "retains_grad", False)):
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in taken:
                raise ValueError("some parameters appear in more than one parameter group")

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [""] * (i > 0) + [f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"

    # -- a step -----------------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop (or zero) the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is not None:
                    if set_to_none:
                        p._grad = None
                    else:
                        p.grad = p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient, and compute what was recorded so far.

        closure: computes the loss again; what it returns is returned.
        """
        for hook in self._pre_hooks.values():
            hook(self, (), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        before, recorder.state.grad = recorder.state.grad, False
        try:
            for group in self.param_groups:
                self._update(group, [p for p in group["params"] if p._grad is not None])
        finally:
            recorder.state.grad = before
        self._stepped += 1
        for hook in self._post_hooks.values():
            hook(self, (), {})
        recorder.flush()
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how it moves parameters")

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` before each step."""
        return _handle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` after each step."""
        return _handle(self._post_hooks, hook)

    # -- saving -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State by position of the parameter, and the options of the groups."""
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
        groups = [
            {**{k: v for k, v in group.items() if k != "params"}, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers[id(p)] if isinstance(p, Tensor) else p: entries for p, entries in self.state.items()}
        return {"state": state, "param_groups": groups}

    @no_grad
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over saved state and options. ValueError when the groups do not match."""
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(s["params"]) != len(g["params"]) for s, g in zip(saved, self.param_groups, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        by_number: dict[int, Tensor] = {}
        for s, group in zip(saved, self.param_groups, strict=True):
            by_number.update(zip(s["params"], group["params"], strict=True))
            group.update({k: deepcopy(v) for k, v in s.items() if k != "params"})
        self.state = defaultdict(dict)
        for number, entries in state_dict["state"].items():
            p = by_number.get(number)
            if p is not None:
                self.state[p] = {key: _taken_over(value, p, key) for key, value in entries.items()}


def _handle(table: OrderedDict, hook: Callable) -> RemovableHandle:
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


def _taken_over(value: Any, p: Tensor, key: str) -> Any:
    """Loaded state as this optimizer keeps it: floating state in the parameter's dtype, counters as they are."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    if key != "step" and p.is_floating_point() and value.is_floating_point():
        return value.detach().to(p.dtype).clone()
    return value.detach().clone()


# -- what subclasses record with --------------------------------------------------------------------------------


def scalar(value: float) -> Node:
    """A number that changes from step to step: an input of the program, not a constant in it."""
    return recorder.leaf(np.array(value, np.float64), ((), _FLOAT64))


def zeros_of(p: Tensor, value: float = 0.0) -> Tensor:
    """Fresh state of a parameter's type. It is data, so that the first step is the same program as all others."""
    return wrap(recorder.leaf(np.full(p.shape, value, p.dtype.numpy), p._type))


class Counter:
    """Counts steps; parameters at the same step share one tensor."""

    def __init__(self) -> None:
        self._before: tuple[Any, int] = (None, 0)  # the tensor the last parameter had, and its version
        self._number = 0  # the step after that one, and its tensor
        self._tensor: Tensor | None = None

    def next(self, state: dict[str, Any]) -> int:
        """The step that begins now, 1 the first time."""
        now = state.get("step")
        before, version = self._before
        if now is None or now is not before or now._storage.version != version:
            self._look_up(now)
        state["step"] = self._tensor
        return self._number

    def _look_up(self, now: Any) -> None:
        """Read a count that is not the one of the last parameter."""
        is_tensor = isinstance(now, Tensor)
        number = 1 + (int(now.item()) if is_tensor else int(now or 0))
        if number != self._number or self._tensor is None:
            self._number = number
            self._tensor = wrap(recorder.leaf(np.array(number, np.float32), ((), _FLOAT32)))
        self._before = (now, now._storage.version) if is_tensor else (None, 0)


def update(targets: tuple[Tensor, ...], op: str, operands: tuple[Node, ...], attrs: tuple) -> None:
    """Record one step of one parameter: the first results of `op` become the contents of `targets`."""
    start = recorder.state.order
    for target, node in zip(targets, recorder.record_many(op, operands, attrs), strict=False):
        views.write(target._storage, target._chain, node, start)


def check_range(name: str, value: float, low: float = 0.0, high: float | None = None) -> None:
    """ValueError as PyTorch's optimizers word it."""
    if isinstance(value, Tensor):
        return
    if not low <= value or (high is not None and not value < high):
        raise ValueError(f"Invalid {name}: {value}")
