"""Gradients of whole graphs: the pass against the oracle's backward walk, formulas and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Recorder, cnn_step, inputs_for
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.text import parse, print_module, verify
from lamina.dialects.types import float64, int64
from lamina.lowering.capture import capture
from lamina.passes.autodiff import Differentiate
from lamina.passes.program import main_block


def both(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The results of the differentiated module, checked against the oracle on the captured one."""
    module = capture(graph)
    verify(module)
    wanted = evaluate(module, arrays)
    Differentiate().run(module)
    verify(module)
    assert not any(op.name.startswith("autodiff.") for op in main_block(module).ops)
    found = evaluate(module, arrays)
    for want, have in zip(wanted, found, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-7)
    return found


def test_gradient_of_a_shared_value() -> None:
    r = Recorder()
    x, seed = r.input((3,), float64), r.input((3,), float64)
    y = r("mul", x, r("sin", x))
    a, b = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])
    (found,) = both(r.graph(r("autodiff.grad", y, seed, x)), [a, b])
    np.testing.assert_allclose(found, b * (np.sin(a) + a * np.cos(a)))


def test_gradient_of_a_gradient() -> None:
    r = Recorder()
    x, seed = r.input((), float64), r.input((), float64)
    y = r("tanh", r("mul", r("mul", x, x), x))
    first = r("autodiff.grad", y, seed, x)
    second = r("autodiff.grad", r("mul", first, first), seed, x)
    h = 1e-5

    def slope(v: float) -> float:
        return 3 * v * v * (1 - np.tanh(v**3) ** 2)

    found = both(r.graph(first, second), [np.array(0.7), np.array(1.0)])
    np.testing.assert_allclose(found[0], slope(0.7))
    np.testing.assert_allclose(found[1], (slope(0.7 + h) ** 2 - slope(0.7 - h) ** 2) / (2 * h), rtol=1e-8)


def test_gradients_of_intermediate_values_and_unreached_ones() -> None:
    r = Recorder()
    x, w, seed = r.input((3,), float64), r.input((3,), float64), r.input((3,), float64)
    h = r("exp", x)
    y = r("mul", h, h)
    first = r("autodiff.grad", y, seed, x, h, w, y)
    a, s = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])
    dx, dh, dw, dy = both(r.graph(*range(first, first + 4)), [a, a, s])
    np.testing.assert_allclose(dx, s * 2 * np.exp(2 * a))
    np.testing.assert_allclose(dh, s * 2 * np.exp(a))
    np.testing.assert_allclose(dw, 0)
    np.testing.assert_allclose(dy, s)


def test_integers_and_bools_stop_gradients() -> None:
    r = Recorder()
    x, seed = r.input((4,), float64), r.input((4,), float64)
    whole = r("cast", r("cast", x, attrs=(int64,)), attrs=(float64,))
    y = r("select", r("greater", x, whole), r("mul", x, whole), x)
    a = np.array([1.5, -1.5, 0.25, 3.0])
    (found,) = both(r.graph(r("autodiff.grad", y, seed, x)), [a, np.ones(4)])
    np.testing.assert_allclose(found, [1.0, 1.0, 0.0, 1.0])


def test_composites_whose_other_results_are_used_are_opened() -> None:
    """batch_norm's `d` lines speak of y only; the gradient through mean and var comes from its meaning."""
    r = Recorder()
    x, w, b, seed = (
        r.input((4, 3), float64),
        r.input((3,), float64),
        r.input((3,), float64),
        r.input((3,), float64),
    )
    y = r("batch_norm", x, w, b, attrs=(1e-5,))
    (found,) = both(r.graph(r("autodiff.grad", y + 2, seed, x)), inputs_for(r.graph(), 3))
    arrays = inputs_for(r.graph(), 3)
    np.testing.assert_allclose(found, arrays[3] * 2 / 4 * (arrays[0] - arrays[0].mean(0)), rtol=1e-9)


def test_saved_values_are_read_and_differentiated_through() -> None:
    r = Recorder()
    x, kept, seed = r.input((3,), float64), r.input((3,), float64), r.input((3,), float64)
    y = r("tanh", x)
    z = r("mul", y, y)
    s = r("autodiff.saved", y, kept)
    loss = r("mul", s, z)
    graph = r.graph(loss, r("autodiff.grad", loss, seed, x))
    a = np.array([0.1, 0.2, 0.3])
    k = np.tanh(a)
    loss_value, dx = both(graph, [a, k, np.ones(3)])
    np.testing.assert_allclose(loss_value, k**3)
    np.testing.assert_allclose(dx, 3 * k * k * (1 - k * k))


