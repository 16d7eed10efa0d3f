"""Phrases: what is recorded again is what the book would have given; attributes of layers are found as PyTorch finds them."""

from __future__ import annotations

import lamina as torch
import pytest
from lamina.pyfront import recorder
from lamina.pyfront.node import PHRASE
from lamina.pyfront.phrases import Phrases
from lamina.pyfront.schedule import Schedule
from lamina.pyfront.tensor import wrap

F = torch.nn.functional


def _steps(node, until):
    """The steps behind a Node, as (op, attributes, type, tracked), the last one first."""
    found, stack = [], [node]
    while stack:
        node = stack.pop()
        if all(node is not n for n in until):
            found.append((node.op, node.attrs, node.type, node.requires_grad))
            stack += node.inputs
    return found


@pytest.mark.parametrize("bias", [True, False])
def test_the_second_recording_is_the_first(bias):
    x, w = torch.randn(2, 4, 9, 9), torch.randn(6, 2, 3, 3, requires_grad=True)
    b = torch.randn(6) if bias else None
    operands = [t._read() for t in (x, w, b) if t is not None]
    first, second = [_steps(F.conv2d(x, w, b, [2, 1], 1, 1, 2)._read(), operands) for _ in range(2)]
    assert first == second and first[-1][0] is not None


def test_tracked_where_an_operand_is():
    x, w = torch.randn(1, 2, 5, 5), torch.randn(2, 2, 3, 3)
    assert not F.conv2d(x, w).requires_grad
    assert F.conv2d(x, w.requires_grad_()).requires_grad
    with torch.no_grad():
        assert not F.conv2d(x, w).requires_grad
    assert F.max_pool2d(x.requires_grad_(), 2).requires_grad


def test_one_tensor_as_both_operands():
    same = torch.randn(3, 3, 3, 3)
    alone = F.conv2d(same, same)
    other = torch.randn(3, 3, 3, 3)
    assert torch.equal(F.conv2d(same, other), F.conv2d(same.clone(), other))
    assert torch.equal(alone, F.conv2d(same.clone(), same))


def test_a_phrase_without_gradients_is_one_node_of_the_same_program():
    w, one, graphs, ops = torch.randn(4, 2, 3, 3), torch.ones(3, 4, 1, 1), [], []
    for _ in range(3):
        x = torch.randn(1, 2, 6, 6) * 1.0
        y = F.conv2d(F.conv2d(x, w, padding=1), one)
        graphs.append(Schedule([y._read(), (y * 2.0)._read()]).graph)
        ops.append(y._read().op)
        assert torch.equal(y, F.conv2d(F.conv2d(x.requires_grad_(), w, padding=1), one).detach())
    assert ops == [PHRASE] * 3 and graphs[0] == graphs[1] == graphs[2]


def test_what_a_compiled_function_reads_may_be_a_phrase():
    w, x = torch.randn(4, 2, 3, 3), torch.randn(1, 2, 6, 6) * 1.0
    F.conv2d(x, w)
    held = [F.conv2d(x, w)]
    assert held[0]._read().op == PHRASE
    function = torch.compile(lambda y: y + held[0])
    wanted = F.conv2d(x, w)
    for _ in range(3):
        assert torch.equal(function(torch.ones(1, 4, 4, 4) * 1.0), wanted + 1.0)


def test_what_is_no_phrase_is_not_kept():
    phrases = Phrases()
    x = torch.randn(3)._read()
    y = recorder.record("add", (x, x))
    assert phrases.keep("twice", (x, x), y) is y and not phrases
    brought = recorder.record("add", (x, torch.tensor([1.0, 2.0, 3.0])._read()))
    phrases.keep("a value from elsewhere", (x,), brought)
    assert not phrases
    phrases.keep("one step", (x,), recorder.record("tanh", (x,)))
    assert phrases["one step"].again((torch.randn(3)._read(),)).op == "tanh"


def test_errors_name_the_line_on_every_call():
    for _ in range(2):
        with pytest.raises(RuntimeError, match="expected input"):
            F.conv2d(torch.randn(1, 3, 8, 8), torch.randn(4, 2, 3, 3))


def test_entries_of_layers_are_ordinary_attributes():
    layer = torch.nn.Linear(2, 3, bias=False)
    assert layer.bias is None and layer.weight is layer._parameters["weight"]
    del layer.weight
    assert not hasattr(layer, "weight")
    layer.weight = torch.ones(3, 2)  # no parameter: it lives beside the tables
    assert "weight" in layer.__dict__ and layer(torch.ones(2)).tolist() == [2.0] * 3

    class Doubled(torch.nn.Linear):
        @property
        def weight(self):
            return self._parameters["weight"] * 2

    made = torch.nn.Linear(1, 1, bias=False)
    made.__class__ = Doubled  # as parametrizations do
    assert made(torch.ones(1)).item() == 2 * made._parameters["weight"].item()
    with pytest.raises(AttributeError, match="'BatchNorm1d' object has no attribute 'scale'"):
        _ = torch.nn.BatchNorm1d(2).scale
    with pytest.raises(KeyError, match="already exists"):
        layer.register_buffer("weight", torch.ones(1))


def test_a_class_target_is_looked_at_again_after_it_changed():
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    assert F.cross_entropy(logits, target).item() == pytest.approx(1.0986, abs=1e-3)
    target[1] = 7
    with pytest.raises(IndexError):
        F.cross_entropy(logits, target).item()


def test_several_results_and_steps_with_several():
    phrases = Phrases()

    def function(x, y):
        largest, where = recorder.record_many("sort", (x,), (0, False))
        return [recorder.record("add", (largest, y)), where]

    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        x, y = torch.randn(5, requires_grad=seed == 1), torch.randn(5)
        made.append(phrases.recorded("sorted", (x._read(), y._read()), function))
        total, where = [wrap(node) for node in made[-1]]
        assert total.requires_grad == (seed == 1) and not where.requires_grad
        expected = x.detach().sort(0)
        assert torch.equal(total.detach(), expected.values + y) and torch.equal(where, expected.indices)
    assert len(phrases) == 1


def _detached(node):
    return wrap(node).detach()._read()


def test_identities_of_autograd_are_no_phrase():
    phrases = Phrases()
    x = torch.randn(3, requires_grad=True)
    for _ in range(2):
        (y,) = phrases.recorded("detached", (x._read(),), lambda node: [recorder.record("tanh", (_detached(recorder.record("exp", (node,))),))])
        assert not y.requires_grad
    assert not phrases
