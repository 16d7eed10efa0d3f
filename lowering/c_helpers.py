"""Helper functions of generated C: templates of c_helpers.c and lane loops over libm, printed only when used.

A helper's name is ``<function>_<type>``: ``exp_f32x16``, ``maximum_f32``. ``Prelude`` collects what a program calls,
with dependencies and vector typedefs, and prints them in order of first use.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from ..dialects.errors import BackendError
from .c_masks import macros as part_macros
from .c_types import bytes_of, memory_typedef, scalar_name, vector_name, vector_typedefs

# Functions taken from libm, lane by lane for vectors: name here -> (name in math.h, operands). f32 takes the ...f form.
LIBM: dict[str, tuple[str, int]] = {
    name: (name, 1)
    for name in (
        "acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 floor log log10 log1p log2 "
        "round sin sinh sqrt tan tanh trunc"
    ).split()
} | {
    "fabs": ("fabs", 1), "roundeven": ("nearbyint", 1), "copysign": ("copysign", 2), "atan2": ("atan2", 2),
    "pow": ("pow", 2), "fmod": ("fmod", 2),
}  # fmt: skip

_SIGNED = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
_UNSIGNED = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
_CALL = re.compile(r"\b([a-z][a-z0-9_]*?)_((?:f64|f32|[iu](?:8|16|32|64))(?:x(\d+))?)\(")
_TYPE = re.compile(r"\b(f64|f32|[iu](?:8|16|32|64))x(\d+)u?\b")


@lru_cache(maxsize=None)
def _templates() -> dict[tuple[str, str, str], str]:
    """(name, form, kind) -> body; kind is the elements the section is restricted to, or ""."""
    text = (Path(__file__).parent / "c_helpers.c").read_text(encoding="utf-8")
    found: dict[tuple[str, str, str], str] = {}
    for section in re.split(r"^//: ", text, flags=re.M)[1:]:
        head, body = section.split("\n", 1)
        name, form, *kind = head.split()
        for each in ("vector", "scalar") if form == "any" else (form,):
            found[name, each, kind[0] if kind else ""] = body.strip("\n")
    return found


def _template(name: str, form: str, code: str) -> str | None:
    kinds = (code, {"i": "signed", "u": "unsigned"}.get(code[0], ""), "")
    return next((body for kind in kinds if (body := _templates().get((name, form, kind)))), None)


def _substitute(body: str, code: str, lanes: int) -> str:
    """One section for one type."""
    size = bytes_of(code)
    words = {"ELT": scalar_name(code), "BITS": str(8 * size), "MOST": f"INT{8 * size}_MAX", "LEAST": f"INT{8 * size}_MIN",
             "WHOLE": {"f32": "8388608.0f", "f64": "4503599627370496.0"}.get(code, ""), "LANES": str(lanes), "FMA_ELT": f"FMA_{code}"}
    for word, integer in (("SIGNED", _SIGNED[size]), ("UNSIGNED", _UNSIGNED[size]), ("NARROW", "u16"), ("VEC", code)):
        words[word] = vector_name(integer, lanes) if lanes else scalar_name(integer)
    if code == "f32" and lanes > 1:
        half = lanes // 2
        words |= {"HALF": vector_name("f32", half), "WIDE": vector_name("f64", half), "LOWER": _numbers(0, half), "UPPER": _numbers(half, lanes)}
        body = re.sub(r"\b([a-z][a-z0-9_]*)_WIDE\b", rf"\1_{words['WIDE']}", body)
    suffix = vector_name(code, lanes) if lanes else code
    body = re.sub(r"\b(X86_[A-Z]+|[a-z][a-z0-9_]*)_VEC\b", rf"\1_{suffix}", body)
    body = re.sub(r"\b([a-z][a-z0-9_]*)_ELT\b", rf"\1_{code}", body)
    return re.sub(r"\b[A-Z][A-Z0-9_]*\b", lambda m: words.get(m[0], m[0]), body)


def _numbers(first: int, end: int) -> str:
    return ", ".join(map(str, range(first, end)))


def _definition(name: str, code: str, lanes: int) -> str:
    """The C text of one helper. BackendError if no such function is known."""
    body = _template(name, "vector" if lanes else "scalar", code)
    if body is not None:
        lines = _substitute(body, code, lanes).split("\n")
        notes = [f"/* {line[2:].strip()} */" for line in lines if line.startswith("//")]
        return "\n".join(notes + ["INLINE " + "\n".join(line for line in lines if not line.startswith("//"))])
    value = vector_name(code, lanes) if lanes else scalar_name(code)
    if not lanes and _template(name, "vector", code):
        letters = "ab"[: LIBM[name][1]] if name in LIBM and LIBM[name][1] > 1 else "x"
        parameters, lanes_of = (", ".join(form.format(letter) for letter in letters) for form in (f"{value} {{}}", f"splat_{code}x4({{}})"))
        return f"INLINE {value} {name}_{code}({parameters}) {{ return {name}_{code}x4({lanes_of})[0]; }}"
    operands = LIBM[name][1] if name in LIBM else 2 if _template(name, "scalar", code) else 0
    if not operands or name in LIBM and code not in ("f32", "f64"):
        raise BackendError(f"the C backend has no function {name} on {code}", help="this is a bug of lamina's C emitter")
    letters = "ab"[:operands] if operands > 1 else "x"
    parameters = ", ".join(f"{value} {letter}" for letter in letters)
    if lanes:
        scalar = _libm(name, code) if name in LIBM else f"{name}_{code}"
        arguments = ", ".join(f"{letter}[i]" for letter in letters)
        first = letters[0]
        return (
            f"INLINE {value} {name}_{vector_name(code, lanes)}({parameters}) {{\n    {value} y = {first};\n"
            f"    for (int i = 0; i < {lanes}; i++) y[i] = {scalar}({arguments});\n    return y;\n}}"
        )
    raise BackendError(f"the C backend has no function {name} on {code}", help="this is a bug of lamina's C emitter")


def _libm(name: str, code: str) -> str:
    return LIBM[name][0] + ("f" if code == "f32" else "")


class Prelude:
    """What a program needs before its first kernel: includes, typedefs, helper functions."""

    def __init__(self) -> None:
        self._memory: dict[str, None] = {}
        self._vectors: dict[tuple[str, int], None] = {}
        self._helpers: dict[str, str] = {}
        self._pieces: dict[str, None] = {}

    def memory(self, code: str) -> str:
        """Name of a memory element's typedef."""
        self._memory[code] = None
        return code

    def vector(self, code: str, lanes: int) -> str:
        """Name of a vector type."""
        self._vectors[code, lanes] = None
        return vector_name(code, lanes)

    def function(self, name: str, code: str, lanes: int) -> str:
        """Name of a helper function for a carrier type; its text and what it calls are printed once."""
        if not lanes and name in LIBM and not (_template(name, "scalar", code) or _template(name, "vector", code)):
            return _libm(name, code)
        full = f"{name}_{vector_name(code, lanes) if lanes else code}"
        if full not in self._helpers:
            text = _definition(name, code, lanes)
            for called, suffix, width in _CALL.findall(text):
                if f"{called}_{suffix}" != full:
                    printed = self.function(called, suffix.split("x")[0], int(width or 0))
                    text = re.sub(rf"\b{called}_{suffix}\(", f"{printed}(", text)
            for element, width in _TYPE.findall(text):
                self.vector(element, int(width))
            self._helpers[full] = text
        return full

    def piece(self, text: str) -> None:
        """Text that stands in front of the kernels as it is, once."""
        self._pieces[text] = None

    def text(self) -> str:
        """The prelude's C text."""
        body = "\n\n".join(self._helpers.values())
        parts = ["#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n#include <stdlib.h>"]
        parts.append(_PRAGMAS)
        parts.append("\n".join(memory_typedef(code) for code in self._memory))
        parts.append("\n".join(line for key in self._vectors for line in vector_typedefs(*key)))
        if self._helpers:
            parts.append("#define INLINE static inline __attribute__((always_inline))")
        if "HAS_FMA" in body:
            parts.append(_FMA)
        if "X86_MAX" in body or "X86_MIN" in body:
            parts.append(_EXTREMES)
        if "X86_DOUBTFUL" in body:
            parts.append(_DOUBTFUL)
        if "X86_SCALE" in body:
            parts.append(_SCALE)
        if "HAS_LOOKUP" in body:
            parts.append(_LOOKUP)
        if "X86_BYTES" in body or "X86_PAIRS" in body or "X86_HALVES" in body:
            parts.append(_DOTS)
        if "X86_LOADPART" in body or "X86_STOREPART" in body:
            parts.append(part_macros(body))
        if "X86_FROMHALF" in body or "X86_TOHALF" in body:
            parts.append(_HALVES)
        if "X86_STREAM" in body:
            parts.append(_STREAM)
        return "\n\n".join(part for part in (*parts, body, *self._pieces) if part) + "\n"


