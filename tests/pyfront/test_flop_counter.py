"""torch.utils.flop_counter: operations of products by module, as PyTorch counts them on a GPU."""

from __future__ import annotations

import lamina
import pytest
import torch
import torch.utils.flop_counter
from lamina.pyfront import flop_counter

BOTH = ((lamina, flop_counter.FlopCounterMode), (torch, torch.utils.flop_counter.FlopCounterMode))


def _counts(program):
    found = []
    for t, mode in BOTH:
        run = program(t)
        with mode(display=False, depth=None) as counter:
            run()
        counts = counter.get_flop_counts()
        assert counter.get_total_flops() == sum(counts["Global"].values())
        found.append({name: {str(op): n for op, n in sorted(ops.items(), key=str)} for name, ops in counts.items()})
    return found


def _network(t):
    return t.nn.Sequential(t.nn.Conv2d(3, 8, 3, padding=1, stride=2), t.nn.ReLU(), t.nn.Flatten(), t.nn.Sequential(t.nn.Linear(128, 10)))


def _forward(t):
    network, x = _network(t), t.randn(2, 3, 8, 8)
    return lambda: network(x)  # nobody looks at what it gives


def _without_gradients(t):
    network, x = _network(t), t.randn(2, 3, 8, 8)

    def run():
        with t.no_grad():
            for _ in range(3):
                network(x).sum().item()

    return run


def _training(t):
    network, x = _network(t), t.randn(2, 3, 8, 8)
    optimizer = t.optim.Adam(network.parameters())

    def run():
        for _ in range(3):
            optimizer.zero_grad()
            network(x).pow(2).mean().backward()
            optimizer.step()

    return run


def _plain_products(t):
    w = t.randn(4, 5, requires_grad=True)

    def run():
        (t.randn(3, 4) @ w).sum().backward()
        t.einsum("bij,bjk->bik", t.randn(2, 3, 4), t.randn(2, 4, 5)).tolist()
        t.addmm(t.zeros(3, 5), t.randn(3, 4), w.detach())

    return run


def _transposed(t):
    layer, x = t.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), t.randn(1, 2, 9, 9, requires_grad=True)
    return lambda: layer(x).sum().backward()


def _attention_layer(t):
    layer, x = t.nn.MultiheadAttention(4, 2), t.randn(3, 2, 4)
    return lambda: layer(x, x, x)[0].sum().backward()


def _frozen(t):
    network, x = _network(t), t.randn(2, 3, 8, 8)
    network[0].requires_grad_(False)
    return lambda: network(x).sum().backward()


@pytest.mark.parametrize("program", [_forward, _without_gradients, _training, _transposed, _attention_layer, _frozen])
def test_counts_are_pytorchs(program):
    mine, theirs = _counts(program)
    assert mine == theirs


def test_products_outside_of_modules():
    mine, theirs = _counts(_plain_products)
    assert theirs == {"Global": {"aten.mm": 240, "aten.bmm": 240, "aten.addmm": 120}}
    assert mine == {"Global": {"aten.mm": 240, "aten.bmm": 240}}  # the last one is looked at by nobody


def test_attention_counts_four_products_and_twice_as_many_backward():
    q = lamina.randn(2, 4, 16, 8, requires_grad=True)
    with flop_counter.FlopCounterMode(display=False) as counter:
        lamina.nn.functional.scaled_dot_product_attention(q, q, q).sum().backward()
    assert counter.get_total_flops() == 3 * (2 * 2 * 2 * 4 * 16 * 16 * 8)


def test_recurrent_layers_count_every_step():
    layer = lamina.nn.LSTM(4, 5)
    with lamina.no_grad(), flop_counter.FlopCounterMode(display=False) as counter:
        layer(lamina.randn(3, 2, 4))
    assert counter.get_total_flops() == 2 * 3 * 2 * 20 * (4 + 5)


def test_the_table_is_printed(capsys):
    network, x = _network(lamina), lamina.randn(2, 3, 8, 8)
    with flop_counter.FlopCounterMode(depth=2):
        network(x)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Module", "FLOP", "%", "Total"]
    assert [line.split()[0] for line in lines if "-" not in line.split()[0]] == ["Module", "Sequential", "Sequential.0", "Sequential.3"]
    assert lines[2].split() == ["Sequential", "18.944K", "100.00%"]


def test_nothing_is_counted_behind_the_region():
    network, x = _network(lamina), lamina.randn(2, 3, 8, 8)
    with flop_counter.FlopCounterMode(display=False) as counter:
        network(x)
    before = counter.get_total_flops()
    network(x).sum().backward()
    assert counter.get_total_flops() == before
    with counter:
        pass
    assert counter.get_total_flops() == 0


def test_calls_that_are_replayed_count_as_any():
    network, x = _network(lamina), lamina.randn(2, 3, 8, 8)
    replayed = lamina.compile(network)
    with lamina.no_grad():
        for _ in range(4):
            replayed(x)
        with flop_counter.FlopCounterMode(display=False) as counter:
            replayed(x)
    assert counter.get_total_flops() == 18944
