"""The ops of sm_90a as CUDA C++ statements, and wgmma's functions: one per kind, width and way the operands lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.ir import Operation, SSAValue

from ..dialects import nv_hopper as nv
from .c_statements import address


def wgmma_text(name: str) -> str:
    """The function ``wgmma_<kind>_n<columns>_<a turned><b turned>``: a warpgroup's m64nNk16 into the registers of `d`."""
    _, kind, columns, turned = name.split("_")
    n = int(columns[1:])
    count = n // 2
    registers = ", ".join(f"%{i}" for i in range(count))
    outputs = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    shape = f"wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{kind}.{kind}"
    return (
        f"__device__ __forceinline__ void lm_{name}(float *d, int64_t a, int64_t b) {{\n"
        f'    asm volatile("{shape} {{{registers}}}, %{count}, %{count + 1}, 1, 1, 1, {turned[0]}, {turned[1]};"\n'
        f'                 : {outputs} : "l"(a), "l"(b));\n}}'
    )


def is_wgmma(name: str) -> bool:
    """Whether a function of the prelude is one of wgmma's."""
    return name.startswith(("wgmma_bf16_n", "wgmma_f16_n"))


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
    turned = "".join("0" if t is None else "1" for t in (op.a_turned, op.b_turned))
    name = f"wgmma_{op.kind.name}_n{op.columns}_{turned}"
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
