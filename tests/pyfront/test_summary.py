"""The summary table: shapes, parameters, multiply-adds counted by hand, and a model that stays as it was."""

from __future__ import annotations

import pytest

import lamina
from lamina import nn


def test_counts_and_text() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 8 * 8, 10))
    model[0].weight.requires_grad_(False)
    found = lamina.summary(model, input_size=(2, 3, 8, 8))
    convolution, linear = 2 * 16 * 8 * 8 * 3 * 9, 2 * 1024 * 10
    assert [(r.name, r.kind, r.shape, r.parameters, r.macs) for r in found.rows] == [
        ("", "Sequential", "[2, 10]", 10698, convolution + linear), ("0", "Conv2d", "[2, 16, 8, 8]", 448, convolution),
        ("1", "ReLU", "[2, 16, 8, 8]", 0, 0), ("2", "Flatten", "[2, 1024]", 0, 0), ("3", "Linear", "[2, 10]", 10250, linear),
    ]  # fmt: skip
    assert (found.trainable, found.frozen, found.macs) == (10266, 432, convolution + linear)
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "multiply-adds"]
    assert lines[3].split() == ["0:", "Conv2d", "[2,", "16,", "8,", "8]", "448", f"{convolution:,}"]
    assert lines[-2:] == ["parameters: 10,698 (10,266 trainable, 432 frozen)", f"multiply-adds: {convolution + linear:,}"]


def test_scans_composites_and_state() -> None:
    lstm = nn.LSTM(8, 16, num_layers=2, batch_first=True)
    assert lamina.summary(lstm, lamina.zeros(2, 5, 8)).macs == 2 * 5 * 64 * (8 + 16 + 16 + 16)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    before = {k: v.tolist() for k, v in model.state_dict().items()}
    lamina.manual_seed(0)
    state = lamina.get_rng_state().tolist()
    lamina.summary(model, lamina.ones(2, 4), depth=0)
    assert {k: v.tolist() for k, v in model.state_dict().items()} == before and model.training and model[2].training
    assert lamina.get_rng_state().tolist() == state and not model[0]._forward_hooks
    with pytest.raises(ValueError, match="input_size"):
        lamina.summary(model)
