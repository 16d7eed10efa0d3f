"""The GPU runtime without a GPU: on the emulated device, and on a driver that notes every call."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_emulation

from fake_driver import FakeDriver, install, same
from graphs import Recorder, inputs_for

from lamina.backends.cuda.device import STAGING_BYTES, Device, native_arch
from lamina.backends.cuda.memory import Pool
from lamina.backends.cuda.runtime import Runtime
from lamina.backends.oracle import evaluate
from lamina.dialects import flags
from lamina.dialects.errors import BackendError, OutOfMemoryError
from lamina.dialects.graph import Graph
from lamina.lowering.capture import capture

pytestmark = needs_emulation


def chain() -> Graph:
    """Three kernels: a product that a row sum follows, and a product of that."""
    r = Recorder()
    x, y, s = r.input((6, 5)), r.input((5, 4)), r.input(())
    a = r("matmul", x, y)
    b = r("softmax", a, attrs=((1,),))
    c = r("matmul", r("permute", b, attrs=((1, 0),)), a)
    return r.graph(r("mul", c, r("expand", r("reshape", s, attrs=((1, 1),)), attrs=((4, 4),))), b)


def gpu(monkeypatch, **options) -> tuple[FakeDriver, Runtime]:
    driver = FakeDriver(**options)
    install(monkeypatch, driver)
    return driver, Runtime(Device())


def test_runs_and_replays_as_a_graph(monkeypatch) -> None:
    driver, runtime = gpu(monkeypatch)
    graph = chain()
    arrays = inputs_for(graph)
    placed = [runtime.upload(arrays[0]), runtime.upload(arrays[1]), arrays[2]]  # the number is sent along
    want = evaluate(capture(graph), arrays)
    results = []
    for _ in range(6):
        made = runtime.run(graph, placed)
        results.append([runtime.download(m) for m in made])
    for got, expected in zip(results[0], want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert all(same(r, results[0]) for r in results)
    launches = len(next(iter(runtime._programs.values())).table.launches)
    assert launches >= 3
    # Results alternate between a few places, once what was there before was given back. The first call at each launches, the second is captured
    # and replayed, all later ones are one call to the driver.
    for _ in range(8):
        made = runtime.run(graph, placed)
    places, before = driver.times("cuGraphInstantiate"), (driver.times("cuLaunchKernel"), driver.times("cuGraphLaunch"))
    assert 2 <= places <= 4 and driver.times("cuModuleLoadData") == 1
    for _ in range(4):
        made = runtime.run(graph, placed)
    assert (driver.times("cuLaunchKernel"), driver.times("cuGraphLaunch")) == (before[0], before[1] + 4)
    assert driver.times("cuGraphInstantiate") == places


def test_memory_is_used_again(monkeypatch) -> None:
    driver, runtime = gpu(monkeypatch)
    graph = chain()
    placed = [runtime.upload(a) for a in inputs_for(graph)]
    for _ in range(3):
        runtime.run(graph, placed)
    taken = driver.times("cuMemAlloc")
    for _ in range(5):
        runtime.run(graph, placed)
    assert driver.times("cuMemAlloc") == taken
    held = runtime.pool.allocated
    del placed
    runtime.pool.empty()
    assert runtime.pool.allocated < held and driver.used == runtime.pool.reserved == runtime.pool.allocated


def test_the_lowest_address_comes_first() -> None:
    """In whatever order blocks were given back: a loop that takes the same again comes to the same addresses."""
    addresses = iter(range(1 << 20, 1 << 30, 1 << 20))
    pool = Pool(lambda size: next(addresses), lambda address: None, 1 << 30)
    held = [pool.take(512) for _ in range(4)]
    first = [block.address for block in held]
    for order in ((2, 0, 3, 1), (1, 3, 2, 0)):
        for k in order:
            held[k] = None
        held = [pool.take(512) for _ in range(4)]
        assert [block.address for block in held] == first


def test_uploads_do_not_wait(monkeypatch) -> None:
    driver, runtime = gpu(monkeypatch)
    arrays = [np.arange(n, dtype=np.float32) for n in (3, 1000, 70000, 5, 6, 7)]
    placed = [runtime.upload(a) for a in arrays]
    assert driver.times("cuCtxSynchronize") == driver.times("cuStreamSynchronize") == 0
    assert same([runtime.download(p) for p in placed], arrays)
    large = np.zeros(STAGING_BYTES // 4 + 1, np.float32)
    runtime.upload(large)
    assert driver.times("cuStreamSynchronize") == 1  # too large for the pinned buffers


def test_copies_on_the_device(monkeypatch) -> None:
    _, runtime = gpu(monkeypatch)
    first = runtime.upload(np.arange(6.0).reshape(2, 3))
    second = runtime.copied(first)
    assert second.address != first.address and same([runtime.download(second)], [runtime.download(first)])
    assert runtime.download(first.reshaped((3, 2))).shape == (3, 2)


def test_a_failing_kernel_is_named_with_the_users_line(monkeypatch) -> None:
    graph = chain()
    _, runtime = gpu(monkeypatch)
    runtime.run(graph, inputs_for(graph))
    names = [launch.kernel for launch in next(iter(runtime._programs.values())).table.launches]
    driver, runtime = gpu(monkeypatch, fails_at=names[1])
    made = runtime.run(graph, inputs_for(graph))  # the launch itself succeeds, as on a GPU
    with pytest.raises(BackendError, match="unspecified launch failure") as raised:
        runtime.download(made[0])
    assert names[1] in str(raised.value) and "model.py:" in str(raised.value) and "LAMINA_CHECK=1" in str(raised.value)
    driver, runtime = gpu(monkeypatch, fails_at=names[1])
    with flags.check(1), pytest.raises(BackendError) as raised:
        runtime.run(graph, inputs_for(graph))
    assert raised.value.facts[-1][1] == names[1] and driver.times("cuLaunchKernel") == 2


def test_out_of_memory_says_who_has_it(monkeypatch) -> None:
    _, runtime = gpu(monkeypatch, total=1 << 20)
    held = runtime.upload(np.zeros(1 << 17, np.float32))
    free = runtime.upload(np.zeros(1 << 16, np.float32))
    del free  # what is unused is given back before it is said that there is none
    runtime.upload(np.zeros((1 << 16) + 999, np.float32))
    with pytest.raises(OutOfMemoryError, match=r"Tried to allocate 1.00 MiB for an array of \[262144\] float32") as raised:
        runtime.upload(np.zeros(1 << 18, np.float32))
    assert "512.00 KiB" in str(raised.value) and "help: use smaller batches" in str(raised.value)
    assert runtime.download(held).sum() == 0  # and the device can be used as before


def test_pool_counts() -> None:
    addresses = iter(range(1 << 12, 1 << 30, 1 << 12))
    pool = Pool(lambda size: next(addresses), lambda address: None, 1 << 30)
    a, b = pool.take(10), pool.take(3 << 20)
    assert (pool.allocated, pool.reserved) == (512 + (4 << 20),) * 2
    del a
    assert pool.allocated == 4 << 20 and pool.reserved == 512 + (4 << 20)
    c = pool.take(511)
    assert pool.reserved == 512 + (4 << 20) and pool.most_allocated == pool.allocated
    pool.forget_peaks()
    del b, c
    pool.empty()
    assert pool.allocated == pool.reserved == 0 and pool.most_reserved > 0


@pytest.mark.parametrize("options, words", [({"count": 0}, "sees none"), ({"compute": (5, 2)}, "compute capability 5.2")])
def test_a_device_that_cannot_be_used(monkeypatch, options, words) -> None:
    install(monkeypatch, FakeDriver(**options))
    with pytest.raises(BackendError, match=words):
        _ = Device().arch


def test_architecture_of_a_device() -> None:
    assert [native_arch(c) for c in (80, 86, 90, 100)] == ["sm_80", "sm_80", "sm_90a", "sm_100a"]
    assert [native_arch(c) for c in (103, 110, 120, 121)] == ["sm_103a", "sm_110a", "sm_120", "sm_120"]
