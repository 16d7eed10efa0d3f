"""Objects of Python's library and of numpy that are nothing but data: settings, counters, paths, dates, arrays.

Programs put them beside their state dicts (``{"model": …, "args": parser.parse_args()}``). Both directions are tables: what
is written is what pickle would write, what is read is made by the functions here, which take numbers and text only.
"""

from __future__ import annotations

import argparse
import collections
import copyreg
import datetime
import os
import pathlib
import re
import types
from functools import partial
from typing import Any

import numpy as np

from .records import Named

_EXACT = (
    argparse.Namespace, types.SimpleNamespace, collections.defaultdict, collections.Counter, collections.deque, frozenset, complex,
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip
FACTORIES = (list, dict, int, float, str, bool, tuple)  # may be named, not called: what they would be given may be endless
_PATHS: dict[str, type[pathlib.PurePath]] = {  # a path of another system is one without a file system
    "PosixPath": pathlib.Path if os.name == "posix" else pathlib.PurePosixPath, "PurePosixPath": pathlib.PurePosixPath,
    "WindowsPath": pathlib.Path if os.name == "nt" else pathlib.PureWindowsPath, "PureWindowsPath": pathlib.PureWindowsPath,
}  # fmt: skip
_PLAIN_DTYPE = re.compile(r"[<>|=]?[?biufcSU]\d*")


class Reduced:
    """How pickle spells an object: a named function, its arguments, then items and a state that are put into what it gave."""

    __slots__ = ("module", "name", "arguments", "items", "pairs", "state")

    def __init__(self, module: str, name: str, arguments: tuple, items: Any = None, pairs: Any = None, state: Any = None) -> None:
        self.module, self.name, self.arguments = module, name, arguments
        self.items, self.pairs, self.state = items, pairs, state


def reduced(value: Any) -> Reduced | None:
    """The spelling of an object that is data; None for any other. The same types as `names` reads."""
    kind = type(value)
    if kind is argparse.Namespace:  # by default made by __new__, which says the same
        return Reduced("argparse", "Namespace", (), state=dict(vars(value)))
    if kind in _EXACT or isinstance(value, (pathlib.PurePath, np.dtype)) or kind is np.ndarray:
        dtype = value if isinstance(value, np.dtype) else getattr(value, "dtype", None)
        if dtype is not None and not _PLAIN_DTYPE.fullmatch(dtype.str):
            return None  # of Python objects, or structured
        function, arguments, *rest = value.__reduce_ex__(2)
        state, items, pairs = (*rest, None, None, None)[:3]
        if function is copyreg.__newobj__:
            function, *arguments = arguments
        arguments = tuple(arguments)
        return Reduced(function.__module__, function.__qualname__, arguments, items, pairs, state)
    return None


def names() -> dict[str, Any]:
    """What a checkpoint may call for such objects, by "module name"."""
    found: dict[str, Any] = {
        "argparse Namespace": argparse.Namespace,
        "types SimpleNamespace": types.SimpleNamespace,
        "collections Counter": _counter,
        "collections defaultdict": _defaultdict,
        "collections deque": _deque,
        "numpy ndarray": Named("numpy", "ndarray"),
        "numpy dtype": _dtype,
    }
    for home in ("builtins", "__builtin__"):
        found |= {f"{home} frozenset": frozenset, f"{home} bytes": _no_bytes}
        found |= {f"{home} {kind.__name__}": kind for kind in FACTORIES}
    for home in ("pathlib", "pathlib._local"):
        found |= {f"{home} {name}": partial(_path, kind) for name, kind in _PATHS.items()}
    found |= {f"datetime {kind.__name__}": kind for kind in _EXACT if kind.__module__ == "datetime"}
    for home in ("numpy._core.multiarray", "numpy.core.multiarray"):
        found |= {f"{home} _reconstruct": _empty_array, f"{home} scalar": _numpy_scalar}
    return found


def fill(target: Any, state: Any) -> bool:
    """Put a state into an array or a dtype made empty; False for other objects. ValueError for a state that does not fit."""
    if type(target) is np.ndarray:
        _, shape, dtype, is_fortran, data = state
        if not _is_plain(dtype) or not isinstance(data, bytes) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array is not described by a shape, a plain dtype and bytes")
        if len(data) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
            raise ValueError(f"an array of shape {list(shape)} and {dtype} has {len(data)} bytes")
        target.__setstate__((1, tuple(shape), dtype, bool(is_fortran), data))
    elif isinstance(target, np.dtype):
        version, order, *others = state
        size = target.itemsize if target.kind in "SU" else -1
        if others[:3] != [None] * 3 or others[3] != size or order not in ("<", ">", "|", "="):
            raise ValueError("a dtype that is not plain")
        target.__setstate__((version, order, None, None, None, size, others[4] if size != -1 else -1, 0))
    else:
        return False
    return True


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and _PLAIN_DTYPE.fullmatch(dtype.str) is not None


def _dtype(text: Any, align: Any = False, copy: Any = True) -> np.dtype:
    if not isinstance(text, str) or not _PLAIN_DTYPE.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain dtype")
    return np.dtype(text, False, True)


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if not isinstance(kind, Named) or kind.name != "ndarray" or shape != (0,):
        raise ValueError("arrays start empty")
    return np.ndarray.__new__(np.ndarray, (0,), np.int8)


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    if not _is_plain(dtype) or not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise ValueError("a number is not described by a plain dtype and its bytes")
    return np.frombuffer(data, dtype)[0]


def _counter(counts: Any = ()) -> collections.Counter:
    if not isinstance(counts, (dict, tuple)):
        raise ValueError("a counter is made of counts")
    return collections.Counter(dict(counts))


def _defaultdict(factory: Any = None) -> collections.defaultdict:
    if factory not in (None, set, *FACTORIES):
        raise ValueError("a defaultdict of something that is not a type of Python's")
    return collections.defaultdict(factory)


def _deque(items: Any = (), length: Any = None) -> collections.deque:
    if not isinstance(items, (tuple, list)):
        raise ValueError("a deque is made of a list")
    return collections.deque(items, length)


def _path(kind: type[pathlib.PurePath], *parts: Any) -> pathlib.PurePath:
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("a path is made of text")
    return kind(*parts)


def _no_bytes() -> bytes:
    """How pickle's protocol 2 spells them."""
    return b""
