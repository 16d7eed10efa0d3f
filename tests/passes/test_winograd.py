"""Winograd: the three convolutions mean the same, with errors of the size of a direct sum's; where windows are not dense or it does not pay, they stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Recorder, inputs_for

from lamina.backends import oracle
from lamina.dialects import flags
from lamina.dialects.ops import BookOp, XdslBuilder
from lamina.dialects.text import verify
from lamina.dialects.types import float16, float32, float64
from lamina.lowering.capture import capture
from lamina.passes.fuse import Fuse
from lamina.passes.minimal_filtering import FILTERINGS, TAPS, Filtering
from lamina.passes.program import main_block
from lamina.passes.winograd import _REWRITES, Winograd

# batch, groups, channels out and in of a group, places
CASES = [(1, 1, 24, 40, (8, 8)), (2, 1, 65, 40, (9, 7)), (1, 2, 48, 48, (5, 6)), (3, 1, 128, 128, (10,)), (1, 1, 24, 24, (4, 6, 5)), (4, 1, 48, 16, (16, 1))]


def recorded(op: str, n: int, groups: int, outs: int, ins: int, places: tuple[int, ...], dtype: Any = float32) -> Any:
    r = Recorder()
    ones, taps = (1,) * len(places), (3,) * len(places)
    around = tuple(p + 2 for p in places)
    if op == "conv":
        result = r("conv", r.input((n, groups, ins, *around), dtype), r.input((groups, outs, ins, *taps), dtype), attrs=(ones, ones))
    elif op == "conv_input":
        result = r("conv_input", r.input((n, groups, outs, *around), dtype), r.input((groups, outs, ins, *taps), dtype), attrs=(ones,))
    else:
        n *= 16  # what is made of its sums is as large as a kernel: that takes many tiles
        given = r.input((n, groups, ins, *around), dtype), r.input((n, groups, outs, *places), dtype)
        result = r("conv_kernel", *given, attrs=(taps, ones, ones))
    return r.graph(result)


@pytest.mark.parametrize("op", ["conv", "conv_input", "conv_kernel"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_they_mean_the_same(op: str, case: tuple) -> None:
    graph = recorded(op, *case)
    module = capture(graph)
    arrays = inputs_for(graph, 0)
    (exact,) = oracle.evaluate(module, arrays)
    changed = Winograd(keep=True).run(module)
    verify(module)
    (got,) = oracle.evaluate(module, arrays)
    names = {o.op_name for o in module.walk() if isinstance(o, BookOp)}
    assert (op in names) is not bool(changed)
    scale = float(np.abs(exact).max())
    np.testing.assert_allclose(got, exact, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("op", ["conv", "conv_input", "conv_kernel"])
@pytest.mark.parametrize("way", FILTERINGS, ids=lambda way: f"{way.tile} at once")
def test_every_filtering_means_the_same(op: str, way: Filtering) -> None:
    """Whatever the cost model would choose: also where tiles reach beyond the end."""
    graph = recorded(op, 2, 2, 24, 20, (9, 7))
    module = capture(graph)
    arrays = inputs_for(graph, 0)
    (exact,) = oracle.evaluate(module, arrays)
    found = next(o for o in module.walk() if isinstance(o, BookOp) and o.op_name == op)
    found.results[0].replace_all_uses_with(_REWRITES[op](found, way))
    verify(module)
    (got,) = oracle.evaluate(module, arrays)
    np.testing.assert_allclose(got, exact, rtol=0, atol=2e-6 * float(np.abs(exact).max()))


@pytest.mark.parametrize("points", [(1.0,), (0.75, 1.5), (0.5, 1.0, 2.0)], ids=str)
def test_the_sums_of_any_points(points: tuple[float, ...]) -> None:
    """Points say everything: F(tile, 3), and F(3, tile) with the same windows. With three of them tiles have six results."""
    way = Filtering(points)
    r = Recorder()
    given = [r.input((n, 1), float64) for n in (way.products, TAPS, way.tile)]
    graph = r.graph(*given)
    module = capture(graph)
    block = main_block(module)
    build = XdslBuilder(block.last_op)
    window, kernel, tile = ([build("slice", (v,), ((k, 0), (1, 1), (1, 1)))[0] for k in range(len(inputs_for(graph, 0)[n]))] for n, v in enumerate(block.args))
    made = {}
    for factor, count in ((kernel, way.tile), (tile, TAPS)):
        products = [build("mul", pair, ())[0] for pair in zip(way.of_window(build, window), way.of_factor(build, factor), strict=True)]
        assert len(products) == way.products
        made[count] = build("concat", tuple(way.results(build, products, count)), (0,))[0]
    d, g, e = arrays = inputs_for(graph, 0)
    seen: dict[Any, Any] = {}
    oracle.evaluate(module, arrays, lambda _, values: seen.update(values))
    for factor, value in ((g, made[way.tile]), (e, made[TAPS])):
        np.testing.assert_allclose(seen[value][:, 0], np.correlate(d[:, 0], factor[:, 0], "valid"), rtol=0, atol=1e-12)


def test_tiles_that_reach_beyond_the_end_are_one_kernel() -> None:
    """Fourteen places are four tiles: all sixteen results of a tile are made of it at once, and what is beyond the end is nobody's."""
    r = Recorder()
    made = r("conv", r.input((64, 1, 16, 16, 16)), r.input((1, 32, 16, 3, 3)), attrs=((1, 1), (1, 1)))
    module = capture(r.graph(r("sum", r("mul", made, made), attrs=((0, 1, 2, 3, 4),))))
    assert Winograd().run(module) == 1
    Fuse().run(module)
    updates = [op.parent_op() for op in module.walk() if isinstance(op, BookOp) and op.op_name == "update"]
    assert len(updates) == 16 and len({*updates}) == 1


