"""Statements: memory accesses, pointers, loops, branches and calls of the loops level as lines of C.

``STATEMENTS[op class](printer, op)`` adds the lines of one op to the function being printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xdsl.dialects import arith, func, memref, scf, vector
from xdsl.ir import Block, Operation, SSAValue

from ..dialects import kernel
from ..dialects.amx import TileType
from ..dialects.errors import BackendError
from ..dialects.kernel import PrefetchOp
from ..dialects.sizes import Size
from .c_expressions import constant_of
from .c_masks import count_of, print_mask
from .c_types import c_type, index_text, offset_of, span_of, strides_of
from .liveness import captured_values

if TYPE_CHECKING:
    from .c_function import FunctionPrinter

_DYNAMIC = -(2**62)  # below it a static offset means: given by an operand

# Memory


def address(p: FunctionPrinter, base: SSAValue, indices: Sequence[SSAValue]) -> str:
    """The linear element index of an access, ``i * 28 + j``."""
    fixed, terms = 0, []
    for value, stride in zip(indices, strides_of(base.type), strict=True):
        number = constant_of(value)
        if number is not None:
            fixed += (number if isinstance(number, Size) else int(number)) * stride
        elif stride:
            terms.append(p.name(value) if stride == 1 else f"{p.name(value)} * {index_text(stride)}")
    if isinstance(fixed, Size) or fixed or not terms:
        terms.append(index_text(fixed))
    return " + ".join(terms)


def _load(p: FunctionPrinter, op: memref.LoadOp) -> None:
    if not p.is_live(op.res):
        return
    t = c_type(op.memref.type.element_type)
    text = f"{p.name(op.memref)}[{address(p, op.memref, op.indices)}]"
    if only_moved(p, op.res):
        p.line(f"{p.declare_bits(op.res)} = {text};")
        return
    if t.is_half:
        text = f"{p.prelude.function(f'from_{t.code}', 'f32', 0)}({text})"
    p.line(f"{p.declare(op.res)} = {text};")


def _store(p: FunctionPrinter, op: memref.StoreOp) -> None:
    t = c_type(op.memref.type.element_type)
    text = p.name(op.value)
    if t.is_half and not only_moved(p, op.value):
        text = f"{p.prelude.function(f'to_{t.code}', 'f32', 0)}({text})"
    p.line(f"{p.name(op.memref)}[{address(p, op.memref, op.indices)}] = {text};")


def only_moved(p: FunctionPrinter, value: SSAValue) -> bool:
    """Whether a 16-bit float, or a vector of them, goes from memory to memory as it is: its bits are moved, nothing is converted."""
    if not p.moves_bits or not c_type(value.type).is_half or not isinstance(value.owner, (memref.LoadOp, vector.LoadOp)):
        return False
    return all(isinstance(use.operation, (memref.StoreOp, vector.StoreOp)) for use in value.uses)


def _memory_code(kind: Any) -> str:
    """What elements of a type are as integers in memory, where C has no such type."""
    code = c_type(kind).code
    return {"i1": "u8", "f16": "u16", "bf16": "u16"}.get(code, code)


def _vector_place(p: FunctionPrinter, base: SSAValue, indices: Sequence[SSAValue], lanes: int, const: str) -> str:
    """The vector at an address, as something to read or assign: ``*(f32x16u *)(x + i)``."""
    stored = p.prelude.vector(_memory_code(base.type.element_type), lanes)
    where = address(p, base, indices)
    pointer = p.name(base) if where == "0" else f"({p.name(base)} + {where})"
    return f"*({const}{stored}u *){pointer}"


def _run(p: FunctionPrinter, op: kernel.RunOp) -> None:
    """A range is what a thread does in one go."""
    loop = op.iteration.owner
    ranged = isinstance(loop, Block) and isinstance(loop.parent_op(), scf.ParallelOp) and loop.parent_op().parent_op() is p.function
    p.line(f"{p.declare(op.result)} = {'begin' if ranged else p.name(op.iteration)};")


def _load_words(p: FunctionPrinter, op: kernel.LoadWordsOp) -> None:
    if not p.is_live(op.result):
        return
    lanes, where = c_type(op.result.type).lanes, address(p, op.memory, [op.index])
    if lanes:
        p.prelude.vector("i32", lanes)
    else:
        p.prelude.piece("typedef int32_t word __attribute__((aligned(1), may_alias));")
    kind = f"i32x{lanes}u" if lanes else "word"
    p.line(f"{p.declare(op.result)} = *(const {kind} *)({p.name(op.memory)} + {where});")


def _vector_load(p: FunctionPrinter, op: vector.LoadOp) -> None:
    if p.is_live(op.result):
        _declare_loaded(p, op.result, _vector_place(p, op.base, op.indices, c_type(op.result.type).lanes, "const "))


def _declare_loaded(p: FunctionPrinter, result: SSAValue, text: str) -> None:
    """A vector as it is in memory, as a value."""
    t = c_type(result.type)
    if only_moved(p, result):
        p.line(f"{p.declare_bits(result)} = {text};")
        return
    if t.is_half:
        text = f"{p.prelude.function(f'from_{t.code}', 'f32', t.lanes)}({text})"
    elif t.kind == "b":
        bits = _wanted_mask_bits(result)
        p.set_mask_bits(result, bits)
        text = f"-__builtin_convertvector({text}, {p.prelude.vector(f'i{bits}', t.lanes)})"
    p.line(f"{p.declare(result)} = {text};")


def _masked_load(p: FunctionPrinter, op: vector.MaskedLoadOp) -> None:
    if not p.is_live(op.result):
        return
    t, code = c_type(op.result.type), _memory_code(op.result.type)
    part = p.prelude.function("load_part", code, t.lanes)
    where = f"{p.name(op.base)} + {address(p, op.base, op.indices)}"
    _declare_loaded(p, op.result, f"{part}({where}, {_as_stored(p, op.pass_thru)}, {p.name(count_of(op.mask))})")


def _masked_store(p: FunctionPrinter, op: vector.MaskedStoreOp) -> None:
    t, code = c_type(op.value_to_store.type), _memory_code(op.value_to_store.type)
    part = p.prelude.function("store_part", code, t.lanes)
    where = f"{p.name(op.base)} + {address(p, op.base, op.indices)}"
    p.line(f"{part}({where}, {_as_stored(p, op.value_to_store)}, {p.name(count_of(op.mask))});")


def _as_stored(p: FunctionPrinter, value: SSAValue) -> str:
    """A vector as it is in memory."""
    t, text = c_type(value.type), p.name(value)
    if t.is_half and not only_moved(p, value):
        return f"{p.prelude.function(f'to_{t.code}', 'f32', t.lanes)}({text})"
    if t.kind == "b":
        return f"__builtin_convertvector(-{text}, {p.prelude.vector('u8', t.lanes)})"
    return text


def _wanted_mask_bits(value: SSAValue) -> int:
    """Width of what a mask will select: that of its first reader with a wider result, else 32."""
    for use in value.uses:
        t = c_type(use.operation.results[0].type) if use.operation.results else None
        if t is not None and t.kind != "b":
            return 32 if t.is_half else t.bits
    return 32


def _vector_store(p: FunctionPrinter, op: vector.StoreOp) -> None:
    t, text = c_type(op.vector.type), _as_stored(p, op.vector)
    if op.nontemporal is not None and op.nontemporal.value.data and (t.code, t.bits) == ("f32", 32):
        where = address(p, op.base, op.indices)
        p.streams = p.prelude.function("fence", "f32", t.lanes)
        p.line(f"{p.prelude.function('stream', 'f32', t.lanes)}({p.name(op.base)} + {where}, {text});")
        return
    p.line(f"{_vector_place(p, op.base, op.indices, t.lanes, '')} = {text};")


def _prefetch(p: FunctionPrinter, op: PrefetchOp) -> None:
    """To be written, or near: into the first cache; else into the second, from where it comes in time."""
    hint = ", 1, 3" if op.written is not None else ", 0, 3" if op.near is not None else ", 0, 2"
    p.line(f"__builtin_prefetch({p.name(op.memory)} + {address(p, op.memory, (op.index,))}{hint});")


def _next_insert(op: vector.InsertOp) -> vector.InsertOp | None:
    """The insert that alone uses this one's result as its vector."""
    users = [use.operation for use in op.result.uses]
    if len(users) == 1 and isinstance(users[0], vector.InsertOp) and users[0].dest is op.result:
        return users[0]
    return None


