"""Module: parameters, buffers and submodules under attribute names, and a call with hooks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

from ..tensor import Tensor
from . import hooks
from .changes import Table, changed
from .hooks import (  # noqa: F401  # public here
    HookMethods, register_module_backward_hook, register_module_buffer_registration_hook, register_module_forward_hook,
    register_module_forward_pre_hook, register_module_full_backward_hook, register_module_full_backward_pre_hook,
    register_module_module_registration_hook, register_module_parameter_registration_hook,
)  # fmt: skip
from .parameter import Buffer, Parameter, name_below
from .state import _EXTRA_STATE_KEY_SUFFIX, StateMethods, _IncompatibleKeys  # noqa: F401  # but for StateMethods, looked for here
from .traversal import TraversalMethods

_TABLES = ("_parameters", "_buffers", "_modules")
_are_global = hooks._are_global
_PACKAGE = __name__.partition(".")[0] + "."
T_destination = TypeVar("T_destination", bound=dict[str, Any])


class Entry:
    """An entry of a module's tables as an attribute of its class: found without first failing to find an ordinary attribute.

    Layers of ours declare so what they read in every call. What an instance or a subclass has under the name goes before it, and what
    is in no table is missing, as without the declaration.
    """

    def __init__(self, table: str) -> None:
        self.table = table

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Module | None, owner: type) -> Any:
        if module is None:
            return self
        try:
            return module.__dict__[self.table][self.name]
        except KeyError:
            raise AttributeError(self.name) from None  # asks __getattr__


_NO_ENTRY = Entry("")


class Module(HookMethods, StateMethods, TraversalMethods):
    """Base of all networks. Subclasses call ``super().__init__()`` and define ``forward``."""

    dump_patches = False
    training: bool
    call_super_init = False
    T_destination = T_destination
    _whole_: Any = None  # how a program's own module is called (see calls.py)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs and not self.call_super_init:
            raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'")
        if args and not self.call_super_init:
            raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given")
        put = super().__setattr__
        put("training", True)
        put("_parameters", Table())
        put("_buffers", Table())
        put("_non_persistent_buffers_set", set())
        put("_modules", Table())
        self.__dict__.update(self._fresh_hooks_())
        for table in ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks"):
            put(table, OrderedDict())
        put("_load_state_dict_post_hooks", OrderedDict())
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__module__.startswith(_PACKAGE):
            from .calls import whole

            cls._whole_ = whole

    def forward(self, *inputs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # -- the call ---------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._plain_call_ and not _are_global[0]:
            whole = self._whole_
            return self.forward(*args, **kwargs) if whole is None else whole(args, kwargs)
        return self._call_with_hooks_(args, kwargs)

    _call_impl = __call__  # by which programs call a module from a `__call__` of their own

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
        changed(self)
        if isinstance(value, Parameter):
            self._enter_("parameters", name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._enter_("module", name)
            self._modules[name] = value = hooks.registered("module", self, name, value)
            name_below(name, value.parameters())
        elif isinstance(value, Buffer):
            self._enter_("buffer", name)
            self.register_buffer(name, value, value.persistent)
        else:
            self._set_other_(name, value)

    _own_setattr_ = __setattr__  # whether a program has one of its own, `train` asks

    def _enter_(self, what: str, name: str) -> None:
        """`name` is about to move into one of the tables: clear it everywhere else."""
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        self.__dict__.pop(name, None)
        for table in _TABLES:
            self.__dict__[table].pop(name, None) if what not in table else None

    def _set_other_(self, name: str, value: Any) -> None:
        state = self.__dict__
        for table, what in (("_parameters", "parameter"), ("_modules", "child module"), ("_buffers", "buffer")):
            entries = state.get(table)
            if entries is not None and name in entries:
                if value is not None and not (what == "buffer" and isinstance(value, Tensor)):
                    kinds = {"parameter": "torch.nn.Parameter", "buffer": "torch.nn.Buffer, torch.Tensor"}
                    kind = kinds.get(what, "torch.nn.Module")
                    raise TypeError(
                        f"cannot assign '{_type_name(value)}' as {what} '{name}' ({kind} or None expected)"
                    )
                entries[name] = hooks.registered("buffer", self, name, value) if what == "buffer" else value
                return
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        changed(self)
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
        self._check_name_(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly."
                " To express '{0}' as a function of another Tensor, compute the value in the forward() method.".replace("{0}", name)
            )
        self._parameters[name] = param = hooks.registered("parameter", self, name, param)
        changed(self)
        name_below(name, [param])

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A tensor that is part of the module's state but not trained."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name_(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)")
        self._buffers[name] = hooks.registered("buffer", self, name, tensor)
        changed(self)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Make `module` a child under `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_name_(name, "module", self._modules)
        self._modules[name] = module = hooks.registered("module", self, name, module)
        changed(self)
        name_below(name, module.parameters() if module is not None else ())

    register_module = add_module

    def _check_name_(self, name: str, what: str, table: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_type_name(name)}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain "."' + (f", got: {name}" if what == "module" else ""))
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')
        of_class = type(getattr(type(self), name, _NO_ENTRY))
        if name not in table and (name in self.__dict__ or of_class is not Entry or self._holds_(name)):
            raise KeyError(f"attribute '{name}' already exists")

    def _holds_(self, name: str) -> bool:
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
        children = [f"({key}): {_addindent(repr(module), 2)}" for key, module in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not children:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"

    def __setstate__(self, state: dict) -> None:
        for name, empty in self._fresh_hooks_().items():
            state.setdefault(name, empty)  # what an older version did not have
        self.__dict__.update(state)
        for name in _TABLES:
            if name in state and type(state[name]) is not Table:
                self.__dict__[name] = Table(state[name])
        self._hooks_changed_()


def _addindent(text: str, count: int) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * count + line for line in rest)])


def _type_name(value: object) -> str:
    if isinstance(value, Tensor):
        return value.type()
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
