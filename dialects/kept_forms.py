"""Forms of the text files beside the sources, kept as Python keeps bytecode: in `__pycache__`, good while nothing changed.

The op book and the rewrite rules are text; to parse and check them takes longer than to compile a small program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import marshal
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_TUPLE, _DICT = -1, -2


def kept_form(of: Path, sources: Iterable[Path], classes: Sequence[type], make: Callable[[], T]) -> T | None:
    """What ``make()`` gives for the file `of`, from the bytecode folder if it is there.

    sources: every file the result depends on, the code of `make` included; another byte in one of them makes it anew. classes: the
    dataclasses it is made of, besides tuples, dicts, numbers and text. None where nothing can be kept (no folder to write, or Python
    keeps no bytecode): making everything would not pay then.
    """
    try:
        place = Path(cache_from_source(f"{of}-form.py"))
        digest = _digest(sources)
    except (OSError, NotImplementedError):
        return None
    with contextlib.suppress(Exception):  # whatever is wrong with a kept form: it is made again
        data = place.read_bytes()
        if data[: len(digest)] == digest:
            return decoded(marshal.loads(data[len(digest) :]), classes)
    if sys.dont_write_bytecode or not _can_write(place.parent):
        return None
    made = make()
    _write(place, digest + marshal.dumps(encoded(made, classes)))
    return made


def encoded(value: Any, classes: Sequence[type]) -> Any:
    """A value as nested tuples, each led by what it is: the number of a class, or a tuple, or a dict."""
    kind = type(value)
    if kind in classes:
        return (classes.index(kind), *(encoded(getattr(value, f.name), classes) for f in dataclasses.fields(value) if f.init))
    if kind is tuple:
        return (_TUPLE, *(encoded(v, classes) for v in value))
    if kind is dict:
        return (_DICT, *(encoded(v, classes) for item in value.items() for v in item))
    if value is not None and kind not in (bool, int, float, str):
        raise TypeError(f"{kind.__name__} is not kept")
    return value


def decoded(value: Any, classes: Sequence[type]) -> Any:
    """What was `encoded`."""
    fields = [[f.name for f in dataclasses.fields(c) if f.init] for c in classes]

    def decode(value: Any) -> Any:
        if type(value) is not tuple:
            return value
        kind, inner = value[0], [decode(v) if type(v) is tuple else v for v in value[1:]]
        if kind >= 0:
            return classes[kind](**dict(zip(fields[kind], inner, strict=True)))
        return tuple(inner) if kind == _TUPLE else dict(zip(inner[::2], inner[1::2], strict=True))

    return decode(value)


def _digest(sources: Iterable[Path]) -> bytes:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(sources):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.digest()


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _write(place: Path, data: bytes) -> None:
    """All of it or nothing: another process may read at any time."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, place)
        except OSError:
            os.unlink(name)
