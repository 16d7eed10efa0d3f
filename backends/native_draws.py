"""Random numbers in C (draws.c) as a library, with the arguments its functions take."""

from __future__ import annotations

import ctypes
from functools import lru_cache

from .native_library import library_of

NAME = "draws"
_POINTER, _COUNT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_ARGUMENTS = {
    "lamina_draw_mask": (_POINTER, _POINTER, _COUNT, ctypes.c_uint64, _FLOAT),
    "lamina_draw_singles": (_POINTER, _POINTER, _COUNT),
    "lamina_draw_integers": (_POINTER, _POINTER, _COUNT, ctypes.c_uint32, _COUNT),
    "lamina_draw_permutation": (_POINTER, _POINTER, _COUNT),
    "lamina_draw_normals": (_POINTER, _POINTER, _COUNT, ctypes.c_double, ctypes.c_double, _POINTER),
    "lamina_box_muller": (_POINTER, _COUNT, _FLOAT, _FLOAT),
    "lamina_draw_blocks": (_POINTER, _POINTER, _COUNT, _FLOAT, _FLOAT),
}


@lru_cache(maxsize=1)
def draws_library() -> ctypes.PyDLL | None:
    """The functions of draws.c; None where they cannot be built."""
    library = library_of(NAME)
    if library is not None:
        for name, arguments in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
    return library
