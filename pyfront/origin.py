"""Origin: the line of the user's code that is running, as "file.py:12"."""

from __future__ import annotations

import ctypes
import linecache
import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Only the rooms: a checkout also holds examples and tests, and users keep scripts and virtual environments in it.
_ROOMS = tuple(os.path.join(_PACKAGE, room, "") for room in ("dialects", "passes", "lowering", "backends", "pyfront"))
_FILES = frozenset(os.path.join(_PACKAGE, name) for name in ("__init__.py", "__main__.py"))

Site = tuple[int, int]
"""The id of a code object that is kept alive, and an offset in it. (Hashing a code object hashes its constants, for a script's own code
those of all its functions: 20 microseconds.)"""

_MOST_CODES = 1 << 16
_own: dict[str, bool] = {"<string>": False}
_text: dict[Site, str] = {}
_codes: dict[int, CodeType] = {}  # those that sites are in
_file: dict[str, str] = {}
_getframe = sys._getframe


def is_own(filename: str) -> bool:
    """Whether a source file belongs to the package, and not to the user."""
    known = _own.get(filename)
    if known is not None:
        return known
    own = filename.startswith(_ROOMS) or filename in _FILES
    _own[filename] = own
    return own


# Files that only pass an operator on to the recorder: between the user's expression and `record`.
_DISPATCH = frozenset(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    for name in (
        "origin.py",
        "promote.py",
        "arithmetic.py",
        "operators.py",
        "definitions.py",
        "tensor.py",
        "recorder.py",
        "assignment.py",
        "known_calls.py",
    )
)


def operator_site() -> Site | None:
    """The place of one operator in the user's code; None when the package itself wrote the operator."""
    frame = _getframe(2)
    while frame.f_code.co_filename in _DISPATCH and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    name = code.co_filename
    return None if (_own[name] if name in _own else is_own(name)) else site_of(code, frame.f_lasti)


def site_of(code: CodeType, offset: int) -> Site:
    """A place in a code object, which is kept."""
    where = id(code), offset
    if where[0] not in _codes:
        if len(_codes) >= _MOST_CODES:  # a program that makes code without end; its first places are named anew
            _codes.clear()
            _text.clear()
        _codes[where[0]] = code
    return where


def text_of(where: Site) -> str:
    """``train.py:12`` for a site."""
    text = _text.get(where)
    if text is None:
        code, offset = _codes[where[0]], where[1]
        line = code.co_firstlineno
        for start, end, number in code.co_lines():
            if start <= offset < end and number is not None:
                line = number
        short = os.path.basename(code.co_filename)
        _file.setdefault(short, code.co_filename)
        text = _text[where] = f"{short}:{line}"
    return text


def origin(up: int = 1) -> str:
    """``train.py:12``: the user's line that is running. up: frames below this one that the caller knows to be the package's; to
    step over them costs nothing, to look at one does."""
    frame = _getframe(up)
    own = _own
    while True:
        code = frame.f_code
        name = code.co_filename
        if not (own[name] if name in own else is_own(name)):
            break
        back = frame.f_back
        if back is None:
            break
        frame = back
    text = _text.get((id(code), frame.f_lasti))
    return text if text is not None else text_of(site_of(code, frame.f_lasti))


def _is_locked() -> bool:
    """Whether one thread runs Python at a time."""
    return not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled()


class Native:
    """The C in the place of `origin` (recording.c), once a program flushes again and again. learn: enters a place of the
    user's code with its text, or code of the package as a whole, at `_WHOLE`."""

    learn: Callable[[CodeType, int, str], None]


_WHOLE = -2
BETWEEN = "between"
"""What is learnt of code that stands between operators and what records them."""


def _asked(frame: FrameType) -> str:
    """The line of a frame that the C does not know, or of one it stands in."""
    while is_own(frame.f_code.co_filename) and frame.f_back is not None:
        Native.learn(frame.f_code, _WHOLE, BETWEEN if frame.f_code.co_filename in _DISPATCH else "")
        frame = frame.f_back
    text = text_of(site_of(frame.f_code, frame.f_lasti))
    Native.learn(frame.f_code, frame.f_lasti, text)
    return text


def native(library: Any) -> Callable[[int], str]:
    """`origin` by the functions of a library, if they find what it finds; else itself."""
    if library is None or sys.implementation.name != "cpython" or not _is_locked():
        return origin
    library.lamina_lines.argtypes, library.lamina_lines.restype = (ctypes.py_object, ctypes.py_object), ctypes.py_object
    found, Native.learn = library.lamina_lines(_getframe, _asked)
    return found if found(1) == found(1) == origin() == found(2) else origin


def source_line(where: str) -> str:
    """``train.py:12   y = x @ w`` for errors; just the place where the source is not at hand."""
    short, _, line = where.rpartition(":")
    text = linecache.getline(_file.get(short, short), int(line)).strip() if line.isdigit() else ""
    return f"{where}   {text}" if text else where
