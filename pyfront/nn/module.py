"""Module: parameters, buffers and submodules under attribute names, and a call with hooks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from ..tensor import Tensor
from .hooks import HookHandle, run_backward_hooks
from .parameter import Buffer, Parameter, name_below
from .state import StateMethods
from .traversal import TraversalMethods

_GLOBAL_PRE_HOOKS: OrderedDict[int, Callable] = OrderedDict()
_GLOBAL_HOOKS: OrderedDict[int, Callable] = OrderedDict()
_TABLES = ("_parameters", "_buffers", "_modules")


class Module(StateMethods, TraversalMethods):
    """Base of all networks. Subclasses call ``super().__init__()`` and define ``forward``."""

    dump_patches = False
    training: bool
    call_super_init = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            got = f"{args[0]!r}" if args else f"keyword argument {next(iter(kwargs))!r}"
            raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument, got {got}")
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        put("_modules", {})
        for table in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            put(table, OrderedDict())
        for table in ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks"):
            put(table, OrderedDict())
        put("_load_state_dict_post_hooks", OrderedDict())
        put("_plain_call", True)

    def forward(self, *inputs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # -- the call ---------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._plain_call and not (_GLOBAL_HOOKS or _GLOBAL_PRE_HOOKS):
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        for hook in (*_GLOBAL_PRE_HOOKS.values(), *self._forward_pre_hooks.values()):
            args, kwargs = _after_pre_hook(self, hook, args, kwargs)
        finish = None
        if self._backward_hooks or self._backward_pre_hooks:
            args, finish = run_backward_hooks(self, args)
        result = self.forward(*args, **kwargs)
        for hook in (*_GLOBAL_HOOKS.values(), *self._forward_hooks.values()):
            with_kwargs = getattr(hook, "with_kwargs", False)
            replaced = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            result = result if replaced is None else replaced
        return result if finish is None else finish(result)

    def _hook(self, table: OrderedDict, hook: Callable, prepend: bool = False) -> HookHandle:
        super().__setattr__("_plain_call", False)
        return HookHandle(table, hook, prepend, self._hooks_changed)

    def _hooks_changed(self) -> None:
        tables = (self._forward_hooks, self._forward_pre_hooks, self._backward_hooks, self._backward_pre_hooks)
        super().__setattr__("_plain_call", not any(tables))

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """``hook(module, args)`` before each forward; what it returns replaces the arguments."""
        return self._hook(self._forward_pre_hooks, _marked(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> HookHandle:
        """``hook(module, args, output)`` after each forward; what it returns replaces the output."""
        return self._hook(self._forward_hooks, _marked(hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """``hook(module, grad_input, grad_output)`` when the gradients of the inputs are known."""
        return self._hook(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """``hook(module, grad_output)`` before the module's backward."""
        return self._hook(self._backward_pre_hooks, hook, prepend)

    # -- attributes -------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        if "_modules" in state:  # the tables in the order of _TABLES, spelled out: this runs for every layer's weight
            if name in state["_parameters"]:
                return state["_parameters"][name]
            if name in state["_buffers"]:
                return state["_buffers"][name]
            if name in state["_modules"]:
                return state["_modules"][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._enter("parameters", name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._enter("module", name)
            self._modules[name] = value
            name_below(name, value.parameters())
        elif isinstance(value, Buffer):
            self._enter("buffer", name)
            self.register_buffer(name, value, value.persistent)
        else:
            self._set_other(name, value)

    def _enter(self, what: str, name: str) -> None:
        """`name` is about to move into one of the tables: clear it everywhere else."""
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        self.__dict__.pop(name, None)
        for table in _TABLES:
            self.__dict__[table].pop(name, None) if what not in table else None

    def _set_other(self, name: str, value: Any) -> None:
        state = self.__dict__
        for table, what in (("_parameters", "parameter"), ("_modules", "child module"), ("_buffers", "buffer")):
            entries = state.get(table)
            if entries is not None and name in entries:
                if value is not None and not (what == "buffer" and isinstance(value, Tensor)):
                    kind = {"parameter": "torch.nn.Parameter", "buffer": "torch.Tensor"}.get(what, "torch.nn.Module")
                    raise TypeError(
                        f"cannot assign '{_type_name(value)}' as {what} '{name}' ({kind} or None expected)"
                    )
                entries[name] = value
                return
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = set(super().__dir__()).union(*(self.__dict__[table] for table in _TABLES))
        return sorted(name for name in names if not name[0].isdigit())

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make `param` a parameter of this module. TypeError, KeyError or AttributeError for what cannot be one."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly."
                " To express '{0}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = param
        name_below(name, [param])

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that is part of the module's state but not trained."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)")
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Make `module` a child under `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        self._modules[name] = module
        name_below(name, module.parameters() if module is not None else ())

    register_module = add_module

    def _check_name(self, name: str, what: str, table: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_type_name(name)}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain "."' + (f", got: {name}" if what == "module" else ""))
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')
        if name not in table and (name in self.__dict__ or hasattr(type(self), name) or self._holds(name)):
            raise KeyError(f"attribute '{name}' already exists")

    def _holds(self, name: str) -> bool:
        return any(name in self.__dict__[table] for table in _TABLES)

    # -- text -------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of a module without children."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({key}): {_indented(repr(module))}" for key, module in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not children:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


def _indented(text: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line for line in rest)])


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _marked(hook: Callable, with_kwargs: bool) -> Callable:
    if not with_kwargs:
        return hook

    def marked(*arguments: Any) -> Any:
        return hook(*arguments)

    marked.with_kwargs = True  # type: ignore[attr-defined]  # functions carry attributes
    return marked


def _after_pre_hook(module: Module, hook: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    if getattr(hook, "with_kwargs", False):
        replaced = hook(module, args, kwargs)
        return (args, kwargs) if replaced is None else replaced
    replaced = hook(module, args)
    if replaced is None:
        return args, kwargs
    return (replaced if isinstance(replaced, tuple) else (replaced,)), kwargs


def register_module_forward_hook(hook: Callable) -> HookHandle:
    """A forward hook for every module."""
    return HookHandle(_GLOBAL_HOOKS, hook)


def register_module_forward_pre_hook(hook: Callable) -> HookHandle:
    """A forward pre-hook for every module."""
    return HookHandle(_GLOBAL_PRE_HOOKS, hook)