def chain_of(first: vector.InsertOp) -> tuple[list[vector.InsertOp], list[SSAValue] | None]:
    """The inserts from here on, each into the result of the one before, and the scalars of the vector they make; None for these when a
    lane is missing or not static."""
    chain = [first]
    while (following := _next_insert(chain[-1])) is not None:
        chain.append(following)
    found: dict[int, SSAValue] = {}
    for op in chain:
        where = op.get_mixed_position()[0]
        if not isinstance(where, int):
            return chain, None
        found[where] = op.source
    count = c_type(first.result.type).lanes
    return chain, [found[k] for k in range(count)] if len(found) == count else None


def _insert(p: FunctionPrinter, op: vector.InsertOp) -> None:
    if not p.is_live(op.result):
        return
    last, lanes = p.chain(op)
    if lanes is not None and c_type(op.result.type).kind != "b":
        if op is last:
            values = ", ".join(p.name(v) for v in lanes)
            p.line(f"{p.declare(op.result)} = ({p.type_text(op.result).strip()}){{{values}}};")
        return
    where = op.get_mixed_position()[0]
    p.set_mask_bits(op.result, p.mask_bits(op.dest))
    p.line(f"{p.declare(op.result)} = {p.name(op.dest)};")
    text = p.name(op.source)
    if c_type(op.result.type).kind == "b":
        text = f"-(int{p.mask_bits(op.dest)}_t){text}"
    p.line(f"{p.name(op.result)}[{where if isinstance(where, int) else p.name(where)}] = {text};")


