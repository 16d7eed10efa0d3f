"""Small operands of products copied into another order: when, that products then read runs, and exact products of whole numbers with it."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_emulation
from xdsl.dialects import func

from graphs import Recorder

from lamina.backends.cuda.check_layouts import Layout
from lamina.backends.cuda.program import cuda_source
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.backends.pipelines import gpu_pipeline
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, bfloat16, float32
from lamina.lowering.capture import capture
from lamina.lowering.contraction_match import match_contraction
from lamina.lowering.gpu_contraction_plan import Way, in_runs, plan_contraction
from lamina.lowering.linalg_to_gpu import gpu_target
from lamina.passes.base import Pipeline


def two_convolutions(dtype: DType, n: int = 4, size: int = 12, middle: int = 32, stride: int = 1) -> Graph:
    """relu of one, the other one of it, and the gradients of a sum of its results by the weights."""
    r = Recorder()
    out = (size - 2 - 3) // stride + 1
    x, k1, k2 = r.input((n, 1, 8, size, size), dtype), r.input((1, middle, 8, 3, 3), dtype), r.input((1, 16, middle, 3, 3), dtype)
    seed = r.input((n, 1, 16, out, out), dtype)
    y = r("conv", r("relu", r("conv", x, k1, attrs=((1, 1), (1, 1)))), k2, attrs=((stride, stride), (1, 1)))
    loss = r("reshape", r("sum", r("mul", y, seed), attrs=((0, 1, 2, 3, 4),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0, dtype), k1, k2)
    return r.graph(y, first, first + 1)


def phases(n=64, size=29, c=128):
    """The gradient by its images of a convolution that takes every second pixel: a product for each phase, which reads every second tap."""
    r = Recorder()
    out = (size - 3) // 2 + 1
    image, k, seed = r.input((n, size, size, c), bfloat16), r.input((1, c, c, 3, 3), bfloat16), r.input((n, out, out, c), bfloat16)
    x = r("reshape", r("permute", image, attrs=((0, 3, 1, 2),)), attrs=((n, 1, c, size, size),))
    y = r("permute", r("reshape", r("conv", x, k, attrs=((2, 2), (1, 1))), attrs=((n, c, out, out),)), attrs=((0, 2, 3, 1),))
    loss = r("reshape", r("sum", r("mul", y, seed), attrs=((0, 1, 2, 3),)), attrs=((),))
    return r.graph(r("autodiff.grad", loss, r.full((), 1.0, bfloat16), image))


def layer(rows: int, width: int, features: int) -> Graph:
    """The gradient of x w^T by x: the product reads w along its rows."""
    r = Recorder()
    g, w = r.input((rows, features)), r.input((features, width))
    return r.graph(r("matmul", g, w))


def whole_numbers(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-1, 2, shape).astype(dtype.numpy) for shape, dtype in graph.inputs]


def ways(graph: Graph, arch: str) -> list[tuple[Way, bool, bool]]:
    """How every product is made, and whether its operands are read in runs."""
    module = capture(graph)
    pipeline = gpu_pipeline(arch)
    Pipeline(pipeline.passes[:-1], "captured").run(module)
    found, target = [], gpu_target(arch)
    for op in module.body.block.ops:
        contraction = match_contraction(op) if isinstance(op, func.FuncOp) and op.sym_name.data != "main" else None
        if contraction is not None:
            t = plan_contraction(contraction, target)
            found.append((t.way, *(in_runs(contraction, f, dims, t.sums) for f, dims in ((t.left, t.rows), (t.right, t.columns)))))
    return found


@pytest.mark.slow
@needs_emulation
@pytest.mark.parametrize("dtype, arch", [(float32, "sm_80_tf32"), (bfloat16, "sm_80")], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_and_their_gradients(dtype: DType, arch: str, stride: int) -> None:
    graph = two_convolutions(dtype, stride=stride)
    read = [(left, right) for way, left, right in ways(graph, arch) if way is not Way.FMA]
    assert read.count((True, True)) >= (2 if stride == 1 else 1)  # what reads the program's image, or writes into it, has no runs there
    arrays = whole_numbers(graph)
    source = cuda_source(graph, arch)
    want = evaluate(capture(graph), arrays)
    for seed in (0, 3):
        for got, expected in zip(emulate.Emulation(source)(arrays, seed), want, strict=True):
            assert (got == expected).all()


@needs_emulation
@pytest.mark.slow
def test_a_turned_weight_is_no_hindrance_to_warpgroups() -> None:
    graph, arch = layer(640, 136, 128), "sm_90a_wgmma_tf32"
    assert [way for way, *_ in ways(graph, arch)] == [Way.WGMMA]
    source = cuda_source(graph, arch)
    assert len(source.table.launches) == 2
    arrays = whole_numbers(graph)
    (got,) = emulate.Emulation(source)(arrays, 3)
    assert (got == arrays[0] @ arrays[1]).all()


def test_every_second_tap_of_a_weight_is_copied_in_order() -> None:
    assert [way for way, *_ in ways(phases(), "sm_90a_wgmma")] == [Way.WGMMA] * 4


@pytest.mark.parametrize("graph, arch", [
    (layer(640, 136, 128), "sm_90a"),  # multiplied by threads
    (layer(256, 136, 128), "sm_90a_wgmma_tf32"),  # the copy would be a large part
    (layer(640, 136, 126), "sm_90a_tf32"),  # nothing is in runs along a sum of 126
], ids=["f32", "not small", "no runs"])  # fmt: skip
def test_no_copy(graph: Graph, arch: str) -> None:
    assert len(cuda_source(graph, arch).table.launches) == 1


@pytest.mark.parametrize("left, right, copies", [(False, True, 1), (True, True, 0)], ids=("one of them", "both of them"))
def test_what_is_turned_in_blocks_is_copied_only_where_that_is_the_last_of_it(left: bool, right: bool, copies: int) -> None:
    """In TF32 a small operand that lies along its rows; where the other one is turned, too, blocks turn both."""
    graph = Layout("", float32, float32, left, right, sizes=(1024, 128, 512)).graph()
    source = cuda_source(graph, "sm_90a_wgmma_tf32")
    (place,) = [k for k, launch in enumerate(source.table.launches) if launch.maps]
    assert place == copies  # what comes in front of the product
