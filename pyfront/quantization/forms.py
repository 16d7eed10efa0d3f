"""Forms: what public functions do when they are given quantized tensors; other functions refuse those."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .quantized_tensor import MOVES, QuantizedTensor

FORMS: dict[str, Callable[..., Any]] = {}
"""By name of the public function."""


def form_of(*names: str) -> Callable[[Callable], Callable]:
    """Enter what functions of these names do with a quantized tensor as their first argument, or the first of a list."""

    def enter(f: Callable) -> Callable:
        FORMS.update(dict.fromkeys(names, f))
        return f

    return enter


def has_quantized_form(public: Callable, name: str | None = None) -> Callable:
    """The public function, or its form where its first argument is quantized."""
    name = name or public.__name__

    @functools.wraps(public)
    def either(*args: Any, **options: Any) -> Any:
        if args:
            first = args[0][0] if type(args[0]) in (list, tuple) and args[0] else args[0]
            if type(first) is QuantizedTensor:
                return FORMS[name](*args, **options)
        return public(*args, **options)

    return either


def with_quantized_forms(functions: dict[str, Callable]) -> dict[str, Callable]:
    """The public functions, those among them that have forms with these."""
    return {name: has_quantized_form(f, name) if name in FORMS else f for name, f in functions.items()}


def _method(name: str) -> Callable[..., Any]:
    return lambda input, *args, **options: getattr(input, name)(*args, **options)


for _name in MOVES:
    FORMS[_name] = _method(_name)
