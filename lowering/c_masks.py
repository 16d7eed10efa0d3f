"""Vectors that are filled in part, as C: the instructions of the processor that load and store the first lanes only, or the same in plain C.

A mask of the loops level is made of a number of lanes (`vector.create_mask`). Masked accesses take the number; the mask itself is printed where
something else asks for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdsl.dialects import vector
from xdsl.ir import SSAValue

from ..dialects.errors import BackendError
from .c_types import bytes_of, c_type

if TYPE_CHECKING:
    from .c_function import FunctionPrinter

ACCESSES = (vector.MaskedLoadOp, vector.MaskedStoreOp)
_USED = re.compile(r"\bX86_(LOADPART|STOREPART)_([fiu]\d+)x(\d+)\b")
_ELEMENTS = {8: ("char", "dquqi"), 16: ("short", "dquhi"), 32: ("float", "ups"), 64: ("double", "upd")}


def count_of(mask: SSAValue) -> SSAValue:
    """The number of lanes a mask lets through, the first ones."""
    if not isinstance(mask.owner, vector.CreateMaskOp):
        raise BackendError("the C backend has masked accesses of the first lanes only", help="lowering/README.md lists the loops level")
    return mask.owner.mask_dim_sizes[0]


def print_mask(p: FunctionPrinter, op: vector.CreateMaskOp) -> None:
    """The mask as lanes, unless only accesses want it."""
    if not p.is_live(op.mask_vector) or all(isinstance(use.operation, ACCESSES) for use in op.mask_vector.uses):
        return
    p.set_mask_bits(op.mask_vector, 32)
    text = f"{p.prelude.function('first', 'i32', c_type(op.mask_vector.type).lanes)}((int32_t){p.name(op.mask_dim_sizes[0])})"
    p.line(f"{p.declare(op.mask_vector)} = {text};")


def macros(body: str) -> str:
    """Definitions of the instructions that the helper functions in ``body`` ask for. clang's builtins take other types."""
    lines: list[str] = []
    for what, code, lanes in dict.fromkeys(_USED.findall(body)):
        lines += _definition(what, code, int(lanes))
    return "\n".join(["#if defined(__GNUC__) && !defined(__clang__)", *lines, "#endif"])


def _definition(what: str, code: str, lanes: int) -> list[str]:
    bits = 8 * bytes_of(code)
    whole = bits * lanes
    if whole not in (128, 256, 512):
        return []
    element, name = _ELEMENTS[bits]
    held, kind = f"{element}_part{lanes}", "__AVX512F__" if whole == 512 else "__AVX512VL__"
    needs = f"defined({kind})" if bits >= 32 else f"defined({kind}) && defined(__AVX512BW__)"
    mask = f"({_mask_type(lanes)})((n) < {lanes} ? (1ull << (n)) - 1 : ~0ull)"
    macro = f"X86_{what}_{code}x{lanes}"
    lines = [f"typedef {element} {held} __attribute__((vector_size({whole // 8})));", f"#if {needs}"]
    if what == "LOADPART":
        lines.append(f"#define {macro}(p, rest, n) __builtin_ia32_load{name}{whole}_mask((const {element} *)(p), ({held})(rest), {mask})")
    else:
        lines.append(f"#define {macro}(p, x, n) __builtin_ia32_store{name}{whole}_mask(({element} *)(p), ({held})(x), {mask})")
    return [*lines, *(_by_signs(what, macro, held, bits, lanes) if bits >= 32 and whole <= 256 else ()), "#endif"]


def _by_signs(what: str, macro: str, held: str, bits: int, lanes: int) -> list[str]:
    """The same where a mask is a vector whose signs count."""
    signs, integer = f"signs{bits}_part{lanes}", {32: "int", 64: "long long"}[bits]
    access = f"__builtin_ia32_mask{{}}p{'s' if bits == 32 else 'd'}{256 if bits * lanes == 256 else ''}(({held} *)(p), m"
    mask = f"{signs} m = ({signs}){{{', '.join(map(str, range(lanes)))}}} < ({integer})(n);"
    lines = ["#elif defined(__AVX__)", f"typedef {integer} {signs} __attribute__((vector_size({bits * lanes // 8})));"]
    if what == "LOADPART":
        value = f"(({signs}){access.format('load')}) & m) | (({signs})(rest) & ~m)"
        return [*lines, f"#define {macro}(p, rest, n) ({{ {mask} ({held})({value}); }})"]
    return [*lines, f"#define {macro}(p, x, n) do {{ {mask} {access.format('store')}, ({held})(x)); }} while (0)"]


def _mask_type(lanes: int) -> str:
    return {16: "unsigned short", 32: "unsigned int", 64: "unsigned long long"}.get(lanes, "unsigned char")
