"""Operands of an instruction as functions of machine and threads: typed values to read, places to write, addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .arithmetic import DTYPES, Unknown
from .faults import Fault
from .parse import WIDTHS, Memory, Name, Number, Operand, Register, Vector

if TYPE_CHECKING:
    from .machine import Code, Machine

Array = np.ndarray
Reader = Callable[["Machine", Array], Array]
Writer = Callable[["Machine", Array, Array], None]


def _special(name: str) -> Reader | None:
    """A special register's value."""
    axes = {"x": 0, "y": 1, "z": 2}
    word, _, axis = name.partition(".")
    k = axes.get(axis, 0)
    one = np.uint32(1)
    found: dict[str, Reader] = {
        "%tid": lambda m, t: m.tid[t] if k == 0 else np.zeros(len(t), np.uint32),
        "%ntid": lambda m, t: np.uint32(m.block_threads) if k == 0 else one,
        "%ctaid": lambda m, t: m.ctaid[k][t],
        "%nctaid": lambda m, t: np.uint32(m.grid[k]),
        "%laneid": lambda m, t: m.tid[t] & np.uint32(31),
        "%warpid": lambda m, t: m.tid[t] >> np.uint32(5),
    }
    return found.get(word)


def bits_of(number: Number, kind: str) -> np.generic:
    """An immediate as a value of a type."""
    dtype = np.dtype(DTYPES[kind])
    if dtype.kind == "f":
        if number.float_bits or number.text[:2].lower() in ("0f", "0d"):
            if len(number.text) != 2 + dtype.itemsize * 2:
                raise Unknown
            return np.array(number.float_bits, f"u{dtype.itemsize}").view(dtype)[()]
        raise Unknown
    if dtype.kind == "b":
        return np.bool_(number.value)
    bits = number.float_bits if number.text[:2].lower() in ("0f", "0d") else number.value
    return np.array(bits & (1 << 8 * dtype.itemsize) - 1, f"u{dtype.itemsize}").view(dtype)[()]


def reader(code: Code, operand: Operand, kind: str, wider: bool = False) -> Reader:
    """The value of an operand of a type. wider: a register may have more bits, of which the lower ones count (cvt, st)."""
    dtype = np.dtype(DTYPES[kind])
    if isinstance(operand, Number):
        value = bits_of(operand, kind)
        return lambda m, t: value
    if isinstance(operand, Register):
        register = operand
        if register.bits == WIDTHS[kind]:
            if dtype.kind in "bu":
                return lambda m, t: m.read(register, t)
            return lambda m, t: m.read(register, t).view(dtype)
        if wider and register.bits > WIDTHS[kind]:
            raw = np.dtype(f"u{dtype.itemsize}")
            return lambda m, t: m.read(register, t).astype(raw).view(dtype)
        raise Unknown
    if isinstance(operand, Name):
        special = _special(operand.name)
        if special is not None:
            return (lambda m, t: special(m, t).astype(dtype)) if dtype != np.uint32 else special
        if operand.name in code.places:
            address = dtype.type(code.places[operand.name])
            return lambda m, t: address
    raise Unknown


def writer(operand: Operand, kind: str, wider: bool = False) -> Writer:
    """Where a result of a type goes. wider: a register may have more bits, which repeat the sign of a signed value."""
    if isinstance(operand, Name) and operand.name == "_":
        return lambda m, t, y: None
    if not isinstance(operand, Register):
        raise Unknown
    register = operand
    bits = WIDTHS[kind]
    if register.bits == bits:
        if bits == 1:
            return lambda m, t, y: m.write(register, t, y)
        raw = np.dtype(f"u{bits // 8}")
        return lambda m, t, y: m.write(register, t, np.asarray(y).view(raw))
    if wider and register.bits > bits and bits > 1:
        signed = np.dtype(f"{'i' if kind[0] == 's' else 'u'}{register.bits // 8}")
        raw = np.dtype(f"u{register.bits // 8}")
        if kind[0] == "f":
            signed = raw
        return lambda m, t, y: m.write(register, t, np.asarray(y).astype(signed).view(raw))
    raise Unknown


def vector(operand: Operand) -> tuple[Operand, ...]:
    """The parts of ``{…}``, or one operand alone."""
    return operand.parts if isinstance(operand, Vector) else (operand,)


def address(code: Code, operand: Operand) -> Reader:
    """The addresses of ``[…]`` as 64 bits."""
    if not isinstance(operand, Memory):
        raise Unknown
    offset = np.uint64(operand.offset & 0xFFFFFFFFFFFFFFFF)
    base = operand.base
    if isinstance(base, Register):
        if base.bits not in (32, 64):
            raise Unknown
        register = base
        narrow = np.uint64(0xFFFFFFFF if base.bits == 32 else 0xFFFFFFFFFFFFFFFF)
        return lambda m, t: m.read(register, t).astype(np.uint64) + offset & narrow
    if isinstance(base, Number):
        whole = np.uint64(base.value) + offset
        return lambda m, t: np.full(len(t), whole)
    if isinstance(base, Name) and base.name in code.places:
        place = np.uint64(code.places[base.name]) + offset
        return lambda m, t: np.full(len(t), place)
    raise Unknown


def single(m: Machine, threads: Array, value: Array, what: str) -> int:
    """What all threads have to agree on. Fault when they do not."""
    value = np.broadcast_to(value, threads.shape)
    if (value != value[0]).any():
        raise Fault(f"{what} differs between threads that execute this together", threads)
    return int(value[0])


def constant(operand: Operand) -> int:
    """An operand that has to be a number."""
    if not isinstance(operand, Number):
        raise Unknown
    return operand.value

