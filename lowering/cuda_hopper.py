"""The ops of sm_90a as CUDA C++ statements, and wgmma's functions: one per kinds of operands, width and way they lie."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from xdsl.ir import Operation, SSAValue

from ..dialects import nv_hopper as nv
from ..dialects import nv_store
from .c_statements import address


_WGMMA_DEPTHS = {"bf16": 16, "f16": 16, "tf32": 8, "s8": 32, "u8": 32}


def wgmma_text(name: str) -> str:
    """The function ``wgmma_<left>_<right>_n<columns>_<where a is><where b is>``: a warpgroup's product added to the registers of `d`.

    k: in shared memory, along the sum; t: there, turned; r: in registers. ``_fresh`` behind: `d` is the product.
    """
    _, left, right, columns, places, *fresh = name.split("_")
    n = int(columns[1:])
    count = n // 2
    sums, constraint, kind = ("int32_t", "r", "s32") if left in ("s8", "u8") else ("float", "f", "f32")
    registers = ", ".join(f"%{i}" for i in range(count))
    outputs = ", ".join(f'"+{constraint}"(d[{i}])' for i in range(count))
    shape = f"wgmma.mma_async.sync.aligned.m64n{n}k{_WGMMA_DEPTHS[left]}.{kind}.{left}.{right}"
    signs = "" if kind == "s32" else ", 1, 1"  # factors as they are, not their opposites
    turned = "".join(f", {int(place == 't')}" for place in places if place != "r") if left in ("bf16", "f16") else ""
    parts = 4 if places[0] == "r" else 1
    given = [f"%{count + i}" for i in range(parts)]
    first = f"{{{', '.join(given)}}}" if parts > 1 else given[0]
    inputs = [f'"r"(a[{i}])' for i in range(parts)] if parts > 1 else ['"l"(a)']
    return (
        f"__device__ __forceinline__ void lm_{name}({sums} *d, {'const int32_t *' if parts > 1 else 'int64_t '}a, int64_t b) {{\n"
        f'    asm volatile("{shape} {{{registers}}}, {first}, %{count + parts}, {int(not fresh)}{signs}{turned};"\n'
        f'                 : {outputs} : {", ".join(inputs)}, "l"(b));\n}}'
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
    if op.cluster is not None:
        p.line(f"{p.cuda.use(f'tma_load_{rank}d_cluster')}({target}, &{p.name(op.map)}, {barrier}, {op.cluster.value.data}, {places});")
        return
    p.line(f"{p.cuda.use(f'tma_load_{rank}d')}({target}, &{p.name(op.map)}, {barrier}, {places});")


def _store(p: Any, op: nv_store.TmaStoreOp) -> None:
    places = ", ".join(p.name(v) for v in op.places)
    source = _place(p, op.source, op.source_index)
    p.line(f"{p.cuda.use(f'tma_store_{len(op.places)}d')}(&{p.name(op.map)}, {source}, {places});")


def _stmatrix(p: Any, op: nv_store.StmatrixOp) -> None:
    name = p.fresh(None, "fragment")
    p.line(f"const uint32_t {name}[4] = {{{', '.join(f'(uint32_t){p.name(v)}' for v in op.operands[:4])}}};")
    p.line(f"{p.cuda.use('stmatrix')}({name}, {_place(p, op.memory, op.index)});")


def _on_barrier(function: str, *extra: str) -> Callable[[Any, Any], None]:
    def statement(p: Any, op: Any) -> None:
        more = [str(op.properties[name].value.data) for name in extra]
        more += [p.name(v) for v in op.operands[2:]]
        p.line(f"{p.cuda.use(function)}({', '.join([_place(p, op.barriers, op.barrier), *more])});")

    return statement


def _barrier_wait(p: Any, op: nv.MbarrierWaitOp) -> None:
    _on_barrier("mbarrier_wait" if op.cluster is None else "mbarrier_wait_cluster")(p, op)


def _descriptor(p: Any, op: nv.MatrixDescriptorOp) -> None:
    if p.is_live(op.result):
        call = f"{p.cuda.use('matrix_descriptor')}({_place(p, op.memory, op.index)}, {op.leading.value.data})"
        p.line(f"{p.declare(op.result, 'matrix')} = {call};")


def _wgmma(p: Any, op: nv.WgmmaOp) -> None:
    places = "".join("k" if t is None else "t" for t in (op.a_turned, op.b_turned))
    name = f"wgmma_{op.left.data}_{op.right.data}_n{op.columns}_{places}{'' if op.fresh is None else '_fresh'}"
    p.line(f"{p.cuda.use(name)}({p.name(op.sums)}, {p.name(op.a)}, {p.name(op.b)});")


def _wgmma_registers(p: Any, op: nv.WgmmaRegistersOp) -> None:
    name = f"wgmma_{op.kind.data}_{op.kind.data}_n{op.columns}_r{'k' if op.b_turned is None else 't'}"
    p.line(f"{p.cuda.use(name)}({p.name(op.sums)}, {_place(p, op.a, op.a_index)}, {p.name(op.b)});")


def _held(first: Operation | None) -> list[SSAValue]:
    """The registers the products from an op on add to or multiply, up to the next commit, wait or end of the block."""
    found: dict[SSAValue, None] = {}
    while first is not None and not isinstance(first, nv.WgmmaCommitOp | nv.WgmmaWaitOp):
        if isinstance(first, nv.WgmmaOp | nv.WgmmaRegistersOp):
            found[first.sums] = None
        if isinstance(first, nv.WgmmaRegistersOp):
            found[first.a] = None
        first = first.next_op
    return list(found)


def _hold(p: Any, registers: list[SSAValue]) -> None:
    for held in registers:
        p.line(f"{p.cuda.use('hold')}<{held.type.get_shape()[0]}>({p.name(held)});")


def _fence(p: Any, op: nv.WgmmaFenceOp) -> None:
    """What the products behind it use is in its registers before it (PTX ISA: their contents are undefined otherwise)."""
    _hold(p, _held(op.next_op))
    p.line(f"{p.cuda.use('wgmma_fence')}();")


def _wait(p: Any, op: nv.WgmmaWaitOp) -> None:
    """Sums are read behind the wait that ends all products: those since the one before it, in its block or in a loop right there."""
    p.line(f"{p.cuda.use('wgmma_wait')}<{op.pending.value.data}>();")
    if op.held or op.pending.value.data:
        _hold(p, list(op.held))
        return
    found: dict[SSAValue, None] = {}
    before = op.prev_op
    while before is not None and not (isinstance(before, nv.WgmmaWaitOp) and not before.pending.value.data):
        for inner in before.walk():
            if isinstance(inner, nv.WgmmaOp | nv.WgmmaRegistersOp):
                found[inner.sums] = None
        before = before.prev_op
    _hold(p, list(reversed(found)))


def _registers(p: Any, op: nv.SetRegistersOp) -> None:
    function = "fewer_registers" if op.more is None else "more_registers"
    p.line(f"{p.cuda.use(function)}<{op.count.value.data}>();")


def _plain(function: str) -> Callable[[Any, Any], None]:
    return lambda p, op: p.line(f"{p.cuda.use(function)}();")


HOPPER_STATEMENTS: dict[type[Operation], Callable[[Any, Any], None]] = {
    nv.TensorMapOp: _map, nv.TmaLoadOp: _load, nv.MbarrierInitOp: _on_barrier("mbarrier_init", "count"),
    nv.MbarrierExpectOp: _on_barrier("mbarrier_expect", "bytes"), nv.MbarrierArriveOp: _on_barrier("mbarrier_arrive"),
    nv.MbarrierArriveAtOp: _on_barrier("mbarrier_arrive_at"), nv.ClusterBarrierOp: _plain("cluster_barrier"),
    nv.MbarrierWaitOp: _barrier_wait, nv.FenceBarrierInitOp: _plain("fence_barrier_init"),
    nv.MatrixDescriptorOp: _descriptor, nv.WgmmaOp: _wgmma, nv.WgmmaRegistersOp: _wgmma_registers, nv.WgmmaFenceOp: _fence,
    nv.WgmmaCommitOp: _plain("wgmma_commit"), nv.SetRegistersOp: _registers,
    nv_store.StmatrixOp: _stmatrix, nv_store.TmaStoreOp: _store, nv_store.TmaStoreCommitOp: _plain("tma_store_commit"),
    nv_store.FenceAsyncOp: _plain("fence_async"),
    nv_store.TmaStoreWaitOp: lambda p, op: p.line(f"{p.cuda.use('tma_store_wait')}<{op.pending.value.data}>();"),
    nv_store.GroupBarrierOp: lambda p, op: p.line(f"{p.cuda.use('group_barrier')}({p.name(op.group)});"),
    nv.WgmmaWaitOp: _wait, nv.HoldOp: lambda p, op: _hold(p, [op.registers]),
}  # fmt: skip
