"""CTC loss against PyTorch: values, gradients, impossible labellings, lengths, layouts of targets, reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamina
from lamina.pyfront import recorder

torch = pytest.importorskip("torch")

CASES: list[dict[str, Any]] = [
    {"steps": 10, "lengths": (4, 2, 0), "inputs": (10, 8, 5)},
    {"steps": 10, "lengths": (4, 2, 3), "inputs": (10, 8, 5), "joined": True, "reduction": "sum"},
    {"steps": 12, "lengths": (4, 4), "inputs": (12, 11), "repeats": True, "reduction": "none"},
    {"steps": 5, "lengths": (4, 4), "inputs": (5, 3), "repeats": True, "reduction": "none", "zero_infinity": True},
    {"steps": 5, "lengths": (4, 1), "inputs": (5, 5), "repeats": True, "reduction": "none"},
    {"steps": 10, "lengths": (4, 2, 1), "inputs": (10, 8, 5), "normalised": False, "dtype": np.float64},
    {"steps": 9, "lengths": (4, 3), "inputs": (9, 9), "blank": 4, "tensors": True},
]


def losses(
    lib: Any, steps: int, lengths: Any, inputs: Any, joined: bool = False, repeats: bool = False, normalised: bool = True,
    dtype: Any = np.float32, tensors: bool = False, **options: Any,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    numbers = np.random.RandomState(steps)
    n, blank = len(lengths), options.get("blank", 0)
    labels = numbers.randint(1, 5, (n, 4)) - (blank == 4)
    if repeats:
        labels[:, ::2] = labels[:, 1::2]
    x = lib.from_numpy(numbers.randn(steps, n, 5).astype(dtype)).requires_grad_()
    targets = lib.from_numpy(labels)
    if joined:
        targets = lib.cat([targets[i, :length] for i, length in enumerate(lengths)])
    if tensors:
        lengths, inputs = lib.tensor(lengths), lib.tensor(inputs)
    loss = lib.nn.CTCLoss(**options)(x.log_softmax(2) if normalised else x, targets, inputs, lengths)
    loss.sum().backward()
    return loss.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_as_pytorch(case: dict[str, Any]) -> None:
    for ours, theirs in zip(losses(lamina, **case), losses(torch, **case), strict=True):
        np.testing.assert_allclose(ours, theirs, 2e-5, 2e-6)


def test_one_sequence_and_messages() -> None:
    found = []
    for lib in (lamina, torch):
        x = lib.from_numpy(np.random.RandomState(0).randn(6, 5).astype(np.float32)).log_softmax(1)
        ctc = lib.nn.functional.ctc_loss
        seen: list[Any] = [round(float(ctc(x, lib.tensor([1, 2, 2]), lib.tensor(6), lib.tensor(3))), 5)]
        for wrong in ({"blank": 5}, {"input_lengths": (7,)}):
            options = {"input_lengths": (6,), "target_lengths": (3,), **wrong}
            with pytest.raises(RuntimeError) as caught:
                ctc(x.unsqueeze(1), lib.tensor([[1, 2, 2]]), **options)
            seen.append(str(caught.value))
        found.append(seen)
    assert found[0] == found[1]


def test_the_program_does_not_grow_with_the_length() -> None:
    sizes = []
    for steps in (6, 60, 6, 60):  # the first ones also trace the step, and look at calls
        before = recorder.state.order
        x = lamina.zeros(steps, 1, 5).log_softmax(2)
        lamina.nn.functional.ctc_loss(x, lamina.tensor([[1, 2]]), (steps,), (2,))
        sizes.append(recorder.state.order - before)
    assert sizes[2] == sizes[3]
