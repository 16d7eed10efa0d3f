"""Bytes of registers that nobody writes: compilers put values together around them, and no result may depend on them.

NVRTC packs two bytes of four with prmt and lets dp2a.lo look at those two; the others come from registers that are never written.
"""

from __future__ import annotations

from collections import Counter

from .operands import vector
from .parse import Both, Instruction, Kernel, Number, Operand, Register


def holes(kernel: Kernel) -> dict[int, int]:
    """By a register's index the bytes of it (bit i: byte i) that have no value, in a kernel's order of text."""
    written = Counter(r.index for i in kernel.code if i.operands for r in _registers(i.operands[0]))
    found = {r.index: (1 << max(1, r.bits // 8)) - 1 for r in kernel.registers if not written[r.index]}
    for instruction in kernel.code:
        target = instruction.operands[0] if instruction.operands else None
        if instruction.opcode == "prmt" and isinstance(target, Register) and written[target.index] == 1:
            if left := _of_result(instruction, found):
                found[target.index] = left
    return found


def _registers(operand: Operand) -> list[Register]:
    parts = (operand.first, operand.second) if isinstance(operand, Both) else vector(operand)
    return [p for p in parts if isinstance(p, Register)]


def _selected(instruction: Instruction) -> list[int] | None:
    """Which of its eight bytes a prmt takes for each of its result's; None where that is not written there."""
    select = instruction.operands[3] if len(instruction.operands) == 4 else None
    if instruction.parts != ("b32",) or not isinstance(select, Number):
        return None
    return [select.value >> 4 * i & 7 for i in range(4)]


def _of_result(instruction: Instruction, found: dict[int, int]) -> int:
    taken = _selected(instruction)
    if taken is None:
        return 0
    low, high = (found.get(o.index, 0) if isinstance(o, Register) else 0 for o in instruction.operands[1:3])
    both = low | high << 4
    return sum(1 << i for i, byte in enumerate(taken) if both >> byte & 1)


def unread(instruction: Instruction, position: int, found: dict[int, int]) -> bool:
    """Whether an operand (0: the first behind the result) has bytes without a value and the instruction takes none of them.

    Of prmt they may be taken: they are bytes without a value of its result.
    """
    operand = instruction.operands[position + 1]
    empty = found.get(operand.index, 0) if isinstance(operand, Register) else 0
    if not empty:
        return False
    if instruction.opcode == "prmt":
        return position < 2 and _selected(instruction) is not None
    if instruction.opcode == "dp2a" and position == 1:
        return not empty & (0b1100 if "hi" in instruction.parts else 0b0011)
    return False
