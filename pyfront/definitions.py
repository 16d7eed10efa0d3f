"""Definitions: one function gives ``torch.f``, ``Tensor.f``, ``Tensor.f_`` and ``out=``.

``@define("add", in_place=True)`` on a function of Tensors enters it in TABLE; ``install`` puts methods on
Tensor and fills the public namespace. A definition's first parameter is called ``input``, as in PyTorch's
documentation.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import out_dtypes, overrides, recorder
from .assignment import check_overlap, write_out
from .autocasting import RULED
from .dtype_arguments import dtype_given
from .known_calls import TENSORS, KnownCalls, Public, mark, publish
from .strides import follow
from .overrides import state as asking
from .tensor import Tensor


class Definition(NamedTuple):
    """One public operation and the forms it has."""

    name: str
    function: Callable[..., Any]
    label: str
    is_method: bool
    is_function: bool
    is_in_place: bool
    is_exact: bool
    calls: KnownCalls
    other_names: dict[str, str]

    @property
    def follows(self) -> bool:
        """Computed element by element: the result's memory order is that of the operands."""
        return self.function.__module__.rpartition(".")[2] in ("arithmetic", "composites")


TABLE: dict[str, Definition] = {}


def tensor_parameters(function: Callable) -> list[tuple[int, str]]:
    """Position and name of every parameter that is annotated as a Tensor."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    annotations = getattr(function, "__annotations__", {})
    return [(i, name) for i, name in enumerate(names) if annotations.get(name) in ("Tensor", Tensor)]


_WHOLE = re.compile(r"(int|None|Sequence|\[|\]|\||,|\s)+")


def counted_parameters(function: Callable) -> dict[str, int]:
    """Position of every parameter that is annotated as a whole number or several, by name; -1 of those given by name only."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    found = [name for name, kind in getattr(function, "__annotations__", {}).items() if "int" in str(kind) and _WHOLE.fullmatch(str(kind))]
    return {name: names.index(name) if name in names else -1 for name in found if name != "return"}


def _counts(args: tuple, counted: dict[str, int], before: int = 0) -> tuple:
    """Arguments, with Python's number for a tensor that stands where a whole number goes."""
    for i in counted.values():
        if before <= i < len(args) + before and isinstance(args[i - before], Tensor):
            args = tuple([a.__index__() if k + before in counted.values() and isinstance(a, Tensor) else a for k, a in enumerate(args)])
    return args


def _check(name: str, function: Callable, wanted: list[tuple[int, str]], args: tuple, *before: Tensor) -> list[Any] | None:
    """TypeError, as PyTorch words it, for an argument that is no tensor; those to ask if that says what functions do with it.

    before: the tensor whose method is called. Numbers stand among the tensors in old forms (`old_forms`)."""
    for i, parameter in wanted:
        if i < len(args) and not isinstance(args[i], Tensor):
            found = overrides.asked(args)
            if found:
                return found
            if hasattr(function, "is_old_form") and function.is_old_form((*before, *args)):
                return None
            kind = type(args[i]).__name__
            raise TypeError(f"{name}(): argument '{parameter}' (position {i + 1}) must be Tensor, not {kind}")
    return None


_NUMBERS = (np.number, np.bool_)
_PLAIN = {int, float, bool, str, type(None)}


def _all_as_python(args: tuple) -> tuple:
    """`_as_python` of each: of most calls nothing has to be looked into."""
    return args if set(map(type, args)) - _PLAIN <= TENSORS else tuple(map(_as_python, args))


def _as_python(value: Any) -> Any:
    """A number of numpy's as Python's, also within lists and tuples; what else is given as it is."""
    if isinstance(value, _NUMBERS):
        return value.item()
    kind = type(value)
    if (kind is tuple or kind is list) and any([isinstance(part, _NUMBERS) for part in value]):
        return kind([_as_python(part) for part in value])
    return value


