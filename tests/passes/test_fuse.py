"""What becomes one kernel and what does not, counted on small programs."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphs import Recorder, inputs_for

from lamina.backends import oracle
from lamina.dialects.graph import Graph
from lamina.dialects.kernel import FusedOp
from lamina.dialects.text import print_module, verify
from lamina.dialects.types import float32, float64, int64, size_of
from lamina.lowering.capture import capture
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout
from lamina.passes.open_composites import OpenComposites
from lamina.passes.program import main_block


def fused(graph: Graph) -> list[FusedOp]:
    """The kernels of a graph; the program still means what it meant."""
    module = capture(graph)
    OpenComposites().run(module)
    arrays = inputs_for(graph)
    expected = oracle.evaluate(module, arrays)
    Fuse().run(module)
    ChooseLayout().run(module)
    verify(module)
    for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    return [op for op in main_block(module).ops if isinstance(op, FusedOp)]


def names(kernel: FusedOp) -> list[str]:
    """The ops of a kernel without their dialect."""
    return [op.name.split(".")[1] for op in kernel.body.block.ops]


def linear(r: Recorder, x: int, w: int, b: int) -> int:
    """x @ w + b."""
    y = r("matmul", x, w)
    return r("add", y, r("expand", b, attrs=(r.types[y][0],)))


def test_epilogue_joins_the_contraction() -> None:
    r = Recorder()
    x, w, b = r.input((16, 32)), r.input((32, 8)), r.input((1, 8))
    kernels = fused(r.graph(r("relu", linear(r, x, w, b))))
    assert len(kernels) == 1
    assert names(kernels[0])[-2:] == ["relu", "yield"]


def test_two_contractions_are_two_kernels() -> None:
    r = Recorder()
    x, w, b, v, c = r.input((16, 32)), r.input((32, 8)), r.input((1, 8)), r.input((8, 4)), r.input((1, 4))
    kernels = fused(r.graph(linear(r, r("relu", linear(r, x, w, b)), v, c)))
    assert ["matmul" in names(k) for k in kernels] == [True, True]


def test_residual_joins_the_later_contraction() -> None:
    r = Recorder()
    x, w, v = r.input((16, 16)), r.input((16, 16)), r.input((16, 16))
    kernels = fused(r.graph(r("add", r("matmul", x, w), r("matmul", x, v))))
    assert [names(k).count("add") for k in kernels] == [0, 1]


def test_softmax_is_one_kernel() -> None:
    r = Recorder()
    (kernel,) = fused(r.graph(r("softmax", r.input((64, 100)), attrs=((1,),))))
    assert names(kernel).count("exp") == 1
    (exp,) = (op for op in kernel.body.block.ops if op.name == "prim.exp")
    assert "kernel.stage" in exp.attributes  # computed once, read by the sum and by the division


def test_long_rows_are_not_read_again_inside_a_kernel() -> None:
    r = Recorder()
    kernels = fused(r.graph(r("softmax", r.input((4, 1 << 17)), attrs=((1,),))))
    assert len(kernels) > 1


def test_batch_statistics_do_not_join_what_reads_them() -> None:
    r = Recorder()
    x, w, b = r.input((8, 16, 12, 12)), r.input((16,)), r.input((16,))
    kernels = fused(r.graph(r("batch_norm", x, w, b, attrs=(1e-5,))))
    assert len(kernels) == 3  # mean; variance and what is computed per channel; the normalised result
    assert [names(k).count("sum") for k in kernels] == [1, 1, 0]


def test_pooling_and_padding_are_one_kernel() -> None:
    r = Recorder()
    x = r.input((8, 16, 12, 12))
    y = r("max_pool", r("relu", x), attrs=((2, 2), (2, 2), (1, 1)))
    (kernel,) = fused(r.graph(r("pad", y, attrs=((0, 0, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0), 0.0))))
    assert "relu" in names(kernel) and "pad" in names(kernel)


def test_optimizer_results_are_one_kernel() -> None:
    r = Recorder()
    p = [r.input((300, 20)) for _ in range(4)]
    scalars = [r.input((), float64) for _ in range(3)]
    first = r("adam", *p, *scalars, attrs=(0.999, 1e-8, 0, False))
    kernels = fused(r.graph(first, first + 1, first + 2))
    assert max(len(k.results) for k in kernels) == 3
    assert all(size_of(k.results[0].type.get_shape()) < 6000 for k in kernels if len(k.results) != 3)


def test_cheap_values_are_computed_again_and_dear_ones_kept() -> None:
    for ops, kept in ((("neg", "relu"), False), (("exp", "tanh"), True)):
        r = Recorder()
        y = r.input((64, 64))
        for op in ops:
            y = r(op, y)
        kernels = fused(r.graph(r("sum", y, attrs=((0,),)), r("pad", y, attrs=((1, 1), (0, 0), (0, 0), 0.0))))
        last = [o for k in kernels for o in k.body.block.ops if o.name in ("prim.relu", "prim.tanh")]
        assert any("kernel.stage" in o.attributes for o in last) == kept


def test_what_holds_something_kept_is_computed_again() -> None:
    """1 + exp(tanh(x)) is read on both sides of a product, and so is exp(tanh(x)): only that is in memory between them."""
    r = Recorder()
    x, w = r.input((64, 64)), r.input((64, 64))
    t = r("exp", r("tanh", x))
    one_more = r("add", r("full", attrs=((64, 64), 1.0, float32)), t)
    product = r("matmul", r("mul", x, one_more), w)
    kernels = fused(r.graph(r("mul", r("mul", product, one_more), r("mul", t, t))))
    assert [len(k.results) for k in kernels] == [2, 1]
    assert sum("tanh" in names(k) for k in kernels) == 1


def test_positions_are_nowhere_in_memory() -> None:
    """A causal mask read by many matrices is computed where it is read."""
    r = Recorder()
    x = r.input((64, 32, 32))
    row, column = (r("iota", attrs=((32, 32), axis, int64)) for axis in (0, 1))
    mask = r("reshape", r("less_equal", column, row), attrs=((1, 32, 32),))
    kernels = fused(r.graph(r("select", r("expand", mask, attrs=((64, 32, 32),)), x, r("sin", x))))
    assert len(kernels) == 1 and len(kernels[0].results) == 1
    assert "less_equal" in names(kernels[0])
    (select,) = [op for op in kernels[0].body.block.ops if "kernel.stage" in op.attributes]
    assert select.name == "prim.select"


def test_merging_reshape_is_an_alias_outside() -> None:
    r = Recorder()
    x = r.input((4, 3, 5))
    module = capture(r.graph(r("neg", r("reshape", r("exp", x), attrs=((4, 15),)))))
    Fuse().run(module)
    assert [op.name for op in main_block(module).ops][:3] == ["kernel.fused", "prim.reshape", "kernel.fused"]


def test_no_cycle_between_kernels() -> None:
    """y = f(x) and z = g(x, sum(y)) share inputs and loops, but z needs all of y first."""
    r = Recorder()
    x = r.input((32, 32))
    y = r("tanh", x)
    total = r("expand", r("sum", y, attrs=((0, 1),)), attrs=((32, 32),))
    kernels = fused(r.graph(y, r("add", r("mul", x, y), total)))
    assert len(kernels) >= 2


def test_gather_reads_inside_the_body() -> None:
    r = Recorder()
    table, index = r.input((10, 16)), r.input((5,), int64)
    kernels = fused(r.graph(r("relu", r("take", table, index, attrs=(0,)))))
    assert len(kernels) == 1


def test_convolution_results_are_channels_last() -> None:
    r = Recorder()
    x, k = r.input((8, 1, 4, 10, 10)), r.input((1, 16, 4, 3, 3))
    y = r("conv", x, k, attrs=((1, 1), (1, 1)))
    z = r("sum", r("relu", y), attrs=((3, 4),))
    kernels = fused(r.graph(z))
    assert kernels[0].result_layouts()[0][-1] == 2
    assert kernels[-1].result_layouts()[0] == (0, 1, 2, 3, 4)  # a program output


@pytest.mark.parametrize("layers", [100])
def test_compile_time_grows_with_the_program(layers: int) -> None:
    r = Recorder()
    x, w, b = r.input((32, 32)), r.input((32, 32)), r.input((1, 32))
    y = x
    for _ in range(layers):
        y = r("softmax", r("relu", linear(r, y, w, b)), attrs=((1,),))
    module = capture(r.graph(y))
    OpenComposites().run(module)
    start = time.process_time()
    Fuse().run(module)
    ChooseLayout().run(module)
    KernelToLinalg().run(module)
    assert time.process_time() - start < 3.0  # about 0.4 s alone
    assert "prim." not in print_module(module)


def test_innermost_dims_of_products() -> None:
    """Channels of a depthwise convolution, features of attention's second product."""
    r = Recorder()
    x, k = r.input((8, 32, 1, 10, 10)), r.input((32, 1, 1, 3, 3))
    p, v = r.input((2, 4, 16, 16)), r.input((32, 64))
    depthwise = r("relu", r("conv", x, k, attrs=((1, 1), (1, 1))))
    heads = r("permute", r("reshape", v, attrs=((2, 16, 4, 16),)), attrs=((0, 2, 1, 3),))
    context = r("matmul", p, heads)
    totals = [r("sum", y, attrs=(tuple(range(len(r.types[y][0]))),)) for y in (depthwise, context)]
    kernels = fused(r.graph(*totals))
    assert kernels[0].result_layouts()[0][-1] == 1
    assert kernels[1].result_layouts()[0] == (0, 1, 2, 3)
