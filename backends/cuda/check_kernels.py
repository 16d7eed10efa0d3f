"""Sections of the GPU check on its programs: compiled for several architectures, emulated and launched against numpy, timed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import numpy as np

from ...dialects import flags
from ...dialects.errors import LaminaError
from ...dialects.graph import Graph
from ...dialects.target import gpu_target_named, with_f32
from ...lowering.capture import capture
from ..emulation import emulate
from ..oracle import evaluate
from ..ptx.interpret import Interpretation
from . import disassembly, nvrtc
from .check_programs import CheckProgram, arrays_for, bytes_moved
from .check_report import Section
from .check_speed import SpeedRow, on_each
from .check_timing import Timed
from .device import Device
from .program import CudaProgram, build, cuda_source
from .runtime import Runtime, program_folder
from .units import build_units

TOLERANCE = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 2e-2, "float16": 3e-3}
SEEDS = (0, 1, 7)
INTERPRETED_SEEDS = (0, 7)


def compiled(section: Section, programs: Sequence[CheckProgram | SpeedRow], architectures: Sequence[str]) -> None:
    """PTX and cubin at the large sizes: registers, spills, ptxas's warnings, tensor-core instructions in PTX and machine code."""
    section.table("program", "architecture", "kernels", "most registers", "spills", "tensor-core PTX", "tensor-core SASS", "seconds")
    if disassembly.tool() is None:
        section.notes.append("machine instructions were not looked at: no nvdisasm (pip install nvidia-cuda-nvdisasm)")
    for program, arch in section.each((f"{p.name}, {arch}", (p, arch)) for p in programs for arch in architectures):
        _compile(section, program, arch)


def _compile(section: Section, program: CheckProgram | SpeedRow, arch: str) -> None:
    start = time.perf_counter()
    try:
        made = build(program.make(program.large), with_f32(arch, program.f32)).compiled
    except LaminaError as error:
        section.fail(program.name, f"{arch}: {error}")
        section.row(program.name, arch, "failed", "", "", "", "", "")
        return
    spills = sum(u.spill_stores + u.spill_loads for u in made.usage)
    if spills:
        section.fail(program.name, f"{arch}: {spills} bytes of spills")
    if warnings := re.findall(r"C75\d\d|warning[^\n]*", made.log):
        section.fail(program.name, f"{arch}: ptxas says {warnings[0]}")
    if waiting := nvrtc.waiting_forever(made):
        section.fail(program.name, f"{arch}: {', '.join(waiting)} would wait for registers for ever")
    registers = max((u.registers for u in made.usage), default=0)
    tensor = len(re.findall(r"w?gmma\.mma_async|mma\.sync", made.ptx))
    machine = ""
    if disassembly.tool() is not None:
        found = disassembly.opcodes(made.cubin)
        machine = " ".join(f"{found[opcode]} {opcode}" for opcode in sorted(set(disassembly.BECOMES.values())) if found[opcode])
        if absent := disassembly.missing(made.ptx, found):
            section.fail(program.name, f"{arch}: the PTX asks for {', '.join(absent)}, which the machine code has not")
    section.row(program.name, arch, len(made.usage), registers, spills, tensor, machine, f"{time.perf_counter() - start:.2f}")


def prepare(graph: Graph, target: str) -> bool:
    """Compile a program for a target into the disk cache; whether it was not there. BackendError without NVRTC."""
    _, _, made = program_folder(graph, target, Device.kind, lambda source, folder: build_units(source, folder, gpu_target_named(target).arch))
    return made


def emulated(section: Section, programs: Sequence[CheckProgram], architectures: Sequence[str]) -> None:
    """The kernels on emulated threads at the small sizes, against numpy."""
    if not emulate.available():
        section.skip("there is no g++ here")
        return
    arch = next((a for a in architectures if gpu_target_named(a).wgmma), architectures[-1])
    section.table("program", "size", "thread orders", "largest error")
    for program in section.each((p.name, p) for p in programs):
        graph = program.make(program.small)
        arrays = arrays_for(graph)
        try:
            emulation = emulate.Emulation(cuda_source(graph, with_f32(arch, program.f32)))
            want = expected(program, graph, arrays)
            worst = max(largest_error(graph, emulation(arrays, seed), want) for seed in SEEDS)
        except LaminaError as error:
            section.fail(program.name, str(error))
            section.row(program.name, program.small, len(SEEDS), "failed")
            continue
        _judge(section, program.name, worst)
        section.row(program.name, program.small, len(SEEDS), f"{worst:.2g}")


