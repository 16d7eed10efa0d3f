"""What generated CUDA C++ needs before its first kernel: types, and the helper functions its kernels call."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from ..dialects.errors import BackendError
from .c_helpers import LIBM
from .c_types import bytes_of, scalar_name, vector_name
from .cuda_hopper import is_wgmma, wgmma_text

_CALLED = re.compile(r"\blm_(\w+?)(?=[<(:])")
_MEMORY = {
    "f64": "double", "f32": "float", "f16": "uint16_t", "bf16": "uint16_t", "i64": "int64_t", "i32": "int32_t",
    "i16": "int16_t", "i8": "int8_t", "i1": "uint8_t",
    "u64": "uint64_t", "u32": "uint32_t", "u16": "uint16_t", "u8": "uint8_t",
}  # fmt: skip
_PLAIN = ("from_bf16", "to_bf16", "from_f16", "to_f16", "round_bf16", "round_f16")

_OF_F32 = {"maximum": "max_nan", "minimum": "min_nan"}
"""Helpers that are one instruction on numbers of 32 bits."""


@lru_cache(maxsize=None)
def sections(file: str) -> dict[str, str]:
    """The sections of a helper file of this folder, by name."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^//: ", text, flags=re.M)[1:]:
        name, body = section.split("\n", 1)
        found[name.strip()] = body.strip("\n")
    return found


class CudaPrelude:
    """Collects what kernels use; its methods are those the C emitter's expressions ask a prelude for."""

    def __init__(self) -> None:
        self._memory: dict[str, None] = {}
        self._vectors: dict[tuple[str, int], None] = {}
        self._used: dict[str, None] = {}

    def memory(self, code: str) -> str:
        """Name of a memory element's type."""
        self._memory[code] = None
        return code

    def vector(self, code: str, lanes: int) -> str:
        """Name of the type of several neighbouring elements."""
        self.memory(code)
        self._vectors[code, lanes] = None
        return vector_name(code, lanes)

    def function(self, name: str, code: str, lanes: int) -> str:
        """Name of a helper function for a carrier type. BackendError for vectors: one thread has scalars."""
        if lanes:
            raise BackendError(f"the CUDA backend has no {name} on vectors", help="this is a bug of lamina's gpu lowering")
        if name == "fma":
            return "fmaf" if code == "f32" else "fma"
        if name in LIBM:
            return LIBM[name][0] + ("f" if code == "f32" else "")
        if name == "rsqrt":
            self.use("rsqrt")
            return f"lm_rsqrt<{scalar_name(code)}>"
        if code == "f32" and name in _OF_F32:
            return self.use(_OF_F32[name])
        self.use(name)
        return f"lm_{name}" if name in _PLAIN else f"lm_{name}<{scalar_name(code)}>"

    def use(self, name: str) -> str:
        """Ask for a function of the prelude, with what it calls; gives its name."""
        if name not in self._used:
            text = sections("cuda_helpers.cu").get(name) or sections("cuda_ops.cu").get(name)
            if is_wgmma(name):
                text = wgmma_text(name)
            if text is None:
                raise BackendError(f"the CUDA prelude has no {name}", help="this is a bug of lamina's CUDA emitter")
            for called in _CALLED.findall(text):
                if called != name:
                    self.use(called)
            self._used[name] = None
        return f"lm_{name}"

    def portable(self) -> str:
        """Types and plain C++ functions: the same text for a GPU and for the emulation."""
        types = [f"typedef {_MEMORY[code]} {code};" for code in self._memory]
        for code, lanes in self._vectors:
            size = bytes_of(code) * lanes
            types.append(f"struct __align__({size}) {vector_name(code, lanes)} {{ {code} v[{lanes}]; }};")
        plain = sections("cuda_helpers.cu")
        return "\n\n".join(["\n".join(types), *(plain[name] for name in self._used if name in plain)])

    def device(self) -> str:
        """Types and functions only a GPU's compiler understands."""
        ops = sections("cuda_ops.cu")
        written = [ops.get(name) or wgmma_text(name) for name in self._used if name in ops or is_wgmma(name)]
        return "\n\n".join([ops["head"], *written])
