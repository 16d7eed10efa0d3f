"""The driver: tiers, caches, levels; graphs run through the whole chain against the oracle."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))
import backend_graphs as graphs  # noqa: E402
from graphs import Recorder  # noqa: E402

from lamina.backends import cache, compiled_program, driver, emission, toolchain  # noqa: E402
from lamina.backends.executor import execute  # noqa: E402
from lamina.backends.oracle import evaluate  # noqa: E402
from lamina.backends.toolchain import find_compiler  # noqa: E402
from lamina.dialects import flags  # noqa: E402
from lamina.dialects.target import native_target  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402



@pytest.fixture(autouse=True)
def own_cache(tmp_path):
    with flags.cache(str(tmp_path / "cache")):
        driver._programs.clear()
        driver._seen.clear()
        driver.stats.reset()
        yield


def agree(got, want, tolerance=2e-5):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@needs_compiler
@pytest.mark.parametrize("name", graphs.ALL)
def test_compiled_equals_oracle(name):
    graph = graphs.ALL[name]()
    arrays = graphs.arrays_for(graph)
    agree(driver.compile_graph(graph)(arrays), evaluate(capture(graph), arrays))


@pytest.mark.parametrize("name", graphs.ALL)
@pytest.mark.parametrize("level", ["buffered", "loops"])
def test_lower_levels_run_without_a_compiler(name, level):
    from lamina.backends.pipelines import standard_pipeline

    graph = graphs.ALL[name]()
    arrays = graphs.arrays_for(graph)
    module = capture(graph)
    standard_pipeline().until(level).run(module)
    agree(execute(module, arrays), evaluate(capture(graph), arrays))


@needs_compiler
def test_threads_do_not_change_a_bit():
    graph = graphs.linear_relu(256, 64, 256)
    arrays = graphs.arrays_for(graph)
    program = driver.compile_graph(graph)
    with flags.threads(1):
        one = program(arrays)
    with flags.threads(3):
        three = program(arrays)
    assert np.array_equal(one[0], three[0])


@needs_compiler
def test_first_run_is_the_oracle_then_one_compile_then_hits():
    graph = graphs.softmax()
    arrays = graphs.arrays_for(graph)
    for _ in range(4):
        driver.run(graph, arrays)
    assert (driver.stats.oracle_runs, driver.stats.compiles, driver.stats.hits) == (1, 1, 2)


@pytest.mark.parametrize(("steps", "runs"), [(3, 1), (255, 1), (256, 2), (700, 3), (2000, 8)])
def test_longer_graphs_of_small_steps_come_oftener_before_they_are_compiled(steps, runs):
    r = Recorder()
    x = r.input((4,))
    for _ in range(steps):
        x = r("tanh", x)
    graph = r.graph(x)
    assert [driver._is_small(graph, before) for before in range(10)] == [before < runs for before in range(10)]


@needs_compiler
def test_large_graphs_compile_at_once_and_equal_graphs_share():
    arrays = graphs.arrays_for(graphs.linear_relu(256, 256, 256))
    driver.run(graphs.linear_relu(256, 256, 256), arrays)
    driver.run(graphs.linear_relu(256, 256, 256), arrays)
    assert (driver.stats.oracle_runs, driver.stats.compiles, driver.stats.hits) == (0, 1, 1)


@needs_compiler
def test_programs_multiply_f32_as_the_flag_says():
    r = Recorder()
    x, y = r.input((96, 128)), r.input((128, 64))
    graph = r.graph(r("matmul", x, y))
    a, b = (np.random.default_rng(k).standard_normal(shape).astype(np.float32) for k, shape in enumerate([(96, 128), (128, 64)]))
    results = {}
    for how in ("ieee", "bf16", "tf32", "3xtf32", "ieee"):
        with flags.f32(how):
            for _ in range(2):
                (got,) = driver.run(graph, [a, b])
            error = np.abs(got - a.astype(np.float64) @ b).max()
            np.testing.assert_array_equal(results.setdefault(how, got.copy()), got)
        assert error < {"bf16": 0.4, "tf32": 2e-3}.get(how, 2e-5)
    fewer = [how for how in results if not np.array_equal(results[how], results["ieee"])]
    assert fewer == (["bf16", "tf32"] if native_target().tiles else [])


def test_numpy_device_never_compiles():
    graph = graphs.softmax()
    with flags.device("numpy"):
        for _ in range(3):
            driver.run(graph, graphs.arrays_for(graph))
    assert (driver.stats.oracle_runs, driver.stats.compiles) == (3, 0)


@needs_compiler
def test_second_process_finds_the_program_on_disk():
    graph = graphs.softmax()
    first = driver.compile_graph(graph)
    again = driver.compile_graph(graph)
    assert (driver.stats.compiles, driver.stats.disk_hits) == (1, 1)
    assert first.source == again.source != ""
    arrays = graphs.arrays_for(graph)
    assert np.array_equal(first(arrays)[0], again(arrays)[0])


@needs_compiler
@pytest.mark.parametrize("what_happened", ("removed", "a file"))
def test_a_cache_folder_that_goes_away(small_units, what_happened):
    """A program whose cache folder was cleared away meanwhile, or cannot be written any more, compiles all the same."""
    graph = graphs.linear_relu()
    cache.source_version()
    folder = cache.cache_folder()
    shutil.rmtree(folder)
    if what_happened == "a file":
        folder.write_text("")
    program = compiled_program.compile_graph(graph)
    arrays = graphs.arrays_for(graph)
    np.testing.assert_allclose(program(arrays)[0], np.maximum(arrays[0] @ arrays[1] + arrays[2], 0), rtol=1e-4, atol=1e-5)
    cache._prepare.cache_clear()


@needs_compiler
def test_damaged_cache_entries_are_made_again():
    graph = graphs.softmax()
    driver.compile_graph(graph)
    (facts,) = Path(cache.cache_folder()).rglob("facts.json")
    facts.write_text("{ not json")
    driver.compile_graph(graph)
    assert driver.stats.compiles == 2


def test_every_level_can_be_looked_at():
    from lamina.dialects.text import parse, print_module

    program = object.__new__(driver.Program)
    program.graph = graphs.softmax()
    for level in ("captured", "differentiated", "primitive", "fused", "linalg", "buffered", "loops"):
        text = print_module(program.module(level))
        assert print_module(parse(text, level)) == text


SCRIPT = """
import sys; sys.path.insert(0, {folder!r})
import backend_graphs as graphs, hashlib
from lamina.backends.driver import source_of
for make in graphs.ALL.values():
    text, arena = source_of(make())
    print(hashlib.sha256(text.encode()).hexdigest(), arena)
