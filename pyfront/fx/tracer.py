"""Tracer: runs a function or a module once on Proxies and gives the Graph of what it did."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from ..nn.containers import Sequential
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from . import patching
from .graph import Graph
from .graph_module import GraphModule
from .node import has_side_effect
from .proxy import Proxy, TraceError, TracerBase
from .targets import ROOT


class _Placeholder:
    """`PH`: in ``concrete_args``, an argument that stays one."""

    def __repr__(self) -> str:
        return "PH"


PH = _Placeholder()


class Tracer(TracerBase):
    """Traces modules and functions; subclasses say what is recorded as one step (`is_leaf_module`) and how."""

    def __init__(self, autowrap_modules: tuple[ModuleType, ...] = (), autowrap_functions: tuple[Callable, ...] = (), param_shapes_constant: bool = False) -> None:
        self._wraps = [*autowrap_functions, *(f for m in autowrap_modules for n, f in vars(m).items() if not n.startswith("_") and inspect.isfunction(f))]
        self.param_shapes_constant = param_shapes_constant
        self.root: Any = None
        self._paths: dict[Module, str] = {}
        self._attributes: dict[int, str] = {}
        self._parameters: dict[str, Proxy] = {}

    # -- what may be overridden

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a call of ``m`` is one step. Layers of torch.nn are, but for Sequential."""
        return type(m).__module__.startswith((f"{ROOT}.pyfront.nn.", f"{ROOT}.pyfront.quantization.", "torch.nn")) and not isinstance(m, Sequential)

    def path_of_module(self, mod: Module) -> str:
        """The name of a submodule of the root. NameError where it is none."""
        if mod not in self._paths:
            raise NameError("module is not installed as a submodule")
        return self._paths[mod]

    def call_module(self, m: Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """What a call of a module does: record it, or run it."""
        path = self.path_of_module(m)
        if not self.is_leaf_module(m, path):
            return forward(*args, **kwargs)
        return self.create_proxy("call_module", path, args, kwargs)

    def create_arg(self, a: Any) -> Any:
        """Tensors become attributes of the root."""
        if isinstance(a, Tensor):
            return self.create_node("get_attr", self._attribute_of(a), (), {})
        return super().create_arg(a)

    def _attribute_of(self, tensor: Tensor) -> str:
        name = self._attributes.get(id(tensor))
        if name is None:
            number = 0
            while hasattr(self.root, f"_tensor_constant{number}"):
                number += 1
            name = f"_tensor_constant{number}"
            setattr(self.root, name, tensor)
            self._attributes[id(tensor)] = name
        return name

    # -- tracing

    def trace(self, root: Module | Callable, concrete_args: dict[str, Any] | None = None) -> Graph:
        """The Graph of a call. concrete_args: arguments that are these values instead of inputs."""
        if isinstance(root, Module):
            self.root, function = root, type(root).forward
            if type(self).__dict__.get("traced_func_name") or getattr(self, "traced_func_name", "forward") != "forward":
                function = getattr(type(root), self.traced_func_name)  # type: ignore[attr-defined]
        else:
            self.root, function = Module(), root
        self.graph = Graph(tracer_cls=type(self))
        self._paths = {m: name for name, m in reversed(list(self.root.named_modules(remove_duplicate=False)))}
        self._attributes, self._parameters = {}, {}
        for prefix, module in self.root.named_modules():
            for name, value in [*vars(module).items(), *module._buffers.items(), *module._parameters.items()]:
                if isinstance(value, Tensor):
                    self._attributes.setdefault(id(value), f"{prefix}.{name}" if prefix else name)
        classes = dict.fromkeys(k for m in self.root.modules() for k in type(m).__mro__ if issubclass(k, Module))
        arguments = self._arguments(function, isinstance(root, Module), concrete_args or {})
        with patching.exchanged(self._called, self._looked_up, iter(dict.fromkeys([Module, *classes])), self._wraps):
            result = _without_stars(function)(*arguments[0], **arguments[1])
            self.create_node("output", "output", (self.create_arg(result),), {}, type_expr=_hint(function, "return"))
        return self.graph

    def _looked_up(self, name: str, value: Any) -> Any:
        return self.getattr(name, value, self._parameters)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Proxy]) -> Any:
        """What an entry of a module is while it is traced: of a parameter one Proxy, however often it is looked up."""
        path = self._attributes.get(id(attr_val)) if isinstance(attr_val, Parameter) else None
        if path is None:
            return attr_val
        if path not in parameter_proxy_cache:
            parameter_proxy_cache[path] = self.create_proxy("get_attr", path, (), {})
        return parameter_proxy_cache[path]

    def _called(self, module: Module, call: Callable, args: tuple, kwargs: dict) -> Any:
        known = module in self._paths
        return self.call_module(module, call, args, kwargs) if known or patching._first_proxy(args, kwargs) else call(*args, **kwargs)

    def _arguments(self, function: Callable, is_module: bool, concrete: dict[str, Any]) -> tuple[list, dict]:
        given: list[Any] = [self.root] if is_module else []
        named: dict[str, Any] = {}
        for name, parameter in list(inspect.signature(function).parameters.items())[int(is_module) :]:
            stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
            default = () if parameter.default is parameter.empty else (parameter.default,)
            proxy = self.create_proxy("placeholder", stars + name, default, {}, type_expr=None if stars else _hint(function, name))
            value = self._specialised(name, proxy, concrete[name]) if name in concrete and concrete[name] is not PH else proxy
            by_name = parameter.kind is parameter.KEYWORD_ONLY
            (named.__setitem__ if by_name else lambda _, v: given.append(v))(name, value)
        return given, named

    def _specialised(self, name: str, proxy: Proxy, value: Any) -> Any:
        """``value``, and a step that refuses others."""
        if isinstance(value, (bool, int, float, str)) or value is None:
            message = f"{name} has been specialized to have value {value} but got another value"
            self.create_proxy("call_function", _assert_is, (proxy, value, message), {})
        return value



