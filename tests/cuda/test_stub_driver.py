"""The runtime through the real cuda.bindings, with a libcuda of ours behind them that checks what it is called with (stub_driver.c)."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from needs import needs_emulation, needs_gcc

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
from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import PROGRAMS, arrays_for
from lamina.backends.oracle import evaluate
from lamina.dialects.errors import BackendError, LaminaError
from lamina.lowering.capture import capture

def build(self, source, folder):
    names, _, library = cubin_of(source, folder).partition(b"\\n")
    (folder / "program.cubin").write_bytes(b"%d " % len(library) + names + b"\\n" + library)

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
