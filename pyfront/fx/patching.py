"""Patching: while a function is traced, public functions, methods of tensors and calls of modules that are given a Proxy become Nodes.

PyTorch's functions ask their arguments what to do; ours are plain functions, so they are exchanged where programs have them: in every module
that holds one under any name. All is as it was when tracing ends.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

from .. import definitions
from ..nn.module import Module
from ..tensor import Tensor
from .arguments import leaves
from .proxy import Proxy
from .targets import public_form, public_functions

wrapped_names: list[tuple[dict, str]] = []
"""(globals, name) of what programs asked to have recorded, see `tracer.wrap`."""
_AS_CALLED = frozenset(
    """adaptive_avg_pool1d avg_pool1d avg_pool2d avg_pool3d bilinear channel_shuffle conv1d conv2d conv3d conv_tbc conv_transpose1d
    conv_transpose2d conv_transpose3d cosine_similarity elu_ gelu hardshrink hardtanh_ leaky_relu_ linear logsigmoid native_channel_shuffle
    one_hot pad pairwise_distance pdist pixel_shuffle pixel_unshuffle prelu relu_ rrelu_ scaled_dot_product_attention softplus softshrink
    celu_ selu_ threshold_""".split()
)
"""Functions of torch.nn.functional that PyTorch has in C++: they are recorded as they are called, others with all their options."""

_ONE_BY_ONE = frozenset(["einsum"])
"""Functions of the root that hand operands given as a list on one by one before they ask them."""


class Patcher:
    """Exchanges attributes, and puts them back in the opposite order."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any, bool]] = []

    def put(self, home: Any, name: str, value: Any) -> None:
        """``home.name`` (``home[name]`` of a dict) is ``value`` from now on."""
        space = home if isinstance(home, dict) else vars(home)
        self._before.append((home, name, space.get(name), name in space))
        _assign(home, name, value)

    def undo(self) -> None:
        """As it was."""
        for home, name, value, was_there in reversed(self._before):
            if was_there:
                _assign(home, name, value)
            elif isinstance(home, dict):
                del home[name]
            else:
                delattr(home, name)
        self._before.clear()


def _assign(home: Any, name: str, value: Any) -> None:
    if isinstance(home, dict):
        home[name] = value
    else:
        setattr(home, name, value)


def _first_proxy(args: tuple, kwargs: dict) -> Proxy | None:
    return next((a for a in leaves((args, kwargs)) if isinstance(a, Proxy)), None)


def recording(
    function: Callable, kind: str = "call_function", target: Any = None, in_full: bool = False, one_by_one: bool = False
) -> Callable:  # fmt: skip
    """``function``, but recorded when it is given a Proxy. in_full: with all its options, by name. one_by_one: with the operands of a list."""
    signature = inspect.signature(function) if in_full else None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = _first_proxy(args, kwargs)
        if proxy is None:
            return function(*args, **kwargs)
        if signature is not None:
            args, kwargs = _spelled_out(signature, args, kwargs)
        if one_by_one:
            args = _without_list(args)
        return proxy.tracer.create_proxy(kind, function if target is None else target, args, kwargs)

    return call


def _without_list(args: tuple) -> tuple:
    return (args[0], *args[1]) if len(args) == 2 and isinstance(args[1], (list, tuple)) else args


def _spelled_out(signature: inspect.Signature, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Arguments without a default by position, those with one by name."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    required, options = [], {}
    for name, parameter in signature.parameters.items():
        if name.startswith("_"):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return args, kwargs
        if parameter.default is parameter.empty:
            required.append(bound.arguments[name])
        else:
            options[name] = bound.arguments[name]
    return tuple(required), options


@contextmanager
def exchanged(
    call_module: Callable, look_up: Callable[[str, Any], Any], module_classes: Iterator[type], wraps: list[Callable]
) -> Iterator[None]:  # fmt: skip
    """Everything exchanged for the time of a trace.

    call_module(module, its call, args, kwargs) runs instead of a module's call; look_up(name, value) says what an entry of a module is.
    """
    public_functions()  # while names mean what they mean
    patcher, classes = Patcher(), list(module_classes)
    try:
        _exchange_modules(patcher, call_module, classes)
        _exchange_look_up(patcher, look_up)
        _exchange_methods(patcher)
        _exchange_functions(patcher, wraps, classes)
        yield
    finally:
        patcher.undo()


def _exchange_modules(patcher: Patcher, call_module: Callable, classes: list[type]) -> None:
    for kind in classes:
        own = vars(kind).get("__call__")
        if own is not None:
            patcher.put(kind, "__call__", _module_call(own, call_module))


def _exchange_look_up(patcher: Patcher, look_up: Callable[[str, Any], Any]) -> None:
    own = vars(Module)["__getattr__"]

    def look(self: Any, name: str) -> Any:
        return look_up(name, own(self, name))

    patcher.put(Module, "__getattr__", look)


def _module_call(own: Callable, call_module: Callable) -> Callable:
    @functools.wraps(own)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return call_module(self, functools.partial(own, self), args, kwargs)

    return call


def _exchange_methods(patcher: Patcher) -> None:
    for name, definition in definitions.TABLE.items():
        own = vars(Tensor).get(name)
        if definition.is_method and type(own) is FunctionType:
            patcher.put(Tensor, name, recording(own, "call_method", name))
    for name in _OPERATORS.split():
        patcher.put(Tensor, f"__{name}__", recording(vars(Tensor)[f"__{name}__"], "call_method", _METHODS.get(name, name)))
    patcher.put(Tensor, "__getitem__", recording(vars(Tensor)["__getitem__"], "call_function", operator.getitem))


_OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor eq ne lt gt le ge"
_METHODS = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}


def _is_in_full(name: str) -> bool:
    return name.startswith("nn.functional.") and name.rpartition(".")[2] not in _AS_CALLED


def recorded(function: Callable, args: tuple, kwargs: dict) -> Proxy:
    """A call of a public function or a method of tensors that was given a Proxy outside of a trace, as a Node of the Proxy's graph."""
    proxy = _first_proxy(args, kwargs)
    assert proxy is not None  # it was asked
    name = getattr(function, "__name__", "")
    if name and vars(Tensor).get(name) is function:
        return proxy.tracer.create_proxy("call_method", name, args, kwargs)
    target = public_form(function)
    known = public_functions().get(target, "")
    if _is_in_full(known):
        args, kwargs = _spelled_out(inspect.signature(target), args, kwargs)
    if known in _ONE_BY_ONE:
        args = _without_list(args)
    return proxy.tracer.create_proxy("call_function", target, args, kwargs)


def _exchange_functions(patcher: Patcher, wraps: list[Callable], classes: list[type]) -> None:
    functions = public_functions()
    made = {f: recording(f, in_full=_is_in_full(n), one_by_one=n in _ONE_BY_ONE) for f, n in functions.items()}
    made.update({f: recording(f) for f in wraps})
    for kind in classes:  # layers that are made from a table hold theirs
        for name, value in list(vars(kind).items()):
            if isinstance(value, staticmethod) and value.__func__ in made:
                patcher.put(kind, name, staticmethod(made[value.__func__]))
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__ not in _NOT_LOOKED_AT:
            space = vars(module)
            for name, value in list(space.items()):
                if type(value) is FunctionType and value in made:
                    patcher.put(space, name, made[value])
    for space, name in wrapped_names:
        patcher.put(space, name, recording(space[name] if name in space else _builtin(name)))


def _builtin(name: str) -> Any:
    import builtins

    return getattr(builtins, name)


_NOT_LOOKED_AT = {__name__, f"{__name__.rpartition('.')[0]}.targets"}
