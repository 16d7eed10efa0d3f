"""C files of a model, built by a plain compiler with warnings as errors, and called."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
from lamina.backends.aligned_memory import aligned_array
from lamina.backends.toolchain import find_compiler


class Library:
    """A model's C files built by a plain compiler, and one call of it."""

    def __init__(self, folder: Path) -> None:
        command = [*find_compiler().command, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", "m.so", "model.c", "-lm"]
        subprocess.run(command, cwd=folder, check=True)
        self.library, data = ctypes.CDLL(str(folder / "m.so")), (folder / "model.weights").read_bytes()
        self.weights = aligned_array((len(data),), np.dtype(np.uint8))
        self.weights[:] = np.frombuffer(data, np.uint8)
        self.arena = aligned_array((self._number("ARENA_BYTES", folder),), np.dtype(np.uint8))
        assert self.check() == 0

    @staticmethod
    def _number(name: str, folder: Path) -> int:
        """A number the header defines."""
        return int((folder / "model.h").read_text().partition(f"MODEL_{name} ")[2].split()[0])

    def check(self) -> int:
        return self.library.model_check_weights(self._at(self.weights), ctypes.c_size_t(self.weights.size))

    def seal(self) -> int:
        return self.library.model_seal_weights(self._at(self.weights))

    @staticmethod
    def _at(a: np.ndarray) -> ctypes.c_void_p:
        return ctypes.c_void_p(a.ctypes.data)

    def __call__(self, x: np.ndarray, *types: tuple) -> list[np.ndarray]:
        made = [np.zeros(*t) for t in types]
        assert self.library.model_run(*map(self._at, (x, *made, self.weights, self.arena))) == 0
        return made
