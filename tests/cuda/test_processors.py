"""Plans follow the number of processors: a device's own where there is one, its architecture's in the table otherwise."""

from __future__ import annotations

import pytest

from fake_driver import FakeDriver, install
from graphs import Recorder

from lamina.backends.cuda.device import Device
from lamina.backends.cuda.program import cuda_source
from lamina.dialects.graph import Graph
from lamina.dialects.target import GPU_TARGETS, gpu_target_named, target_named, with_f32, with_processors
from lamina.dialects.types import bfloat16


def product(m: int, k: int, n: int) -> Graph:
    r = Recorder()
    return r.graph(r("matmul", r.input((m, k), bfloat16), r.input((k, n), bfloat16)))


def test_names() -> None:
    assert with_processors("sm_90a", 132) == "sm_90a" and with_processors("sm_90a_wgmma", 114) == "sm_90a_wgmma_p114"
    for name, f32 in (("sm_90a_wgmma_p114", "ieee"), ("sm_90a_wgmma_p114_3xtf32", "3xtf32")):
        target = gpu_target_named(name)
        assert (target.processors, target.f32, target.wgmma, target.name, target.arch) == (114, f32, True, name, "sm_90a")
        assert target_named(name) == target
    assert with_f32("sm_80_p96", "bf16") == "sm_80_p96_tf32" and with_f32("sm_75_p30", "tf32") == "sm_75_p30"
    for wrong in ("sm_90b", "sm_90a_p0", "sm_90a_p", "sm_90a_tf32_p114", "sm_75_p30_tf32"):
        with pytest.raises(KeyError):
            gpu_target_named(wrong)


def test_a_device_says_how_many_it_has(monkeypatch) -> None:
    install(monkeypatch, FakeDriver())
    device = Device()
    assert gpu_target_named(device.arch).processors == device.processors == 4 != GPU_TARGETS[device.arch.removesuffix("_p4")].processors


@pytest.mark.parametrize("count", [78, 114, 132])
def test_as_many_blocks_run_as_there_are_processors(count: int) -> None:
    (launch,) = cuda_source(product(4096, 1024, 4096), with_processors("sm_90a_wgmma", count)).table.launches
    assert launch.shape.grid[0] == count


def test_few_processors_need_no_pieces_of_sums() -> None:
    graph = product(512, 8192, 512)
    many, few = (len(cuda_source(graph, with_processors("sm_80", count)).table.launches) for count in (108, 8))
    assert (many, few) == (2, 1)
