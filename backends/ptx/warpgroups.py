"""wgmma of an interpreted warpgroup: matrices found through descriptors, products under way until they are waited for.

Source: PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Instructions": "Register Fragments and Shared Memory Matrix Layouts",
"Canonical Layouts", "Matrix Descriptor Format", "wgmma.fence", "wgmma.commit_group", "wgmma.wait_group". With T elements to 16
bytes and S pieces of 16 bytes to a swizzle's row, K-major: row r, column k lie (r % 8) S + (r / 8) SBO + k / T pieces on; MN-major:
(r / T) % S + (r / (S T)) LBO + (k % 8) S + (k / 8) SBO pieces on; without a swizzle as the tables of canonical layouts say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .arithmetic import Unknown
from .copies import swizzled
from .faults import Fault
from .operands import Reader, Writer, constant, reader, single, vector, writer
from .parse import Instruction, Number, Register, Vector
from .shared import ASYNC, BASE
from .tensor_cores import ELEMENT_BITS, a_places, added, elements, sum_places

if TYPE_CHECKING:
    from .machine import Code, Machine

Array = np.ndarray
GROUP = 128
_MODES = {0: 0, 1: 128, 2: 64, 3: 32}
DEPTHS = {"f16": 16, "bf16": 16, "tf32": 8, "s8": 32, "u8": 32}


@dataclass(frozen=True)
class Descriptor:
    """A matrix in shared memory: its first address, both offsets in bytes, its swizzle's bytes (0: none)."""

    start: int
    leading: int
    stride: int
    swizzle: int

    @staticmethod
    def of(bits: int) -> Descriptor:
        """From its 64 bits. Fault: bits that have no meaning, a pattern that does not start where its swizzle's does."""
        if bits & ~(0x3FFF | 0x3FFF << 16 | 0x3FFF << 32 | 7 << 49 | 3 << 62):
            raise Fault(f"a matrix descriptor {bits:#018x} with bits set that have to be 0")
        if bits >> 49 & 7:
            raise Fault(f"a matrix descriptor with base offset {bits >> 49 & 7}: only patterns on their own boundary are implemented")
        start, leading, stride = ((bits >> at & 0x3FFF) << 4 for at in (0, 16, 32))
        return Descriptor(start, leading, stride, _MODES[bits >> 62 & 3])

    def addresses(self, rows: int, depth: int, size: int, turned: bool) -> Array:
        """[rows, depth] addresses of elements of `size` bytes. turned: the matrix is MN-major."""
        each = 16 // size
        row, k = np.arange(rows)[:, None], np.arange(depth)[None, :]
        wide = self.swizzle // 16
        if turned and wide:
            place = row % each * size + row // each % wide * 16 + row // (each * wide) * self.leading + k % 8 * 16 * wide + k // 8 * self.stride
        elif turned:
            place = row % each * size + row // each * self.stride + k % 8 * 16 + k // 8 * self.leading
        elif wide:
            place = row % 8 * 16 * wide + row // 8 * self.stride + k * size
        else:
            place = row % 8 * 16 + row // 8 * self.stride + k // each * self.leading + k % each * size
        return swizzled(self.start + place, self.swizzle)


@dataclass
class _Product:
    """What a product holds until it is waited for: registers, and cells of shared memory."""

    registers: tuple[int, ...]
    cells: Array


@dataclass
class _Group:
    """A warpgroup's products: those not committed, and committed groups."""

    open: list[_Product] = field(default_factory=list)
    committed: list[list[_Product]] = field(default_factory=list)
    fenced: bool = False
    shape: dict[int, str] = field(default_factory=dict)

    def under_way(self) -> list[_Product]:
        return [*self.open, *(p for g in self.committed for p in g)]


