"""Whole modules in checkpoints: objects as class name and attributes, rebuilt from classes the program already has.

Nothing a file names is called: an object is made empty by its class's ``__new__`` and gets its attributes back. Which
classes count is decided by what is loaded in this process, never by importing.
"""

from __future__ import annotations

import enum
import sys
from collections import OrderedDict
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from ..import_hook import MODULES, ROOT, source_of
from ..nn.module import Module
from ..tensor import Tensor
from .plain_objects import Reduced, reduced

_TABLES = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip
_FUNCTION_HOMES = ("torch.nn.functional", "torch", "torch.nn.init")


class Global:
    """A class or function by the name PyTorch or the program gives it."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class NewObject:
    """An instance: its class and its attributes."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: Global, state: dict[str, Any]) -> None:
        self.kind, self.state = kind, state


def described(value: Any) -> Global | NewObject | Reduced | None:
    """How a checkpoint spells an object, a class or a function; None for what it cannot spell.

    Classes and functions must be found under their own name, or the reader could not find them again.
    """
    if isinstance(value, type) or isinstance(value, FunctionType):
        return _global(value)
    if _has_values(type(value)) and (kind := _global(type(value))) is not None:
        values = (value.value,) if isinstance(value, enum.Enum) else tuple(value)
        return Reduced(kind.module, kind.name, values)
    if (data := reduced(value)) is not None:
        return data
    kind = _global(type(value)) if is_plain_class(type(value)) else None
    if kind is None or not hasattr(value, "__dict__"):
        return None
    return NewObject(kind, _module_state(value) if isinstance(value, Module) else dict(value.__dict__))


def _global(value: Any) -> Global | None:
    module, name = value.__module__, value.__qualname__
    if module == ROOT or module.startswith(ROOT + "."):
        return _torch_name(value, module.removeprefix(ROOT + "."))
    return Global(module, name) if _find(module, name) is value else None


def _torch_name(value: Any, path: str) -> Global | None:
    name = value.__name__  # what factories made has a qualname that says so
    homes = [torch for torch, ours in MODULES.items() if ours == path] if isinstance(value, type) else []
    for home in ("torch.nn", *homes, *_FUNCTION_HOMES):
        if getattr(source_of(home), name, None) is value:
            return Global(home, name)
    return None


def _find(module: str, name: str) -> Any:
    """What a loaded module holds under a dotted name; None when it holds nothing there."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def is_plain_class(kind: type) -> bool:
    """Modules, and classes of the program whose instances are nothing but their attributes."""
    if issubclass(kind, Module):
        return True
    if issubclass(kind, (type, Tensor)) or _is_of_python(kind.__module__):
        return False
    customised = ("__new__", "__reduce__", "__reduce_ex__", "__getstate__")
    plain = all(getattr(kind, name) is getattr(object, name, None) for name in customised)
    return plain and not hasattr(kind, "__setstate__") and not hasattr(kind, "__del__")


def _module_state(module: Module) -> dict[str, Any]:
    """A module's attributes under the names PyTorch's Module keeps them."""
    own = dict(module.__getstate__())
    for name in ("_plain_call_", "_calls_"):  # found again when it is called
        own.pop(name, None)
    state = {key: own.pop(key) for key in ("training", "_parameters", "_buffers", "_non_persistent_buffers_set")}
    state |= {table: dict(state[table]) for table in ("_parameters", "_buffers")}
    modules = dict(own.pop("_modules"))
    state |= {table: own.pop(table, OrderedDict()) for table in _TABLES}
    return {**state, "_is_full_backward_hook": None, "_modules": modules, **own}


def of_values(kind: Any, values: tuple) -> Any:
    """A named tuple or a member of an enumeration of the program's; None for other classes. No code of theirs runs."""
    if not isinstance(kind, type) or not _has_values(kind):
        return None
    if issubclass(kind, enum.Enum):
        return kind._value2member_map_[values[0]]
    return tuple.__new__(kind, values)


def _has_values(kind: type) -> bool:
    is_record = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return (issubclass(kind, enum.Enum) or is_record) and not _is_of_python(kind.__module__)


class Live(Mapping[str, Any]):
    """Names of a checkpoint, "module name", that stand for something this process already has.

    `fixed` are the names every checkpoint may use; they win. Classes found here may only be instantiated empty.
    """

    def __init__(self, fixed: Mapping[str, Any]) -> None:
        self._fixed = fixed

    def __getitem__(self, key: str) -> Any:
        if key in self._fixed:
            return self._fixed[key]
        module, _, name = key.partition(" ")
        if module == "torch" or module.startswith("torch."):
            home = "torch.nn" if module.startswith("torch.nn.modules.") else module
            found = getattr(source_of(home), name, None)
            known = isinstance(found, FunctionType) and module in _FUNCTION_HOMES
        else:
            found = _find(module, name)
            known = isinstance(found, FunctionType) and not _is_of_python(module)
        if known or isinstance(found, type) and (is_plain_class(found) or _has_values(found)):
            return found
        raise KeyError(key)

    def __iter__(self) -> Any:
        return iter(self._fixed)

    def __len__(self) -> int:
        return len(self._fixed)


def _is_of_python(module: str) -> bool:
    return module != "__main__" and module.partition(".")[0] in {*sys.stdlib_module_names, "builtins"}


def empty_instance(kind: type) -> Any:
    """An instance without attributes; ``__init__`` does not run. TypeError for classes that are not plain."""
    if not is_plain_class(kind):
        raise TypeError(f"{kind.__qualname__} cannot be rebuilt from its attributes alone")
    return object.__new__(kind)


def restore(target: Any, state: dict[str, Any]) -> None:
    """Give an empty instance its attributes."""
    if not isinstance(target, Module):
        target.__dict__.update(state)
        return
    Module.__init__(target)
    tables = {key: OrderedDict(state[key]) if key.endswith("_hooks") else state[key] for key in target.__dict__ if key in state}
    target.__setstate__({**state, **tables, "_plain_call_": True})
    target._hooks_changed_()
