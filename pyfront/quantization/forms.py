"""Forms: what public functions do when they are given quantized tensors (arithmetic.py); other functions refuse those."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from ..known_calls import in_front
from ..tensor import Tensor
from .quantized_tensor import MOVES, QuantizedTensor

NAMES = (
    "relu", "relu6", "hardtanh", "sigmoid", "tanh", "dropout", "mean", "cat", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
)  # fmt: skip
"""Public functions of arithmetic that have forms."""
_FORMS: dict[str, Callable[..., Any]] = {}


def form_of(name: str) -> Callable[[Callable], Callable]:
    """Enter what the function of this name does with a quantized tensor as its first argument, or the first of a list."""

    def enter(f: Callable) -> Callable:
        _FORMS[name] = f
        return f

    return enter


def form(name: str) -> Callable[..., Any]:
    """What a function does with quantized tensors."""
    if name not in _FORMS:
        importlib.import_module(".arithmetic", __package__)  # which needs layers' functions, and those need names of these forms
    return _FORMS[name]


def has_quantized_form(public: Callable, name: str, module: str | None = None) -> Callable:
    """The public function, or its form where its first argument is quantized. module: the one it is a name of, which pickles refer to."""

    @functools.wraps(public)
    def either(*args: Any, **options: Any) -> Any:
        if args and type(args[0]) is not Tensor:
            first = args[0][0] if type(args[0]) in (list, tuple) and args[0] else args[0]
            if type(first) is QuantizedTensor:
                return form(name)(*args, **options)
        return public(*args, **options)

    either.__module__ = module or public.__module__
    return in_front(either, public)


def with_quantized_forms(functions: dict[str, Callable]) -> dict[str, Callable]:
    """The public functions, those among them that have forms with these."""
    return {name: has_quantized_form(f, name) if name in _FORMS or name in NAMES else f for name, f in functions.items()}


def _method(name: str) -> Callable[..., Any]:
    return lambda input, *args, **options: getattr(input, name)(*args, **options)


def _as_method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **options: form(name)(self, *args, **options)


for _name in MOVES:
    _FORMS[_name] = _method(_name)
for _name in ("relu", "sigmoid", "tanh", "mean"):
    setattr(QuantizedTensor, _name, _as_method(_name))
