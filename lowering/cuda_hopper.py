"""The ops of sm_90a as CUDA C++ statements, and wgmma's functions: one per kinds of operands, width and way they lie."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from xdsl.ir import Operation, SSAValue

from ..dialects import nv_hopper as nv
from .c_statements import address


_WGMMA_DEPTHS = {"bf16": 16, "f16": 16, "tf32": 8, "s8": 32, "u8": 32}


def wgmma_text(name: str) -> str:
    """The function ``wgmma_<left>_<right>_n<columns>_<how a lies><how b lies>``: a warpgroup's product into the registers of `d`.

    k: along the sum; t: turned.
    """
    _, left, right, columns, lies = name.split("_")
    n = int(columns[1:])
    count = n // 2
    sums, constraint, kind = ("int32_t", "r", "s32") if left in ("s8", "u8") else ("float", "f", "f32")
    registers = ", ".join(f"%{i}" for i in range(count))
    outputs = ", ".join(f'"+{constraint}"(d[{i}])' for i in range(count))
    shape = f"wgmma.mma_async.sync.aligned.m64n{n}k{_WGMMA_DEPTHS[left]}.{kind}.{left}.{right}"
    signs = "" if kind == "s32" else ", 1, 1"  # factors as they are, not their opposites
    turned = "".join(f", {int(way == 't')}" for way in lies) if left in ("bf16", "f16") else ""
    return (
        f"__device__ __forceinline__ void lm_{name}({sums} *d, int64_t a, int64_t b) {{\n"
        f'    asm volatile("{shape} {{{registers}}}, %{count}, %{count + 1}, 1{signs}{turned};"\n'
        f'                 : {outputs} : "l"(a), "l"(b));\n}}'
    )


def is_wgmma(name: str) -> bool:
    """Whether a function of the prelude is one of wgmma's."""
    return re.match(r"wgmma_\w+_n\d", name) is not None


def _place(p: Any, memory: SSAValue, index: SSAValue) -> str:
    where = address(p, memory, [index])
    return p.name(memory) if where == "0" else f"({p.name(memory)} + {where})"


def _map(p: Any, op: nv.TensorMapOp) -> None:
    if p.is_live(op.result):
        p.alias(op.result, p.map_name(op))


def _load(p: Any, op: nv.TmaLoadOp) -> None:
    rank = len(op.places)
    places = ", ".join(p.name(v) for v in op.places)
    target, barrier = _place(p, op.target, op.target_index), _place(p, op.barriers, op.barrier)
    p.line(f"{p.cuda.use(f'tma_load_{rank}d')}({target}, &{p.name(op.map)}, {barrier}, {places});")


def _on_barrier(function: str, *extra: str) -> Callable[[Any, Any], None]:
    def statement(p: Any, op: Any) -> None:
        more = [str(op.properties[name].value.data) for name in extra]
        more += [p.name(v) for v in op.operands[2:]]
        p.line(f"{p.cuda.use(function)}({', '.join([_place(p, op.barriers, op.barrier), *more])});")

    return statement


def _descriptor(p: Any, op: nv.MatrixDescriptorOp) -> None:
    if p.is_live(op.result):
        call = f"{p.cuda.use('matrix_descriptor')}({_place(p, op.memory, op.index)}, {op.leading.value.data})"
        p.line(f"{p.declare(op.result, 'matrix')} = {call};")


def _wgmma(p: Any, op: nv.WgmmaOp) -> None:
    lies = "".join("k" if t is None else "t" for t in (op.a_turned, op.b_turned))
    name = f"wgmma_{op.left.data}_{op.right.data}_n{op.columns}_{lies}"
    p.line(f"{p.cuda.use(name)}({p.name(op.sums)}, {p.name(op.a)}, {p.name(op.b)});")


def _registers(p: Any, op: nv.SetRegistersOp) -> None:
    function = "fewer_registers" if op.more is None else "more_registers"
    p.line(f"{p.cuda.use(function)}<{op.count.value.data}>();")


def _plain(function: str) -> Callable[[Any, Any], None]:
    return lambda p, op: p.line(f"{p.cuda.use(function)}();")


HOPPER_STATEMENTS: dict[type[Operation], Callable[[Any, Any], None]] = {
    nv.TensorMapOp: _map, nv.TmaLoadOp: _load, nv.MbarrierInitOp: _on_barrier("mbarrier_init", "count"),
    nv.MbarrierExpectOp: _on_barrier("mbarrier_expect", "bytes"), nv.MbarrierArriveOp: _on_barrier("mbarrier_arrive"),
    nv.MbarrierWaitOp: _on_barrier("mbarrier_wait"), nv.FenceBarrierInitOp: _plain("fence_barrier_init"),
    nv.MatrixDescriptorOp: _descriptor, nv.WgmmaOp: _wgmma, nv.WgmmaFenceOp: _plain("wgmma_fence"),
    nv.WgmmaCommitOp: _plain("wgmma_commit"), nv.SetRegistersOp: _registers,
    nv.WgmmaWaitOp: lambda p, op: p.line(f"{p.cuda.use('wgmma_wait')}<{op.pending.value.data}>();"),
}  # fmt: skip