"""


@pytest.mark.slow
def test_c_text_does_not_depend_on_the_hash_seed():
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    outputs = {
        subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}, capture_output=True, check=True).stdout
        for seed in ("0", "1", "77")
    }
    assert len(outputs) == 1


@needs_compiler
@pytest.mark.parametrize("processors", [1, 3, 8])
def test_a_program_compiled_in_parts_is_the_same_program(tmp_path, processors):
    from lamina.backends.executable import Executable
    from lamina.backends.kernel_objects import Building

    graph = graphs.gradient()
    compiler = find_compiler()
    strict = toolchain.Compiler((*compiler.command, "-Wall", "-Wextra", "-Werror"), compiler.identity)
    with Building(strict, processors, 100) as building:
        made = emission.emit(graph, gets=building.add)
        assert building.has_begun == (processors > 1)  # one processor is Python's until all is printed
        assert building.finish(made.source, tmp_path / "program.so") == (len(made.source.kernels), 0)
    parts = Executable(tmp_path / "program.so", graph.inputs, [graph.types[i] for i in graph.outputs], made.arena_bytes)
    arrays = graphs.arrays_for(graph)
    for a, b in zip(parts(arrays), driver.compile_graph(graph)(arrays), strict=True):
        assert np.array_equal(a, b)
    exported = subprocess.run(["nm", "-D", "--defined-only", tmp_path / "program.so"], capture_output=True, text=True, check=False)
    if exported.returncode == 0:
        assert {line.split()[-1] for line in exported.stdout.splitlines()} == {"lamina_main", "lamina_main_pool"}


def perceptron(*widths):
    """tanh of a product, per pair of widths."""
    r = graphs.Recorder()
    x = r.input(8, widths[0])
    weights = [r.input(*shape) for shape in zip(widths, widths[1:], strict=False)]
    for w in weights:
        x = r.op("tanh", r.op("matmul", x, w))
    return r.done(x)


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(compiled_program, "UNIT_BYTES", 500)
    monkeypatch.setattr(flags, "available_processors", lambda: 8)


@needs_compiler
@pytest.mark.slow
def test_a_program_that_differs_in_a_layer_compiles_that_layer(small_units):
    def run(*widths):
        graph, found = perceptron(*widths), driver.stats.kernels_found
        arrays = graphs.arrays_for(graph)
        agree(driver.compile_graph(graph)(arrays), evaluate(capture(graph), arrays))
        return driver.stats.kernels_found - found

    assert run(32, 48, 24, 40, 16) == 0
    assert run(32, 48, 24, 40, 32) > 0  # all but what the last layer needs
    before = len(emission.emit(perceptron(32, 48, 24, 40), keep=True).source.kernels)
    assert run(32, 48, 24, 40) == before


@needs_compiler
@pytest.mark.slow
def test_a_damaged_object_is_compiled_again(small_units):
    from lamina.backends.kernel_objects import Building

    folder = cache.cache_folder()

    def build(name):
        with Building(find_compiler(), 8, 500) as building:
            made = emission.emit(perceptron(32, 48, 24), gets=building.add).source
            return building.finish(made, folder / name)

    kernels, found = build("a.so")
    assert found == 0
    for path in folder.rglob("unit.o"):
        path.write_bytes(b"x" * path.stat().st_size)  # what sizes do not tell
    assert build("b.so")[1] == 0
    assert build("c.so")[1] == kernels
    for path in folder.rglob("unit.o"):
        path.write_bytes(b"")
    assert build("d.so")[1] == 0


def kernel(body: str, parallel: bool = False):
    """A kernel as programs print them, with this body."""
    from lamina.lowering.known_kernels import Printed

    declaration = "void lamina_kernel(int64_t *out)"
    return Printed(declaration, f"static {declaration} {{ {body} }}", (), parallel, False)


def built(library, kernels, processors: int, least: int, symbols: int = 0) -> tuple[int, int]:
    """A program that calls these kernels, by names that are their places, as `Building.finish` counts them."""
    from lamina.backends.kernel_objects import Building
    from lamina.lowering import loops_to_c

    door = (loops_to_c.RANGES, loops_to_c._RUN_HERE) if any(each.parallel for each in kernels) else ("", "")
    main = f"void lamina_main(int64_t *out) {{ {' '.join(f'own_{k}(out);' for k in range(len(kernels)))} }}"
    source = loops_to_c.Source("#include <stdint.h>", *door, (), main, "lamina_main", 1, (), loops_to_c.symbol_variables(symbols))
    with Building(find_compiler(), processors, least, symbols) as building:
        for k, each in enumerate(kernels):
            building.add(f"own_{k}", each, ())
        return building.finish(source, library)


ADDS = kernel("out[0] += 3;")
SIZED = kernel("out[0] += lamina_s0;")
THREADED = kernel("out[0] += parallel_for != 0;", parallel=True)


@needs_compiler
@pytest.mark.parametrize(("other", "symbols"), [(SIZED, 1), (THREADED, 0)])
def test_units_that_need_what_a_program_has_not_are_left_to_others(tmp_path, other, symbols):
    """A unit may hold kernels of sizes known at the call, or with threads: a program without either takes none of it, and spoils none."""
    assert built(tmp_path / "a.so", [ADDS, other], 1, 10**6, symbols) == (2, 0)
    assert built(tmp_path / "b.so", [ADDS], 1, 10**6) == (1, 0)
    assert built(tmp_path / "c.so", [other, kernel("out[0] += 4;")], 1, 10**6, symbols) == (2, 1)
    assert built(tmp_path / "d.so", [ADDS], 1, 10**6) == (1, 1)


@needs_compiler
def test_kernels_that_come_after_their_damaged_unit_are_compiled_again(tmp_path):
    kernels = [kernel("out[0] += 5;"), kernel("out[0] += 6;")]
    assert built(tmp_path / "a.so", kernels, 1, 10**6) == (2, 0)  # one unit
    for path in cache.cache_folder().rglob("unit.o"):
        path.write_bytes(b"x" * path.stat().st_size)
    assert built(tmp_path / "b.so", kernels, 8, 1) == (2, 0)  # found with the first of them
    out = (ctypes.c_int64 * 1)(0)
    ctypes.CDLL(str(tmp_path / "b.so")).lamina_main(out)
    assert out[0] == 11


@needs_compiler
def test_large_programs_are_built_in_parts_without_a_cache(small_units):
    graph = perceptron(32, 48, 24)
    arrays = graphs.arrays_for(graph)
    with flags.cache("off"):
        agree(driver.compile_graph(graph)(arrays), evaluate(capture(graph), arrays))
    assert driver.stats.kernels_found == 0


@pytest.mark.slow
@needs_compiler
def test_without_a_cache_a_process_leaves_no_files(tmp_path):
    """Nor does a child that ends before it take its parent's away."""
    script = """
        import os, sys
        import lamina as torch
        x = torch.ones(640, 640)
        print(float((x @ x).relu().sum()))
        if os.fork() == 0:
            sys.exit()
        os.wait()
        print(float((x @ x).relu().max()))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "LAMINA_CACHE": "off", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["262144000.0", "640.0"]
    assert list(tmp_path.iterdir()) == []