def test_a_saved_constant_detaches() -> None:
    """What the frontend records for detach(): contents without history; others read the constant."""
    r = Recorder()
    x, seed = r.input((3,), float64), r.input((3,), float64)
    zero = r.full((3,), 0.0, float64)
    detached = r("autodiff.saved", zero, x)
    again = r("autodiff.saved", zero, r("sin", x))
    loss = r("add", r("mul", r("mul", detached, x), again), zero)
    a = np.array([0.1, 0.2, 0.3])
    value, dx = both(r.graph(loss, r("autodiff.grad", loss, seed, x)), [a, np.ones(3)])
    np.testing.assert_allclose(value, a * a * np.sin(a))
    np.testing.assert_allclose(dx, a * np.sin(a))


def test_gradients_with_respect_to_saved_values() -> None:
    r = Recorder()
    x, kept, seed = r.input((3,), float64), r.input((3,), float64), r.input((3,), float64)
    y = r("autodiff.saved", r("exp", x), kept)
    loss = r("autodiff.saved", r("mul", y, y), r("mul", kept, kept))
    first = r("autodiff.grad", loss, seed, x, y)
    a = np.array([0.1, 0.2, 0.3])
    dx, dy = both(r.graph(first, first + 1), [a, np.exp(a), np.ones(3)])
    np.testing.assert_allclose(dy, 2 * np.exp(a))
    np.testing.assert_allclose(dx, 2 * np.exp(2 * a))


def test_the_training_step_of_a_small_cnn() -> None:
    graph = cnn_step(2, (1, 2, 3), 4, 8)
    arrays = [
        np.abs(a) if name and name.endswith(".v") else a
        for a, name in zip(inputs_for(graph), graph.names, strict=True)
    ]
    both(graph, arrays)


def test_a_captured_module_round_trips_as_text() -> None:
    module = capture(cnn_step(2, (1, 2, 3), 4, 8))
    text = print_module(module)
    assert print_module(parse(text)) == text
    Differentiate().run(module)
    text = print_module(module)
    assert print_module(parse(text)) == text


@pytest.mark.torch
def test_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    r = Recorder()
    x, w, b, target = r.input((5, 7)), r.input((4, 7)), r.input((4,)), r.input((5,), int64)
    seed = r.input(())
    logits = r("gelu", r("layer_norm", r("linear", x, w, b), b, b, attrs=(1, 1e-5)))
    loss = r("cross_entropy", logits, target)
    first = r("autodiff.grad", loss, seed, x, w, b)
    graph = r.graph(loss, first, first + 1, first + 2)
    arrays = inputs_for(graph)
    arrays[3] %= 4
    arrays[4] = np.float32(1)
    found = both(graph, arrays)
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in arrays[:3])
    y = torch.nn.functional.gelu(torch.nn.functional.layer_norm(tx @ tw.T + tb, (4,), tb, tb))
    wanted = torch.nn.functional.cross_entropy(y, torch.tensor(arrays[3]))
    wanted.backward()
    for want, have in zip((wanted, tx.grad, tw.grad, tb.grad), found, strict=True):
        np.testing.assert_allclose(have, want.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_several_seeds_at_once_are_a_jacobian() -> None:
    """And what they give can be differentiated again: here the Hessian's product with what arrives."""
    r = Recorder()
    x, w, seeds, g = r.input((2, 3), float64), r.input((3, 4), float64), r.input((5, 2, 4), float64), r.input((5, 2, 3), float64)
    y = r("softmax", r("matmul", r("tanh", x), w), attrs=((1,),))
    unused = r("exp", w)
    dx, = (r("autodiff.grad", y, seeds, x, w, unused),)
    again = r("autodiff.grad", r("mul", dx, dx), g, x, seeds)
    arrays = inputs_for(r.graph(), 5)
    found = both(r.graph(dx, dx + 1, dx + 2, again, again + 1), arrays)
    one = Recorder()
    x, w, seed = one.input((2, 3), float64), one.input((3, 4), float64), one.input((2, 4), float64)
    y = one("softmax", one("matmul", one("tanh", x), w), attrs=((1,),))
    graph = one.graph(*range(first := one("autodiff.grad", y, seed, x, w), first + 2))
    for i in range(5):
        dx, dw = both(graph, [arrays[0], arrays[1], arrays[2][i]])
        np.testing.assert_allclose(found[0][i], dx)
        np.testing.assert_allclose(found[1][i], dw)
    np.testing.assert_allclose(found[2], 0)
