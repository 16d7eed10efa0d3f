"""The runtime through the real cuda.bindings, with a libcuda of ours behind them that checks what it is called with (stub_driver.c)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from needs import needs_emulation, needs_gcc, needs_nvrtc

HERE = Path(__file__).resolve().parent
needs_bindings = pytest.mark.skipif(
    not find_spec("cuda") or not find_spec("cuda.bindings") or sys.platform != "linux", reason="needs Linux and cuda-python"
)
pytestmark = [needs_bindings, needs_gcc]

START = """
import sys, threading
import numpy as np
sys.path.insert(0, {tests!r})
from fake_driver import cubin_of
from lamina.backends.cuda import device, runtime
from lamina.backends.cuda.units import Module, write_modules
from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import PROGRAMS, arrays_for
from lamina.backends.oracle import evaluate
from lamina.dialects.errors import BackendError, LaminaError
from lamina.lowering.capture import capture

def build(self, source, folder):
    names, _, library = cubin_of(source, folder).partition(b"\\n")
    write_modules(folder, [Module(b"%d " % len(library) + names + b"\\n" + library, {{n: n for n in source.table.kernels()}})])

device.Device.build, device.Device.kind = build, "stub"
programs = {{p.name: p for p in PROGRAMS}}

def right(gpu, name, calls=4):
    graph = programs[name].make(programs[name].small)
    arrays = arrays_for(graph)
    want, placed = evaluate(capture(graph), arrays), [gpu.upload(a) for a in arrays]
    for _ in range(calls):
        assert largest_error(graph, [gpu.download(a) for a in gpu.run(graph, placed)], want) <= 1
    return graph

"""


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libcuda.so.1."""
    folder = tmp_path_factory.mktemp("stub")
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(HERE / "stub_driver.c"), "-ldl"]
    subprocess.run(command, check=True)
    return folder


def run(stub: Path, code: str, **options: str) -> str:
    """What a program of its own prints. options: what the driver is like."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stub), **options}
    text = START.format(tests=str(HERE.parent)) + code
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=300, cwd=HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_emulation
@pytest.mark.slow
def test_programs_are_launched_captured_and_replayed(stub: Path) -> None:
    run(stub, """
gpu = runtime.Runtime(device.Device())
for name in ("softmax", "MLP training step"):
    right(gpu, name)
wide = runtime.Runtime(device.Device(wgmma=True))
right(wide, "matmul bf16, whole tiles")
""")  # fmt: skip


STEPS = {"digits_cnn": ("mma", "batch=2"), "gpt2": ("wgmma", "batch=1, time=64, layers=1, width=768, words=80")}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_training_steps_keep_the_drivers_rules(stub: Path, name: str) -> None:
    """Eight steps: launched, captured, replayed, and nothing is sent along but numbers."""
    device, sizes = STEPS[name]
    words = run(stub, f"""
import lamina
sys.path.insert(0, {str(HERE.parent.parent / "benchmarks")!r})
import gpu_peers
sent, placed = [], runtime._Loaded._placed
def noted(self, arrays):
    sent.append(max([a.nbytes for a in arrays if isinstance(a, np.ndarray)], default=0))
    return placed(self, arrays)
runtime._Loaded._placed = noted
lamina.manual_seed(0)
step = gpu_peers.{name}(lamina, {sizes})
for _ in range(8):
    step()
lamina.cuda.synchronize()
gpu = runtime.runtime()
loaded = list(gpu._programs.values())
print(gpu.device.arch, max(len(p.table.launches) for p in loaded), sum(len(l.maps) for p in loaded for l in p.table.launches),
      sum(graph is not None for p in loaded for graph in p.program._graphs.values()), max(sent[-3:]))
""", LAMINA_CUDA=device)  # fmt: skip
    arch, launches, maps, graphs, most_sent = words.split()
    assert int(launches) > 30 and int(graphs) == 1 and int(most_sent) <= 8
    assert ("wgmma" in arch) == (device == "wgmma") == (int(maps) > 0)


@needs_emulation
@pytest.mark.slow
def test_any_thread_may_launch(stub: Path) -> None:
    run(stub, """
gpu, found = runtime.Runtime(device.Device()), []
def inside():
    right(gpu, "elementwise", 3)
    gpu.device.synchronize()
    found.append(True)