class Products:
    """The products of a block's warpgroups."""

    def __init__(self, groups: int) -> None:
        self.groups = [_Group() for _ in range(groups)]

    def of(self, m: Machine, threads: Array) -> list[tuple[_Group, Array]]:
        """The warpgroups these threads are, whole."""
        return [(self.groups[int(some[0]) // GROUP], some) for some in m.whole_warps(threads, GROUP)]

    def fence(self, m: Machine, threads: Array) -> None:
        """wgmma.fence: what was done to registers before is in order with the products behind it."""
        for group, _ in self.of(m, threads):
            group.fenced = True
        for touched in m.touched.values():
            touched[threads] = False

    def commit(self, m: Machine, threads: Array) -> None:
        """wgmma.commit_group."""
        for group, _ in self.of(m, threads):
            group.committed.append(group.open)
            group.open = []

    def wait(self, m: Machine, threads: Array, pending: int) -> None:
        """wgmma.wait_group: all but the last groups are done, their registers and their shared memory free."""
        for group, some in self.of(m, threads):
            done = group.committed[: max(0, len(group.committed) - pending)]
            group.committed = group.committed[len(done) :]
            for product in (p for g in done for p in g):
                m.shared.leaving[product.cells] -= 1
                m.shared.record_product(product.cells, some)
            still = {i for p in group.under_way() for i in p.registers}
            for i in {i for g in done for p in g for i in p.registers} - still:
                m.busy[i][some] = False

    def check_end(self) -> None:
        """Fault when the block ends with products under way."""
        if any(g.under_way() for g in self.groups):
            raise Fault("the block ends while products of wgmma are under way: wgmma.wait_group is missing")


@dataclass(frozen=True)
class _Form:
    """A wgmma.mma_async as written."""

    columns: int
    left: str
    right: str
    sums: tuple[Register, ...]
    get_sums: tuple[Reader, ...]
    put_sums: tuple[Writer, ...]
    a_registers: tuple[Register, ...]
    a: tuple[Reader, ...]
    b: Reader
    added: Reader | bool
    signs: tuple[int, int]
    turned: tuple[bool, bool]
    whole: bool


def registers_of(instruction: Instruction) -> set[int]:
    """The registers a wgmma.mma_async adds to or multiplies."""
    found: set[int] = set()
    for operand in instruction.operands[:2]:
        found |= {r.index for r in vector(operand) if isinstance(r, Register) and r.bits == 32}
    return found


def _form(code: Code, instruction: Instruction) -> _Form:
    words = list(instruction.parts)
    if words[:3] != ["mma_async", "sync", "aligned"] or len(words) != 7:
        raise Unknown
    shape = re.fullmatch(r"m64n(\d+)k(\d+)", words[3])
    result, left, right = words[4:]
    whole = left in ("s8", "u8")
    if shape is None or left not in DEPTHS or right not in DEPTHS or int(shape[2]) != DEPTHS[left] or DEPTHS[left] != DEPTHS[right]:
        raise Unknown
    columns = int(shape[1])
    if whole and columns > 32 and columns % 16:
        raise Unknown
    if result != ("s32" if whole else "f32") or columns % 8 or not 8 <= columns <= 256 or not whole and left != right:
        raise Unknown
    sums, a, b, scale, *more = instruction.operands
    parts = vector(sums)
    from_registers = isinstance(a, Vector)
    if len(parts) != columns // 2 or from_registers and len(a.parts) != 4:
        raise Unknown
    flags = [constant(o) for o in more]
    turns = (1 if from_registers else 2) if left in ("f16", "bf16") else 0
    if len(flags) != (0 if whole else 2 + turns):
        raise Unknown
    turned = flags[2:] if turns == 2 else [0, *flags[2:]] if turns else [0, 0]
    held = tuple(r for r in parts if isinstance(r, Register))
    return _Form(
        columns, left, right, held, tuple(reader(code, o, "b32") for o in parts), tuple(writer(o, "b32") for o in parts),
        tuple(r for r in vector(a) if isinstance(r, Register)) if from_registers else (),
        tuple(reader(code, o, "b32") for o in a.parts) if from_registers else (reader(code, a, "b64"),), reader(code, b, "b64"),
        bool(scale.value) if isinstance(scale, Number) else reader(code, scale, "pred"),
        (flags[0], flags[1]) if not whole else (1, 1), (bool(turned[0]), bool(turned[1])), whole,
    )  # fmt: skip


def wgmma(code: Code, instruction: Instruction):
    """wgmma.mma_async: computed where it stands, seen by nobody until it is waited for."""
    form = _form(code, instruction)

    def run(m: Machine, threads: Array) -> None:
        for group, some in m.products.of(m, threads):
            _check_registers(m, form, group, some)
            cells = []
            if form.a_registers:
                left = _left_from_registers(m, form, some)
            else:
                left = _matrix(m, form.a[0], some, 64, form.left, form.turned[0], cells)
            right = _matrix(m, form.b, some, form.columns, form.right, form.turned[1], cells)
            _multiply(m, form, some, left * form.signs[0], right * form.signs[1])
            used = np.unique(np.concatenate(cells))
            m.shared.leaving[used] += 1
            registers = tuple(r.index for r in (*form.sums, *form.a_registers))
            group.open.append(_Product(registers, used))
            for i in registers:
                m.busy[i][some] = True

    return run


def _check_registers(m: Machine, form: _Form, group: _Group, threads: Array) -> None:
    """Registers touched since the last fence are not in order; sums of products under way have to be of one shape."""
    if not group.fenced:
        raise Fault("wgmma.mma_async before any wgmma.fence of the warpgroup", threads)
    busy = {i for p in group.under_way() for i in p.registers}
    for register in (*form.sums, *form.a_registers):
        if m.touched[register.index][threads].any():
            raise Fault(f"{register.name} was read or written and no wgmma.fence is between that and wgmma.mma_async", threads)
    shape = f"n{form.columns}{form.whole}"
    for register in form.sums:
        if register.index in busy and group.shape.get(register.index) != shape:
            raise Fault(f"{register.name} is a sum of products under way of another shape", threads)
        group.shape[register.index] = shape


def _raw(m: Machine, register: Register, threads: Array, needed: bool = True) -> Array:
    """A register's bits past the rule that it is in use, which holds for other instructions."""
    if needed and not m.defined[register.index][threads].all():
        raise Fault(f"{register.name} is read and was never written", threads)
    return m.registers[register.index][threads]


def _left_from_registers(m: Machine, form: _Form, threads: Array) -> Array:
    """A, 64 rows, of which every warp has 16."""
    bits = np.stack([_raw(m, r, threads) for r in form.a_registers], -1).reshape(4, 32, 4)
    rows, columns = a_places(4, 1 if form.left == "tf32" else 2)
    made = np.zeros((4, 16, DEPTHS[form.left]))
    made[:, rows, columns] = elements(bits, form.left)
    return made.reshape(64, -1)


def _matrix(m: Machine, given: Reader, threads: Array, rows: int, kind: str, turned: bool, cells: list[Array]) -> Array:
    """A matrix in shared memory as doubles [rows, depth]; what it lies in is noted."""
    bits = single(m, threads, given(m, threads), "a matrix descriptor")
    descriptor = Descriptor.of(bits)
    size, depth = ELEMENT_BITS[kind] // 8, DEPTHS[kind]
    at = descriptor.addresses(rows, depth, size, turned)
    shared = m.shared
    flat = shared.own(at.reshape(-1), np.full(at.size, threads[0]))
    shared.place(flat, size, "an element of a matrix", np.full(len(flat), threads[0]))
    used = np.unique((flat - BASE) // shared.granule)
    for warp in threads[::32]:
        shared.check_read(used[:, None], np.full(len(used), warp), ASYNC, record=False, partly=True)
    cells.append(used)
    raw = np.ascontiguousarray(shared.data[(flat - BASE)[:, None] + np.arange(size)])
    if size == 4:
        return elements(raw.view(np.uint32).reshape(-1), kind).reshape(rows, depth)
    return elements(raw.reshape(-1, 4).view(np.uint32).reshape(-1), kind).reshape(rows, depth)


def _multiply(m: Machine, form: _Form, threads: Array, left: Array, right: Array) -> None:
    """Add the product to the warpgroup's sums: warp w has rows 16 w …, each n8 block of columns as mma.sync's sums."""
    products = (left @ right.T).reshape(4, 16, form.columns // 8, 8)
    rows, columns = sum_places()
    mine = products[:, rows, :, columns]  # [32, 4, warps, blocks]
    mine = mine.transpose(2, 0, 3, 1).reshape(GROUP, -1)
    before = np.zeros((GROUP, len(form.sums)), np.int32 if form.whole else np.float32)
    keeps = form.added
    if not isinstance(keeps, bool):
        keeps = bool(single(m, threads, keeps(m, threads), "whether sums are kept"))
    if keeps:
        before = np.stack([_raw(m, r, threads) for r in form.sums], -1).view(before.dtype)
    made = added(mine, before, form.whole).view(np.uint32)
    for i, register in enumerate(form.sums):
        m.registers[register.index][threads] = made[:, i]
        m.defined[register.index][threads] = True
