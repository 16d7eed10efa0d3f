"""CUDA C++, PTX and cubin without a GPU: what the source may hold, what NVRTC makes of it, and life without the extra."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from needs import needs_emulation, needs_gcc, needs_nvrtc

from graphs import Recorder, cnn_step, inputs_for

from lamina.backends import driver
from lamina.backends.cuda import check, device, nvrtc
from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import PROGRAMS, arrays_for, attention
from lamina.backends.cuda.files import write_cuda
from lamina.backends.cuda.host import host_source
from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.errors import BackendError, PassError
from lamina.dialects.target import GPU_TARGETS
from lamina.dialects.types import bfloat16, float32
from lamina.lowering.capture import capture

BY_NAME = {program.name: program for program in PROGRAMS}


def softmax(rows: int = 640, columns: int = 1000):
    r = Recorder()
    return r.graph(r("softmax", r.input((rows, columns)), attrs=((1,),)))


def bf16_product(n: int = 256):
    r = Recorder()
    return r.graph(r("matmul", r.input((n, n), bfloat16), r.input((n, n), bfloat16)))


# The source


def test_source_has_no_includes_and_ptx_only_in_its_prelude() -> None:
    source = cuda_source(bf16_product(), "sm_90a")
    assert "#include" not in source.text
    assert "asm" in source.device and "asm" not in source.portable and "asm" not in source.kernels
    assert "lm_mma_bf16(" in source.kernels and "lm_cp_async(" in source.kernels and "lm_ldmatrix" in source.kernels


def test_source_says_the_users_line_and_the_launch() -> None:
    text = cuda_source(softmax(), "sm_90a").kernels
    assert re.search(r"/\* 80 blocks of 256 threads, \d+ bytes of shared memory; model\.py:1 \*/", text)
    assert 'extern "C" __global__ void __launch_bounds__(256, 1) k0(const f32 *' in text
    assert "lm_shuffle_xor<float>(" in text and "__syncwarp();" in text


def test_elementwise_kernels_move_sixteen_bytes() -> None:
    r = Recorder()
    text = cuda_source(r.graph(r("exp", r.input((64, 64)))), "sm_80").kernels
    assert "*(const f32x4 *)" in text and "*(f32x4 *)" in text


@pytest.mark.slow
def test_source_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); from graphs import cnn_step; "
        "from lamina.backends.cuda.program import cuda_source; import hashlib; "
        "print(hashlib.sha256(cuda_source(cnn_step(2, (1, 4), 8, 8), 'sm_90a').text.encode()).hexdigest())"
    )
    root = str(__import__("pathlib").Path(__file__).parents[2])
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=root, env={**__import__("os").environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(PassError, match="sm_33"):
        cuda_source(softmax(), "sm_33")
    with pytest.raises(BackendError, match="known targets: native, portable, cuda:sm_75"):
        driver.gpu_arch("cuda:sm_33")


# PTX and cubin


@needs_nvrtc
@pytest.mark.parametrize("arch", GPU_TARGETS)
def test_every_architecture_compiles(arch: str) -> None:
    compiled = build(softmax(), arch).compiled
    assert f".target {GPU_TARGETS[arch].arch}" in compiled.ptx and compiled.cubin[:4] == b"\x7fELF"
    assert [u.kernel for u in compiled.usage] == ["k0"] and compiled.usage[0].registers > 0


@needs_nvrtc
def test_ptx_holds_the_expected_instructions() -> None:
    compiled = build(bf16_product(), "sm_90a").compiled
    for instruction in ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "cp.async.cg.shared.global",
                        "ldmatrix.sync.aligned.m8n8.x4.shared.b16", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"):  # fmt: skip
        assert instruction in compiled.ptx
    rows = build(softmax(), "sm_90a").compiled.ptx
    assert "shfl.sync.bfly.b32" in rows and "ld.global" in rows and "max.NaN.f32" in rows
    assert "cvt.rn.bf16x2.f32" in compiled.ptx  # results are rounded by the machine


@needs_nvrtc
@pytest.mark.slow
def test_exponentials_next_to_operands_of_16_bits_are_one_instruction() -> None:
    half, full = (build(attention(1, 2, 128, 128, 64, dtype, False, False), "sm_90a").compiled.ptx for dtype in (bfloat16, float32))
    assert "ex2.approx.ftz.f32" in half and "fma.rm.f32" not in half  # of the exact function
    assert "fma.rm" in full


@needs_nvrtc
def test_old_architectures_multiply_bf16_without_tensor_cores() -> None:
    assert "mma.sync" not in build(bf16_product(), "sm_75").compiled.ptx


@pytest.mark.slow
@needs_nvrtc
def test_digits_training_step_compiles_without_spills() -> None:
    compiled = build(cnn_step(64), "sm_90a").compiled
    assert len(compiled.usage) > 40
    assert not [u for u in compiled.usage if u.spill_loads or u.spill_stores or u.stack]
    assert not re.search(r"C75\d\d", compiled.log)


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_100a", "sm_103a", "sm_110a"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_large_programs_compile_without_spills(program, arch: str) -> None:
    compiled = build(program.make(program.large), arch).compiled
    assert compiled.usage and not [u for u in compiled.usage if u.spill_loads or u.spill_stores]


@needs_nvrtc
def test_refused_source_shows_the_compilers_log() -> None:
    with pytest.raises(BackendError, match="undefined"):
        nvrtc.compile_cuda('extern "C" __global__ void k(float *x) { *x = y; }', "sm_90a")


def test_usage_is_read_from_ptxas_words() -> None:
    log = """ptxas info    : Compiling entry function 'k1' for 'sm_90a'
