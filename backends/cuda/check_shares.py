"""How a program's work is done on a GPU: which instructions make its products, and how wide its other kernels move memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType

from ...dialects.graph import Graph
from ...dialects.target import GpuTarget
from ...lowering.capture import capture
from ...lowering.contraction_match import match_contraction
from ...lowering.gpu_calls import alignments, calls_of
from ...lowering.gpu_chain import match_chain
from ...lowering.gpu_chain_plan import ChainPlan
from ...lowering.gpu_chain_shape import choose_shape
from ...lowering.gpu_contraction_plan import Way, plan_contraction
from ...lowering.gpu_teams import product
from ...lowering.linalg_to_gpu import gpu_target
from ...lowering.memref_layout import bytes_of
from ...passes.base import Pipeline
from ..pipelines import gpu_pipeline

INSTRUCTIONS = {
    Way.WGMMA: "wgmma", Way.MMA: "mma.sync", Way.TF32: "mma.sync", Way.TF32X3: "mma.sync", Way.BYTES: "mma.sync", Way.FMA: "fma",
}  # fmt: skip


@dataclass(frozen=True)
class Shares:
    """flops: per instruction, multiply-adds count two, of whole matrices; moved: per kernel without a product, the bytes of its arrays, all calls together."""

    flops: Mapping[str, int]
    moved: Mapping[str, int]

    def of(self, instruction: str) -> float:
        """The share of all products that an instruction makes."""
        return self.flops.get(instruction, 0) / max(1, sum(self.flops.values()))


def shares(graph: Graph, arch: str) -> Shares:
    """Read from the buffered program: what `linalg-to-gpu` is going to do with each kernel."""
    module = capture(graph)
    Pipeline(gpu_pipeline(arch).passes[:-1], "captured").run(module)
    functions = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, func.FuncOp)}
    main = functions.pop("main")
    calls = Counter(call.op.callee.string_value() for call in calls_of(main))
    aligned = alignments(main)
    flops: Counter[str] = Counter()
    moved: dict[str, int] = {}
    for name, function in functions.items():
        machine = gpu_target(arch)
        made = _products(function, replace(machine, access_bytes=min(machine.access_bytes, aligned.get(name, 16))))
        for instruction, count in made.items():
            flops[instruction] += count * calls[name]
        if not made:
            held = [a.type for a in function.body.block.args if a.first_use]
            moved[name] = calls[name] * sum(bytes_of(kind) for kind in held if isinstance(kind, MemRefType))
    return Shares(dict(flops), moved)


def _products(function: func.FuncOp, target: GpuTarget) -> dict[str, int]:
    """What a call of a kernel multiplies, per instruction."""
    chain = match_chain(function, target)
    if chain is not None:
        return _of_sweeps(chain, target)
    found = match_contraction(function)
    if found is None:
        return {}
    t = plan_contraction(found, target)
    return {INSTRUCTIONS[t.way]: 2 * t.z * t.m * t.n * t.k}


def _of_sweeps(chain: ChainPlan, target: GpuTarget) -> dict[str, int]:
    made: Counter[str] = Counter()
    sizes = chain.chain.sizes
    for sweep in chain.sweeps:
        shape = choose_shape(chain, sweep, target)
        instruction = "wgmma" if shape is not None and shape.groups else "mma.sync" if chain.kind is not None else "fma"
        depths = [sizes[t.over] for t in sweep.tiles] + [sizes[s.right.depth] for s in sweep.sums if s.right is not None]
        made[instruction] += 2 * product([sizes[r] for r in chain.chain.batch]) * sizes[sweep.own] * sizes[sweep.other] * sum(depths)
    return dict(made)


def wide_share(moved: Mapping[str, int], accesses: Mapping[str, Counter[str]]) -> float:
    """Which part of the bytes of kernels without products is of kernels that move 16 bytes at once. accesses: per machine kernel."""
    wide = {name.split("_")[0] for name, found in accesses.items() if any(opcode.endswith(".128") for opcode in found)}
    return sum(n for name, n in moved.items() if name in wide) / max(1, sum(moved.values()))
