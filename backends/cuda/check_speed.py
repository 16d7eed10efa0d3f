"""Sections of the GPU check that measure: products, fused nests against the copy rate, attention, the host's part of a call.

Rows carry the goals they are held against. What PyTorch does on the same shapes is measured by benchmarks/gpu_peers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ...dialects import flags
from ...dialects.errors import LaminaError
from ...dialects.graph import Graph
from ...dialects.types import bfloat16, float32
from .check_programs import adam_program, attention, bias_gelu, bytes_moved, bytes_program, chained_products, layer_norm, product, softmax
from .check_report import Section
from .check_timing import Timed, copy_rate, host_us
from .runtime import Runtime

COPY_BYTES = 1 << 30
KERNELS = 100
SIZES = ("large", "small")


@dataclass(frozen=True)
class SpeedRow:
    """One measured program. size: at "large", and at "small" (where only the measuring itself is tried).

    flops(size): multiply-adds count two; None: bound by memory, held against the copy rate. goal: what the project asks. f32: how
    float32 is multiplied.
    """

    name: str
    make: Callable[[int], Graph]
    large: int
    small: int
    goal: str
    flops: Callable[[int], int] | None = None
    f32: str = "ieee"

    def size(self, which: str) -> int:
        return self.large if which == "large" else self.small


def _attention_row(depth: int, backward: bool) -> SpeedRow:
    heads, batch = 2048 // depth, 2

    def make(n: int) -> Graph:
        shape = (batch, heads) if n >= 1024 else (1, 2)
        return attention(*shape, n, n, depth, bfloat16, True, backward)

    kind = "attention and gradients" if backward else "attention"
    products = 7 if backward else 2  # half of each matrix is computed
    return SpeedRow(
        f"{kind}, bf16, causal, depth {depth}", make, 4096, 32, "≥ 0.8 of PyTorch's SDPA",
        lambda n: products * batch * heads * n * n * depth,
    )  # fmt: skip


def _cube(n: int) -> int:
    return 2 * n**3


PRODUCTS = (
    SpeedRow("matmul bf16 4096", product(bfloat16), 4096, 64, "≥ 0.97 of cuBLAS", _cube),
    SpeedRow("matmul bf16 8192", product(bfloat16), 8192, 72, "≥ 0.97 of cuBLAS", _cube),
    SpeedRow("matmul f32 4096", product(float32), 4096, 40, "≥ 0.85 of cuBLAS", _cube),
    SpeedRow("matmul f32 4096, TF32", product(float32), 4096, 40, "≥ 0.85 of cuBLAS", _cube, "tf32"),
    SpeedRow("matmul f32 4096 x transposed, TF32", product(float32, rows_last=True), 4096, 40, "≥ 0.85 of cuBLAS", _cube, "tf32"),
    SpeedRow("matmul of bytes 8192 x transposed", bytes_program, 8192, 48, "more than bf16", _cube),
    SpeedRow("matmul f32 4096, 3xTF32", product(float32), 4096, 40, "more than cuBLAS f32", _cube, "3xtf32"),
)
NESTS = (
    SpeedRow("bias GELU f32", bias_gelu, 1 << 15, 12, "≥ 0.90 of the copy rate"),
    SpeedRow("softmax f32, rows of 4096", softmax, 1 << 15, 3, "≥ 0.90 of the copy rate"),
    SpeedRow("layer norm f32, rows of 4096", layer_norm, 1 << 15, 3, "≥ 0.90 of the copy rate"),
    SpeedRow("Adam of 12 layers", adam_program, 2048, 8, "≥ 0.90 of the copy rate"),
)
ATTENTION = tuple(_attention_row(depth, backward) for backward in (False, True) for depth in (64, 128))
MEASURED = (*PRODUCTS, *NESTS, *ATTENTION)


def products(section: Section, gpus: Sequence[Runtime], which: str = "large") -> None:
    """TFLOP/s of products."""
    _rates(section, PRODUCTS, gpus, which)


def attention_rows(section: Section, gpus: Sequence[Runtime], which: str = "large") -> None:
    """TFLOP/s of attention."""
    _rates(section, ATTENTION, gpus, which)


def _rates(section: Section, rows: Sequence[SpeedRow], gpus: Sequence[Runtime], which: str) -> None:
    section.table("program", "target", "size", "ms", "TFLOP/s", "goal")
    for gpu, row in on_each(section, gpus, rows):
        ms = _measured(section, row, gpu, which)
        if ms is not None and row.flops is not None:
            section.row(row.name, gpu.device.arch, row.size(which), ms, row.flops(row.size(which)) / ms / 1e9, row.goal)


def nests(section: Section, gpus: Sequence[Runtime], which: str = "large") -> None:
    """Bytes per second of programs bound by memory, against the device's copy."""
    gpu = gpus[0]  # what is on warpgroups is no nest
    rate = copy_rate(gpu, COPY_BYTES if which == "large" else 1 << 12)
    section.note(f"copy of {COPY_BYTES >> 20} MiB on the device: {rate / 1e6:.0f} GB/s read and written")
    section.table("program", "size", "launches", "ms", "GB/s", "of the copy rate", "goal")
    for _, row in on_each(section, [gpu], NESTS):
        ms = _measured(section, row, gpu, which)
        if ms is not None:
            graph = row.make(row.size(which))
            moved = bytes_moved(graph) / ms
            section.row(row.name, row.size(which), gpu.launches(graph), ms, moved / 1e6, moved / rate, row.goal)


def replay(section: Section, gpus: Sequence[Runtime], which: str = "large") -> None:
    """The host's part of calling a program of many kernels again."""
    gpu = gpus[0]
    graph = chained_products(KERNELS)
    timed = Timed(gpu, graph)
    us = host_us(gpu, timed.run, 40 if which == "large" else 2)
    section.table("program", "launches", "host, µs per call", "goal")
    section.row(f"{KERNELS} products, each of the one before", gpu.launches(graph), us, "≤ 30 µs")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def on_each(section: Section, gpus: Sequence[Runtime], rows: Sequence[N]) -> Iterator[tuple[Runtime, N]]:
    """Every row on every GPU, one after the other; DeviceLost where one leaves the device without use."""
    pairs = ((f"{row.name}, {gpu.device.arch}", (gpu, row)) for row in rows for gpu in gpus)
    return section.each(pairs, lambda pair: pair[0].device.is_lost(), lambda pair: pair[0].device.arch)


def _measured(section: Section, row: SpeedRow, gpu: Runtime, which: str) -> float | None:
    try:
        with flags.f32(row.f32):
            return Timed(gpu, row.make(row.size(which))).median()
    except LaminaError as error:
        section.fail(row.name, f"{gpu.device.arch}: {error}")
        return None