ptxas info    : Function properties for k1
    8 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem"""
    assert nvrtc.read_usage(log) == [nvrtc.Usage("k1", 255, 8, 16, 24, 1024)]


# Files


@needs_nvrtc
@needs_gcc
@needs_emulation
def test_written_files_run_on_the_stand_in_driver(tmp_path) -> None:
    graph = BY_NAME["softmax"].make(6)
    arrays = arrays_for(graph)
    paths = write_cuda(graph, {}, ["x"], tmp_path, arch="sm_90a", prefix="soft")
    assert [p.name for p in paths] == ["soft.cu", "soft.ptx", "soft.cubin", "soft.launches.json", "soft.weights", "soft_host.c"]
    table = json.loads((tmp_path / "soft.launches.json").read_text())
    assert table["arch"] == "sm_90a" and table["launches"][0]["shape"]["threads"] == 256
    assert table["buffers"][0]["name"] == "x" and table["kernels"][0]["registers"] > 0
    emulate.build_driver(cuda_source(graph, "sm_90a"), tmp_path / "libcuda.so")
    host = tmp_path / "host"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(host), str(tmp_path / "soft_host.c"), f"-L{tmp_path}", "-lcuda"]
    subprocess.run([*command, f"-Wl,-rpath,{tmp_path}"], check=True)
    arrays[0].tofile(tmp_path / "x.bin")
    subprocess.run([host, tmp_path / "soft.cubin", tmp_path / "soft.weights", tmp_path / "x.bin", tmp_path / "y.bin"], check=True)
    got = np.fromfile(tmp_path / "y.bin", np.float32).reshape(6, 1000)
    assert largest_error(graph, [got], evaluate(capture(graph), arrays)) <= 1
    wrong = subprocess.run([host, tmp_path / "soft.cubin"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and "usage" in wrong.stderr


@needs_nvrtc
def test_the_drivers_door_takes_cuda_targets(tmp_path) -> None:
    graph = softmax(4, 8)
    weights = {0: inputs_for(graph)[0]}
    paths = driver.write_c(graph, weights, ["w"], tmp_path, target="cuda:sm_80", main=False, shared=True)
    assert {p.suffix for p in paths} == {".cu", ".ptx", ".cubin", ".json", ".weights", ".c"}
    assert json.loads((tmp_path / "model.launches.json").read_text())["buffers"][0]["weights_offset"] == 64


def test_host_program_of_a_program_without_launches() -> None:
    r = Recorder()
    x = r.input((0, 4))
    table = cuda_source(r.graph(r("exp", x)), "sm_80").table
    assert not table.launches and "LAUNCHES = 0" in host_source(table, {}, 64, "empty")


# Without a driver, without the extra


def test_no_driver_is_one_clear_error() -> None:
    try:
        device.Device()
    except BackendError as error:
        assert "no GPU can be used" in str(error) and "help" in str(error)
    else:
        pytest.skip("this machine has a GPU")


def test_without_the_extra_there_is_one_clear_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert not nvrtc.available()
    with pytest.raises(BackendError, match=r"pip install lamina\[cuda\]"):
        nvrtc.compile_cuda("", "sm_90a")
    with pytest.raises(BackendError, match="no GPU can be used"):
        device.Device()
    assert cuda_source(softmax(), "sm_90a").kernels  # the source needs nothing


@pytest.mark.slow
@needs_nvrtc
def test_the_check_writes_a_report(tmp_path, capsys) -> None:
    report = tmp_path / "report.md"
    assert check.main(["--only", "elementwise", "--arch", "sm_90a", "--report", str(report)]) == 0
    text = report.read_text()
    assert "## Compiled" in text and "| elementwise | sm_90a | 1 |" in text and "Everything that could be done here agrees." in text
    assert "written" in capsys.readouterr().out