thread = threading.Thread(target=inside)
thread.start()
thread.join()
assert found
right(gpu, "elementwise", 3)
""")  # fmt: skip


@pytest.mark.slow
def test_streams_events_and_memory(stub: Path) -> None:
    run(stub, """
d = device.Device()
x, y, at = np.arange(10, dtype=np.float32), np.empty(10, np.float32), d.allocate(1 << 10)
d.upload(at, x)
d.copy(at + 256, at, 40)
d.download(y, at + 256)
assert (x == y).all()
for element in (np.float32(2.5), np.uint8(7), np.float16(1), np.int64(-1), np.float64(0.1), np.complex128(1 + 2j)):
    for count in (0, 1, 4096, 5000):
        got = np.empty(count, element.dtype)
        beyond = d.allocate(got.nbytes + 64)
        d.upload(beyond, np.zeros(got.nbytes + 64, np.uint8))
        d.fill(beyond, np.asarray(element), count)
        d.download(got, beyond)
        d.download(end := np.empty(64, np.uint8), beyond + got.nbytes)
        assert (got == element).all() and not end.any()
        d.release(beyond)
large = np.arange((33 << 20) // 4, dtype=np.float32)
there = d.allocate(large.nbytes)
d.upload(there, large)
d.download(got := np.empty_like(large), there)
assert (got == large).all()
stream = d.new_stream()
before = d.use_stream(stream)
first, second = d.new_event(), d.new_event()
d.record(first)
d.record(second)
d.wait(second)
assert d.has_happened(second) and d.milliseconds(first, second) == 1.5
assert d.use_stream(before) is stream
d.wait_stream(stream)
assert d.allocate(1 << 40) == 0
d.release(at)
assert d.free_bytes() == 1 << 27
""")  # fmt: skip


FAULTS = {
    "no device": ({"STUB_COUNT": "0"}, "no GPU can be used: .*no CUDA-capable device"),
    "an old driver": ({"STUB_VERSION": "11040"}, "no GPU can be used: .*CUDA 11.4"),
    "an old GPU": ({"STUB_MAJOR": "5"}, "compute capability 5.0"),
}


@pytest.mark.parametrize("fault", [f if f == "an old driver" else pytest.param(f, marks=pytest.mark.slow) for f in FAULTS])
@pytest.mark.slow
def test_a_machine_that_does_not_do_is_no_gpu(stub: Path, fault: str) -> None:
    options, words = FAULTS[fault]
    run(stub, f"""
import re
import lamina
assert not lamina.cuda.is_available() and lamina.cuda.device_count() == 0
try:
    lamina.zeros(2).to("cuda")
except LaminaError as error:
    assert re.search({words!r}, str(error)), str(error)
else:
    raise SystemExit("no error")
assert (lamina.ones(2) + 1).tolist() == [2.0, 2.0]
""", **options)  # fmt: skip


@needs_emulation
@pytest.mark.slow
def test_a_kernel_that_fails_is_named_when_somebody_waits(stub: Path) -> None:
    words = run(stub, """
gpu = runtime.Runtime(device.Device())
try:
    right(gpu, "elementwise")
except BackendError as error:
    print(error)
""", STUB_FAILS="k0")  # fmt: skip
    assert "unspecified launch failure (CUDA_ERROR_LAUNCH_FAILED)" in words and "k0" in words and "check.py:" in words


PLANTED = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from dataclasses import replace
from fake_driver import cubin_of
from lamina.backends.cuda import check_programs, device
from lamina.backends.cuda.units import Module, write_modules
{build}
elementwise = check_programs.PROGRAMS[0]

def planted(act):
    def make(n):
        if "launched" in sys.argv:
            act()
        return elementwise.make(n)
    return make

def lose():
    os.environ["STUB_FAILS"] = "k0"

def refuse():
    raise KeyError("no such thing")

from lamina.backends.cuda import check_kernels, check_layouts
check_kernels.build_units = lambda source, folder, arch: build(None, source, folder)
elementwise = replace(elementwise, large=40)
acts = dict(crash=lambda: os._exit(11), hang=lambda: time.sleep(600), refuse=refuse, lose=lose, fine=lambda: None)
check_programs.PROGRAMS = [replace(elementwise, name="planted " + name, make=planted(act)) for name, act in acts.items()]
check_layouts.LAYOUTS = ()
"""


@needs_emulation
@pytest.mark.slow
def test_a_visit_goes_on_behind_whatever_happens(stub: Path, tmp_path: Path) -> None:
    """Items that crash, hang, raise and lose the device; what comes behind them is in the report all the same."""
    build = START[START.index("def build") : START.index("programs =")].replace("{{", "{").replace("}}", "}")
    (tmp_path / "sitecustomize.py").write_text(PLANTED.format(tests=str(HERE.parent), build=build))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stub), "PYTHONPATH": str(tmp_path), "LAMINA_CACHE": str(tmp_path / "cache")}
    code = "import sys; from dataclasses import replace; from lamina.backends.cuda import check; "
    code += "check.PARTS['launched'] = replace(check.PARTS['launched'], patience=8); sys.exit(check.main())"
    command = [sys.executable, "-c", code, "--visit", "2", "--only", "planted", "--report", str(tmp_path / "r.md")]
    command += ["--section", "launched", "--section", "timed"]
    start = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=HERE)
    assert done.returncode == 1 and time.monotonic() - start < 130, done.stdout + done.stderr
    sections = {s["name"]: s for s in json.loads((tmp_path / "r.json").read_text())}
    assert sorted(sections) == ["launched", "prepared", "timed"] and sections["timed"]["status"] == "done"
    launched = sections["launched"]
    failures = {f.split(",")[0].split(":")[0]: f for f in launched["failures"]}
    assert sorted(failures) == [f"planted {name}" for name in ("crash", "hang", "lose", "refuse")], launched["failures"]
    assert "the process ended" in failures["planted crash"] and "no end after" in failures["planted hang"]
    assert "KeyError" in failures["planted refuse"] and "unspecified launch failure" in failures["planted lose"]
    assert [row[0] for row in launched["tables"][0]["rows"] if row[3] != "failed"] == ["planted fine"] * 2 and launched["status"] == "done"


