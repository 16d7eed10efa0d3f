"""The C of the main job: free of warnings in two modes, clean under sanitizers, and within its arrays and arena (between guard pages)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from digits_program import trained_model, training_step
from graphs import Recorder, inputs_for

from lamina.backends.ahead_of_time import write_c
from lamina.backends.driver import source_of
from lamina.backends.oracle import evaluate
from lamina.backends.toolchain import find_compiler
from lamina.dialects.graph import Graph
from lamina.dialects.types import float32, int64
from lamina.lowering.capture import capture

pytestmark = [pytest.mark.slow, needs_compiler]

STRICT = ("-Wall", "-Wextra", "-Werror")

GUARDED = r"""
/* Runs the training step with every array, and the arena, ending at a page that must not be touched. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int lamina_main(void **table);

static char *guarded(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page;
    char *memory = mmap(0, (pages + 2) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) exit(2);
    if (mprotect(memory, page, PROT_NONE) || mprotect(memory + (pages + 1) * page, page, PROT_NONE)) exit(2);
    return memory + page + pages * page - (bytes + 63) / 64 * 64;
}

int main(int argc, char **argv) {
    int inputs = atoi(argv[1]), arrays = argc - 4;
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    void **table = calloc((size_t)arrays, sizeof *table);
    for (int i = 0; i < arrays; i++) {
        size_t bytes = (size_t)atoll(argv[4 + i]);
        table[i] = guarded(bytes ? bytes : 1);
        if (i < inputs && fread(table[i], 1, bytes, in) != bytes) return 3;
        if (i == arrays - 1) memset(table[i], 0xff, bytes);  /* NaN: nothing may be read before it is written */
    }
    if (lamina_main(table)) return 4;
    for (int i = inputs; i < arrays - 1; i++) fwrite(table[i], 1, (size_t)atoll(argv[4 + i]), out);
    free(table);
    return fclose(out);
}
"""
# A program that ends early with an error leaves its memory to the system.
SANITIZERS = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}


def build(folder: Path, *arguments: str) -> None:
    done = subprocess.run([*find_compiler().command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    assert not done.stderr, done.stderr[:4000]


def can_sanitize(folder: Path) -> bool:
    (folder / "empty.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    command = [*find_compiler().command, "-fsanitize=address,undefined", "-o", "empty", "empty.c"]
    return not subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


def test_no_warnings(tmp_path: Path) -> None:
    graph, _ = training_step()
    compiler = find_compiler()
    (tmp_path / "step.c").write_text(source_of(graph)[0], encoding="utf-8")
    build(tmp_path, *compiler.flags, *STRICT, "-fPIC", "-c", "step.c", "-o", "step.o")
    made = trained_model()
    for target in ("native", "portable"):
        write_c(made.graph, made.weights, made.graph.names, tmp_path / target, main=True, shared=False, target=target)
        native = compiler.flags if target == "native" else ()
        for name in ("model.c", "main.c"):
            build(tmp_path / target, *native, "-std=c11", "-O2", "-pedantic", *STRICT, "-c", name, "-o", f"{name}.o")
    build(tmp_path / "portable", "-std=c11", "-O2", *STRICT, "-DMODEL_THREADS=2", "-pthread", "-c", "model.c", "-o", "threads.o")


def check_inside(graph: Graph, arrays: Sequence[np.ndarray], folder: Path, flags: Sequence[str] = ()) -> None:
    """Build and run the graph's C between guard pages; its outputs equal the oracle's."""
    source, arena = source_of(graph)
    (folder / "step.c").write_text(source, encoding="utf-8")
    (folder / "main.c").write_text(GUARDED, encoding="utf-8")
    (folder / "in").write_bytes(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays))
    build(folder, *find_compiler().flags, "-g1", *flags, "step.c", "main.c", "-lm", "-o", "guarded")
    types = [graph.types[i] for i in graph.outputs]
    sizes = [a.nbytes for a in arrays] + [int(np.prod(s)) * t.itemsize for s, t in types] + [arena]
    done = subprocess.run(
        [folder / "guarded", str(len(arrays)), "in", "out", *map(str, sizes)], cwd=folder, env=SANITIZERS,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[:4000])
    raw, start = (folder / "out").read_bytes(), 0
    for (shape, dtype), want in zip(types, evaluate(capture(graph), list(arrays)), strict=True):
        got = np.frombuffer(raw, dtype.numpy, int(np.prod(shape)), start).reshape(shape)
        start += got.nbytes
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3 * max(1.0, float(np.abs(want).max(initial=0))))


SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_the_training_step_stays_inside_its_arrays(sanitize: bool, tmp_path: Path) -> None:
    if sanitize and not can_sanitize(tmp_path):
        pytest.skip("the C compiler has no sanitizers")
    check_inside(*training_step(8), tmp_path, SANITIZE if sanitize else ())


def indices_outside() -> tuple[Graph, list[np.ndarray]]:
    r = Recorder()
    x, at, rows = r.input((5, 3)), r.input((7,), int64), r.input((7, 3))
    taken = r("take", x, at, attrs=(0,))
    put = r("put_add", x, at, rows, attrs=(0,))
    column = r("expand", r("reshape", at, attrs=((7, 1),)), attrs=((7, 3),))
    added = r("scatter_add", x, column, rows, attrs=(0,))
    graph = r.graph(taken, put, added, r("gather", x, column, attrs=(0,)))
    wild = np.array([0, -1, 5, 2**62, -(2**63), 4, 2], np.int64)
    rng = np.random.default_rng(0)
    return graph, [rng.standard_normal((5, 3), np.float32), wild, rng.standard_normal((7, 3), np.float32)]


def integers_at_their_edges() -> tuple[Graph, list[np.ndarray]]:
    r = Recorder()
    a, b, x = r.input((64,), int64), r.input((64,), int64), r.input((64,))
    ops = ("floor_divide", "remainder", "fmod", "pow", "shift_left", "shift_right", "add", "mul")
    graph = r.graph(*[r(op, a, b) for op in ops], r("neg", a), r("abs", a), r("cast", x, attrs=(int64,)))
    edges = np.array([0, 1, -1, 2, 63, 64, 2**63 - 1, -(2**63)], np.int64)
    values = np.array([0, 1, -1, 2.5, 1e30, np.inf, -np.inf, np.nan], np.float32)
    return graph, [np.repeat(edges, 8), np.tile(edges, 8), np.repeat(values, 8)]


def odd_sizes() -> tuple[Graph, list[np.ndarray]]:
    r = Recorder()
    a, b, image, kernel = r.input((37, 29)), r.input((29, 53)), r.input((3, 1, 5, 13, 11)), r.input((1, 7, 5, 3, 3))
    product = r("matmul", a, b)
    total = r("sum", r("exp", r("mul", product, r("full", attrs=((37, 53), 0.01, float32)))), attrs=((0,),))
    graph = r.graph(product, total, r("conv", image, kernel, attrs=((2, 1), (1, 2))), r("permute", a, attrs=((1, 0),)))
    return graph, inputs_for(graph)


@pytest.mark.parametrize("program", [indices_outside, integers_at_their_edges, odd_sizes], ids=lambda f: f.__name__)
def test_small_programs_stay_inside_their_arrays(program: Callable[[], tuple], tmp_path: Path) -> None:
    if not can_sanitize(tmp_path):
        pytest.skip("the C compiler has no sanitizers")
    check_inside(*program(), tmp_path, SANITIZE)


def test_the_model_program_under_sanitizers(tmp_path: Path) -> None:
    if not can_sanitize(tmp_path):
        pytest.skip("the C compiler has no sanitizers")
    made = trained_model(3)
    write_c(made.graph, made.weights, made.graph.names, tmp_path, main=True, shared=False, target="portable")
    build(tmp_path, "-std=c11", "-O1", "-g1", *SANITIZE, "main.c", "model.c", "-lm", "-o", "model")
    images = np.random.default_rng(0).standard_normal((7, 1, 28, 28), dtype=np.float32)
    (tmp_path / "x").write_bytes(images.tobytes())
    (tmp_path / "half").write_bytes(images.tobytes()[:-5])
    (tmp_path / "weights").write_bytes((tmp_path / "model.weights").read_bytes()[:-64])
    damaged = bytearray((tmp_path / "model.weights").read_bytes())
    damaged[1000] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [tmp_path / "model", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=SANITIZERS, capture_output=True, text=True, check=False)

    right = run("model.weights", "x")
    assert right.returncode == 0 and len(right.stdout.split()) == 7, right.stderr
    for arguments, words in (
        (("weights", "x"), "not the weights of this model (code 3)"), (("damaged", "x"), "(code 5)"),
        (("x", "x"), "not the weights"), (("none", "x"), "cannot be opened"), (("model.weights", "none"), "cannot be opened"),
        (("model.weights", "half"), "ends inside a sample"), ((), "usage: "),
        (("model.weights", "x", "none/y"), "cannot be written"),
    ):  # fmt: skip
        done = run(*arguments)
        assert done.returncode == 1 and words in done.stderr and "Sanitizer" not in done.stderr, (arguments, done.stderr)