# Register tiles need every register: values kept from one iteration to the next would be spilled (up to half the speed).
# Wide vectors are passed to inlined functions only; a comparison of a value with itself may well be what was asked for.
_PRAGMAS = """\
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC optimize("no-predictive-commoning")
#endif
#pragma GCC diagnostic ignored "-Wtautological-compare\""""

# A fused multiply-add where the machine has one: clang's vector builtin, x86 ones (gcc compiles loops over lanes slowly),
# else lane by lane. Without the instruction a * b + c is rounded twice: fmaf in software would be a hundred times slower.
_FMA = """\
#ifdef __has_builtin
#if __has_builtin(__builtin_elementwise_fma)
#define HAS_VECTOR_FMA
#endif
#endif
#if defined(__FMA__) || defined(__FP_FAST_FMAF) || defined(__aarch64__) || defined(__riscv_f)
#define HAS_FMA
#define FMA_f32 __builtin_fmaf
#define FMA_f64 __builtin_fma
#endif
#ifdef __FMA__
#define X86_FMA_f32x4 __builtin_ia32_vfmaddps
#define X86_FMA_f64x2 __builtin_ia32_vfmaddpd
#define X86_FMA_f32x8 __builtin_ia32_vfmaddps256
#define X86_FMA_f64x4 __builtin_ia32_vfmaddpd256
#endif
#ifdef __AVX512F__
#define X86_FMA_f32x16(a, b, c) __builtin_ia32_vfmaddps512_mask(a, b, c, (unsigned short)-1, 4)
#define X86_FMA_f64x8(a, b, c) __builtin_ia32_vfmaddpd512_mask(a, b, c, (unsigned char)-1, 4)
#endif"""

