"""Winograd: the three convolutions mean the same, with errors of the size of a direct sum's; where windows are not dense or it does not pay, they stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Recorder, inputs_for

from lamina.backends import oracle
from lamina.dialects import flags
from lamina.dialects.ops import BookOp
from lamina.dialects.text import verify
from lamina.dialects.types import float16, float32
from lamina.lowering.capture import capture
from lamina.passes.winograd import Winograd

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