# Pointers


def _alloca(p: FunctionPrinter, op: memref.AllocaOp) -> None:
    if not p.is_live(op.memref):
        return
    element = p.prelude.memory(c_type(op.memref.type.element_type).code)
    name = p.fresh(op.memref.name_hint, "row")
    p.alias(op.memref, name)
    p.line(f"{element} {name}[{max(1, span_of(op.memref.type))}] __attribute__((aligned(64)));")


def _view(p: FunctionPrinter, op: memref.ViewOp) -> None:
    if not p.is_live(op.result):
        return
    shift = p.name(op.byte_shift)
    base = f"({'' if p.is_written(op.result) else 'const '}char *){p.name(op.source)}"
    kind = p.type_text(op.result).strip()
    p.line(f"{p.declare(op.result, 'b')} = ({kind}){base if shift == '0' else f'({base} + {shift})'};")


def _reinterpret(p: FunctionPrinter, op: memref.ReinterpretCastOp) -> None:
    static = op.static_offsets.get_values()[0]
    _moved(p, op.result, op.source, p.name(op.offsets[0]) if op.offsets else index_text(static - offset_of(op.source.type)))


def _subview(p: FunctionPrinter, op: memref.SubviewOp) -> None:
    dynamic, terms = iter(op.offsets), []
    for stride, fixed in zip(strides_of(op.source.type), op.static_offsets.get_values(), strict=True):
        start = p.name(next(dynamic)) if fixed < _DYNAMIC else index_text(fixed)
        if start != "0":
            terms.append(start if stride == 1 else f"{start} * {index_text(stride)}")
    _moved(p, op.result, op.source, " + ".join(terms) or "0")


def _moved(p: FunctionPrinter, result: SSAValue, source: SSAValue, offset: str) -> None:
    """A pointer some elements further; the same name when it is the same place."""
    if not p.is_live(result):
        return
    if offset == "0":
        p.alias(result, p.name(source))
    else:
        p.line(f"{p.declare(result, 'b')} = {p.name(source)} + {offset};")


def _bits(p: FunctionPrinter, op: kernel.BitsOp) -> None:
    if p.is_live(op.result):
        kind = p.type_text(op.result).strip()
        p.line(f"{p.declare(op.result, 'bits')} = ({kind}){p.name(op.source)};")


def _same_pointer(p: FunctionPrinter, op: Operation) -> None:
    _moved(p, op.results[0], op.operands[0], "0")


# Control flow


def _for(p: FunctionPrinter, op: scf.ForOp) -> None:
    """Carried values are variables assigned at the end of the body; after the loop they are its results."""
    index, *carried = op.body.block.args
    for argument, start, result in zip(carried, op.iter_args, op.results, strict=True):
        if isinstance(argument.type, TileType):  # in a register of its own from the start
            continue
        p.set_mask_bits(argument, p.mask_bits(start))
        p.set_mask_bits(result, p.mask_bits(start))
        p.line(f"{p.declare(argument, 'acc')} = {p.name(start)};")
        p.alias(result, p.name(argument))
    _loop(p, index, (p.name(op.lb), p.name(op.ub), p.name(op.step)), op.body.block)


