"""The PTX NVRTC makes of our kernels, interpreted as the manual says, against numpy: every way kernels are made, and planted bugs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np
import pytest
from needs import needs_nvrtc

from lamina.backends.cuda.check_kernels import expected, largest_error
from lamina.backends.cuda.check_layouts import LAYOUTS, Layout
from lamina.backends.cuda.check_programs import PROGRAMS, Recorder, arrays_for
from lamina.backends.cuda.program import CudaProgram, build
from lamina.backends.oracle import evaluate
from lamina.backends.ptx.faults import PtxError
from lamina.backends.ptx.interpret import Interpretation
from lamina.dialects.target import with_f32
from lamina.dialects.types import bfloat16, int8, uint8
from lamina.lowering.capture import capture

pytestmark = needs_nvrtc

NAMED = {p.name: p for p in PROGRAMS}
WHOLE, TURNED, TF32 = "matmul bf16, whole tiles", "matmul bf16, whole tiles, second operand turned", "matmul TF32, whole tiles"
TF32_TURNED = "matmul TF32, second operand turned"
QUICK = {
    "sm_80": ("elementwise", "softmax", "matmul bf16", "matmul f16, second operand transposed", "matmul of bytes", TF32, "attention bf16, depth 64"),
    "sm_90a_wgmma": (WHOLE, TURNED, "matmul of bytes, whole tiles", TF32, TF32_TURNED, "attention bf16, depth 64"),
}
"""Of each kind of instruction one; the others take longer."""


@functools.cache
def built(name: str, arch: str) -> CudaProgram:
    return build(NAMED[name].make(NAMED[name].small), with_f32(arch, NAMED[name].f32))


def error(name: str, arch: str, ptx: str | None = None, seed: int = 0) -> float:
    """The largest difference from numpy in multiples of what is allowed, of a program or of other PTX in its place."""
    made, program = built(name, arch), NAMED[name]
    arrays = arrays_for(made.graph)
    outputs = Interpretation(made.compiled.ptx if ptx is None else ptx, made.source.table)(arrays, seed)
    return largest_error(made.graph, outputs, expected(program, made.graph, arrays))


def cases() -> list:
    found = []
    for arch, quick in QUICK.items():
        for program in PROGRAMS:
            marks = () if program.name in quick else (pytest.mark.slow,)
            found.append(pytest.param(program.name, arch, marks=marks, id=f"{program.name}, {arch}"))
    return found


@pytest.mark.parametrize(("name", "arch"), cases())
@pytest.mark.slow
def test_program(name: str, arch: str) -> None:
    assert error(name, arch) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arch"), cases())
def test_program_in_other_orders(name: str, arch: str) -> None:
    assert max(error(name, arch, seed=seed) for seed in (1, 7)) <= 1


QUICK_LAYOUTS = ("f16", "bf16, turned and turned", "TF32, turned and turned", "bytes, uint8 and int8")


@pytest.mark.parametrize("layout", [x if x.name in QUICK_LAYOUTS else pytest.param(x, marks=pytest.mark.slow) for x in LAYOUTS], ids=lambda x: x.name)
@pytest.mark.slow
def test_layout(layout) -> None:
    """Products and convolutions of whole numbers, exact: what the GPU check asks the hardware."""
    if layout.name in QUICK_LAYOUTS and isinstance(layout, Layout):
        layout = Layout(layout.name, layout.left, layout.right, layout.left_turned, layout.right_turned, layout.batch, (136, 136, 72))
    made = build(layout.graph(), with_f32("sm_90a_wgmma", "tf32"))
    arrays = layout.arrays()
    (got,) = Interpretation(made.compiled.ptx, made.source.table)(arrays, 3)
    np.testing.assert_array_equal(got, layout.want(arrays))


@pytest.mark.slow
def test_results_that_end_within_a_tile() -> None:
    """What is added to them is read where they are; what is sent for places outside is a number."""
    r = Recorder()
    x, w, y = (r.input(*shape, dtype=bfloat16) for shape in ((136, 72), (264, 72), (136, 264)))
    graph = r.graph(r("add", r("matmul", x, r("permute", w, attrs=((1, 0),))), y))
    made, arrays = build(graph, "sm_90a_wgmma"), arrays_for(graph)
    assert "cp.async.bulk.tensor.2d.global" in made.compiled.ptx
    got = Interpretation(made.compiled.ptx, made.source.table)(arrays)
    assert largest_error(graph, got, evaluate(capture(graph), arrays)) <= 1


# Planted bugs: one change of the PTX each


def without(pattern: str, count: int = 0) -> Callable[[str], str]:
    return lambda ptx: re.sub(rf"^\s*{pattern}[^\n]*;\n", "", ptx, count=count, flags=re.M)


def with_other(pattern: str, replacement: str, count: int = 0) -> Callable[[str], str]:
    return lambda ptx: re.sub(pattern, replacement, ptx, count=count)


def behind(text: str, change: Callable[[str], str]) -> Callable[[str], str]:
    """A change of what is behind the first of a text."""
    return lambda ptx: ptx[: ptx.index(text)] + change(ptx[ptx.index(text) :])


def descriptors(change: Callable[[int], int]) -> Callable[[str], str]:
    """The constant half of every matrix descriptor, changed."""
    return lambda ptx: re.sub(r"\b46116\d{14}\b", lambda m: str(change(int(m[0]))), ptx)


SAID = {
    "a fence of registers is missing": (WHOLE, "sm_90a_wgmma", without(r"wgmma\.fence"), "before any wgmma.fence"),
    "a later fence of registers is missing": (
        "attention bf16, depth 64", "sm_90a_wgmma", behind("wgmma.commit", without(r"wgmma\.fence")),
        "no wgmma.fence is between",
    ),
    "a wait for products is missing": (WHOLE, "sm_90a_wgmma", without(r"wgmma\.wait_group\.sync\.aligned 0"), "it was not waited for"),
    "products are never committed": (WHOLE, "sm_90a_wgmma", without(r"wgmma\.commit_group"), "it was not waited for"),
    "a proxy fence is missing": (WHOLE, "sm_90a_wgmma", without(r"fence\.proxy\.async"), "there is no fence.proxy.async between"),
    "a proxy fence is missing behind a turned tile": (TF32_TURNED, "sm_90a_wgmma", without(r"fence\.proxy\.async", 1), "there is no fence.proxy.async between"),
    "a tile is turned before it is there": (TF32_TURNED, "sm_90a_wgmma", without(r"bar\.warp\.sync"), "a race"),
    "a barrier is not shown": (WHOLE, "sm_90a_wgmma", without(r"fence\.mbarrier_init"), "before a fence"),
    "barriers are not waited for": (WHOLE, "sm_90a_wgmma", without(r"bar\.sync\s+0", 1), "its mbarrier.init by another thread is not ordered before"),
    "the block ends too early": (WHOLE, "sm_90a_wgmma", without(r"cp\.async\.bulk\.wait_group"), "cp.async.bulk.wait_group is missing"),
    "stores are never committed": (WHOLE, "sm_90a_wgmma", without(r"cp\.async\.bulk\.commit_group"), "cp.async.bulk.wait_group is missing"),
    "a box has less than was announced": (WHOLE, "sm_90a_wgmma", with_other(r"(mbarrier\.arrive\.expect_tx\S+ _, \[%r\d+\], )%r\d+", r"\g<1>32752"), "bytes"),
    "an arrival too few": (WHOLE, "sm_90a_wgmma", without(r"mbarrier\.arrive\.expect_tx"), "nothing will wake them"),
    "copies are not waited for": ("matmul bf16", "sm_80", without(r"cp\.async\.wait_group"), "while a copy to it is under way"),
    "threads do not meet": ("matmul bf16", "sm_80", without(r"bar\.sync"), "a race"),
    "warps do not meet": ("softmax", "sm_80", without(r"bar\.sync"), "a race"),
    "a row of a matrix is unaligned": (
        "matmul bf16", "sm_80", with_other(r"(ldmatrix\S+ \{[^}]*\}, \[%r\d+)\]", r"\g<1>+8]"), "which is not a multiple of 16",
    ),
    "an array is left": ("elementwise", "sm_80", with_other(r"(st\.global\S+\s+\[%rd\d+)\]", r"\g<1>+1048576]"), "outside every array"),
    "an unaligned access": ("elementwise", "sm_80", with_other(r"(ld\.global\S+\s+[^;]*, \[%rd\d+)\]", r"\g<1>+2]"), "which is not a multiple of"),
    "an instruction nobody knows": ("elementwise", "sm_80", with_other(r"\bret;", "trap;"), "does not know trap"),
    "a form nobody knows": ("elementwise", "sm_80", with_other(r"mul\.rn\.f32", "mul.rn.f16"), "does not know mul.rn.f16"),
}  # fmt: skip


@pytest.mark.parametrize("bug", SAID)
def test_planted_bug_is_said(bug: str) -> None:
    name, arch, change, said = SAID[bug]
    before = built(name, arch).compiled.ptx
    after = change(before)
    assert after != before
    with pytest.raises(PtxError) as caught:
        error(name, arch, after)
    assert said in str(caught.value)


def test_errors_name_kernel_line_source_and_threads() -> None:
    change = SAID["a fence of registers is missing"][2]
    with pytest.raises(PtxError, match=r"(?s)kernel +k0.*PTX +line \d+: wgmma\.mma_async.*program\.cu:\d+.*threads +128, 129.* of block 0"):
        error(WHOLE, "sm_90a_wgmma", change(built(WHOLE, "sm_90a_wgmma").compiled.ptx))


PAIRED = Layout("", bfloat16, bfloat16, right_turned=True, sizes=(256, 136, 520))
"""Four tiles, two clusters."""


@functools.cache
def paired() -> CudaProgram:
    return build(PAIRED.graph(), "sm_90a_wgmma")


@pytest.mark.slow
def test_a_cluster() -> None:
    assert paired().source.table.launches[0].shape.cluster == 2
    arrays = PAIRED.arrays()
    for seed in (0, 3):
        (got,) = Interpretation(paired().compiled.ptx, paired().source.table)(arrays, seed)
        np.testing.assert_array_equal(got, PAIRED.want(arrays))


def last(pattern: str) -> Callable[[str], str]:
    """Without the last one."""
    return lambda ptx: ptx[: (at := [m.start() for m in re.finditer(pattern, ptx)][-1])] + re.sub(r"[^\n]*;", "", ptx[at:], count=1)


BETWEEN_BLOCKS = {
    "a block does not wait for the other one's end": (lambda ptx: last(r"barrier\.cluster\.arrive")(last(r"barrier\.cluster\.wait")(ptx)), "may have ended before another one's thread"),
    "a block does not wait for the other one's barriers": (
        lambda ptx: with_other(r"barrier\.cluster\.arrive\.release;", "bar.sync 0;", 1)(without(r"barrier\.cluster\.wait", 1)(ptx)), "mbarrier.init",
    ),
    "nobody waits at the barrier": (without(r"barrier\.cluster\.wait"), "mbarrier.init was not run there"),
    "threads arrive twice": (with_other(r"(barrier\.cluster\.arrive\.release;)", r"\1 \1"), "has not waited since its last one"),
    "nobody arrives at the barrier": (without(r"barrier\.cluster\.arrive"), "of a thread that has not arrived"),
    "the other block is not told": (without(r"mbarrier\.arrive\.relaxed\.cluster"), "nothing will wake them"),
    "the other block is told at this one's barrier": (with_other(r"(mapa\S+ \S+, %r\d+), %r\d+", r"\1, %cluster"), "does not know mapa"),
    "a block that is none": (with_other(r"(mapa\S+ \S+, %r\d+), %r\d+", r"\1, 2"), "mapa to block 2 of a cluster of 2"),
    "a wait is one of this block's": (with_other(r"relaxed\.cluster\.shared::cta", "acquire.cta.shared::cta"), "without .cluster"),
    "an arrival is of a scope the other block is not in": (with_other(r"arrive\.relaxed\.cluster", "arrive.release.cta"), "does not know mbarrier.arrive.release.cta.shared::cluster"),
    "a box is for one block": (with_other(r"(multicast::cluster[^;]*\], )%rs\d+", r"\g<1>1"), "nothing will wake them"),
    "a box is for a third block": (with_other(r"(multicast::cluster[^;]*\], )%rs\d+", r"\g<1>7"), "of a cluster of 2"),
    "an address that is this block's": (with_other(r"mapa\.shared::cluster\.u32\s+(\S+), (%r\d+), %r\d+", r"mov.u32 \1, \2"), "that mapa has not made"),
}  # fmt: skip


@pytest.mark.parametrize("bug", [b if k < 3 else pytest.param(b, marks=pytest.mark.slow) for k, b in enumerate(BETWEEN_BLOCKS)])
def test_planted_bug_between_blocks_is_said(bug: str) -> None:
    change, said = BETWEEN_BLOCKS[bug]
    before = paired().compiled.ptx
    after = change(before)
    assert after != before
    with pytest.raises(PtxError) as caught:
        Interpretation(after, paired().source.table)(PAIRED.arrays(), 3)
    assert said in str(caught.value)


WRONG = {
    "a descriptor's stride": (WHOLE, "sm_90a_wgmma", descriptors(lambda d: d - (64 << 32) + (32 << 32))),
    "a descriptor's leading offset": (TURNED, "sm_90a_wgmma", descriptors(lambda d: d - (512 << 16) + (256 << 16) if d >> 16 & 0x3FFF == 512 else d)),
    "a descriptor's swizzle": (WHOLE, "sm_90a_wgmma", descriptors(lambda d: d ^ 3 << 62)),
    "a way operands lie": (TURNED, "sm_90a_wgmma", with_other(r", 1, 1, 1, 0, 1;", ", 1, 1, 1, 0, 0;")),
    "a parity": (WHOLE, "sm_90a_wgmma", with_other(r"(mbarrier\.try_wait\S+ \S+ \[%r\d+\], )(%r\d+)", r"\g<1>1", 1)),
    "fragments of A": ("matmul bf16", "sm_80", with_other(r"(mma\.sync\S+ \{[^}]*\}, \{%r\d+), (%r\d+), (%r\d+)", r"\1, \3, \2")),
    "fragments of B": ("matmul bf16", "sm_80", with_other(r"(mma\.sync\S+ \{[^}]*\}, \{[^}]*\}), \{(%r\d+), (%r\d+)\}", r"\1, {\3, \2}")),
    "a turned matrix": ("matmul bf16", "sm_80", with_other(r"ldmatrix\.sync\.aligned\.m8n8\.x4\.trans", "ldmatrix.sync.aligned.m8n8.x4")),
    "a stored fragment": (WHOLE, "sm_90a_wgmma", with_other(r"(stmatrix\S+ \[%r\d+\], \{%r\d+), (%r\d+)", r"\1, %r1")),
    "a place of a box": (WHOLE, "sm_90a_wgmma", with_other(r"(cp\.async\.bulk\.tensor\.2d\.shared\S+ \[%r\d+\], \[%rd\d+, \{)(%r\d+), (%r\d+)", r"\1\3, \2")),
}  # fmt: skip


@pytest.mark.parametrize("bug", WRONG)
def test_planted_bug_shows(bug: str) -> None:
    """As a fault, or as numbers that are wrong."""
    name, arch, change = WRONG[bug]
    before = built(name, arch).compiled.ptx
    after = change(before)
    assert after != before
    try:
        assert error(name, arch, after) > 1
    except PtxError:
        pass


def test_signs_of_bytes_show() -> None:
    layout = Layout("", uint8, int8, sizes=(128, 128, 64))
    made, arrays = build(layout.graph(), "sm_90a_wgmma"), layout.arrays()
    assert "s32.u8.s8" in made.compiled.ptx
    for ptx, equal in ((made.compiled.ptx, True), (made.compiled.ptx.replace("s32.u8.s8", "s32.u8.u8"), False)):
        (got,) = Interpretation(ptx, made.source.table)(arrays)
        assert np.array_equal(got, layout.want(arrays)) is equal
