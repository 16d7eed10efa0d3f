"""mma.sync, ldmatrix and stmatrix of an interpreted warp.

Source: PTX ISA 9.0, "Matrix Fragments for mma.m16n8k*", "ldmatrix", "stmatrix". With group = lane / 4, in = lane % 4 and e elements
to a register of 32 bits, register r of A holds rows group + 8 (r % 2), columns in * e … + 4 e (r / 2); register r of B rows
in * e … + 4 e r, column group; C and D rows group + 8 (i / 2), columns 2 in + i % 2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from . import rounding
from .arithmetic import Unknown
from .operands import Reader, address, reader, vector, writer
from .parse import Instruction

if TYPE_CHECKING:
    from .machine import Code, Machine

Array = np.ndarray
ELEMENT_BITS = {"f16": 16, "bf16": 16, "tf32": 32, "s8": 8, "u8": 8}
_LANE = np.arange(32)
_GROUP, _IN = _LANE // 4, _LANE % 4


def elements(bits: Array, kind: str) -> Array:
    """Registers [..., n] of 32 bits as elements [..., n, per register], in double."""
    bits = np.ascontiguousarray(bits)
    if kind == "tf32":
        return (bits & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)[..., None]
    if kind in ("s8", "u8"):
        return bits.view(np.int8 if kind == "s8" else np.uint8).reshape(*bits.shape, 4).astype(np.float64)
    halves = bits.view(np.uint16).reshape(*bits.shape, 2)
    return (rounding.from_f16(halves) if kind == "f16" else rounding.from_bf16(halves)).astype(np.float64)


def a_places(registers: int, each: int) -> tuple[Array, Array]:
    """Rows and columns of A by lane, register, element."""
    r, e = np.arange(registers)[None, :, None], np.arange(each)
    rows = _GROUP[:, None, None] + 8 * (r % 2) + 0 * e
    return rows, _IN[:, None, None] * each + e + 4 * each * (r // 2)


def b_places(registers: int, each: int) -> tuple[Array, Array]:
    """Rows (along the sum) and columns of B by lane, register, element."""
    r, e = np.arange(registers)[None, :, None], np.arange(each)
    return _IN[:, None, None] * each + e + 4 * each * r, _GROUP[:, None, None] + 0 * (r + e)


def sum_places() -> tuple[Array, Array]:
    """Rows and columns of C and D by lane and register."""
    i = np.arange(4)
    return _GROUP[:, None] + 8 * (i // 2), _IN[:, None] * 2 + i % 2


def added(products: Array, sums: Array, whole: bool) -> Array:
    """products (double) + sums: as int32 that wraps around, or rounded to float32."""
    if whole:
        return (products.astype(np.int64) + sums.astype(np.int64)).astype(np.int32)
    return rounding.canonical((products + sums.astype(np.float64)).astype(np.float32))


def mma(code: Code, instruction: Instruction):
    """mma.sync.aligned.m16n8k*.row.col of 16-bit floats, TF32 or bytes, summed in 32 bits."""
    words = list(instruction.parts)
    if words[:2] != ["sync", "aligned"] or words[3:5] != ["row", "col"] or len(words) != 9:
        raise Unknown
    shape = re.fullmatch(r"m16n8k(\d+)", words[2])
    result, left, right, start = words[5:]
    whole = left in ("s8", "u8")
    if shape is None or left not in ELEMENT_BITS or right not in ELEMENT_BITS or result != start or result != ("s32" if whole else "f32"):
        raise Unknown
    if ELEMENT_BITS[left] != ELEMENT_BITS[right] or not whole and left != right:
        raise Unknown
    depth, each = int(shape[1]), 32 // ELEMENT_BITS[left]
    count = depth // (4 * each)
    d, a, b, c = (vector(o) for o in instruction.operands)
    if count not in (1, 2) or (len(a), len(b), len(c), len(d)) != (2 * count, count, 4, 4):
        raise Unknown
    given = [[reader(code, o, "b32") for o in some] for some in (a, b, c)]
    to = [writer(o, result) for o in d]
    kind = np.int32 if whole else np.float32
    a_at, b_at, c_at = a_places(2 * count, each), b_places(count, each), sum_places()

    def run(m: Machine, threads: Array) -> None:
        warps = m.whole_warps(threads)
        x, y, z = (_stacked(m, threads, some, len(warps)) for some in given)
        left_matrix, right_matrix = np.zeros((len(warps), 16, depth)), np.zeros((len(warps), depth, 8))
        left_matrix[:, a_at[0], a_at[1]] = elements(x, left)
        right_matrix[:, b_at[0], b_at[1]] = elements(y, right)
        products = (left_matrix @ right_matrix)[:, c_at[0], c_at[1]]
        made = added(products, z.view(kind), whole)
        for i, put in enumerate(to):
            put(m, threads, np.ascontiguousarray(made[:, :, i]).reshape(-1))

    return run


def _stacked(m: Machine, threads: Array, given: list[Reader], warps: int) -> Array:
    """Registers as [warps, 32, registers] of 32 bits."""
    each = [np.broadcast_to(get(m, threads), threads.shape) for get in given]
    return np.ascontiguousarray(np.stack(each, -1).reshape(warps, 32, len(given)))


def _matrices(instruction: Instruction) -> tuple[int, bool]:
    """How many 8 x 8 matrices, and whether turned."""
    words = [w for w in instruction.parts if w not in ("sync", "aligned", "m8n8", "b16", "shared", "shared::cta")]
    turned = "trans" in words
    count = {"x1": 1, "x2": 2, "x4": 4}.get(words[0] if words else "")
    if count is None or len(words) != 1 + turned or not {"sync", "aligned", "m8n8", "b16"} <= set(instruction.parts):
        raise Unknown
    return count, turned


def _rows(m: Machine, threads: Array, addresses: Array, count: int, what: str) -> tuple[Array, Array, Array]:
    """The row every lane of the first 8 * count gives: offsets [warps, matrices, 8], flat offsets, and whose they are."""
    warps = m.whole_warps(threads)
    given = addresses.reshape(len(warps), 32)[:, : 8 * count]
    who = warps[:, : 8 * count].reshape(-1)
    at = m.shared.place(m.shared.own(given.reshape(-1), who), 16, what, who)
    return at.reshape(len(warps), count, 8), at, who


def ldmatrix(code: Code, instruction: Instruction):
    """Matrix i of 8 x 8 halves, whose rows lanes 8 i … point to: lane l gets columns 2 (l % 4) and the next of row l / 4."""
    count, turned = _matrices(instruction)
    target, source = instruction.operands
    to = [writer(o, "b32") for o in vector(target)]
    at = address(code, source)
    if len(to) != count:
        raise Unknown

    def run(m: Machine, threads: Array) -> None:
        rows, flat, who = _rows(m, threads, at(m, threads), count, "a row of a matrix")
        m.shared.check_read(m.shared.cells(flat, 16), who)
        data = m.shared.data[rows[..., None] + np.arange(16)]
        matrices = np.ascontiguousarray(data).view(np.uint16)
        if turned:
            matrices = np.swapaxes(matrices, -1, -2)
        for i, put in enumerate(to):
            low, high = (matrices[:, i, _GROUP, 2 * _IN + h].astype(np.uint32) for h in (0, 1))
            put(m, threads, (low | high << np.uint32(16)).reshape(-1))

    return run


def stmatrix(code: Code, instruction: Instruction):
    """The way back of ldmatrix."""
    count, turned = _matrices(instruction)
    target, source = instruction.operands
    given = [reader(code, o, "b32") for o in vector(source)]
    at = address(code, target)
    if len(given) != count:
        raise Unknown

    def run(m: Machine, threads: Array) -> None:
        rows, flat, who = _rows(m, threads, at(m, threads), count, "a row of a matrix")
        bits = _stacked(m, threads, given, len(rows))
        matrices = np.zeros((len(rows), count, 8, 8), np.uint16)
        for i in range(count):
            for h in (0, 1):
                matrices[:, i, _GROUP, 2 * _IN + h] = bits[:, :, i] >> np.uint32(16 * h) & np.uint32(0xFFFF)
        if turned:
            matrices = np.swapaxes(matrices, -1, -2)
        cells = m.shared.cells(flat, 16)
        writers = np.broadcast_to(who[:, None], cells.shape)
        m.shared.check_write(cells, who)
        m.shared.write_bytes(flat, np.ascontiguousarray(matrices).view(np.uint8).reshape(-1, 16), who)
        m.shared.record_write(cells, writers[:, 0], True)

    return run

