"""Optimizer: parameter groups, state, state_dict as PyTorch writes it, and a step that ends by computing everything."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from .. import recorder
from ..autograd import RemovableHandle, enable_grad, no_grad
from ..leaves import zero_grad
from ..nn.changes import BUNDLED, let_go
from ..sparse.coordinates import SparseTensor
from ..tensor import Tensor
from .gathered import Gathered, gathered
from .updates import Counter, is_plain

required = object()
_GLOBAL_PRE_HOOKS: OrderedDict[int, Callable] = OrderedDict()
_GLOBAL_POST_HOOKS: OrderedDict[int, Callable] = OrderedDict()
_HOOKS = (
    "step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post",
)  # fmt: skip


_UNSEEN = 3  # updates after which nobody is expected to look at the state soon
_PAUSE = 100  # updates until what somebody held is looked at again
_TRIES = 8  # how often state is gathered again that was looked at


class Optimizer:
    """Base of all optimizers. Ours define ``_update_(group, parameters)``; a program's own define ``step``."""

    _stepped_ = 0  # how often, as learning rate schedulers ask

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]  # a step of whoever wrote the class

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got torch.Tensor"
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._prepare_()
        self.state = defaultdict(dict)
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)
        if recorder.state.watch is None:  # data and weights made so far are no part of the first step: it is the second one's program
            recorder.flush()

    def _prepare_(self) -> None:
        """What a copy or a pickle does not carry along."""
        for kind in _HOOKS:
            self.__dict__.setdefault(f"_optimizer_{kind}_hooks", OrderedDict())
        self._stepped_ = 0
        self._inside_ = False
        self._counter_ = Counter()
        self._gathered_: dict[int, Gathered] = {}  # by id of the group
        self._unseen_ = 0  # updates since somebody looked at the state
        self._tries_ = _TRIES

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._prepare_()
        table = state.get("state", {})
        self.__dict__.update((name, value) for name, value in state.items() if name != "state")
        self.state = table

    # -- state ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> defaultdict[Tensor, dict[str, Any]]:
        """What is remembered of each parameter. Whoever asks may read and write it as long as it is referred to."""
        if self._gathered_:
            self._release_()
        self._unseen_ = 0
        return self._table_

    @state.setter
    def state(self, table: defaultdict[Tensor, dict[str, Any]]) -> None:
        if "_gathered_" not in self.__dict__:  # a class that wraps another optimizer and calls no __init__ of ours
            self._prepare_()
        self._gathered_.clear()
        self._unseen_ = 0
        self._table_ = table

    def _release_(self) -> None:
        """Give all parameters their own entries. What cannot be computed now stays gathered."""
        while self._gathered_:
            key = next(reversed(self._gathered_))
            self._gathered_[key].release(self._table_)
            del self._gathered_[key]

    def _gathered_of_(
        self, group: dict[str, Any], parameters: list[Tensor], names: tuple[str, ...], counted: bool = True
    ) -> Gathered | None:
        """The state of these parameters in one piece, if it is, or can be from now on; None: each has its entries. counted: "step" is
        one, beside those with these names."""
        found = self._gathered_.get(id(group))
        if is_plain() and not recorder.state.watchers:
            if found is not None and found.fits(group, parameters, names):
                return found
            self._unseen_ += 1
            if found is None and self._unseen_ > _UNSEEN and self._tries_ > 0:
                found = gathered(self.__dict__, "_table_", group, parameters, names, counted)
                if found is not None:
                    self._tries_ -= 1
                    self._gathered_[id(group)] = found
                    return found
                self._unseen_ = -_PAUSE
        if self._gathered_:
            self._release_()
        return None

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
        named = [entry for entry in group["params"] if isinstance(entry, tuple)]
        if named:
            if len(named) < len(group["params"]):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = [name for name, _ in named]
            group["params"] = [parameter for _, parameter in named]
        self._check_(group["params"])
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            kind = "with names" if named else "without names"
            raise ValueError(f"all optimizer param groups should be with/without names. cannot add param group {kind} to the optimizer")
        self.param_groups.append(group)

    def _check_(self, parameters: list[Any]) -> None:
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

    def _patch_step_function(self) -> None:
        """For optimizers around others, which ask for it in place of ``__init__``: steps of every class call their hooks already."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop (or zero) the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is not None:
                    if set_to_none:
                        p._grad = None
                    else:
                        zero_grad(p)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient, and compute what was recorded so far.

        closure: computes the loss again; what it returns is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if recorder.state.fresh is not None:
            self._counter_.begin()
        before, recorder.state.grad = recorder.state.grad, False
        try:
            for group in self.param_groups:
                chosen = [p for p in group["params"] if p._grad is not None]
                for p in [p for p in chosen if type(p._grad) is SparseTensor]:
                    self._update_sparse_(group, p, p._grad)
                    chosen = [other for other in chosen if other is not p]
                self._update_(group, chosen)
        finally:
            recorder.state.grad = before
        return loss

    def _update_sparse_(self, group: dict[str, Any], p: Tensor, g: SparseTensor) -> None:
        """Move a parameter whose gradient is sparse. RuntimeError of optimizers that move all elements alike."""
        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how it moves parameters")

    def _hook_(self, kind: str, hook: Callable, prepend: bool = False) -> RemovableHandle:
        return _handle(self.__dict__[f"_optimizer_{kind}_hooks"], hook, prepend)

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` before each step; a pair it returns replaces the arguments."""
        return self._hook_("step_pre", hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` after each step."""
        return self._hook_("step_post", hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` before the state is collected."""
        return self._hook_("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` after the state is collected; what it returns replaces the state."""
        return self._hook_("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` before loading; what it returns is loaded instead."""
        return self._hook_("load_state_dict_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` after loading."""
        return self._hook_("load_state_dict_post", hook, prepend)

    # -- saving -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State by position of the parameter, and the options of the groups."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
        groups = [
            {**{k: v for k, v in group.items() if k != "params"}, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers[id(p)] if isinstance(p, Tensor) else p: entries for p, entries in self.state.items()}
        collected: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, collected)
            collected = collected if replaced is None else replaced
        return collected

    @no_grad
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over saved state and options. ValueError when the groups do not match."""
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(s["params"]) != len(g["params"]) for s, g in zip(saved, self.param_groups, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's group")
        by_number: dict[int, Tensor] = {}
        for s, group in zip(saved, self.param_groups, strict=True):
            by_number.update(zip(s["params"], group["params"], strict=True))
            kept = {k: v for k, v in group.items() if k in ("params", "param_names")}
            group.clear()
            group.update({**kept, **{k: deepcopy(v) for k, v in s.items() if k != "params"}})
        self.state = defaultdict(dict)
        for number, entries in state_dict["state"].items():
            p = by_number.get(number)
            self._table_[number if p is None else p] = entries if p is None else _taken_over(entries, p)
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step as programs call it: hooks around it, and everything recorded so far computed at its end."""

    @functools.wraps(step)
    def whole(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if "_inside_" not in self.__dict__:  # never initialised: a subclass that hands everything to another optimizer
            self._stepped_ += 1
            return step(self, *args, **kwargs)
        if self._inside_:  # a subclass calling super().step()
            return step(self, *args, **kwargs)
        if _GLOBAL_PRE_HOOKS or self._optimizer_step_pre_hooks:
            args, kwargs = _after_pre_hooks(self, args, kwargs)
        if BUNDLED:
            let_go()
        self._inside_ = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._inside_ = False
        self._stepped_ += 1
        for hook in (*self._optimizer_step_post_hooks.values(), *_GLOBAL_POST_HOOKS.values()):
            hook(self, (self, *args), kwargs)
        recorder.flush()
        return result

    return whole


def _after_pre_hooks(self: Optimizer, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    for hook in (*_GLOBAL_PRE_HOOKS.values(), *self._optimizer_step_pre_hooks.values()):
        replaced = hook(self, (self, *args), kwargs)
        if replaced is None:
            continue
        if not isinstance(replaced, tuple) or len(replaced) != 2:
            raise RuntimeError(
                f"{type(self).__name__}.step must return None or a tuple of (new_args, new_kwargs), but got {replaced}."
            )
        args, kwargs = replaced[0][1:], replaced[1]
    return args, kwargs


Optimizer.step = _with_hooks(Optimizer.step)  # type: ignore[method-assign]  # its own step is one like all others


def _handle(table: OrderedDict, hook: Callable, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(table)
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """``hook(optimizer, args, kwargs)`` before each step of every optimizer."""
    return _handle(_GLOBAL_PRE_HOOKS, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """``hook(optimizer, args, kwargs)`` after each step of every optimizer."""
    return _handle(_GLOBAL_POST_HOOKS, hook)


def _taken_over(value: Any, p: Tensor, key: str = "") -> Any:
    """Loaded state as this optimizer keeps it: where the parameter is, floating state in its dtype; counters as they are."""
    if isinstance(value, dict):
        return {k: _taken_over(v, p, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_taken_over(v, p) for v in value)
    if not isinstance(value, Tensor):
        return deepcopy(value)
    if key == "step":
        return value.detach().clone()
    kept = value.detach().to(p.device)
    return (kept.to(p.dtype) if p.is_floating_point() and kept.is_floating_point() else kept).clone()


def check_range(name: str, value: float, low: float = 0.0, high: float | None = None) -> None:
    """ValueError as PyTorch's optimizers word it."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        return
    if not low <= value or (high is not None and not value < high):
        raise ValueError(f"Invalid {name}: {value}")
