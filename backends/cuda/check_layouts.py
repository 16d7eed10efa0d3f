"""A section of the GPU check on what the hardware does: where tensor cores and the copy engine expect every element, and how TF32 is rounded.

Factors are small whole numbers, so that every sum is exact and the result must be numpy's, bit for bit. What differs is described
by the rows and columns that are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...dialects import flags
from ...dialects.errors import LaminaError
from ...dialects.graph import Graph
from ...dialects.types import DType, bfloat16, float16, float32, int8, int32, uint8
from .check_programs import Recorder
from .check_report import Section
from .runtime import Runtime


@dataclass(frozen=True)
class Layout:
    """A product of two operands; *_turned: the operand lies along its rows instead of along the sum; batch: products side by side."""

    name: str
    left: DType
    right: DType
    left_turned: bool = False
    right_turned: bool = False
    batch: int = 0
    sizes: tuple[int, int, int] = (136, 264, 208)

    def graph(self) -> Graph:
        """The product, summed in 32 bits; that of bytes stays so."""
        r = Recorder()
        m, n, k = self.sizes
        batch = (self.batch,) if self.batch else ()
        swapped = (self.left_turned, not self.right_turned)
        shapes = [(k, m) if swapped[0] else (m, k), (n, k) if swapped[1] else (k, n)]
        operands = [r.input(*batch, *shape, dtype=dtype) for shape, dtype in zip(shapes, (self.left, self.right), strict=True)]
        if not self.left.is_floating_point:
            operands = [r("cast", i, attrs=(int32,)) for i in operands]
        order = (0, 2, 1) if batch else (1, 0)
        operands = [r("permute", i, attrs=(order,)) if turn else i for i, turn in zip(operands, swapped, strict=True)]
        return r.graph(r("matmul", *operands))

    def arrays(self) -> list[np.ndarray]:
        """Whole numbers from -3 (0) to 3."""
        rng = np.random.default_rng(0)
        return [rng.integers(0 if dtype is uint8 else -3, 4, shape).astype(dtype.numpy) for shape, dtype in self.graph().inputs]

    def want(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The product by numpy, rounded to the results' type."""
        x, y = (a.astype(np.float64) for a in arrays)
        x = np.swapaxes(x, -1, -2) if self.left_turned else x
        product = x @ (y if self.right_turned else np.swapaxes(y, -1, -2))
        return product.astype(self.left.numpy if self.left.is_floating_point else np.int32)


LAYOUTS = (
    *(Layout(f"bf16, {'turned' if a else 'along the sum'} and {'turned' if b else 'along the sum'}", bfloat16, bfloat16, a, b)
      for a in (False, True) for b in (False, True)),
    Layout("f16", float16, float16),
    Layout("bf16, batches", bfloat16, bfloat16, right_turned=True, batch=2, sizes=(128, 136, 72)),
    Layout("bf16, a cut sum", bfloat16, bfloat16, sizes=(128, 128, 4096)),
    Layout("TF32", float32, float32),
    Layout("TF32, turned", float32, float32, right_turned=True),
    *(Layout(f"bytes, {a.name} and {b.name}", a, b) for a in (int8, uint8) for b in (int8, uint8)),
    Layout("bytes, turned", int8, int8, right_turned=True),
)  # fmt: skip


def layouts(section: Section, gpus: Sequence[Runtime]) -> None:
    """Every layout on every target, and the rounding of TF32."""
    section.table("operands", "target", "wrong elements", "where")
    for gpu in gpus:
        for layout in LAYOUTS:
            try:
                arrays = layout.arrays()
                (got,) = _run(gpu, layout.graph(), arrays)
            except LaminaError as error:
                section.fail(layout.name, f"{gpu.device.arch}: {error}")
                continue
            wrong = np.argwhere(got != layout.want(arrays))
            section.row(layout.name, gpu.device.arch, len(wrong), described(wrong))
            if len(wrong):
                section.fail(layout.name, f"{gpu.device.arch}: {len(wrong)} elements are wrong: {described(wrong)}")
        _rounding(section, gpu)


def _run(gpu: Runtime, graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    with flags.f32("tf32"):
        return [gpu.download(a) for a in gpu.run(graph, [gpu.upload(a) for a in arrays])]


def described(wrong: np.ndarray) -> str:
    """Which rows and columns (places along the last two dimensions) are wrong, as far as a layout can say it: modulo 8 and 64."""
    if not len(wrong):
        return ""
    parts = [f"first {tuple(wrong[0].tolist())}"]
    for name, places in (("rows", wrong[:, -2]), ("columns", wrong[:, -1])):
        eighths, blocks = (sorted(set(some.tolist())) for some in (places % 8, places // 64))
        parts.append(f"{name} {places.min()} to {places.max()}, modulo 8 {eighths}, in blocks of 64 {blocks}")
    return "; ".join(parts)


ROUNDINGS = {
    "to nearest, ties away from zero": lambda bits: bits + 0x1000,
    "to nearest, ties to even": lambda bits: bits + 0xFFF + (bits >> 13 & 1),
    "towards zero": lambda bits: bits,
}


def rounding_of(given: np.ndarray, got: np.ndarray) -> str:
    """How f32 became TF32: the name of the rounding that explains all results, or that there is none."""
    bits = given.view(np.uint32).astype(np.uint64)
    for name, rule in ROUNDINGS.items():
        if np.array_equal((rule(bits) & 0xFFFFE000).astype(np.uint32).view(np.float32), got):
            return name
    return "none of those known"


def _rounding(section: Section, gpu: Runtime) -> None:
    """Numbers with all 23 bits of mantissa times the identity."""
    n = 128
    rng = np.random.default_rng(1)
    x = (1 + rng.integers(0, 1 << 23, (n, n)) / (1 << 23)).astype(np.float32)
    x[:, ::4] = 1 + (rng.integers(0, 1 << 10, (n, n // 4)) * 2 + 1) / (1 << 11)  # as near to one number as to the next
    graph = Layout("", float32, float32, sizes=(n, n, n)).graph()
    try:
        (got,) = _run(gpu, graph, [x, np.eye(n, dtype=np.float32)])
    except LaminaError as error:
        section.fail("rounding of TF32", f"{gpu.device.arch}: {error}")
        return
    name = rounding_of(x, got)
    section.notes.append(f"{gpu.device.arch} rounds f32 to TF32 {name}")
    if name != next(iter(ROUNDINGS)):
        section.fail("rounding of TF32", f"{gpu.device.arch}: {name}; the emulation and the documents say {next(iter(ROUNDINGS))}")
