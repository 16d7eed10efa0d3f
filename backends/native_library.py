"""A C file of this folder as a library for Python: built once per machine, found in the disk cache afterwards."""

from __future__ import annotations

import ctypes
import re
import sys
from functools import lru_cache
from pathlib import Path

from .cache import discard, key_of, lookup, store
from .toolchain import Compiler, build_shared, find_compiler

_OPTIONS = ("-O3", *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()))  # plain loops: the compiler vectorises them


def _source(name: str) -> Path:
    return Path(__file__).parent / f"{name}.c"


def _key(name: str, compiler: Compiler) -> str:
    return key_of(name, *_texts(_source(name)), compiler.identity, compiler.flags)


def _texts(file: Path) -> list[str]:
    """A file, and the headers beside it that it includes."""
    text = file.read_text(encoding="utf-8")
    return [text, *[part for header in re.findall(r'#include "(.+)"', text) for part in _texts(file.with_name(header))]]


def is_built(name: str) -> bool:
    """Whether the library is on disk: all that is left to do is to load it."""
    compiler = find_compiler()
    return compiler is not None and lookup(_key(name, compiler)) is not None


@lru_cache(maxsize=8)
def library_of(name: str) -> ctypes.PyDLL | None:
    """The functions of ``name``.c, called with the interpreter's lock held; None where they cannot be built."""
    compiler = find_compiler()
    if compiler is None:
        return None
    key = _key(name, compiler)

    def make(folder: Path) -> dict[str, object]:
        build_shared(compiler, _source(name), folder / f"{name}.so", _OPTIONS)
        return {"library": f"{name}.so"}

    folder, _ = lookup(key) or store(key, make)
    try:
        return ctypes.PyDLL(str(folder / f"{name}.so"))
    except OSError:
        discard(key)
        return None