def _loop(p: FunctionPrinter, index: SSAValue, bounds: tuple[str, str, str], body: Block) -> None:
    low, high, step = bounds
    declaration = p.declare(index, "i")
    name = p.name(index)
    advance = f"{name}++" if step == "1" else f"{name} += {step}"
    p.line(f"for ({declaration} = {low}; {name} < {high}; {advance}) {{")
    p.block(body)
    p.line("}")


def _yield(p: FunctionPrinter, op: scf.YieldOp) -> None:
    """Assign what is handed on, through copies where one target is read for another."""
    parent = op.parent_op()
    targets = list(parent.results) if isinstance(parent, scf.IfOp) else list(parent.body.block.args[1:])
    moves = []
    for target, value in zip(targets, op.operands, strict=True):
        if isinstance(value.type, TileType):
            continue
        t = c_type(value.type)
        text = p.mask(value, p.mask_bits(target)) if t.kind == "b" and t.lanes else p.name(value)
        if text != p.name(target):
            moves.append((p.name(target), text, target))
    names = {p.name(target) for target in targets}
    if len(moves) > 1 and any(text in names for _, text, _ in moves):
        held = [(name, p.fresh(None, "next"), text, target) for name, text, target in moves]
        for _, copy, text, target in held:
            p.line(f"{p.type_text(target)}{copy} = {text};")
        moves = [(name, copy, target) for name, copy, _, target in held]
    for name, text, _ in moves:
        p.line(f"{name} = {text};")


def _if(p: FunctionPrinter, op: scf.IfOp) -> None:
    for result in op.results:
        p.line(f"{p.declare(result)};")
    p.line(f"if ({p.name(op.cond)}) {{")
    p.block(op.true_region.block)
    if op.false_region.blocks and not isinstance(op.false_region.block.first_op, scf.YieldOp) or op.results:
        p.line("} else {")
        p.block(op.false_region.block)
    p.line("}")


def _parallel(p: FunctionPrinter, op: scf.ParallelOp) -> None:
    """The body as a function of a range, handed to ``parallel_for`` with what it captures."""
    if len(op.lowerBound) != 1 or op.results:
        raise BackendError("the loops level has 1-D scf.parallel without reductions only", help="lowering/README.md")
    index = op.body.block.args[0]
    low, high, step = (p.name(v[0]) for v in (op.lowerBound, op.upperBound, op.step))
    if op.parent_op() is not p.function:
        _loop(p, index, (low, high, step), op.body.block)
        return
    if low != "0" or step != "1":
        raise BackendError("scf.parallel starts at 0 and steps by 1 at the loops level", help="lowering/README.md")
    captured = [v for v in captured_values(op) if not isinstance(v.owner, arith.ConstantOp)]
    fields = {p.name(v): p.type_text(v) for v in captured}
    task = p.task_name()
    with p.task(task, fields):
        _loop(p, index, ("begin", "end", "1"), op.body.block)
    p.line(f"struct {task} {task} = {{{', '.join(fields)}}};")
    p.line(f"parallel_for(run_{task}, &{task}, {high});")


def _call(p: FunctionPrinter, op: func.CallOp) -> None:
    symbol = re.sub(r"\W", "_", op.callee.string_value())
    p.line(f"{symbol}({', '.join(p.name(v) for v in op.arguments)});")


def _nothing(p: FunctionPrinter, op: Operation) -> None:
    pass


STATEMENTS: dict[type[Operation], Callable[[Any, Any], None]] = {
    memref.LoadOp: _load, memref.StoreOp: _store, vector.LoadOp: _vector_load, vector.StoreOp: _vector_store,
    vector.MaskedLoadOp: _masked_load, vector.MaskedStoreOp: _masked_store, vector.CreateMaskOp: print_mask,
    vector.InsertOp: _insert, PrefetchOp: _prefetch, memref.AllocaOp: _alloca, memref.ViewOp: _view, memref.ReinterpretCastOp: _reinterpret,
    memref.SubviewOp: _subview, memref.CastOp: _same_pointer, memref.CollapseShapeOp: _same_pointer,
    memref.ExpandShapeOp: _same_pointer, kernel.BitsOp: _bits, kernel.LoadWordsOp: _load_words, kernel.RunOp: _run, scf.ForOp: _for, scf.YieldOp: _yield, scf.IfOp: _if,
    scf.ParallelOp: _parallel, scf.ReduceOp: _nothing, func.CallOp: _call, func.ReturnOp: _nothing,
}  # fmt: skip
