"""Machine code of hot loops: what a processor issues for what it multiplies, and nothing it would wait for."""

from __future__ import annotations

from collections import Counter

import pytest
from needs import needs_nvdisasm, needs_nvrtc

from lamina.backends.cuda import disassembly
from lamina.backends.cuda.check_programs import attention, product
from lamina.backends.cuda.nvrtc import Compiled
from lamina.backends.cuda.program import build
from lamina.dialects.graph import Graph
from lamina.dialects.types import bfloat16, float32

pytestmark = [needs_nvrtc, needs_nvdisasm, pytest.mark.slow]


def compiled(graph: Graph, target: str) -> Compiled:
    made = build(graph, target).compiled
    assert not [u for u in made.usage if u.spill_loads or u.spill_stores or u.stack]
    return made


def hot(made: Compiled, opcode: str) -> list[str]:
    """The one loop of a program's one kernel that has an opcode."""
    (found,) = disassembly.loops(made.cubin, opcode).values()
    (loop,) = found
    return loop


def counts(loop: list[str]) -> Counter[str]:
    return Counter(line.split()[0].split(".")[0] for line in loop)


@pytest.mark.parametrize("is_turned", [False, True])
def test_multiply_adds_of_threads(is_turned: bool) -> None:
    """Two blocks on a processor; of what they issue, seven in eight multiply."""
    made = compiled(product(float32, is_turned)(4096), "sm_90a")
    assert made.usage[0].registers <= 128
    loop = hot(made, "FFMA")
    found = counts(loop)
    assert found["FFMA"] == 8 * 8 * 16 and found["FFMA"] > 0.875 * len(loop)
    assert found["LDS"] == sum(line.startswith("LDS.128") for line in loop) == 64 and found["BAR"] == 1
    assert found["LDG"] == sum(line.startswith("LDG.E.128") for line in loop) == 4


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_tensor_cores_of_warps(target: str) -> None:
    """A warp reads 64 rows and 64 columns for their products: shared memory gives a matrix in four cycles, four products take as long or longer."""
    found = counts(hot(compiled(product(bfloat16, True)(8192), target), "HMMA"))
    assert found["HMMA"] == 64 and found["LDSM"] == 16 and sum(found.values()) < 3 * found["HMMA"]


@pytest.mark.parametrize("is_turned", [False, True])
def test_warpgroups_wait_for_nothing_but_stages(is_turned: bool) -> None:
    """Neither for memory of the GPU, which a release for the cluster would, nor for the last products."""
    loop = hot(compiled(product(bfloat16, is_turned)(8192), "sm_90a_wgmma"), "HGMMA")
    found = counts(loop)
    assert found["HGMMA"] == 4 and len(loop) < 100
    assert not found["MEMBAR"] and not found["ERRBAR"] and not found["CCTL"]
    assert [line for line in loop if "DEPBAR" in line] == ["WARPGROUP.DEPBAR.LE gsb0, 0x1"]


def test_masks_cost_nothing_inside_of_them() -> None:
    """In both sweeps of the gradients of causal attention, the way through a tile that no mask reaches into has no comparison by element."""
    made = compiled(attention(2, 12, 4096, 4096, 64, bfloat16, True, True), "sm_90a_wgmma")
    ways = ["\n".join(loop).split("BRA") for loops in disassembly.loops(made.cubin, "HGMMA").values() for loop in loops]
    free = [part for way in ways for part in way if part.count("MUFU.EX2") >= 32 and not part.count("FSEL") + part.count("ISETP")]
    assert len(free) == 2
    for part in free:  # under five for an element, the exponential and packing included
        assert part.count("\n") < 5 * part.count("MUFU.EX2")