_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def define(
    *names: str, method: bool = True, function: bool = True, in_place: bool = False, label: str | None = None,
    exact_out: bool = False, also: dict[str, str] | None = None,
) -> Callable[[Callable], Callable]:  # fmt: skip
    """Enter a function under its public names.

    label: PyTorch's name of its backward, for ``grad_fn``. exact_out: ``out`` must have the result's dtype and share
    no memory with the operands. also: other names some of its parameters have in PyTorch (in a method, in an overload), each
    with the name it has here.
    """

    def enter(f: Callable) -> Callable:
        made_by = label or names[0]
        plain, other_names = KnownCalls(f), _NUMPY_NAMES | (also or {})
        for name in names:
            calls = KnownCalls(f, name) if name in RULED else plain
            TABLE[name] = Definition(name, f, made_by, method, function, in_place, exact_out, calls, other_names)
        return f

    return enter


def _several(function: Callable) -> str:
    """The name of a function's ``*sizes``; an empty one when it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or not code.co_flags & inspect.CO_VARARGS:
        return ""
    return code.co_varnames[code.co_argcount + code.co_kwonlyargcount]


def _position(function: Callable, name: str) -> int:
    """Where a function's positional parameter of a name is; -1 when it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    return names.index(name) if name in names else -1


def renaming(definition: Definition) -> Callable[[tuple, dict[str, Any]], tuple[tuple, dict[str, Any]]]:
    """What a call's arguments are by the names of the definition: ``axis`` is ``dim``, and sizes given by name (``shape=(2, 3)``)
    are positional ones."""
    other_names, several = definition.other_names, _several(definition.function)
    counted = counted_parameters(definition.function)

    def renamed(args: tuple, options: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        options = {other_names.get(k, k): _as_python(v) for k, v in options.items()}
        if "dtype" in options:
            options["dtype"] = dtype_given(options["dtype"])
        for name in options.keys() & counted.keys():
            if isinstance(options[name], Tensor):
                options[name] = options[name].__index__()
        if several and several in options:
            first = (options.pop("input"),) if "input" in options else ()
            args = (*first, *args, options.pop(several))
        return args, options

    return renamed


def as_method(definition: Definition) -> Callable:
    """``Tensor.f``."""
    function, label, follows = definition.function, definition.label, definition.follows
    wanted = [(i - 1, name) for i, name in tensor_parameters(function) if i]
    called, calls = definition.name, definition.calls
    renamed, counted = renaming(definition), counted_parameters(function)

    def at_length(self: Tensor, *args: Any, **options: Any) -> Any:
        given = self, *args
        found = overrides.is_answered(given, options) if asking.on else None
        if found is None and wanted:
            found = _check(called, function, wanted, args, self)
        if found is not None:
            return overrides.answer(method, found, given, options)
        args = _counts(_all_as_python(args), counted, 1)
        if options:
            args, options = renamed(args, options)
        return finished(calls.first((self, *args), options), given)

    @functools.wraps(function)
    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        result = calls.again((self, *args), options) if calls and not asking.modes else None
        return at_length(self, *args, **options) if result is None else finished(result, (self, *args))

    def finished(result: Any, args: tuple) -> Any:
        self = args[0]
        if type(result) is Tensor:
            if follows and (len(args) > 1 or self._chain or self._storage.host is not None):
                follow(result, args)
            if result is not self and result._node.requires_grad:
                result._label = label
        elif isinstance(result, tuple):
            mark(result, label)
        return result

    method.__name__ = definition.name
    return publish(Public(method, at_length, calls, label, follows))


def as_function(definition: Definition) -> Callable:
    """``torch.f``, with ``out=``."""
    function, label, follows = definition.function, definition.label, definition.follows
    wanted, name, calls = tensor_parameters(function), definition.name, definition.calls
    renamed, counted = renaming(definition), counted_parameters(function)

    @functools.wraps(function)
    def public(*args: Any, **options: Any) -> Any:
        if calls and not asking.modes:
            result = calls.again(args, options)
            if result is not None:
                return finished(result, args)
        return at_length(*args, **options)

    def at_length(*args: Any, **options: Any) -> Any:
        found = overrides.is_answered(args, options) if asking.on else None
        if found is None and wanted:
            found = _check(name, function, wanted, args)
        if found is not None:
            return overrides.answer(public, found, args, options)
        args = _counts(_all_as_python(args), counted)
        if options:
            return with_options(args, options)
        return finished(calls.first(args, options), args)

    def finished(result: Any, args: tuple) -> Any:
        if type(result) is Tensor:
            if follows and (len(args) != 1 or type(args[0]) is not Tensor or args[0]._chain or args[0]._storage.host is not None):
                follow(result, args)
            if result._node.requires_grad and not (args and result is args[0]):
                result._label = label
        elif isinstance(result, tuple):
            mark(result, label)
        return result

    def with_options(args: tuple, options: dict[str, Any]) -> Any:
        out = options.pop("out", None)
        args, options = renamed(args, options)
        return computed(args, options, out)

    def computed(args: tuple, options: dict[str, Any], out: Any) -> Any:
        start = recorder.state.order
        if isinstance(out, Tensor) and follows:
            for a in args:
                check_overlap(out, a)
        result = calls.first(args, options) if out is None else calls.in_full(args, out_dtypes.options_for(name, out, options))
        if out is None:
            return finished(result, args)
        if follows:
            follow(result, args)
        if definition.is_exact:
            _check_out(out, result, args)
        out_dtypes.check(name, out, result)
        return _into(out, result, start)

    public.__name__ = definition.name
    return publish(Public(public, at_length, calls, label, follows))


def writes_out(function: Callable) -> Callable:
    """A function made of others with ``out=``: a tensor, or as many as it has results."""

    @functools.wraps(function)
    def public(*args: Any, out: Any = None, **options: Any) -> Any:
        options = {_NUMPY_NAMES.get(k, k): v for k, v in options.items()}
        if out is None:
            return function(*args, **options)
        start = recorder.state.order
        result = function(*args, **options)
        pairs = [(out, result)] if isinstance(out, Tensor) else zip(out, result, strict=True)
        for o, r in pairs:
            out_dtypes.check(function.__name__, o, r)
        return _into(out, result, start)

    return public


def _check_out(out: Any, result: Any, args: tuple) -> None:
    read = [a._storage for a in args if isinstance(a, Tensor)]
    pairs = [(out, result)] if isinstance(out, Tensor) else zip(out, result, strict=True)
    for o, r in pairs:
        out_dtypes.check_own(o.dtype, r.dtype)
        if any(o._storage is s for s in read):
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
                "memory location. Please clone() the tensor before performing the operation."
            )