# Tables of 16 numbers are held by one register, or by two.
_LOOKUP = """\
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__) && defined(__AVX512VL__)
#define HAS_LOOKUP
#define X86_LOOKUP_f32x16(table, k) __builtin_ia32_permvarsf512_mask(*(const f32x16 *)(table), (i32x16)(k), k, (unsigned short)-1)
#define X86_LOOKUP_f32x8(table, k) \\
    __builtin_ia32_vpermt2varps256_mask((i32x8)(k), *(const f32x8 *)(table), *(const f32x8 *)((table) + 8), (unsigned char)-1)
typedef int lookup_places __attribute__((vector_size(32)));
typedef float lookup_half __attribute__((vector_size(32), may_alias));
#define X86_LOOKUP_f32x4(table, k) \\
    __builtin_shufflevector(__builtin_ia32_vpermt2varps256_mask((lookup_places)__builtin_shufflevector(k, k, 0, 1, 2, 3, 0, 1, 2, 3), \\
        *(const lookup_half *)(table), *(const lookup_half *)((table) + 8), (unsigned char)-1), (lookup_half){0}, 0, 1, 2, 3)
#endif"""

# Sums of products of narrow numbers. gcc keeps an asm's sums in two places, and clang's builtins change their types from release to release.
# clang's attribute for a kind of processor defines no macros: who sets it defines DOTS_….
DOT_FEATURES = ("avx2", "avx512bw", "avx512vnni", "avx512bf16", "avxvnni")
_DOTS = """\
#if defined(__GNUC__) && !defined(__clang__)
#ifdef __AVX512VNNI__
#define X86_BYTES_i32x16(s, a, b) s = (i32x16)__builtin_ia32_vpdpbusd_v16si(s, a, b)
#endif
#if (defined(__AVX512VNNI__) && defined(__AVX512VL__)) || defined(__AVXVNNI__)
#define X86_BYTES_i32x8(s, a, b) s = (i32x8)__builtin_ia32_vpdpbusd_v8si(s, a, b)
#endif
#ifdef __AVX512BF16__
#if __GNUC__ < 13
typedef short halves __attribute__((vector_size(64)));
#else
typedef __bf16 halves __attribute__((vector_size(64)));
#endif
#define X86_HALVES_f32x16(s, a, b) s = __builtin_ia32_dpbf16ps_v16sf(s, (halves)(a), (halves)(b))
#endif
#else
#if defined(__AVX512VNNI__) || defined(DOTS_avx512vnni)
#define X86_BYTES_i32x16(s, a, b) __asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(b))
#endif
#if defined(__AVXVNNI__) || defined(DOTS_avxvnni)
#define X86_BYTES_i32x8(s, a, b) __asm__("{vex} vpdpbusd %2, %1, %0" : "+x"(s) : "x"(a), "x"(b))
#endif
#if defined(__AVX512BF16__) || defined(DOTS_avx512bf16)
#define X86_HALVES_f32x16(s, a, b) __asm__("vdpbf16ps %2, %1, %0" : "+v"(s) : "v"(a), "v"(b))
#endif
#endif
#if defined(__AVX512BW__) || defined(DOTS_avx512bw)
#define X86_PAIRS_i32x16(s, a, b) __asm__("vpmaddwd %2, %1, %0" : "=v"(s) : "v"(a), "v"(b))
#endif
#if defined(__AVX2__) || defined(DOTS_avx2)
#define X86_PAIRS_i32x8(s, a, b) __asm__("vpmaddwd %2, %1, %0" : "=x"(s) : "x"(a), "x"(b))
#endif"""

