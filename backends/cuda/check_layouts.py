"""A section of the GPU check on what the hardware does: where tensor cores and the copy engine expect every element, and how TF32 is rounded.

Factors are small whole numbers, so that every sum is exact and the result must be numpy's, bit for bit. What differs is described
by the rows and columns that are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...dialects import flags
from ...dialects.errors import LaminaError
from ...dialects.graph import Graph
from ...dialects.types import DType, bfloat16, float16, float32, int8, int32, uint8
from .check_programs import Recorder
from .check_report import Section
from .check_speed import on_each
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


@dataclass(frozen=True)
class Convolution:
    """A convolution of images [n, h, w, c] with filters [o, v, u, c], which: "y" its result, "sum" with something added, "dx" and "dw" gradients.

    filters: o, v, u. "twice": the same once more, of as many channels. The copy engine brings boxes of pixels, and stores those between two.
    """

    which: str
    dtype: DType
    images: tuple[int, int, int, int]
    filters: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    @property
    def name(self) -> str:
        given = (f"{name} {value[0]} x {value[1]}" for name, value in (("stride", self.stride), ("dilation", self.dilation)) if value != (1, 1))
        what = f"{self.dtype.name}, {self.which} of {' x '.join(map(str, self.images))} and {' x '.join(map(str, self.filters))}"
        return ", ".join((what, *given))

    @property
    def pixels(self) -> tuple[int, int]:
        """Of a result."""
        sides = zip(self.images[1:3], self.filters[1:], self.stride, self.dilation, strict=True)
        height, width = ((d - (u - 1) * far - 1) // s + 1 for d, u, s, far in sides)
        return height, width

    def graph(self) -> Graph:
        """The convolution, or the gradient of the sum of its results times numbers by an operand."""
        r = Recorder()
        (n, h, w, c), (o, *window), pixels = self.images, self.filters, self.pixels
        x, k = r.input(n, h, w, c, dtype=self.dtype), r.input(o, *window, c, dtype=self.dtype)
        other = r.input(n, *pixels, o, dtype=self.dtype)
        channels_first = ((0, 3, 1, 2),)
        images = r("reshape", r("permute", x, attrs=channels_first), attrs=((n, 1, c, h, w),))
        filters = r("reshape", r("permute", k, attrs=channels_first), attrs=((1, o, c, *window),))
        y = r("conv", images, filters, attrs=(self.stride, self.dilation))
        if self.which == "twice":
            y = r("conv", r("relu", y), filters, attrs=(self.stride, self.dilation))
            return r.graph(r("relu", y))
        y = r("reshape", y, attrs=((n, o, *pixels),))
        y = r("permute", y, attrs=((0, 2, 3, 1),))
        if self.which in ("y", "sum"):
            return r.graph(r("relu", r("add", y, other) if self.which == "sum" else y))
        loss = r("reshape", r("sum", r("mul", y, other), attrs=((0, 1, 2, 3),)), attrs=((),))
        return r.graph(r("autodiff.grad", loss, r("full", attrs=((), 1.0, self.dtype)), x if self.which == "dx" else k))

    def arrays(self) -> list[np.ndarray]:
        """Whole numbers from -2 to 2."""
        rng = np.random.default_rng(0)
        return [rng.integers(-2, 3, shape).astype(dtype.numpy) for shape, dtype in self.graph().inputs]

    def want(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """By numpy, tap by tap, rounded to the results' type."""
        if self.which == "twice":
            once = replace(self, which="y")
            y = once.want(arrays)
            y = replace(once, images=y.shape).want([y, arrays[1], np.zeros(1)])
            return np.transpose(y, (0, 3, 1, 2))[:, None]
        x, k, other = (a.astype(np.float64) for a in arrays)
        y, dx, dw = np.zeros((len(x), *self.pixels, len(k))), np.zeros_like(x), np.zeros_like(k)
        for tap in np.ndindex(*self.filters[1:]):
            sides = zip(tap, self.dilation, self.pixels, self.stride, strict=True)
            seen = (slice(None), *(slice(t * far, t * far + (n - 1) * s + 1, s) for t, far, n, s in sides))
            y += x[seen] @ k[:, *tap].T
            if self.which == "dx":
                dx[seen] += other @ k[:, *tap]
            if self.which == "dw":
                dw[:, *tap] = np.einsum("nhwo,nhwc->oc", other, x[seen])
        y = np.maximum(y + other if self.which == "sum" else y, 0)
        return {"dx": dx, "dw": dw}.get(self.which, y).astype(self.dtype.numpy)