WITHOUT_A_GPU = {"STUB_GIB": "64", "STUB_PROCESSORS": "132"}
"""Real cubins: what they say of themselves is checked, nothing is computed."""


@needs_nvrtc
@pytest.mark.slow
def test_a_visit_with_real_cubins_keeps_the_drivers_rules(stub: Path, tmp_path: Path) -> None:
    """Large sizes, too. Results are wrong, since nothing is computed; nothing else is."""
    environment = {**os.environ, **WITHOUT_A_GPU, "LD_LIBRARY_PATH": str(stub), "LAMINA_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "lamina.backends.cuda.check", "--visit", "4", "--only", "bf16, whole tiles", "--report", str(tmp_path / "r.md")]
    for name in ("machine", "launched", "timed"):
        command += ["--section", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=HERE)
    sections = {s["name"]: s for s in json.loads((tmp_path / "r.json").read_text())}
    assert {name: s["status"] for name, s in sections.items()} == dict.fromkeys(("machine", "launched", "timed", "prepared"), "done"), done.stderr
    assert [row[1] for row in sections["timed"]["tables"][0]["rows"]] == ["sm_90a", "sm_90a_wgmma"] * 2
    assert not sections["timed"]["failures"] and all("times the tolerance" in failure for failure in sections["launched"]["failures"])


@needs_nvrtc
@pytest.mark.slow
def test_launches_that_are_not_the_cubins_are_refused(stub: Path) -> None:
    run(stub, """
from dataclasses import replace
from lamina.backends.cuda.units import build_units
device.Device.build = lambda self, source, folder: build_units(source, folder, "sm_90a")
gpu = runtime.Runtime(device.Device(wgmma=True))
load = gpu.device.load
def threads(folder, table):
    launches = [replace(l, shape=replace(l.shape, threads=l.shape.threads + 128)) for l in table.launches]
    return load(folder, replace(table, launches=tuple(launches)))
graph = programs["matmul bf16, whole tiles"].make(136)
arrays = [gpu.upload(a) for a in arrays_for(graph)]
gpu.run(graph, arrays)
gpu._programs.clear()
gpu.device.load = threads
try:
    gpu.run(graph, arrays)
except BackendError as error:
    assert "cuLaunchKernel" in str(error), error
else:
    raise SystemExit("more threads than the cubin's launch bounds were taken")
""", **WITHOUT_A_GPU)  # fmt: skip