# Conversions of 16-bit floats: processors have them since AVX, long before arithmetic of such numbers.
_HALVES = """\
#if defined(__GNUC__) && !defined(__clang__) && defined(__F16C__)
typedef short half8 __attribute__((vector_size(16)));
typedef float half4 __attribute__((vector_size(16)));
#define X86_FROMHALF(h) __builtin_ia32_vcvtph2ps((half8){(short)(h)})[0]
#define X86_TOHALF(x) (uint16_t)__builtin_ia32_vcvtps2ph((half4){x}, 0)[0]
#define X86_FROMHALF_f32x4(h) __builtin_ia32_vcvtph2ps((half8)__builtin_shufflevector(h, h, 0, 1, 2, 3, 0, 1, 2, 3))
#define X86_TOHALF_f32x4(x) (u16x4)__builtin_shufflevector(__builtin_ia32_vcvtps2ph(x, 0), (half8){0}, 0, 1, 2, 3)
#define X86_FROMHALF_f32x8(h) __builtin_ia32_vcvtph2ps256((half8)(h))
#define X86_TOHALF_f32x8(x) (u16x8)__builtin_ia32_vcvtps2ph256(x, 0)
#ifdef __AVX512F__
typedef short half16 __attribute__((vector_size(32)));
#define X86_FROMHALF_f32x16(h) __builtin_ia32_vcvtph2ps512_mask((half16)(h), (f32x16){0}, (unsigned short)-1, 4)
#define X86_TOHALF_f32x16(x) (u16x16)__builtin_ia32_vcvtps2ph512_mask(x, 0, (half16){0}, (unsigned short)-1)
#endif
#endif"""

# Stores that do not read the line first.
_STREAM = """\
#if defined(__GNUC__) && !defined(__clang__)
#ifdef __AVX__
#define X86_STREAM_f32x8 __builtin_ia32_movntps256
#endif
#ifdef __AVX512F__
#define X86_STREAM_f32x16 __builtin_ia32_movntps512
#endif
#endif"""

# Lanes where a is not 0 and |q| not at least 2^-80.
_DOUBTFUL = """\
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
#define X86_DOUBTFUL_f32x16(a, q) __builtin_ia32_cmpps512_mask((f32x16)((i32x16)(q) & INT32_MAX), splat_f32x16(0x1p-80f), 25, \\
    __builtin_ia32_cmpps512_mask(a, (f32x16){0}, 4, (unsigned short)-1, 4), 4)
#endif"""

# r * 2^j for a whole j in one instruction, and 0 where x < least.
_SCALE = """\
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
#define X86_SCALE_f32x16(r, j, x, least) \\
    __builtin_ia32_scalefps512_mask(r, j, (f32x16){0}, __builtin_ia32_cmpps512_mask(x, least, 5, (unsigned short)-1, 4), 4)
#ifdef __AVX512VL__
#define X86_SCALE_f32x8(r, j, x, least) \\
    __builtin_ia32_scalefps256_mask(r, j, (f32x8){0}, __builtin_ia32_cmpps256_mask(x, least, 5, (unsigned char)-1))
#define X86_SCALE_f32x4(r, j, x, least) \\
    __builtin_ia32_scalefps128_mask(r, j, (f32x4){0}, __builtin_ia32_cmpps128_mask(x, least, 5, (unsigned char)-1))
#endif
#endif"""

# max and min instructions are exactly a > b ? a : b and a < b ? a : b; with a mask they leave a where it is not a number.
_EXTREMES = """\
#if defined(__GNUC__) && !defined(__clang__)
#ifdef __SSE__
#define X86_MAX_f32x4 __builtin_ia32_maxps
#define X86_MIN_f32x4 __builtin_ia32_minps
#endif
#ifdef __AVX__
#define X86_MAX_f32x8 __builtin_ia32_maxps256
#define X86_MIN_f32x8 __builtin_ia32_minps256
#endif
#ifdef __AVX512F__
#define X86_MAX_f32x16(a, b) __builtin_ia32_maxps512_mask(a, b, a, (unsigned short)-1, 4)
#define X86_MIN_f32x16(a, b) __builtin_ia32_minps512_mask(a, b, a, (unsigned short)-1, 4)
#define X86_NUMBERS_f32x16(a) __builtin_ia32_cmpps512_mask(a, a, 7, (unsigned short)-1, 4)
#define X86_MAXIMUM_f32x16(a, b) __builtin_ia32_maxps512_mask(a, b, a, X86_NUMBERS_f32x16(a), 4)
#define X86_MINIMUM_f32x16(a, b) __builtin_ia32_minps512_mask(a, b, a, X86_NUMBERS_f32x16(a), 4)
#endif
#endif"""
