"""Targets: the names under which functions are public, for the text of a graph and for tables of it."""

from __future__ import annotations

import builtins
import importlib
import operator
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

from .. import overrides

ROOT = __name__.rpartition(".pyfront")[0]
_PLACES = ("nn.functional", "", "special", "linalg", "fft")
"""Where public functions are, below torch; what is in two of them is called by the first."""


def package() -> ModuleType:
    """The package that stands for torch."""
    return importlib.import_module(ROOT)


@lru_cache(maxsize=1)
def public_functions() -> dict[Any, str]:
    """Every public function that is computed on tensors, with its name below torch ("cat", "nn.functional.relu")."""
    found: dict[Any, str] = {}
    torch = package()
    for place in _PLACES:
        home: Any = torch
        for part in filter(None, place.split(".")):
            home = getattr(home, part)
        prefix = f"{place}." if place else ""
        for name, value in list(vars(home).items()):
            if type(value) is FunctionType and not name.startswith("__") and _is_of_ours(value):
                found.setdefault(value, prefix + name)
                found.setdefault(overrides.below(value), prefix + name)
    for name in _ROOT_FIRST:
        found[getattr(torch, name)] = name
    return found


@lru_cache(maxsize=1)
def _fronts() -> dict[Any, Any]:
    """What stands in front of a function, as programs have it."""
    found: dict[Any, Any] = {}
    for public in public_functions():
        inner = public
        while (inner := getattr(inner, "__wrapped__", None)) is not None:
            found.setdefault(inner, public)
    return found


def public_form(function: Callable) -> Callable:
    """A function that was asked about, as programs have it: itself, what stands in front of it, or what it stands in front of."""
    names = public_functions()
    if function in names:
        return function
    inner: Any = _fronts().get(function, function)
    while inner is not None and inner not in names:
        inner = getattr(inner, "__wrapped__", None)
    return function if inner is None else inner


overrides.when_on(public_functions.cache_clear)  # functions made of others are then others
overrides.when_on(_fronts.cache_clear)

_ROOT_FIRST = frozenset(
    """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d avg_pool1d cosine_similarity pdist pixel_shuffle
    pixel_unshuffle channel_shuffle bilinear prelu hardshrink celu_ selu_ rrelu_ threshold_ adaptive_avg_pool1d pairwise_distance""".split()
)
"""In PyTorch these are the root's, which torch.nn.functional offers, too."""


def _is_of_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").startswith(ROOT + ".")


def qualified_name(function: Callable) -> str:
    """``torch.cat``, ``operator.add``, ``builtins.getattr``, ``module.function``."""
    name = getattr(function, "__name__", type(function).__name__)
    if getattr(builtins, name, None) is function:
        return f"builtins.{name}"
    if getattr(operator, name, None) is function:
        return f"operator.{name}"
    if type(function) is FunctionType and function in public_functions():
        return f"torch.{public_functions()[function]}"
    return f"{getattr(function, '__module__', None) or '__main__'}.{name}"
