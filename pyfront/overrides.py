"""torch.overrides: classes that say themselves what functions of torch do with their instances (``__torch_function__``).

Ordinary tensors do not pay for it: what is known of a call (`known_calls.py`) is for tensors of no such class, and whoever makes a call
in full asks one flag, which the first such subclass of Tensor sets. Objects that are no tensors are asked where a tensor was expected.
Reading what a tensor is (``shape``, ``dim()``, ``item()``) is not put to a class: it answers as for any tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..dialects.errors import UnsupportedError
from .origin import origin, source_line
from .tensor import Tensor

__all__ = [
    "TorchFunctionMode", "get_default_nowrap_functions", "handle_torch_function", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like", "wrap_torch_function",
]  # fmt: skip


class _State:
    """on: there is a class or a mode to ask. off: how many regions are open in which classes are not asked."""

    def __init__(self) -> None:
        self.on = False
        self.off = 0
        self.modes: list[TorchFunctionMode] = []
        self.modes_off = 0


state = _State()
_asked: dict[type, bool] = {Tensor: False}  # whether a class says what functions do


def disabled(cls: type, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
    """The ``__torch_function__`` of classes that leave functions alone: their results are ordinary tensors."""
    return func(*args, **(kwargs or {}))


def _is_asked(kind: type) -> bool:
    found = _asked.get(kind)
    if found is None:
        method = getattr(kind, "__torch_function__", None)
        found = _asked[kind] = method is not None and getattr(method, "__func__", method) is not disabled
    return found


def _torch_function(cls: type, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
    """What functions do with instances of a subclass of Tensor: the same as with tensors, and tensors among the results become
    instances. NotImplemented where a class is involved that this one knows nothing of."""
    if not all([issubclass(cls, kind) for kind in types]):
        return NotImplemented
    with classes_off():
        result = func(*args, **(kwargs or {}))
    return result if func in get_default_nowrap_functions() else _as(result, cls)


def _as(result: Any, cls: type) -> Any:
    if cls is Tensor:
        return result
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else result.as_subclass(cls)  # type: ignore[attr-defined]  # a definition
    if isinstance(result, (tuple, list)):
        parts = [_as(part, cls) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _entered(cls: type, **options: Any) -> None:
    """A subclass of Tensor was made."""
    super(Tensor, cls).__init_subclass__(**options)
    if _is_asked(cls):
        cls._takes_data = True
        _ask_about_operators(cls)
        activate()


_when_on: list[Callable[[], None]] = []


def when_on(do: Callable[[], None]) -> None:
    """Have something done when there is the first class to ask."""
    _when_on.append(do)


def activate() -> None:
    """From now on there is a class or a mode to ask."""
    if not state.on:
        state.on = True
        for do in _when_on:
            do()


def _make_wrapper_subclass(cls: type, *_: Any, **__: Any) -> Any:
    """UnsupportedError: there is nothing below functions of torch that such a tensor could answer."""
    raise UnsupportedError(
        f"{cls.__name__} is a tensor without memory, which answers by __torch_dispatch__", at=source_line(origin()),
        help="a class with memory (Tensor._make_subclass, as_subclass) can answer by __torch_function__",
    )  # fmt: skip


Tensor._make_wrapper_subclass = staticmethod(_make_wrapper_subclass)  # type: ignore[attr-defined]
Tensor.__torch_function__ = classmethod(_torch_function)  # type: ignore[attr-defined]
Tensor.__init_subclass__ = classmethod(_entered)  # type: ignore[assignment,method-assign]


@contextmanager
def classes_off() -> Iterator[None]:
    """``DisableTorchFunctionSubclass``: classes are not asked."""
    state.off += 1
    try:
        yield
    finally:
        state.off -= 1


@contextmanager
def all_off() -> Iterator[None]:
    """``DisableTorchFunction``: neither classes nor modes are asked."""
    state.modes_off += 1
    try:
        with classes_off():
            yield
    finally:
        state.modes_off -= 1


def _found(values: Any, found: list[Any]) -> None:
    for value in values:
        kind = type(value)
        if kind is list or kind is tuple:
            _found(value, found)
        elif _is_asked(kind) and kind not in [type(other) for other in found]:
            # a subclass before what it is a subclass of
            at = next((i for i, other in enumerate(found) if issubclass(kind, type(other))), len(found))
            found.insert(at, value)


def asked(args: Any, options: dict[str, Any] | None = None) -> list[Any]:
    """The arguments whose classes are to be asked, one of each, in the order they are asked."""
    found: list[Any] = []
    if not state.off:
        _found(args, found)
        if options:
            _found(options.values(), found)
    return found


public_forms: dict[Any, Callable] = {}  # what users know a function by, where something stands in front of it


def answer(function: Callable, found: list[Any], args: tuple, options: dict[str, Any]) -> Any:
    """What the first class to answer says. TypeError when none does."""
    function = public_forms.get(function, function)
    kinds = tuple([type(value) for value in found])
    if state.modes and not state.modes_off:
        mode = state.modes.pop()
        try:
            result = mode.__torch_function__(function, kinds, args, options)
        finally:
            state.modes.append(mode)
        if result is not NotImplemented:
            return result
    for value in found:
        result = type(value).__torch_function__(function, kinds, args, options)
        if result is not NotImplemented:
            return result
    named = f"torch.{getattr(function, '__name__', function)}"
    raise TypeError(f"Multiple dispatch failed for '{named}'; all __torch_function__ handlers returned NotImplemented:\n" + "".join(f"\n  - {v!r}" for v in kinds))


def is_answered(args: tuple, options: dict[str, Any]) -> list[Any] | None:
    """To be asked where `state.on`: whose classes are to be asked about a call; None: nobody's."""
    found = asked(args, options)
    return found if found or (state.modes and not state.modes_off) else None


