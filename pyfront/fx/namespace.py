"""Namespace: names for values in the text of a graph, no two alike and none that means something else there."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from typing import Any

TAKEN: dict[str, Any] = {"inf": math.inf, "nan": math.nan, "NoneType": type(None)}
"""Names that the text of every graph may use, with what they are; `torch` and `device` are among them."""
_FREE = {"torch", "device", *TAKEN}
_OUTSIDE = re.compile(r"[^0-9a-zA-Z_]+")
_NUMBERED = re.compile(r"(.*)_(\d+)$")


def snake_case(name: str) -> str:
    """``BatchNorm`` as ``batch_norm``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


class Namespace:
    """Gives names, each once. PyTorch's choices: a name itself, or with the next number behind it."""

    def __init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any = None) -> str:
        """A name like ``candidate`` that nothing has yet; the same again for the same ``obj``."""
        if obj is not None and obj in self._names:
            return self._names[obj]
        candidate = _OUTSIDE.sub("_", candidate) or "_unnamed"
        if candidate[0].isdigit():
            candidate = f"_{candidate}"
        match = _NUMBERED.match(candidate)
        base, number = (match[1], int(match[2])) if match else (candidate, self._counts.get(candidate, 0))
        if match is None and number and candidate in self._used:
            candidate = f"{base}_{number}"
        while candidate in self._used or is_illegal(candidate, obj):
            number += 1
            candidate = f"{base}_{number}"
        self._used.add(candidate)
        self._counts[base] = max(number, self._counts.get(base, 0)) if match is None else self._counts.get(base, 0)
        if obj is not None:
            self._names[obj] = candidate
        return candidate

    def associate(self, name: str, obj: Any) -> None:
        """``name`` belongs to ``obj``."""
        self._names[obj] = name
        self._used.add(name)

    def rename(self, obj: Any, name: str) -> None:
        """Another name for ``obj``."""
        self._names[obj] = name
        self._used.add(name)


def is_illegal(name: str, obj: Any) -> bool:
    """Whether a name means something else in the text of a graph."""
    if keyword.iskeyword(name) or name in _FREE:
        return True
    return name in vars(builtins) and obj is not vars(builtins)[name]
