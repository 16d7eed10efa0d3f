"""Convolutions on warpgroups: which boxes the copy engine brings, whole numbers that must be exact on emulated threads, planted bugs, PTX."""

from __future__ import annotations

import dataclasses
import re

import pytest
from needs import needs_emulation, needs_nvrtc
from xdsl.dialects.builtin import bf16, f32, i8

from lamina.backends.cuda import disassembly
from lamina.backends.cuda.check_layouts import CONVOLUTIONS, Convolution
from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.emulation import emulate
from lamina.backends.replay import replay
from lamina.dialects.errors import BackendError, LaminaError
from lamina.dialects.types import bfloat16, float32
from lamina.lowering.contraction_match import Access, Contraction, Factor
from lamina.lowering.gpu_boxes import Boxes, plan_boxes
from lamina.lowering.gpu_launches import LaunchTable

TARGET = "sm_90a_wgmma_tf32"


def source_of(case: Convolution):
    return cuda_source(case.graph(), TARGET)


def wrong(case: Convolution, source, seed: int = 0) -> int:
    """How many elements are not numpy's."""
    arrays = case.arrays()
    (got,) = emulate.Emulation(source)(arrays, seed)
    return int((got != case.want(arrays)).sum())


@needs_emulation
@pytest.mark.parametrize("case", [c if i < 3 else pytest.param(c, marks=pytest.mark.slow) for i, c in enumerate(CONVOLUTIONS)], ids=lambda c: c.name)
@pytest.mark.slow
def test_convolutions_are_exact(case: Convolution) -> None:
    source = source_of(case)
    assert "lm_wgmma_" in source.kernels and "lm_tma_load_" in source.kernels
    assert [wrong(case, source, seed) for seed in (0, 3)] == [0, 0]


# What boxes are


def planned(element, sizes, rows, columns, sums, left, right, batch=()) -> Boxes | None:
    """sizes of loops, which are rows, columns and sums, and the strides of both operands."""
    left, right = (Factor(Access(None, element, 0, tuple(strides)), ()) for strides in (left, right))
    found = Contraction(tuple(sizes), (*batch, *rows, *columns), tuple(sums), left, right, Access(None, f32, 0, ()), f32, (), (), (), None)
    return plan_boxes(found, (left, right), (rows, columns), batch, sums)


def dimensions(boxes: Boxes) -> list[list[tuple[int, int, int, int]]]:
    """Size, step, box and how far apart: of each dimension of both operands."""
    return [[(d.size, d.step, d.box, d.every) for d in operand.dimensions] for operand in (boxes.left, boxes.right)]


def forward(stride: int, kernel: int = 3, channels: int = 64, size: int = 30, element=bf16, dilation: int = 1) -> Boxes | None:
    """Loops n, y, x, o, v, u, c of 4 square images."""
    pixels, line = (size - (kernel - 1) * dilation - 1) // stride + 1, size * channels
    image = (size * line, stride * line, stride * channels, 0, dilation * line, dilation * channels, 1)
    filters = (0, 0, 0, kernel * kernel * channels, kernel * channels, channels, 1)
    return planned(element, (4, pixels, pixels, 128, kernel, kernel, channels), (0, 1, 2), (3,), (4, 5, 6), image, filters)


def test_windows_share_a_dimension_with_what_they_slide_over() -> None:
    boxes = forward(1)
    assert dimensions(boxes)[0] == [(64, 1, 64, 1), (30, 64, 4, 1), (30, 1920, 4, 1), (4, 57600, 4, 1)]
    assert dimensions(boxes)[1] == [(64, 1, 64, 1), (3, 64, 1, 1), (3, 192, 1, 1), (128, 576, 64, 1)]  # smaller strides first
    assert not boxes.left.turned and boxes.sums.box == (1, 1, 64) and boxes.left.own.count == 49 and not boxes.is_even


def test_strides_are_steps_of_the_copy_engine() -> None:
    assert [(d.size, d.every) for d in forward(2, size=33).left.dimensions] == [(64, 1), (33, 2), (33, 2), (4, 1)]
    assert [(d.size, d.every) for d in forward(1, dilation=3, size=36).left.dimensions] == [(64, 1), (36, 1), (36, 1), (4, 1)]
    assert forward(9, kernel=11, size=300) is None  # steps of at most 8


def test_windows_side_by_side_are_dimensions_of_their_own() -> None:
    assert dimensions(forward(3, size=30))[0] == [(192, 1, 64, 1), (10, 192, 10, 1), (3, 1920, 1, 1), (40, 5760, 6, 1)]