@dataclass(frozen=True)
class Rounding:
    """How the hardware rounds f32 to TF32: a row beside the layouts."""

    name: str = "rounding of TF32"


CONVOLUTIONS = (
    Convolution("y", bfloat16, (5, 9, 9, 64), (64, 3, 3)),  # boxes of 7 x 7 pixels: fewer than 64
    Convolution("dw", bfloat16, (16, 10, 10, 64), (128, 3, 3)),  # the sum is over pixels, and cut into pieces
    Convolution("sum", float32, (3, 10, 13, 96), (136, 3, 2)),  # its pixels end within boxes
    Convolution("y", bfloat16, (3, 17, 17, 128), (64, 3, 3), (2, 2)),
    Convolution("twice", bfloat16, (3, 13, 13, 64), (64, 3, 3)),
    Convolution("twice", float32, (9, 15, 15, 64), (64, 3, 3), (2, 2)),
    Convolution("dw", bfloat16, (4, 17, 17, 128), (64, 3, 3), (2, 2)),
    Convolution("dx", bfloat16, (8, 14, 14, 64), (64, 3, 3)),
    Convolution("dx", float32, (8, 14, 14, 64), (64, 3, 3)),
    Convolution("y", bfloat16, (3, 15, 17, 64), (64, 3, 3), dilation=(2, 3)),
    Convolution("sum", bfloat16, (4, 18, 18, 72), (64, 3, 3)),  # 72 channels are not whole boxes
    Convolution("y", bfloat16, (4, 15, 15, 64), (128, 1, 1), (2, 2)),
    Convolution("y", float16, (2, 20, 20, 96), (64, 3, 3)),
    Convolution("dw", bfloat16, (8, 9, 9, 64), (64, 2, 2)),  # few rows and few columns
    Convolution("y", float32, (8, 40, 40, 32), (128, 5, 5), (5, 5)),  # windows side by side
    Convolution("dw", float32, (16, 10, 10, 64), (128, 3, 3)),  # both operands are turned
    Convolution("dw", float32, (8, 17, 17, 128), (64, 3, 3), (2, 2)),
)

LAYOUTS: tuple[Layout | Convolution, ...] = (
    *(Layout(f"bf16, {'turned' if a else 'along the sum'} and {'turned' if b else 'along the sum'}", bfloat16, bfloat16, a, b)
      for a in (False, True) for b in (False, True)),
    Layout("f16", float16, float16),
    Layout("bf16, batches", bfloat16, bfloat16, right_turned=True, batch=2, sizes=(128, 136, 72)),
    Layout("bf16, a cut sum", bfloat16, bfloat16, sizes=(128, 128, 4096)),
    Layout("TF32", float32, float32),
    *(Layout(f"TF32, {'turned' if a else 'along the sum'} and {'turned' if b else 'along the sum'}", float32, float32, a, b)
      for a, b in ((False, True), (True, False), (True, True))),
    *(Layout(f"bytes, {a.name} and {b.name}", a, b) for a in (int8, uint8) for b in (int8, uint8)),
    Layout("bytes, turned", int8, int8, right_turned=True),
    *CONVOLUTIONS,
)  # fmt: skip


def layouts(section: Section, gpus: Sequence[Runtime]) -> None:
    """Every layout on every target, and the rounding of TF32."""
    section.table("operands", "target", "wrong elements", "where")
    for gpu, layout in on_each(section, gpus, [*LAYOUTS, Rounding()]):
        if isinstance(layout, Rounding):
            _rounding(section, gpu)
            continue
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
    section.note(f"{gpu.device.arch} rounds f32 to TF32 {name}")
    if name != next(iter(ROUNDINGS)):
        section.fail("rounding of TF32", f"{gpu.device.arch}: {name}; the emulation and the documents say {next(iter(ROUNDINGS))}")
