"""autocast and GradScaler against PyTorch without a GPU."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import lamina

torch = pytest.importorskip("torch")


def test_scaling_and_skipped_steps() -> None:
    def run(lib: Any) -> list:
        p = lib.nn.Parameter(lib.ones(3))
        optimizer = lib.optim.SGD([p], 0.5)
        scaler = lib.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        found: list[Any] = []
        for factor in (1.0, 2.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale((p * p).sum() * factor).backward()
            if factor == 2.0:
                scaler.unscale_(optimizer)
                found.append(p.grad.tolist())
            scaler.step(optimizer)
            scaler.update()
            found += [p.tolist(), scaler.get_scale()]
        state = scaler.state_dict()
        other = lib.amp.GradScaler("cpu")
        other.load_state_dict(state)
        return [*found, state, other.get_scale(), [t.item() for t in scaler.scale([lib.ones(()), lib.zeros(())])]]

    assert run(lamina) == run(torch)


def test_switched_off_without_a_gpu() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scaler = lamina.amp.GradScaler()
        with lamina.autocast("cuda"):
            y = lamina.ones(2, 2) @ lamina.ones(2, 2)
    assert [str(w.message) for w in caught] == [
        "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
        "User provided device_type of 'cuda', but CUDA is not available. Disabling",
    ]
    assert y.dtype is lamina.float32 and scaler.scale(y) is y and scaler.get_scale() == 1.0 and scaler.state_dict() == {}