def test_few_channels_are_no_box() -> None:
    assert forward(1, channels=3) is None and forward(1, channels=24) is None  # not aligned; most of a box would be empty
    assert forward(1, channels=32) is not None


def test_a_sum_over_pixels_fills_its_boxes() -> None:
    """Loops o, v, u, c, n, y, x: the gradient of 3 x 3 filters."""
    line = 16 * 64

    def gradient(n: int, size: int, element=bf16) -> Boxes | None:
        pixels = (size * size * 128, size * 128, 128)
        image = (line, 64, 1, 16 * line, line, 64)
        return planned(element, (128, 3, 3, 64, n, size, size), (0,), (1, 2, 3), (4, 5, 6), (1, 0, 0, 0, *pixels), (0, *image))

    boxes = gradient(16, 14)
    assert boxes.left.turned and boxes.right.turned and boxes.sums.box == (16, 2, 2) and not boxes.sums.cut
    assert boxes.right.own.box == (1, 1, 64) and boxes.left.own.count == 2
    assert dimensions(boxes) == [
        [(128, 1, 64, 1), (14, 128, 2, 1), (14, 1792, 2, 1), (16, 25088, 16, 1)], [(64, 1, 64, 1), (16, 64, 2, 1), (16, 1024, 2, 1), (16, 16384, 16, 1)],
    ]  # fmt: skip
    assert gradient(1, 14) is None  # 196 pixels are no whole boxes of 64
    boxes = gradient(16, 14, f32)  # a box has 32 of 64 rows, two are side by side
    assert boxes.left.turned and boxes.left.beside == boxes.right.beside == 2 and boxes.left.own.box == (64,) and boxes.sums.box == (8, 2, 2)
    assert dimensions(boxes)[0] == [(128, 1, 32, 1), (14, 128, 2, 1), (14, 1792, 2, 1), (16, 25088, 8, 1)]
    assert gradient(16, 14, i8) is None  # bytes cannot lie along the rows


PLANTED = {
    "a tap is forgotten": (0, r"(&map0, [^,]*, 0), \w+,", r"\1, 0,"),
    "the second box is the first": (0, r"int (v\d+) = (v\d+) \* 2;\n(\s+)int (v\d+) = \1 \+ 1;", r"int \1 = \2 * 2;\n\3int \4 = \1;"),
    "rows and columns of pixels change places": (0, r"(&map0, [^,]*, \w+), (\w+), (\w+),", r"\1, \3, \2,"),
    "as many bytes are announced as a whole slot has": (0, r"(lm_mbarrier_expect\([^;]*), \d+\)", r"\1, 24576)"),
    "the second box has no slot of its own": (0, r"= (v\d+) \+ 4096;", r"= \1 + 3136;"),
    "what is behind a box is stored": (0, r"bool (\w+) = (\w+) < 49;", r"bool \1 = true;"),
    "taps of columns change places": (1, r"(&map1, [^,]*, \w+), (\w+), (\w+),", r"\1, \3, \2,"),
    "a box of the sum is read twice": (1, r"(int v\d+ = v\d+) \+ i0;(\s+int v\d+ = v\d+ \* 8192)", r"\1;\2"),
}  # fmt: skip


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_seen(bug: str) -> None:
    number, pattern, replacement = PLANTED[bug]
    case = CONVOLUTIONS[number]
    source = source_of(case)
    kernels, count = re.subn(pattern, replacement, source.kernels)
    assert count, "the pattern is not in the source any more"
    try:
        assert any(wrong(case, source.with_kernels(kernels), seed) for seed in (0, 1))
    except BackendError:
        return


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", [(r"(lm_tma_store_4d\([^,]*, [^,]*), (\w+), (\w+), (\w+),", r"\1, \2, \4, \3,"), (r"(lm_tma_store_4d\(.*), \w+, (\w+)\);", r"\1, 0, \2);")], ids=str)
def test_planted_bug_in_a_stored_box_is_seen(bug: tuple[str, str]) -> None:
    case = CONVOLUTIONS[4]
    source = source_of(case)
    kernels, count = re.subn(*bug, source.kernels)
    assert count, "no box of pixels is stored"
    assert wrong(case, source.with_kernels(kernels))


def with_maps(source, change):
    """The source with other tensor maps."""
    launches = tuple(dataclasses.replace(launch, maps=tuple(map(change, launch.maps))) for launch in source.table.launches)
    return dataclasses.replace(source, table=dataclasses.replace(source.table, launches=launches))