def test_most_of_them_change() -> None:
    """What the test above looks at are products of sums."""
    assert [Winograd(keep=True).run(capture(recorded("conv", *case))) for case in CASES] == [1, 1, 1, 1, 1, 0]
    assert sum(Winograd(keep=True).run(capture(recorded("conv_kernel", *case))) for case in CASES) >= 3


@pytest.mark.parametrize(
    "stride, dilation, kernel, outs, dtype",
    [(2, 1, 3, 64, float32), (1, 2, 3, 64, float32), (1, 1, 5, 64, float32), (1, 1, 3, 64, float16), (1, 1, 3, 4, float32)],
    ids=["strided", "dilated", "five elements", "half precision", "few channels"],
)
def test_others_stay(stride: int, dilation: int, kernel: int, outs: int, dtype: Any) -> None:
    r = Recorder()
    x, k = r.input((1, 1, outs, 32, 32), dtype), r.input((1, outs, outs, kernel, kernel), dtype)
    graph = r.graph(r("conv", x, k, attrs=((stride,) * 2, (dilation,) * 2)))
    assert Winograd(keep=True).run(capture(graph)) == 0


def test_the_flag_turns_it_off() -> None:
    with flags.winograd(False):
        assert Winograd(keep=True).run(capture(recorded("conv", *CASES[0]))) == 0


def test_kernels_that_change_cost() -> None:
    """A kernel that is not kept is transformed in every call: for few tiles that does not pay."""
    graph = recorded("conv", 1, 1, 128, 128, (4, 4))
    assert Winograd(keep=True).run(capture(graph)) == 1
    assert Winograd().run(capture(graph)) == 0


def results(lib: Any, size: int, batch: int) -> list[np.ndarray]:
    lib.manual_seed(0)
    F = lib.nn.functional
    x, w, v, b = lib.randn(batch, 32, size, size), lib.randn(48, 32, 3, 3) / 17, lib.randn(32, 48, 3, 3) / 21, lib.randn(48)
    for t in (x, w, v, b):
        t.requires_grad_()
    y = F.relu(F.conv2d(x, w, b, padding=1))
    z = F.conv2d(y, v, padding=1) + x
    grads = lib.autograd.grad((z * z).sum(), [x, w, v, b], create_graph=True)
    again = lib.autograd.grad(sum((g * g).sum() for g in grads[:3]), [x, w, v])
    return [t.detach().numpy() for t in (z, *grads, *again)]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("size, batch", [(12, 2), (7, 3), (18, 1)])
def test_against_pytorch(size: int, batch: int) -> None:
    """Residual block with first and second gradients."""
    import lamina

    torch = pytest.importorskip("torch")
    for want, got in zip(results(torch, size, batch), results(lamina, size, batch), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5 * max(1.0, float(np.abs(want).max())))
