"""Every rule fires in a test of its own, keeps the values it promises, and obeys the laws of the language."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Recorder, cnn_step
from lamina.backends.oracle import evaluate
from lamina.dialects.errors import RuleError
from lamina.dialects.ops import BookOp, stanza_of
from lamina.dialects.text import verify
from lamina.lowering.capture import capture
from lamina.passes.cse import ComputeOnce
from lamina.passes.dce import RemoveDead
from lamina.passes.order import cost
from lamina.passes.program import main_block
from lamina.passes.rule_language import Rule, read_rules
from lamina.passes.rules import algebra, apply_rules
from lamina.passes.simplify import Simplify
from rule_cases import cases

ENOUGH = 6


def equal(a: np.ndarray, b: np.ndarray, exact: bool) -> bool:
    """NaN equals NaN and 0.0 equals -0.0; without `exact` rounding may differ."""
    if a.dtype.kind != "f":
        return bool((a == b).all())
    return np.array_equal(a, b, equal_nan=True) if exact else np.allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("rule", algebra(), ids=lambda rule: rule.name)
def test_rule_fires_and_keeps_values(rule: Rule) -> None:
    fired = 0
    for case, graph in cases(rule):
        module = capture(graph)
        before = module.clone()
        count = apply_rules(main_block(module), (rule,))[rule]
        if not count:
            continue
        fired += 1
        verify(module)
        RemoveDead().run(module)
        assert total_cost(module) < total_cost(before), "a rule lowers the cost of order.py"
        arrays = case.inputs(graph, rule.exact, fired)
        (want,), (have,) = evaluate(before, arrays), evaluate(module, arrays)
        assert want.dtype == have.dtype and equal(want, have, rule.exact), f"{rule}\n{before}\n{want}\n{have}"
        if fired == ENOUGH:
            return
    assert fired, f"{rule.name} never fired"


def total_cost(module: object) -> int:
    """Sum of the published cost over a program."""
    return sum(cost(stanza_of(op)) for op in main_block(module).ops if isinstance(op, BookOp))


def test_a_fixed_point_is_reached() -> None:
    from lamina.passes.autodiff import Differentiate
    from lamina.passes.open_composites import OpenComposites

    module = capture(cnn_step(2, (1, 2, 3), 4, 8))
    Differentiate().run(module)
    OpenComposites().run(module)
    assert Simplify().run(module)
    assert Simplify().run(module) == 0


def test_no_rule_relies_on_file_order() -> None:
    from lamina.passes.autodiff import Differentiate
    from lamina.passes.open_composites import OpenComposites

    module = capture(cnn_step(2, (1, 2, 3), 4, 8))
    Differentiate().run(module)
    OpenComposites().run(module)
    costs = []
    for rules in (algebra(), algebra()[::-1]):
        copy = module.clone()
        apply_rules(main_block(copy), rules)
        ComputeOnce().run(copy)
        RemoveDead().run(copy)
        costs.append(total_cost(copy))
    assert costs[0] == costs[1]


def test_the_trace_says_what_fired() -> None:
    r = Recorder()
    x = r.input((4,))
    module = capture(r.graph(r("neg", r("neg", x)), r("add", x, r.full((4,), 0.0))))
    changes = Simplify().run(module)
    assert [line.split(",")[0] for line in changes.details] == ["add_zero x1", "neg_neg x1"]


def test_values_used_elsewhere_are_not_recomputed() -> None:
    """`factor` pays only if both products die."""
    r = Recorder()
    x, y, z = (r.input((4,)) for _ in range(3))
    a, b = r("mul", x, z), r("mul", y, z)
    module = capture(r.graph(r("add", a, b), a, b))
    assert Simplify(fast=True).run(module) == 0


LAWS = [
    ("add_neg: x + (-z) => x - y", "'y' appears on the right but not on the left"),
    ("grow: x + y => x + y + 0", "costs 20, the pattern 10"),
    ("what: frob(x) => x", "no op called 'frob'"),
    ("few: sum(x) => x", "sum takes 2 arguments, got 1"),
    ("kinds: sum(p, p) => p", "stands for a tensor and for a axes"),
    ("a: -(-x) => x\nb: -(-(-x)) => -x\na: x + 0 => x", "two rules are called a"),
    ("a: x * 1 => x\nb: y * 1 => y", "b never fires first: a matches the same"),
    ("a: x + => x", "cannot read this rule"),
    ("a: sort(x, n, f) => x", "sort has 2 results"),
]


@pytest.mark.parametrize(("text", "message"), LAWS, ids=[m[:24] for _, m in LAWS])
def test_laws_are_enforced_at_load(text: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        read_rules(text, "passes/test.rules")
    assert message in str(caught.value)
    assert "passes/test.rules:" in str(caught.value)


def test_errors_point_at_the_place() -> None:
    with pytest.raises(RuleError) as caught:
        read_rules("add_neg: x + (-z) => x - y", "passes/algebra.rules")
    assert str(caught.value).splitlines() == [
        "'y' appears on the right but not on the left",
        "    passes/algebra.rules:1  add_neg: x + (-z) => x - y",
        " " * 53 + "^",
        "help: bound there: x, z",
    ]


def test_rules_have_text_and_origin() -> None:
    for rule in algebra():
        assert rule.text.startswith(f"{rule.name}:")
        assert rule.origin.startswith("passes/algebra.rules:")
