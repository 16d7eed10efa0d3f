"""Rows that several leaves of a team read: brought from memory once where all lanes have as many turns, read again where not."""

from __future__ import annotations

import re

import pytest
from needs import needs_emulation, needs_nvdisasm, needs_nvrtc

from graphs import Recorder

from lamina.backends.cuda import disassembly
from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import arrays_for, layer_norm
from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, bfloat16, float32
from lamina.lowering.capture import capture


def normed(rows: int, length: int, dtype: DType = float32) -> Graph:
    """(x - mean) / deviation, and what stands between: what is written is read again, from memory."""
    r = Recorder()
    x = r.input((rows, length), dtype)
    wide = x if dtype is float32 else r("cast", x, attrs=(float32,))

    def mean(of: int) -> int:
        whole = r("mul", r("sum", of, attrs=((1,),)), r.full((rows, 1), 1 / length))
        return r("expand", whole, attrs=((rows, length),))

    centred = r("sub", wide, mean(wide))
    return r.graph(centred, r("div", centred, r("sqrt", r("add", mean(r("mul", centred, centred)), r.full((rows, length), 1e-3)))))


def softmax(rows: int, length: int, dtype: DType = float32) -> Graph:
    r = Recorder()
    x = r.input((rows, length), dtype)
    wide = x if dtype is float32 else r("cast", x, attrs=(float32,))
    return r.graph(r("softmax", wide, attrs=((1,),)))


def reads(graph: Graph) -> int:
    """How many accesses of the source read the first input."""
    (kernel,) = [text for _, text in cuda_source(graph, "sm_90a").functions if re.search(r"\(p0 \+ ", text)]
    return len(re.findall(r"\*\)\(p0 \+ ", kernel))


def check(graph: Graph) -> None:
    arrays, source = arrays_for(graph), cuda_source(graph, "sm_90a")
    emulation, want = emulate.Emulation(source), evaluate(capture(graph), arrays)
    first = emulation(arrays, 0)
    assert largest_error(graph, first, want) <= 1
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, emulation(arrays, 7), strict=True))


@pytest.mark.parametrize(
    ("make", "length", "dtype", "count"),
    [
        (softmax, 4096, float32, 1), (softmax, 512, float32, 1), (softmax, 768, float32, 1), (softmax, 8192, float32, 1),
        (softmax, 1000, float32, 2), (softmax, 768, bfloat16, 2),
    ],
)  # fmt: skip
def test_how_often_a_row_is_read(make, length: int, dtype: DType, count: int) -> None:
    """Of 1000 floats a warp's lanes have 7 or 8 accesses; bf16 is read by eights, but not next to f32."""
    assert reads(make(600, length, dtype)) == count


@needs_emulation
@pytest.mark.parametrize(
    ("make", "rows", "length", "dtype"),
    [
        (softmax, 3, 1024, float32),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (
            (softmax, 5, 2048, bfloat16), (normed, 4, 1024, float32), (normed, 3, 4096, bfloat16), (softmax, 300, 128, float32), (softmax, 3, 1000, float32),
        )),
    ],
)  # fmt: skip
def test_results(make, rows: int, length: int, dtype: DType) -> None:
    check(make(rows, length, dtype))


@pytest.mark.slow
@needs_nvrtc
@needs_nvdisasm
def test_machine_code_reads_once() -> None:
    """Four accesses for a row, as many for weight and bias: nothing is rolled, nothing spilled, six blocks fit a processor."""
    compiled = build(layer_norm(1 << 12), "sm_90a").compiled
    (accesses,) = disassembly.accesses(compiled.cubin).values()
    (usage,) = compiled.usage
    assert accesses["LDG.128"] == 12 and accesses["STG.128"] == 4 and not usage.stack and usage.registers <= 40