def interpreted(section: Section, programs: Sequence[CheckProgram], architectures: Sequence[str]) -> None:
    """The PTX at the small sizes, instruction by instruction as the manual says, against numpy; what it may not do is a failure."""
    if not nvrtc.available():
        section.skip("NVRTC is not installed here")
        return
    section.table("program", "architectures of the same PTX", "size", "warp orders", "largest error", "seconds")
    for program in section.each((p.name, p) for p in programs):
        graph = program.make(program.small)
        found: dict[str, tuple[list[str], CudaProgram]] = {}
        for arch in architectures:
            try:
                made = build(graph, with_f32(arch, program.f32))
            except LaminaError as error:
                section.fail(program.name, f"{arch}: {error}")
                continue
            found.setdefault(re.sub(r"\.target \w+", "", made.compiled.ptx), ([], made))[0].append(arch)
        for names, made in found.values():
            _interpret(section, program, graph, ", ".join(names), made)


def _interpret(section: Section, program: CheckProgram, graph: Graph, names: str, made: CudaProgram) -> None:
    start = time.perf_counter()
    arrays = arrays_for(graph)
    try:
        interpretation = Interpretation(made.compiled.ptx, made.source.table)
        want = expected(program, graph, arrays)
        worst = max(largest_error(graph, interpretation(arrays, seed), want) for seed in INTERPRETED_SEEDS)
    except LaminaError as error:
        section.fail(program.name, f"{names}: {error}")
        section.row(program.name, names, program.small, len(INTERPRETED_SEEDS), "failed", "")
        return
    _judge(section, f"{program.name}, {names}", worst)
    section.row(program.name, names, program.small, len(INTERPRETED_SEEDS), f"{worst:.2g}", f"{time.perf_counter() - start:.1f}")


def launched(section: Section, programs: Sequence[CheckProgram], gpus: Sequence[Runtime]) -> None:
    """The kernels on the GPU at the small sizes, against numpy, called three times: launched, captured, replayed."""
    section.table("program", "target", "size", "largest error")
    for gpu, program in on_each(section, gpus, programs):
        try:
            graph = program.make(program.small)
            arrays = arrays_for(graph)
            want = expected(program, graph, arrays)
            placed = [gpu.upload(a) for a in arrays]
            with flags.f32(program.f32):
                made = [[gpu.download(a) for a in gpu.run(graph, placed)] for _ in range(3)]
            worst = max(largest_error(graph, got, want) for got in made)
        except LaminaError as error:
            section.fail(program.name, f"{gpu.device.arch}: {error}")
            section.row(program.name, gpu.device.arch, program.small, "failed")
            continue
        _judge(section, f"{program.name}, {gpu.device.arch}", worst)
        section.row(program.name, gpu.device.arch, program.small, f"{worst:.2g}")


def expected(program: CheckProgram, graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results by numpy; where float32 is multiplied as TF32, of inputs that are rounded so."""
    if program.f32 == "tf32":
        arrays = [rounded_tf32(a) if a.dtype == np.float32 else a for a in arrays]
    return evaluate(capture(graph), arrays)


def rounded_tf32(x: np.ndarray) -> np.ndarray:
    """To 10 bits of mantissa, ties away from zero."""
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def timed(section: Section, programs: Sequence[CheckProgram], gpus: Sequence[Runtime]) -> None:
    """The programs at the large sizes, measured with events."""
    section.table("program", "target", "size", "ms", "GB/s", "TFLOP/s")
    for gpu, program in on_each(section, gpus, programs):
        try:
            graph = program.make(program.large)
            with flags.f32(program.f32):
                ms = Timed(gpu, graph).median()
        except LaminaError as error:
            section.fail(program.name, f"{gpu.device.arch}: {error}")
            continue
        flops = program.flops(program.large)
        rate = f"{flops / ms / 1e9:.1f}" if flops else ""
        section.row(program.name, gpu.device.arch, program.large, f"{ms:.4f}", f"{bytes_moved(graph) / ms / 1e6:.0f}", rate)


def _judge(section: Section, program: str, worst: float) -> None:
    if not worst <= 1:
        section.fail(program, f"{worst:.2g} times the tolerance")


def largest_error(graph: Graph, got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """The largest difference over all outputs, in multiples of the tolerance of its dtype (integers must be equal)."""
    worst = 0.0
    for value, a, b in zip(graph.outputs, got, want, strict=True):
        dtype = graph.types[value][1]
        if not dtype.is_floating_point:
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        if not np.array_equal(np.isfinite(x), np.isfinite(y)):
            return float("inf")
        scale = max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0.0)))
        error = float(np.abs(x - y)[np.isfinite(y)].max(initial=0.0))
        worst = max(worst, error / scale / TOLERANCE[dtype.name])
    return worst
