"""Scans on a GPU: the kernels of one step, launched once per step on that step's slices."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_emulation

import lamina as torch
from lamina.backends import driver
from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.program import cuda_source, gpu_module
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects import flags
from lamina.dialects.graph import Graph
from lamina.lowering.capture import capture
from lamina.lowering.gpu_calls import alignments, calls_of
from lamina.lowering.gpu_launches import Launch
from lamina.pyfront import recorder


def step_of(kind: str, steps: int, features: int, hidden: int) -> tuple[Graph, list[np.ndarray]]:
    """Forward and gradients of a recurrent layer, and its inputs."""
    found: list[tuple[Graph, list[np.ndarray]]] = []
    before = recorder.state.run

    def run(graph, arrays, *rest, **options):
        found.append((graph, [np.array(a) for a in arrays]))
        return driver.run(graph, arrays, *rest, **options)

    recorder.state.run = run
    try:
        torch.manual_seed(0)
        layer = getattr(torch.nn, kind)(features, hidden)
        layer(torch.randn(steps, 2, features))[0].square().sum().backward()
        for p in layer.parameters():
            p.grad.sum().item()
    finally:
        recorder.state.run = before
    return max(found, key=lambda pair: len(pair[0].steps))


def launches_of(kind: str, steps: int) -> tuple[list[str], tuple[Launch, ...]]:
    table = cuda_source(step_of(kind, steps, 3, 4)[0], "sm_90a").table
    return table.kernels(), table.launches


def test_kernels_do_not_grow_with_the_length() -> None:
    few, short = launches_of("LSTM", 4)
    many, long = launches_of("LSTM", 40)
    assert len(few) == len(many) and len(long) - len(short) == 36 * (len(short) - len(launches_of("LSTM", 3)[1]))
    assert len(set(long)) > len(set(short))  # every step has places of its own


def test_slices_that_are_not_aligned_are_known() -> None:
    module = gpu_module(step_of("GRU", 4, 5, 3)[0], "sm_90a")
    main = next(op for op in module.body.block.ops if op.sym_name.data == "main")
    found = alignments(main)
    assert 8 in found.values() and 16 in found.values()  # rows of 2 x 3 floats, and whole arrays
    for call in calls_of(main):
        wide = found[call.op.callee.string_value()]
        assert all(place.offset % wide == 0 for place in call.places)


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("case", [("LSTM", 5, 3, 4), ("GRU", 4, 5, 3), ("RNN", 6, 3, 5), ("LSTM", 40, 8, 16)], ids=str)
def test_steps_on_emulated_threads(case) -> None:
    graph, arrays = step_of(*case)
    got = emulate.Emulation(cuda_source(graph, "sm_90a"))(arrays)
    assert largest_error(graph, got, evaluate(capture(graph), arrays)) <= 1


@needs_emulation
def test_a_python_loop_is_one_too() -> None:
    """Its kernels do not grow with the turns; the values are those of the CPU."""
    def run(device: str) -> np.ndarray:
        torch.manual_seed(0)
        w, h, states = (torch.randn(4, 4) * 0.5).to(device), torch.randn(2, 4).to(device), []
        for _ in range(24):
            h = torch.tanh(torch.sin(h @ w) - h.exp())
            states.append(h)
        return torch.stack(states).cpu().numpy()

    with flags.cuda("emulated"):
        before = set(driver.accelerator()._programs)
        found = run("cuda")
        tables = [program.table for key, program in driver.accelerator()._programs.items() if key not in before]
    recorder.flush()
    recorder.state.placement = None
    np.testing.assert_allclose(found, run("cpu"), 1e-5, 1e-6)
    assert max(len(table.launches) for table in tables) >= 24 and max(len(table.kernels()) for table in tables) < 12
