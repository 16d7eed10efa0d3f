"""Kernels that are alike become one launch: optimizers over all parameters, arrays of unequal lengths, and what must stay apart."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from needs import needs_emulation, needs_gcc, needs_nvrtc

from digits_program import training_step
from fake_driver import FakeDriver, install, same
from graphs import Recorder, inputs_for

from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.files import write_cuda
from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.cuda.runtime import Runtime
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.errors import BackendError
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, bfloat16, float32, float64, int64
from lamina.lowering import gathered_calls
from lamina.lowering.capture import capture
from lamina.lowering.gpu_launches import LaunchTable
from lamina.lowering.storage import Storage

SHAPES = ((1,), (3,), (4,), (5,), (1023,), (2, 512), (5, 5, 41), (2051,), (64, 48))


def updates(shapes=SHAPES, dtype: DType = float32) -> Graph:
    """w - rate * (g + w * decay) for every shape: each with a rate of its own, one decay for all."""
    r = Recorder()
    decay = r.input((), dtype)
    given = [(r.input(s, dtype), r.input(s, dtype), r.input((1,), dtype)) for s in shapes]
    made = []
    for shape, (w, g, rate) in zip(shapes, given, strict=True):
        ones = (1,) * len(shape)
        d = r("expand", r("reshape", decay, attrs=(ones,)), attrs=(shape,))
        k = r("expand", r("reshape", rate, attrs=(ones,)), attrs=(shape,))
        made.append(r("sub", w, r("mul", r("add", g, r("mul", w, d)), k)))
    return r.graph(*made)


def check(graph: Graph, arrays: list[np.ndarray], arch: str = "sm_90a") -> None:
    emulation = emulate.Emulation(cuda_source(graph, arch))
    want = evaluate(capture(graph), arrays)
    for seed in (0, 1, 5):
        assert largest_error(graph, emulation(arrays, seed), want) <= 1


# An optimizer


@pytest.fixture(scope="module")
def digits() -> Graph:
    return training_step(4)[0]


@pytest.mark.slow
def test_adam_of_the_digits_example_is_one_launch(digits: Graph) -> None:
    table = cuda_source(digits, "sm_90a").table
    (update,) = [launch for launch in table.launches if len(launch.arguments) > 100]
    assert update.packed and len(update.arguments) == 2 + 8 * 16  # 16 parameters
    first = sum(b.kind == "input" for b in table.buffers)
    written = [(place.buffer - first) for place in update.arguments if table.buffers[place.buffer].kind == "output"]
    assert len(written) == len(set(written)) >= 3 * 16  # parameters and both moments (and the gradients that are read)
    assert [launch for launch in table.launches if launch.origin == update.origin][-1] is update


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_100a"])
def test_it_compiles_without_local_memory(digits: Graph, arch: str) -> None:
    program = build(digits, arch)
    name = next(launch.kernel for launch in program.source.table.launches if launch.packed and len(launch.arguments) > 100)
    (usage,) = [u for u in program.compiled.usage if u.kernel == name]
    assert (usage.stack, usage.spill_loads, usage.spill_stores) == (0, 0, 0)
    entry = program.compiled.ptx.split(f".entry {name}(")[1].split("// .globl")[0]
    assert "ld.global.v4.f32" in entry and "st.global.v4.f32" in entry and "ld.local" not in entry


@needs_emulation
@pytest.mark.slow
def test_its_results_are_the_oracles(digits: Graph) -> None:
    arrays = [np.abs(a) * 0.1 if a.dtype.kind == "f" else a for a in inputs_for(digits)]
    check(digits, arrays)


# Lengths, element types


@needs_emulation
@pytest.mark.parametrize("dtype", [float32, pytest.param(bfloat16, marks=pytest.mark.slow), pytest.param(float64, marks=pytest.mark.slow)], ids=str)
def test_parts_of_unequal_lengths(dtype: DType) -> None:
    graph = updates(dtype=dtype)
    table = cuda_source(graph, "sm_90a").table
    assert len(table.launches) == 1 and table.launches[0].packed
    check(graph, inputs_for(graph))


@needs_emulation
def test_single_elements_are_parts() -> None:
    r = Recorder()
    one = [r.input((), int64) for _ in range(3)]
    graph = r.graph(*(r("add", x, r.full((), 1, int64)) for x in one))
    assert [launch.shape.grid for launch in cuda_source(graph, "sm_80").table.launches] == [(3, 1, 1)]
    check(graph, inputs_for(graph), "sm_80")


def test_what_passes_the_limit_of_parameters_is_several_launches(monkeypatch) -> None:
    monkeypatch.setattr(gathered_calls, "MOST_POINTERS", 20)
    assert [len(launch.arguments) <= 20 for launch in cuda_source(updates(), "sm_90a").table.launches] == [True] * 3  # 4 + 4 + 1 parts


# What must stay apart


def test_other_work_and_other_types_stay_apart() -> None:
    r = Recorder()
    x, y, z = r.input((8,)), r.input((9,)), r.input((10,), float64)
    graph = r.graph(r("exp", x), r("tanh", y), r("exp", z))
    assert len(cuda_source(graph, "sm_90a").table.launches) == 3


@needs_emulation
def test_what_others_read_is_made_in_time() -> None:
    r = Recorder()
    x, w, y = r.input((6, 6)), r.input((6, 6)), r.input((40,))
    a = r("matmul", r("exp", x), w)  # the second exp needs the product of the first
    graph = r.graph(r("exp", a), r("exp", y), a)
    names = [launch.kernel for launch in cuda_source(graph, "sm_90a").table.launches]
    assert len(names) <= 3
    check(graph, inputs_for(graph))


def test_memory_is_kept_longer_up_to_the_programs_peak() -> None:
    used = gathered_calls._InUse([Storage(40 << 20, 0, 2), Storage(30 << 20, 3, 5)])
    first, second = Storage(9 << 20, 0, 1), Storage(9 << 20, 3, 3)
    assert not used.can_keep([first], 2)  # 40 + 9 MB at step 2
    assert used.can_keep([second], 5) and second.last == 5
    assert not used.can_keep([Storage(9 << 20, 4, 4)], 5)  # 30 + 9 + 9
    assert used.can_keep([Storage(1 << 10, 0, 0)], 9)  # small ones always


# Every way to launch


@needs_emulation
def test_the_runtime_launches_and_replays(monkeypatch) -> None:
    driver = FakeDriver()
    install(monkeypatch, driver)
    runtime = Runtime(Device())
    graph = updates()
    arrays = inputs_for(graph)
    placed = [runtime.upload(a) for a in arrays]
    results = [[runtime.download(m) for m in runtime.run(graph, placed)] for _ in range(3)]
    assert largest_error(graph, results[0], evaluate(capture(graph), arrays)) <= 1
    assert all(same(r, results[0]) for r in results) and driver.times("cuLaunchKernel") == 3


@needs_emulation
@needs_nvrtc
@needs_gcc
def test_the_written_host_program(tmp_path) -> None:
    graph = updates(SHAPES[:6])
    arrays = inputs_for(graph)
    write_cuda(graph, {}, [None] * len(arrays), tmp_path, arch="sm_90a", prefix="sgd")
    data = json.loads((tmp_path / "sgd.launches.json").read_text())
    assert data["launches"][0]["packed"] is True
    emulate.build_driver(cuda_source(graph, "sm_90a"), tmp_path / "libcuda.so")
    host = tmp_path / "host"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(host), str(tmp_path / "sgd_host.c"), f"-L{tmp_path}", "-lcuda"]
    subprocess.run([*command, f"-Wl,-rpath,{tmp_path}"], check=True)
    files = []
    for k, array in enumerate(arrays):
        files.append(tmp_path / f"in{k}.bin")
        array.tofile(files[-1])
    made = [tmp_path / f"out{k}.bin" for k in range(6)]
    subprocess.run([host, tmp_path / "sgd.cubin", tmp_path / "sgd.weights", *files, *made], check=True)
    got = [np.fromfile(p, np.float32).reshape(s) for p, s in zip(made, SHAPES, strict=False)]
    assert largest_error(graph, got, evaluate(capture(graph), arrays)) <= 1


def test_the_table_comes_back_from_its_file() -> None:
    table = cuda_source(updates(), "sm_90a").table
    assert LaunchTable.from_json(json.loads(json.dumps(table.as_json()))) == table


PLANTED = {
    "a block too far": ("starts[9] = {0, 1,", "starts[9] = {0, 2,"),
    "the next part's arrays": ("at[9 + part]", "at[10 + part]"),
    "tails left out": ("i0 < length", "i0 + 1 < length"),
    "a wide access past the end": (" < length;", " < length + 1;"),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_seen(bug: str) -> None:
    graph = updates()
    arrays = inputs_for(graph)
    source = cuda_source(graph, "sm_90a")
    old, new = PLANTED[bug]
    assert old in source.kernels
    broken = emulate.Emulation(source.with_kernels(source.kernels.replace(old, new)))
    try:
        assert not largest_error(graph, broken(arrays), evaluate(capture(graph), arrays)) <= 1
    except BackendError as error:
        assert "wrote outside" in str(error)
