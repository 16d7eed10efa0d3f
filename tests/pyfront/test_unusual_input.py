"""Input few programs give: the errors are PyTorch's, and name what can be done."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
import torch

BOTH = (lamina, torch)


@pytest.mark.parametrize("make", ["tensor", "as_tensor", "from_numpy"])
def test_another_byte_order(make):
    for t in BOTH:
        with pytest.raises(ValueError, match="byte order different from the native byte order"):
            getattr(t, make)(np.arange(3, dtype=">f4"))


def test_sequences_of_no_steps():
    for t in BOTH:
        for layer, shape in ((t.nn.LSTM(3, 4), (0, 2, 3)), (t.nn.GRU(3, 4, batch_first=True), (2, 0, 3)), (t.nn.RNN(3, 4), (0, 3))):
            with pytest.raises(RuntimeError, match="Expected sequence length to be larger than 0 in RNN"):
                layer(t.zeros(*shape))


def test_more_memory_than_there_is():
    with pytest.raises(RuntimeError, match="not enough memory"):
        lamina.zeros(1 << 50).sum().item()
    for t in BOTH:
        with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
            t.zeros(1 << 40, 1 << 40)
    assert lamina.zeros(3).sum().item() == 0


def test_a_number_is_filled_as_one():
    for t in BOTH:
        count = t.tensor(3)
        t.nn.init.zeros_(count)
        t.nn.init.ones_(total := t.tensor(2.0).apply_(lambda v: v + 1))
        assert count.numpy().shape == total.numpy().shape == () and (count.item(), total.item()) == (0, 1.0)


def test_decimal_logarithms_of_powers_of_ten_are_whole():
    for t in BOTH:
        assert t.log10(t.tensor([10.0**k for k in range(-6, 7)])).tolist() == [float(k) for k in range(-6, 7)]