def _into(out: Any, result: Any, start: int) -> Any:
    if isinstance(out, Tensor):
        return write_out(out, result, start)
    pairs = list(zip(out, result, strict=True))
    for o, r in pairs:
        if r.dtype.kind in "ui":  # indices, exponents
            out_dtypes.check_own(o.dtype, r.dtype)
    return type(result)(*[write_out(o, r, start) for o, r in pairs])


def as_in_place(definition: Definition) -> Callable:
    """``Tensor.f_``. Autocast has no rules for what writes in place."""
    calls = KnownCalls(definition.function) if definition.calls.rule else definition.calls
    label, renamed, state = definition.label, renaming(definition), recorder.state
    number = _position(definition.function, "value") - 1  # what a tensor is filled with; ``input`` is not counted

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        found = overrides.is_answered((self, *args), options) if asking.on else None
        if found is not None:
            return overrides.answer(method, found, (self, *args), options)
        if options:
            args, options = renamed(args, options)
        return state.in_place(self, calls.made_node, args, options, number, label)

    method.__name__ = definition.name + "_"
    method.__doc__ = f"``{definition.name}``, written into this tensor."
    return publish(Public(method, method, calls, label, writes=True))


def install() -> dict[str, Callable]:
    """Put every definition's methods on Tensor; return the public functions by name."""
    public: dict[str, Callable] = {}
    for name, definition in TABLE.items():
        if definition.is_method:
            setattr(Tensor, name, as_method(definition))
        if definition.is_in_place:
            setattr(Tensor, name + "_", as_in_place(definition))
            if definition.is_function:
                public[name + "_"] = getattr(Tensor, name + "_")
        if definition.is_function:
            public[name] = as_function(definition)
    return public
