"""Random numbers in C (draws.c) as a library: built once per machine, found in the disk cache afterwards."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

from .cache import discard, key_of, lookup, store
from .toolchain import Compiler, build_shared, find_compiler

_POINTER, _COUNT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_ARGUMENTS = {
    "lamina_draw_mask": (_POINTER, _POINTER, _COUNT, ctypes.c_uint64, _FLOAT),
    "lamina_draw_singles": (_POINTER, _POINTER, _COUNT),
    "lamina_box_muller": (_POINTER, _COUNT, _FLOAT, _FLOAT),
}
_SOURCE = Path(__file__).parent / "draws.c"


def _key(compiler: Compiler) -> str:
    return key_of("draws", _SOURCE.read_text(encoding="utf-8"), compiler.identity, compiler.flags)


def is_built() -> bool:
    """Whether the library is on disk: all that is left to do is to load it."""
    compiler = find_compiler()
    return compiler is not None and lookup(_key(compiler)) is not None


@lru_cache(maxsize=1)
def draws_library() -> ctypes.PyDLL | None:
    """The functions of draws.c, called with the interpreter's lock held; None where they cannot be built."""
    compiler = find_compiler()
    if compiler is None:
        return None
    key = _key(compiler)

    def make(folder: Path) -> dict[str, object]:
        build_shared(compiler, _SOURCE, folder / "draws.so", ("-O3",))  # plain loops: the compiler vectorises them
        return {"library": "draws.so"}

    folder, _ = lookup(key) or store(key, make)
    try:
        library = ctypes.PyDLL(str(folder / "draws.so"))
    except OSError:
        discard(key)
        return None
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library