def _without_stars(function: Callable) -> Callable:
    """The function with ``*args`` and ``**kwargs`` as two ordinary parameters: each is given one Proxy."""
    code = getattr(function, "__code__", None)
    flags = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    if code is None or not code.co_flags & flags or hasattr(function, "__signature__"):
        return function  # one that says what its parameters are takes them as its signature has them
    extra = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    if code.co_kwonlyargcount:
        raise TraceError("a function that has both keyword-only parameters and *args or **kwargs is not traced")
    plain = code.replace(co_flags=code.co_flags & ~flags, co_argcount=code.co_argcount + extra)
    return FunctionType(plain, function.__globals__, function.__name__, function.__defaults__, function.__closure__)  # type: ignore[attr-defined]


def _hint(function: Callable, name: str) -> Any:
    """An annotation; None for one that is text and means nothing where it stands."""
    found = getattr(function, "__annotations__", {}).get(name)
    if not isinstance(found, str):
        return found
    try:
        return typing.get_type_hints(function).get(name)
    except Exception:  # names that are imported for type checkers only, or anything else that is wrong in a text nobody runs
        return None


def _assert_is(value: Any, wanted: Any, message: str) -> None:
    assert value is wanted if wanted is None else value == wanted, message


has_side_effect(_assert_is)


def symbolic_trace(root: Module | Callable, concrete_args: dict[str, Any] | None = None) -> GraphModule:
    """A module or function as a GraphModule: run once on Proxies. TraceError where its steps depend on values."""
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return GraphModule(tracer.root, graph, name)


def wrap(fn_or_name: str | Callable) -> Any:
    """Have calls of a function recorded as one step. Called at the top of the module that uses the function, or as a decorator."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    if callable(fn_or_name) and hasattr(fn_or_name, "__code__") is False:
        raise RuntimeError(f"{name} is not a Python function: give its name")
    patching.wrapped_names.append((frame.f_globals, name))
    return fn_or_name
