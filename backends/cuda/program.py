"""A graph as CUDA C++, PTX and cubin for one architecture: through the passes, the emitter and NVRTC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp

from ...dialects import flags
from ...dialects.graph import Graph
from ...lowering.cuda_source import CudaSource, emit_cuda
from ...lowering.linalg_to_gpu import gpu_target
from ..dump import Dump
from ..edited_stages import Edited, begun, edited
from ..emission import report_check, watchers_of
from ..pipelines import gpu_pipeline
from .nvrtc import Compiled, compile_cuda


@dataclass(frozen=True)
class CudaProgram:
    """One graph for one architecture: its kernels' text, how they are launched, what NVRTC made of them."""

    graph: Graph
    source: CudaSource
    compiled: Compiled


def gpu_module(graph: Graph, arch: str, dump: Dump | None = None, edit: Edited | None = None, check: int = 0) -> ModuleOp:
    """The graph at the gpu level. edit: a stage to go on from. check: 1 verifies after each pass, 2 compares with the oracle. PassError for an
    unknown architecture, and for what a check finds."""
    gpu_target(arch)
    module, pipeline = begun(graph, gpu_pipeline(arch), edit, dump)
    watchers = watchers_of(module, dump, check)
    history = pipeline.run(module, (lambda ran, m: [w(ran, m) for w in watchers]) if watchers else None)
    if check:
        report_check(history, graph, check)
    return module


def cuda_source(graph: Graph, arch: str, dump: Dump | None = None, edit: Edited | None = None, check: int = 0) -> CudaSource:
    """The graph's kernels as CUDA C++ and its launch table; needs nothing but lamina. edit: a stage to go on from, or the source itself. check: as
    in `gpu_module`. dump: gets the source, too."""
    source = _with_dtypes(emit_cuda(gpu_module(graph, arch, dump, edit, check), len(graph.outputs)), graph)
    if dump is not None:
        dump.add_source("program.cu", source.text, "the CUDA emitter", len(gpu_pipeline(arch).passes))
        dump.finish()
    return source.rewritten(edit.text) if edit is not None and edit.stage.is_source else source


def _with_dtypes(source: CudaSource, graph: Graph) -> CudaSource:
    """The program's arrays under their own dtypes: the IR carries uint8 as i8."""
    codes = [dtype.code for _, dtype in (*graph.inputs, *(graph.types[i] for i in graph.outputs))]
    buffers = source.table.buffers
    named = tuple(replace(b, element=code) for b, code in zip(buffers[:-1], codes, strict=True))
    return replace(source, table=replace(source.table, buffers=(*named, buffers[-1])))


def build(graph: Graph, arch: str, dump: str | Path | None = None) -> CudaProgram:
    """Compile a graph for an architecture. BackendError without NVRTC. dump: a folder for every stage. What was edited of an earlier dump
    takes the place of what is made (LAMINA_OVERRIDE)."""
    dumper = Dump(dump) if dump else None
    source = cuda_source(graph, arch, dumper, edited(graph, gpu_pipeline(arch)), flags.check.value)
    compiled = compile_cuda(source.text, gpu_target(arch).arch)
    if dumper is not None:
        dumper.add("program.ptx", compiled.ptx, f"NVRTC for {arch}")
        dumper.finish()
    return CudaProgram(graph, source, compiled)
