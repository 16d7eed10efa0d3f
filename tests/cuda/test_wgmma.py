"""Products on warpgroups: against numpy on emulated threads, planted bugs, PTX and machine code, what hosts pass, what the verifier refuses."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import subprocess
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from needs import needs_emulation, needs_gcc, needs_nvrtc

from fake_driver import FakeDriver, install
from graphs import Recorder

from lamina.backends.cuda import check_layouts, disassembly, nvrtc
from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import arrays_for
from lamina.backends.cuda.check_report import Section
from lamina.backends.cuda.device import Device, native_arch
from lamina.backends.cuda.files import write_cuda
from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.cuda.runtime import Runtime
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.backends.replay import replay
from lamina.dialects.errors import BackendError, LaminaError
from lamina.dialects.graph import Graph
from lamina.dialects.target import GPU_TARGETS
from lamina.dialects.types import bfloat16, float16, float32, int8, uint8
from lamina.lowering.capture import capture
from lamina.lowering.gpu_contraction_plan import Tiling
from lamina.lowering.gpu_launches import MAP_BYTES, LaunchTable, TensorMap

TARGET = "sm_90a_wgmma"


def product(m, n, k, left_turned=False, right_turned=False, dtype=bfloat16, z=0) -> Graph:
    r = Recorder()
    batch, order = ((z,), ((0, 2, 1),)) if z else ((), ((1, 0),))
    x = r.input((*batch, *((k, m) if left_turned else (m, k))), dtype)
    y = r.input((*batch, *((n, k) if right_turned else (k, n))), dtype)
    x = r("permute", x, attrs=order) if left_turned else x
    y = r("permute", y, attrs=order) if right_turned else y
    return r.graph(r("relu", r("matmul", x, y)))


LAYOUTS = {layout.name: layout for layout in check_layouts.LAYOUTS}


def layout_source(name: str):
    return cuda_source(LAYOUTS[name].graph(), f"{TARGET}_tf32")


def wrong(name: str, source, seed: int = 0) -> int:
    """How many elements of a layout's product are not numpy's."""
    layout = LAYOUTS[name]
    arrays = layout.arrays()
    (got,) = emulate.Emulation(source)(arrays, seed)
    return int((got != layout.want(arrays)).sum())


def some(cases, quick):
    """The first ones, and the others marked slow: every one is a run of g++."""
    return [c if i < quick else pytest.param(c, marks=pytest.mark.slow) for i, c in enumerate(cases)]


CASES = [
    dict(m=136, n=264, k=200, right_turned=True),
    dict(m=152, n=200, k=328),
    dict(m=152, n=200, k=328, left_turned=True),
    dict(m=136, n=136, k=200, left_turned=True, right_turned=True, dtype=float16),
    dict(m=128, n=136, k=72, z=3, right_turned=True),
    dict(m=128, n=128, k=4096),  # its long sum is cut into pieces
]


@needs_emulation
@pytest.mark.parametrize("case", some(CASES, 1), ids=str)
def test_products(case) -> None:
    graph = product(**case)
    source, arrays = cuda_source(graph, TARGET), arrays_for(graph)
    assert "lm_wgmma_" in source.kernels and "lm_tma_load_" in source.kernels
    emulation = emulate.Emulation(source)
    first = emulation(arrays, 0)
    assert largest_error(graph, first, evaluate(capture(graph), arrays)) <= 1
    assert emulation(arrays, 3)[0].tobytes() == first[0].tobytes()


WAYS = {
    "TF32": "lm_wgmma_tf32_tf32_n128_kk(", "bytes, int8 and uint8": "lm_wgmma_s8_u8_n128_kk(", "bytes, uint8 and int8": "lm_wgmma_u8_s8_n128_kk(",
    "bytes, int8 and int8": "lm_wgmma_s8_s8_n128_kk(", "bf16, turned and along the sum": "lm_wgmma_bf16_bf16_n128_tk(",
    "TF32, turned and turned": "lm_wgmma_tf32_tf32_n128_rk(", "TF32, along the sum and turned": "lm_wgmma_tf32_tf32_n128_kk(",
    "bytes, turned": "lm_mma_s8_s8(",  # 8 bits cannot lie along the rows
}  # fmt: skip


@needs_emulation
@pytest.mark.parametrize("name", some(list(WAYS), 2))
@pytest.mark.slow
def test_layouts_are_exact(name: str) -> None:
    source = layout_source(name)
    assert WAYS[name] in source.kernels
    assert wrong(name, source, 3) == 0


@needs_emulation
@pytest.mark.slow
def test_f32_is_rounded_by_the_copy_engine() -> None:
    graph = check_layouts.Layout("", float32, float32, sizes=(128, 128, 128)).graph()
    rng = np.random.default_rng(0)
    x = (1 + rng.integers(0, 1 << 23, (128, 128)) / (1 << 23)).astype(np.float32)
    source = cuda_source(graph, f"{TARGET}_tf32")
    arrays = [x, np.eye(128, dtype=np.float32)]
    (got,) = emulate.Emulation(source)(arrays)
    assert check_layouts.rounding_of(x, got) == "to nearest, ties away from zero"
    plain = [dataclasses.replace(m, element="f32") for m in source.table.launches[0].maps]
    table = dataclasses.replace(source.table, launches=(dataclasses.replace(source.table.launches[0], maps=tuple(plain)),))
    (got,) = emulate.Emulation(dataclasses.replace(source, table=table))(arrays)
    assert check_layouts.rounding_of(x, got) == "towards zero"  # wgmma does not look at the lowest bits


def test_wrong_elements_are_described() -> None:
    text = check_layouts.described(np.argwhere(np.arange(130)[:, None] % 8 + np.zeros(64) == 5))
    assert text.startswith("first (5, 0); rows 5 to 125, modulo 8 [5], in blocks of 64 [0, 1]; columns 0 to 63")


UNFIT = [
    dict(m=100, n=200, k=128),  # few rows
    dict(m=128, n=130, k=128),  # columns 260 bytes apart: the copy engine takes multiples of 16
    dict(m=128, n=128, k=48),  # a short sum
]


@pytest.mark.parametrize("case", UNFIT, ids=str)
def test_what_does_not_fit_is_made_by_warps(case) -> None:
    source = cuda_source(product(**case), TARGET)
    assert "lm_wgmma" not in source.kernels and "lm_mma_bf16" in source.kernels
    assert "lm_wgmma" not in cuda_source(product(**CASES[0]), "sm_90a").kernels


PLANTED = {
    "a stage is read before it is full": (r"lm_mbarrier_wait\(\(s2 \+ (\w+)\), \w+\);\n(\s+)lm_hold", r"lm_hold"),
    "the sums are read before the products are made": (r"lm_wgmma_wait<0>\(\);", ""),
    "a stage is given back while it is read": (r"lm_wgmma_wait<1>\(\);", ""),
    "a stage is filled before it is free": (r"lm_mbarrier_wait\w*\([^;]*\);\n(\s+)lm_mbarrier_expect", r"lm_mbarrier_expect"),
    "too few bytes are announced": (r"(lm_mbarrier_expect\([^;]*), \d+\)", r"\1, 16)"),
    "blocks of rows are found in the wrong place": (r", 8192\)", ", 4096)"),
    "the second operand's place is that of another depth": (r"map1, ([^,]+), (\w+), (\w+)\)", r"map1, \1, \3, \2)"),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_seen(bug: str) -> None:
    pattern, replacement = PLANTED[bug]
    graph = product(152, 200, 640)
    source, arrays = cuda_source(graph, TARGET), arrays_for(graph)
    kernels, count = re.subn(pattern, replacement, source.kernels)
    assert count, "the pattern is not in the source any more"
    want = evaluate(capture(graph), arrays)
    try:
        got = [emulate.Emulation(source.with_kernels(kernels))(arrays, seed) for seed in (0, 1, 7)]
    except LaminaError:
        return
    assert any(largest_error(graph, g, want) > 1 for g in got)


# Blocks that take several tiles: processors, and what is multiplied
SHARED = [
    (3, dict(sizes=(700, 400, 208))), (2, dict(sizes=(300, 264, 72), batch=2)), (5, dict(sizes=(1000, 128, 64))),
    (4, dict(sizes=(128, 128, 4096))),  # its pieces
]  # fmt: skip


def few_processors(monkeypatch, count: int) -> None:
    monkeypatch.setitem(GPU_TARGETS, TARGET, dataclasses.replace(GPU_TARGETS[TARGET], processors=count))


@needs_emulation
@pytest.mark.parametrize("processors, layout", [SHARED[1], *(pytest.param(*c, marks=pytest.mark.slow) for c in (SHARED[0], *SHARED[2:]))], ids=str)
@pytest.mark.slow
def test_blocks_take_tiles_in_turn(monkeypatch, processors: int, layout: dict) -> None:
    few_processors(monkeypatch, processors)
    monkeypatch.setitem(LAYOUTS, "shared", check_layouts.Layout("", bfloat16, bfloat16, right_turned=True, **layout))
    source = layout_source("shared")
    assert source.table.launches[0].shape.grid[0] == processors
    assert [wrong("shared", source, seed) for seed in (0, 3)] == [0, 0]


# Two blocks that share what they read: processors, which operand, and what is multiplied
PAIRS = [
    (4, "right", dict(left=bfloat16, right_turned=True, sizes=(500, 136, 528))), (132, "right", dict(left=float32, left_turned=True, right_turned=True, sizes=(256, 264, 272))),
    (2, "left", dict(left=bfloat16, sizes=(300, 512, 1040))), (4, "right", dict(left=float16, right_turned=True, batch=3, sizes=(512, 128, 512))),
]  # fmt: skip


def paired(monkeypatch, processors: int, layout: dict):
    few_processors(monkeypatch, processors)
    monkeypatch.setitem(LAYOUTS, "paired", check_layouts.Layout("", right=layout["left"], **layout))
    return layout_source("paired")


@needs_emulation
@pytest.mark.parametrize("processors, side, layout", [PAIRS[0], *(pytest.param(*c, marks=pytest.mark.slow) for c in PAIRS[1:])], ids=str)
@pytest.mark.slow
def test_two_blocks_share_what_they_read(monkeypatch, processors: int, side: str, layout: dict) -> None:
    source = paired(monkeypatch, processors, layout)
    (shape,) = {launch.shape for launch in source.table.launches}
    assert shape.cluster == 2 and shape.grid[0] % 2 == 0 and "__cluster_dims__(2, 1, 1)" in source.kernels
    (shared,) = set(re.findall(r"d_cluster\([^,]*, &(map\d)", source.kernels))
    assert shared == {"left": "map0", "right": "map1"}[side]
    assert LaunchTable.from_json(source.table.as_json()) == source.table
    assert [wrong("paired", source, seed) for seed in (0, 3)] == [0, 0]


@pytest.mark.parametrize("why, processors, sizes", [
    ("odd numbers of tiles", 4, (384, 128, 1024)), ("a short sum", 132, (512, 512, 448)), ("an odd number of processors", 3, (512, 512, 1024)),
    ("no tile has halves", 2, (384, 512, 1024)),
])  # fmt: skip
def test_blocks_that_share_nothing(monkeypatch, why: str, processors: int, sizes: tuple[int, int, int]) -> None:
    if why == "no tile has halves":  # tiles of 128 rows, 64 columns each
        sizes = (384, 64, 1024)
    source = paired(monkeypatch, processors, dict(left=bfloat16, right_turned=True, sizes=sizes))
    assert "lm_wgmma" in source.kernels and {launch.shape.cluster for launch in source.table.launches} == {1}


PLANTED_PAIRS = {
    "a block ends before the other one": (r"lm_cluster_barrier\(\);(?![\s\S]*lm_cluster_barrier)", ""),
    "a stage is free when one block has multiplied it": (r"lm_mbarrier_arrive_at\([^;]*\);", ""),
    "both arrive at the same block's barrier": (r"int (v\d+) = 1 - (v\d+);", r"int \1 = \2;"),
    "only one block gets a half": (r"(d_cluster\([^,]*, &map\d, \(s\d \+ v\d+\)), 3,", r"\1, 1,"),
    "both bring the same half": (r"(_cluster\([^;]*), (\w+)\);", r"\1, 0);"),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED_PAIRS)
def test_planted_bug_between_blocks_is_seen(monkeypatch, bug: str) -> None:
    source = paired(monkeypatch, *PAIRS[0][::2])
    kernels, count = re.subn(*PLANTED_PAIRS[bug], source.kernels)
    assert count, "the pattern is not in the source any more"
    try:
        assert any(wrong("paired", source.with_kernels(kernels), seed) for seed in (0, 1, 3))
    except BackendError:
        return


@pytest.mark.parametrize("columns, processors", [(256, 132), (128, 132), (256, 4)])
def test_tiles_that_are_computed_at_once_lie_in_a_square(columns: int, processors: int) -> None:
    found = SimpleNamespace(sizes=(1 << 14, 1 << 14, 64))
    tiling = Tiling(found, None, None, (0,), (1,), (), (2,), 8, columns // 16, 1, 64, resident=processors)
    down, across = tiling.band * 128, -(-processors // tiling.band) * columns
    assert 0.5 <= down / across <= 2


PLANTED_TURNS = {
    "the last stage of a tile is kept": (r"0 < v\d+;(\s+if \(\w+\) \{\s+int \w+ = \w+ \+ -1;)", r"0 < i5;\1"),
    "the ring begins anew with every tile": (r"int (v\d+) = (v\d+) \+ i5;", r"int \1 = i5;"),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED_TURNS)
def test_planted_bug_between_tiles_is_seen(monkeypatch, bug: str) -> None:
    few_processors(monkeypatch, 1)
    monkeypatch.setitem(LAYOUTS, "shared", check_layouts.Layout("", bfloat16, bfloat16, sizes=(300, 128, 200)))
    source = layout_source("shared")
    kernels, count = re.subn(*PLANTED_TURNS[bug], source.kernels)
    assert count, "the pattern is not in the source any more"
    try:
        assert wrong("shared", source.with_kernels(kernels), 1)
    except BackendError:
        return


PLANTED_LAYOUTS = {
    "the wrong sign": ("bytes, int8 and uint8", "lm_wgmma_s8_u8_", "lm_wgmma_u8_s8_"),
    "bytes half as deep": ("bytes, int8 and int8", r"\(uint64_t\)4\);", "(uint64_t)2);"),  # in 16 bytes
    "TF32 read twice": ("TF32", r"\(uint64_t\)6\);", "(uint64_t)4);"),
    "rows of the second warpgroup where 16-bit ones were": ("TF32", r"(int v\d+ = v\d+) \* 32;", r"\1 * 64;"),
    "blocks are not turned": ("TF32, turned and turned", r"(for \(int \w+ = v\d+; \w+ < )\d+; (\w+ \+= 3\))", r"\g<1>0; \2"),
    "warps write what others have not read": ("TF32, turned and turned", r"__syncwarp\(\);", ""),
    "products wait for what was brought only": ("TF32, turned and turned", r"(int v\d+ = v\d+) \+ 8;(\n\s+lm_mbarrier_wait)", r"\1;\2"),
    "a swizzle forgotten": ("TF32, turned and turned", r"\(int64_t\)\((v\d+) \^ (v\d+)\) ?;(\n\s+int v\d+ = v\d+ \* 4;\n\s+int v\d+ = v\d+ \* 32;)", r"\1;\3"),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED_LAYOUTS)
def test_planted_bug_in_a_layout_is_seen(bug: str) -> None:
    name, pattern, replacement = PLANTED_LAYOUTS[bug]
    source = layout_source(name)
    kernels, count = re.subn(pattern, replacement, source.kernels)
    assert count, "the pattern is not in the source any more"
    try:
        assert wrong(name, source.with_kernels(kernels))
    except BackendError:
        return


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("name, instruction, opcode", [
    ("TF32", "m64n256k8.f32.tf32.tf32", "HGMMA"), ("TF32, turned and turned", "m64n256k8.f32.tf32.tf32", "HGMMA"), ("bytes, int8 and uint8", "m64n256k32.s32.s8.u8", "IGMMA"),
])  # fmt: skip
def test_ptx_of_layouts(name: str, instruction: str, opcode: str) -> None:
    layout = dataclasses.replace(LAYOUTS[name], sizes=(4096, 4096, 1024))
    compiled = build(layout.graph(), f"{TARGET}_tf32").compiled
    assert f"wgmma.mma_async.sync.aligned.{instruction}" in compiled.ptx
    assert not [u for u in compiled.usage if u.spill_loads or u.spill_stores or u.stack] and not re.search(r"C75\d\d", compiled.log)
    if disassembly.tool() is not None:
        found = disassembly.opcodes(compiled.cubin)
        assert found[opcode] and found["UTMALDG"] and disassembly.missing(compiled.ptx, found) == []


def test_machine_code_that_lacks_an_instruction() -> None:
    ptx = "wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 ...; ldmatrix.sync.aligned.m8n8.x4.shared.b16 ..."
    assert disassembly.missing(ptx, disassembly.Counter(LDSM=4)) == ["HGMMA"]


@needs_nvrtc
@pytest.mark.parametrize("case", some([dict(m=4096, n=4096, k=1024, right_turned=True), dict(m=256, n=512, k=512), dict(m=8192, n=8192, k=8192, right_turned=True, dtype=float16)], 1), ids=str)
def test_ptx(case) -> None:
    program = build(product(**case), TARGET)
    for instruction in (
        "wgmma.mma_async.sync.aligned.m64n", "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes",
        "setmaxnreg.inc.sync.aligned.u32 232", "setmaxnreg.dec.sync.aligned.u32 40", "mbarrier.try_wait.parity", ".param .align 128 .b8",
    ):  # fmt: skip
        assert instruction in program.compiled.ptx
    assert not nvrtc.waiting_forever(program.compiled)
    fewer = tuple(dataclasses.replace(u, registers=u.registers - 8) for u in program.compiled.usage)
    assert len(nvrtc.waiting_forever(dataclasses.replace(program.compiled, usage=fewer))) == 1
    assert not [u for u in program.compiled.usage if u.spill_loads or u.spill_stores or u.stack]
    assert not re.search(r"C75\d\d", program.compiled.log)  # wgmma serialised, setmaxnreg ignored


def test_launch_tables_keep_their_maps() -> None:
    table = cuda_source(product(**CASES[1]), TARGET).table
    (launch,) = table.launches
    assert [m.sizes for m in launch.maps] == [(328, 152), (200, 328), (200, 152)] and launch.maps[1].box == (64, 64)
    assert LaunchTable.from_json(table.as_json()) == table


@needs_nvrtc
@needs_emulation
@pytest.mark.slow
@needs_gcc
def test_the_host_program_makes_the_maps(tmp_path) -> None:
    graph = product(**CASES[0])
    arrays = arrays_for(graph)
    write_cuda(graph, {}, ["x", "y"], tmp_path, arch=TARGET, prefix="product")
    emulate.build_driver(cuda_source(graph, TARGET), tmp_path / "libcuda.so")
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "host"), str(tmp_path / "product_host.c")]
    subprocess.run([*command, f"-L{tmp_path}", "-lcuda", f"-Wl,-rpath,{tmp_path}"], check=True)
    for name, array in zip("xy", arrays, strict=True):
        array.view(np.uint16).tofile(tmp_path / f"{name}.bin")
    names = ("product.cubin", "product.weights", "x.bin", "y.bin", "out.bin")
    subprocess.run([tmp_path / "host", *[tmp_path / name for name in names]], check=True)
    got = np.fromfile(tmp_path / "out.bin", np.uint16).view(bfloat16.numpy).reshape(136, 264)
    assert largest_error(graph, [got], evaluate(capture(graph), arrays)) <= 1


@needs_emulation
@pytest.mark.slow
def test_the_runtime_makes_the_maps(monkeypatch) -> None:
    driver = FakeDriver()
    install(monkeypatch, driver)
    for kind in ("CUtensorMapDataType", "CUtensorMapInterleave", "CUtensorMapSwizzle", "CUtensorMapL2promotion", "CUtensorMapFloatOOBfill"):
        monkeypatch.setattr(driver, kind, _Names(), raising=False)
    monkeypatch.setattr(Device, "_encode_tiled", staticmethod(_encode_tiled))
    runtime = Runtime(Device(wgmma=True))
    assert runtime.device.arch == f"{TARGET}_p4"  # as many processors as it has
    graph = product(**CASES[0])
    arrays = arrays_for(graph)
    placed = [runtime.upload(a) for a in arrays]
    want = evaluate(capture(graph), arrays)
    for _ in range(3):
        got = [runtime.download(a) for a in runtime.run(graph, placed)]
        assert largest_error(graph, got, want) <= 1
    chosen = [LAYOUTS[name] for name in ("TF32", "bytes, int8 and uint8")]
    monkeypatch.setattr(check_layouts, "LAYOUTS", chosen)
    section = Section("layouts", "Layouts")
    check_layouts.layouts(section, [runtime])
    assert not section.failures and [row[2] for row in section.tables[0].rows] == [0, 0]
    assert section.notes == [f"{TARGET}_p4 rounds f32 to TF32 to nearest, ties away from zero"]


class _Names(dict):
    """Enumerations: what their values are does not matter here, only that different ones differ."""

    numbers: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> int:
        if name not in self.numbers:
            self.numbers.append(name)
        return self.numbers.index(name)


def _encode_tiled(at, kind, rank, address, sizes, strides, box, steps, *rest) -> int:
    element = _Names.numbers[kind].removeprefix("CU_TENSOR_MAP_DATA_TYPE_")
    name = {"BFLOAT16": "bf16", "TFLOAT32": "tf32", "FLOAT32": "f32", "UINT8": "i8", "INT32": "i32"}[element]
    size = MAP_BYTES[name]
    view = TensorMap(None, name, tuple(sizes), tuple(s // size for s in strides)[: rank - 1], tuple(-(-b // e) for b, e in zip(box, steps, strict=True)), tuple(steps))
    made = emulate.tensor_map(view, address.value)
    ctypes.memmove(at.value, ctypes.addressof(made), ctypes.sizeof(made))
    return 0


def test_targets() -> None:
    assert native_arch(90) == "sm_90a" and native_arch(90, wgmma=True) == TARGET and native_arch(86, wgmma=True) == "sm_80"


REFUSED = {
    "multiples of 16 bytes": "%m = nv.tensor_map %x offset 0 sizes [64, 128] strides [63] box [64, 64] : memref<8192xbf16> to !nv.tensor_map",
    "128 bytes wide": "%m = nv.tensor_map %x offset 0 sizes [64, 128] strides [64] box [32, 64] : memref<8192xbf16> to !nv.tensor_map",
    "bf16, f16, f32, i32 or i8 in global memory": "%m = nv.tensor_map %l offset 0 sizes [64, 128] strides [64] box [64, 64] : memref<8192xi64> to !nv.tensor_map",
    "rounds f32 to tf32": "%m = nv.tensor_map %x offset 0 sizes [64, 128] strides [64] box [64, 64] tf32 : memref<8192xbf16> to !nv.tensor_map",
    "two to five sizes": "%m = nv.tensor_map %x offset 0 sizes [64] strides [] box [64] : memref<8192xbf16> to !nv.tensor_map",
    "i64 in shared memory": "nv.mbarrier_arrive %x[%c] : memref<8192xbf16>",
    "f32 in registers": 'nv.wgmma %x, %d, %d "bf16" "bf16" : memref<8192xbf16>',
    "sums i32 in registers": 'nv.wgmma %r, %d, %d "s8" "u8" : memref<64xf32, "registers">',
    "only elements of 16 bits may lie turned": 'nv.wgmma %r, %d, %d turned "tf32" "tf32" : memref<64xf32, "registers">',
    'nv.wgmma multiplies two of "bf16"': 'nv.wgmma %r, %d, %d "tf32" "bf16" : memref<64xf32, "registers">',
    "a multiple of 16, got 40": 'nv.wgmma %i, %d, %d "s8" "s8" : memref<20xi32, "registers">',
    "a multiple of 8": "nv.set_registers 42",
    "in shared memory": "%e = nv.matrix_descriptor %x[%c] leading 16 : memref<8192xbf16>",
}


@pytest.mark.parametrize("words", REFUSED)
def test_the_verifier_refuses(words: str) -> None:
    text = (
        "builtin.module { func.func private @k(%x: memref<8192xbf16>, %l: memref<8192xi64>, %d: i64) {\n"
        '%r = memref.alloca() : memref<64xf32, "registers">\n%i = memref.alloca() : memref<20xi32, "registers">\n'
        f"%c = arith.constant 0 : index\n{REFUSED[words]}\nfunc.return }} }}"
    )
    with pytest.raises(LaminaError, match=re.escape(words)):
        replay(text, "refused.mlir")
