"""Models as C files: the call, the weights check, main, and what is refused."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))
import backend_graphs as graphs  # noqa: E402
from graphs import Recorder  # noqa: E402

from lamina.backends import driver  # noqa: E402
from lamina.backends.ahead_of_time import write_c  # noqa: E402
from lamina.backends.aligned_memory import aligned_array# noqa: E402
from lamina.backends.oracle import evaluate  # noqa: E402
from lamina.backends.toolchain import find_compiler  # noqa: E402
from lamina.dialects.errors import BackendError, FileError  # noqa: E402
from lamina.dialects.target import native_target  # noqa: E402
from lamina.dialects.types import bfloat16, int8, int32  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402

pytestmark = needs_compiler


def aligned(data: bytes) -> np.ndarray:
    memory = aligned_array((len(data),), np.dtype(np.uint8))
    memory[:] = np.frombuffer(data, np.uint8)
    return memory


def export(folder, **options):
    graph = graphs.linear_relu(8, 20, 12)
    x, w, b = graphs.arrays_for(graph)
    files = write_c(graph, {1: w, 2: b}, None, folder, **options)
    return graph, (x, w, b), files


def pointer(a: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


@pytest.mark.parametrize("target", ["native", "portable"])
def test_the_library_gives_the_compiled_programs_numbers(tmp_path, target):
    graph, arrays, files = export(tmp_path, target=target)
    assert [f.name for f in files] == ["model.h", "model.c", "model.weights", "libmodel.so"]
    library = ctypes.CDLL(str(files[-1]))
    weights = aligned((tmp_path / "model.weights").read_bytes())
    assert library.model_check_weights(pointer(weights), ctypes.c_size_t(weights.size)) == 0
    y, arena = np.zeros((8, 12), np.float32), aligned(bytes(1 << 20))
    assert library.model_run(pointer(arrays[0]), pointer(y), pointer(weights), pointer(arena)) == 0
    np.testing.assert_allclose(y, driver.compile_graph(graph)(arrays)[0], rtol=1e-5, atol=1e-5)
    assert library.model_run(None, pointer(y), pointer(weights), pointer(arena)) == 1
    assert library.model_run(pointer(arrays[0]), pointer(y), pointer(weights), pointer(arena[1:])) == 2


@pytest.mark.slow
@pytest.mark.parametrize("target", ["native", "portable"])
def test_the_file_holds_what_the_program_reads_of_weights(tmp_path, target):
    """Weights are packed, scales computed and kernels of convolutions transformed when the model is written: no call does it again, and what was
    needed for nothing else is left out. Weights that calls write stay as they are."""
    r = graphs.Recorder()
    x, kernel, scale, spread = r.input(1, 1, 48, 18, 18), r.input(1, 64, 48, 3, 3), r.input(64), r.input(64)
    factor = r.op("expand", r.op("reshape", r.op("mul", scale, r.op("rsqrt", spread)), attrs=((1, 1, 64, 1, 1),)), attrs=((1, 1, 64, 16, 16),))
    graph = r.done(r.op("mul", r.op("conv", x, kernel, attrs=((1, 1), (1, 1))), factor))
    arrays = [np.abs(a) + np.float32(0.1) for a in graphs.arrays_for(graph)]
    files = write_c(graph, {i: arrays[i] for i in (1, 2, 3)}, None, tmp_path, target=target)
    text = (tmp_path / "model.c").read_text()
    assert "stale" not in text and "rsqrt" not in text and text.count("(void *)0") == 3  # nothing is read as it was given
    library, weights = ctypes.CDLL(str(files[-1])), aligned((tmp_path / "model.weights").read_bytes())
    assert library.model_check_weights(pointer(weights), ctypes.c_size_t(weights.size)) == 0
    assert weights.size >= 16 * 48 * 64 * 4  # sums for sixteen products in place of nine elements
    y, arena = np.zeros((1, 1, 64, 16, 16), np.float32), aligned(bytes(1 << 24))
    for _ in range(2):
        assert library.model_run(pointer(arrays[0]), pointer(y), pointer(weights), pointer(arena)) == 0
        expected = evaluate(capture(graph), arrays)[0]
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))
    unpacked = write_c(graph, {i: arrays[i] for i in (1, 2, 3)}, None, tmp_path / "elsewhere", target="avx2" if native_target().name != "avx2" else "avx512", shared=False)
    assert (tmp_path / "elsewhere" / "model.weights").stat().st_size == 64 + 4 * (64 * 48 * 9 + 128) and len(unpacked) == 3  # this machine does not run it


def test_tile_registers_are_asked_for_in_the_file(tmp_path):
    """Plain `cc -O2` makes the instructions, whatever machine it runs on; the program asks the system for the registers itself."""
    r = graphs.Recorder()
    x, w = r.input(64, 128, dtype=bfloat16), r.input(128, 96, dtype=bfloat16)
    graph = r.done(r.op("matmul", x, w))
    x, w = graphs.arrays_for(graph)
    write_c(graph, {1: w}, None, tmp_path, shared=False, target="avx512_amx")
    text = (tmp_path / "model.c").read_text()
    assert "amx-tile,amx-bf16,amx-int8" in text and "TILE_DOT(bf16ps" in text
    assert "if (!tiles_allowed()) return 6;" in text and "MODEL_NO_TILES = 6" in (tmp_path / "model.h").read_text()
    if not native_target().tiles:
        return
    built = ["-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", "libmodel.so", "model.c", "-lm"]
    subprocess.run([*find_compiler().command, *built], cwd=tmp_path, check=True)
    listing = subprocess.run(["objdump", "-d", "libmodel.so"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert not listing or "tdpbf16ps" in listing
    library = ctypes.CDLL(str(tmp_path / "libmodel.so"))
    weights, arena = aligned((tmp_path / "model.weights").read_bytes()), aligned(bytes(1 << 20))
    y = np.zeros((64, 96), x.dtype)
    assert library.model_run(pointer(x), pointer(y), pointer(weights), pointer(arena)) == 0
    np.testing.assert_array_equal(y, driver.compile_graph(graph)([x, w])[0])


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="makes code for x86-64")
@pytest.mark.parametrize(("target", "feature", "instruction"), [("avx512_vnni", "avx512vnni", "vpdpbusd"), ("avx2_vnni", "avxvnni", "vpdpbusd"), ("avx2", "avx2", "vpmaddwd"), ("avx512_bf16", "avx512bf16", "vdpbf16ps")])
def test_products_of_narrow_numbers_have_their_instructions(tmp_path, target, feature, instruction):
    """Plain `cc -O2` makes them on any machine; without them (another compiler, another machine) the same C is plain."""
    dtype, total = (bfloat16, bfloat16) if instruction == "vdpbf16ps" else (int8, int32)
    r = graphs.Recorder()
    x, w = (r.input(*shape, dtype=dtype) for shape in ((48, 64), (64, 96)))
    x, w = (r.op("cast", v, attrs=(total,)) if dtype != total else v for v in (x, w))
    graph = r.done(r.op("matmul", x, w))
    write_c(graph, {}, None, tmp_path, shared=False, target=target)
    text = (tmp_path / "model.c").read_text()
    assert feature in text and "dot_" in text
    built = ["-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-c", "-o", "model.o", "model.c"]
    subprocess.run([*find_compiler().command, *built], cwd=tmp_path, check=True)
    listing = subprocess.run(["objdump", "-d", "model.o"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert not listing or instruction in listing


def test_foreign_truncated_and_damaged_weights_are_refused(tmp_path):
    _, _, files = export(tmp_path)
    library = ctypes.CDLL(str(files[-1]))
    good = (tmp_path / "model.weights").read_bytes()

    def code(data: bytes) -> int:
        memory = aligned(data + bytes(-len(data) % 64) or bytes(64))
        return library.model_check_weights(pointer(memory), ctypes.c_size_t(len(data)))

    assert code(good) == 0
    assert code(good[:-64]) == 3
    assert code(b"") == 3
    assert code(b"PK" + good[2:]) == 3
    assert code(good[:8] + b"\x09" + good[9:]) == 4
    assert code(good[:200] + bytes([good[200] ^ 1]) + good[201:]) == 5


def test_files_are_equal_byte_for_byte(tmp_path):
    digests = []
    for name in "ab":
        export(tmp_path / name, main=True, shared=False)
        digests.append({f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / name).iterdir()})
    assert digests[0] == digests[1] and len(digests[0]) == 4


@pytest.mark.parametrize("extra", [[], ["-DMODEL_THREADS=3", "-pthread"]])
def test_main_runs_any_number_of_samples(tmp_path, extra):
    graph, (x, w, b), _ = export(tmp_path, main=True, shared=False, target="portable")
    command = [*find_compiler().command, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", *extra, "-o", "main", "main.c", "model.c", "-lm"]
    command.remove("-pedantic")
    subprocess.run(command, cwd=tmp_path, check=True)
    samples = np.random.default_rng(1).normal(size=(21, 20)).astype(np.float32)
    (tmp_path / "x.raw").write_bytes(samples.tobytes())
    done = subprocess.run(["./main", "model.weights", "x.raw"], cwd=tmp_path, check=True, capture_output=True, text=True)
    want = np.maximum(samples @ w + b, 0)
    assert [int(line) for line in done.stdout.split()] == list(want.argmax(1))
    subprocess.run(["./main", "model.weights", "x.raw", "y.raw"], cwd=tmp_path, check=True)
    got = np.frombuffer((tmp_path / "y.raw").read_bytes(), np.float32).reshape(21, 12)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    (tmp_path / "half.raw").write_bytes(samples.tobytes()[:-3])
    half = subprocess.run(["./main", "model.weights", "half.raw"], cwd=tmp_path, capture_output=True, text=True)
    assert half.returncode == 1 and "ends inside a sample" in half.stderr
    wrong = subprocess.run(["./main", "x.raw", "x.raw"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 1 and "not the weights of this model" in wrong.stderr


def test_a_python_loop_is_a_loop_of_the_c(tmp_path):
    """Its text does not grow with the turns, whose states are outputs of their own."""
    sizes = []
    for turns in (12, 30):
        r = Recorder()
        w, h = r.input((4, 4)), r.input((2, 4))
        states = [h := r("tanh", r("sin", r("matmul", r("exp", r("neg", h)), w))) for _ in range(turns)]
        driver.write_c(r.graph(*states[-2:]), {}, None, tmp_path, shared=False)
        sizes.append(len((tmp_path / "model.c").read_text()))
    assert sizes[1] < 1.05 * sizes[0]


@pytest.mark.slow
def test_c_text_compiles_without_warnings_for_every_graph(tmp_path):
    for name, make in graphs.ALL.items():
        graph = make()
        write_c(graph, {}, None, tmp_path, shared=False, prefix=name)
        strict = ["-std=c11", "-O1", "-march=native", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null", f"{name}.c"]
        subprocess.run([*find_compiler().command, *strict], cwd=tmp_path, check=True)


def test_rounding_does_not_depend_on_the_compilers_defaults(tmp_path):
    graph = graphs.softmax(64, 33)
    (x,) = graphs.arrays_for(graph)
    outputs = []
    for name, flags in (("strict", ["-O2", "-ffp-contract=off"]), ("defaults", ["-O3", "-ffp-contract=fast"])):
        write_c(graph, {}, None, tmp_path, shared=False)
        command = [*find_compiler().command, "-std=c11", "-march=native", *flags, "-fPIC", "-shared", "-o", f"{name}.so", "model.c", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        library = ctypes.CDLL(str(tmp_path / f"{name}.so"))
        y, weights, arena = np.zeros((64, 33), np.float32), aligned(bytes(64)), aligned(bytes(1 << 20))
        assert library.model_run(pointer(x), pointer(y), pointer(weights), pointer(arena)) == 0
        outputs.append(y)
    assert np.array_equal(outputs[0].view(np.int32), outputs[1].view(np.int32))


def test_weights_must_fit(tmp_path):
    graph = graphs.linear_relu(8, 20, 12)
    with pytest.raises(BackendError, match=r"fc\.weight are float32\[3, 3\], not float32\[20, 12\]"):
        write_c(graph, {1: np.zeros((3, 3), np.float32)}, None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write the model"):
        export(tmp_path / "file" / "below")


@pytest.mark.parametrize("target", ["native", "portable"])
def test_plain_compilers_have_nothing_to_say(tmp_path, target):
    """Notes about vector ABIs too: a native program names the processor it was made for."""
    graph = graphs.gradient()
    write_c(graph, {1: graphs.arrays_for(graph)[1]}, None, tmp_path, shared=False, target=target, main=True)
    for source in ("model.c", "main.c"):
        command = [*find_compiler().command, "-O2", "-Wall", "-Wextra", "-c", "-o", "/dev/null", source]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr == ""


@pytest.mark.parametrize(
    "names", ["k0 v0 p0", "table task arena", "f32 f32x16 INLINE", "int64_t expf sqrt", "model_run model_program main", "weights run_k0 y"]
)
def test_names_of_inputs_never_meet_generated_ones(tmp_path, names):
    graph = graphs.linear_relu(8, 20, 12)
    graph.names = tuple(names.split())
    arrays = graphs.arrays_for(graph)
    text, _ = driver.source_of(graph)
    (tmp_path / "jit.c").write_text(text)
    write_c(graph, {1: arrays[1]}, None, tmp_path, shared=False, main=True)
    for source in ("jit.c", "model.c", "main.c"):
        command = [*find_compiler().command, "-march=native", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null", source]
        subprocess.run(command, cwd=tmp_path, check=True)