PLANTED_MAPS = {
    "every pixel instead of every second": (3, lambda m: dataclasses.replace(m, every=(1,) * len(m.every))),
    "another box": (0, lambda m: dataclasses.replace(m, box=m.box[:1] + m.box[2:] + m.box[1:2])),
    "what is behind the channels is not zero": (10, lambda m: dataclasses.replace(m, sizes=(m.sizes[0] + 8, *m.sizes[1:]) if m.sizes[0] == 72 else m.sizes)),
    "another stride": (0, lambda m: dataclasses.replace(m, strides=m.strides[::-1]) if len(m.sizes) == 4 and m.sizes[1] == 9 else m),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED_MAPS)
def test_wrong_map_is_seen(bug: str) -> None:
    number, change = PLANTED_MAPS[bug]
    case = CONVOLUTIONS[number]
    source = source_of(case)
    changed = with_maps(source, change)
    assert changed.table != source.table
    try:
        assert wrong(case, changed)
    except BackendError:
        return


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("case", [
    Convolution("y", bfloat16, (64, 30, 30, 128), (128, 3, 3)), Convolution("y", float32, (64, 30, 30, 128), (256, 3, 3)),
    Convolution("dw", bfloat16, (64, 16, 16, 256), (256, 3, 3)), Convolution("y", bfloat16, (64, 57, 57, 64), (64, 3, 3), (2, 2)),
    Convolution("sum", float32, (64, 16, 16, 256), (256, 3, 3)), Convolution("dw", float32, (64, 16, 16, 256), (256, 3, 3)),
], ids=lambda c: c.name)  # fmt: skip
def test_ptx(case: Convolution) -> None:
    compiled = build(case.graph(), TARGET).compiled
    kind = "tf32" if case.dtype is float32 else "bf16"
    assert re.search(rf"wgmma\.mma_async\.sync\.aligned\.m64n\d+k\d+\.f32\.{kind}\.{kind}", compiled.ptx)
    assert "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes" in compiled.ptx
    assert not [u for u in compiled.usage if u.spill_loads or u.spill_stores or u.stack] and not re.search(r"C75\d\d", compiled.log)
    if disassembly.tool() is not None:
        found = disassembly.opcodes(compiled.cubin)
        assert found["HGMMA"] and found["UTMALDG"] and disassembly.missing(compiled.ptx, found) == []


def test_launch_tables_keep_steps() -> None:
    table = source_of(CONVOLUTIONS[3]).table
    (view,) = [m for launch in table.launches for m in launch.maps if max(m.every) > 1]
    assert view.every == (1, 2, 2, 1) and view.reach == (64, 16, 16, 1) and view.box == (64, 8, 8, 1)
    assert LaunchTable.from_json(table.as_json()) == table


REFUSED = {
    "1 to 8 apart": "box [64, 4, 4, 1] every [1, 9, 1, 1]",
    "the innermost 1": "box [64, 4, 4, 1] every [2, 1, 1, 1]",
    "a box reaches over 256 at most": "box [64, 130, 4, 1] every [1, 2, 1, 1]",
    "elements of a box are": "box [64, 4, 4, 1] every [1, 2]",
    "at most 256 elements": "box [64, 300, 1, 1]",
    "along each of its map's 4 dimensions, got 3": "box [64, 4, 4, 1]",
    "128 bytes wide": "box [32, 4, 4, 1]",
}


@pytest.mark.parametrize("words", REFUSED)
def test_the_verifier_refuses(words: str) -> None:
    with pytest.raises(LaminaError, match=re.escape(words)):
        replay(_map("sizes [64, 10, 10, 2] strides [64, 640, 6400]", REFUSED[words]), "refused.mlir")


@pytest.mark.parametrize("sizes, words", [
    ("sizes [64, 10, 11, 2] strides [64, 640, 6400]", "is within the array, got element 13439"), ("sizes [64, 10, 10, 2] strides [64, 640, 0]", "positive"),
])  # fmt: skip
def test_the_verifier_refuses_what_is_not_in_the_array(sizes: str, words: str) -> None:
    with pytest.raises(LaminaError, match=re.escape(words)):
        replay(_map(sizes, "box [64, 4, 4, 1]"), "refused.mlir")


def _map(sizes: str, box: str) -> str:
    return (
        'builtin.module { func.func private @k(%x: memref<12800xbf16>, %s: memref<4096xbf16, "shared">, %b: memref<1xi64, "shared">) {\n'
        f"%c = arith.constant 0 : index\n%m = nv.tensor_map %x offset 0 {sizes} {box} : memref<12800xbf16> to !nv.tensor_map\n"
        'nv.tma_load %m[%c, %c, %c] to %s[%c] signals %b[%c] : memref<4096xbf16, "shared">, memref<1xi64, "shared">\nfunc.return } }'
    )