_overridable: dict[Any, Callable] = {}


def overridable(function: Callable) -> Callable:
    """A function that is made of others, asked as one."""
    known = _overridable.get(function)
    if known is not None:
        return known

    @functools.wraps(function)
    def public(*args: Any, **options: Any) -> Any:
        found = is_answered(args, options)
        if found is not None:
            return answer(public, found, args, options)
        return function(*args, **options)

    _overridable[function] = _overridable[public] = public
    return public


def below(function: Callable) -> Callable:
    """What stands behind a function made of others; the function itself where nothing is in front of it."""
    return function.__wrapped__ if _overridable.get(function) is function else function  # type: ignore[attr-defined]  # functools.wraps


# What functions are told of Python's operators; others are told as themselves.
_TOLD = {
    **{f"__{name}__": name for name in "add sub mul matmul eq ne lt le gt ge neg abs".split()},
    "__radd__": "add", "__rmul__": "mul", "__truediv__": "div", "__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_",
    "__itruediv__": "div_", "__mod__": "remainder", "__invert__": "bitwise_not",
}  # fmt: skip
_OPERATORS = (
    "__getitem__ __setitem__ __rsub__ __rtruediv__ __floordiv__ __rfloordiv__ __rmod__ __pow__ __rpow__ __ipow__ __and__ __rand__ "
    "__iand__ __or__ __ror__ __ior__ __xor__ __rxor__ __ixor__ __lshift__ __rshift__ __rmatmul__ __imatmul__ __imod__ __ifloordiv__"
).split()
_METHODS = "detach requires_grad_ new_zeros new_ones new_full new_empty new_tensor".split()
_VIEWS = "T mT H mH real imag data".split()


def _asks(method: Callable, told: str) -> Callable:
    @functools.wraps(method)
    def public(self: Tensor, *args: Any, **options: Any) -> Any:
        found = is_answered((self, *args), options)
        if found is not None:
            return answer(getattr(Tensor, told), found, (self, *args), options)
        return method(self, *args, **options)

    return public


def _ask_about_operators(cls: type) -> None:
    """Operators and views of a class ask; those of ordinary tensors stay what they are. Python tries a subclass's operator first."""
    between = {name for kind in cls.__mro__[: cls.__mro__.index(Tensor)] for name in vars(kind)}
    for name in (*_TOLD, *_OPERATORS, *_METHODS, *_VIEWS):
        held = vars(Tensor).get(name)
        if held is None or name in between:
            continue
        if name in _VIEWS:
            setattr(cls, name, property(_view(held, name), held.fset, held.fdel, held.__doc__))
        else:
            setattr(cls, name, _asks(held, _TOLD.get(name, name)))


def _view(held: property, name: str) -> Callable[[Tensor], Any]:
    def get(self: Tensor) -> Any:
        found = is_answered((self,), {})
        return held.fget(self) if found is None else answer(get, found, (self,), {})  # type: ignore[misc]  # it has one

    get.__name__ = name
    return get


# -- the public names
# ---------------------------------------------------------------------------------------------------------


class TorchFunctionMode:
    """A region in which ``__torch_function__(self, func, types, args, kwargs)`` is asked about functions of torch. Asked are functions
    and methods that compute; making tensors is not put to it."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> TorchFunctionMode:
        activate()
        state.modes.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        state.modes.pop()


def has_torch_function(relevant_args: Any) -> bool:
    """Whether functions must ask the class of one of the arguments."""
    return bool(asked(relevant_args)) or bool(state.modes and not state.modes_off)


def has_torch_function_unary(arg: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` of several arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api: Callable, relevant_args: Any, *args: Any, **kwargs: Any) -> Any:
    """What the classes of the relevant arguments say about a call. TypeError when none answers."""
    return answer(public_api, asked(relevant_args), args, kwargs)


def wrap_torch_function(dispatcher: Callable) -> Callable:
    """Lets classes answer for a function; ``dispatcher(*args, **kwargs)`` gives the arguments that are asked."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def public(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(public, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return public

    return decorate


def is_tensor_like(inp: Any) -> bool:
    """Whether something is a tensor or says what functions do with it."""
    return isinstance(inp, Tensor) or hasattr(type(inp), "__torch_function__")


@functools.lru_cache(maxsize=None)
def get_default_nowrap_functions() -> frozenset:
    """Functions whose results do not become instances of a subclass."""
    return frozenset([vars(Tensor).get(n) for n in ("_base", "grad", "_grad", "as_subclass") if n in vars(Tensor)])


def get_ignored_functions() -> set:
    """Functions no class is asked about."""
    return set()
