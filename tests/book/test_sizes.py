"""Sizes known only at the call: arithmetic against ints, questions against what they note."""

from __future__ import annotations

import json
import operator
import subprocess

import pytest
from needs import needs_compiler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lamina.backends.toolchain import find_compiler
from lamina.dialects.sizes import NeedsNumber, Real, Scope, Size, admits, any_symbolic, estimate, largest, least, same, substituted

SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod}


@st.composite
def expressions(draw, depth=4):
    """A function of two numbers, made of + - * by small ints and // % by positive ones."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        which = draw(st.integers(0, 2))
        constant = draw(st.integers(0, 9))
        return (lambda a, b: a, lambda a, b: b, lambda a, b: constant)[which]
    sign = draw(st.sampled_from(list(SIGNS)))
    left = draw(expressions(depth=depth - 1))
    if sign in ("//", "%"):
        by = draw(st.integers(1, 9))
        return lambda a, b: SIGNS[sign](left(a, b), by)
    right = draw(expressions(depth=depth - 1))
    return lambda a, b: SIGNS[sign](left(a, b), right(a, b))


def scope() -> Scope:
    return Scope([12, 7], [64, 32])


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions(), st.integers(2, 64), st.integers(2, 32))
def test_arithmetic_is_that_of_ints(expression, a, b):
    try:
        found = expression(*scope().symbols())
    except NeedsNumber:
        return  # the sign of what is divided is not known
    assert substituted(found, (a, b)) == expression(a, b)
    assert least(found) <= expression(a, b) <= largest(found)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions(), st.integers(2, 64), st.integers(2, 32))
def test_the_text_means_the_size(expression, a, b):
    try:
        found = expression(*scope().symbols())
    except NeedsNumber:
        return
    assert eval(str(found), {"s0": a, "s1": b}) == expression(a, b)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions(), expressions(), st.sampled_from([operator.lt, operator.le, operator.gt, operator.ge]), st.integers(2, 64), st.integers(2, 32))
def test_what_a_question_relies_on_is_noted(one, other, question, a, b):
    """Wherever the facts admit the values, the answer is the one they give."""
    noting = scope()
    try:
        x, y = (each(*noting.symbols()) for each in (one, other))
        answer = question(x, y)
    except NeedsNumber:
        return
    assert question(estimate(x), estimate(y)) == answer
    if admits(noting.facts(), (a, b)):
        assert question(one(a, b), other(a, b)) == answer


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions(), st.integers(0, 1), st.integers(2, 64), st.integers(2, 32))
def test_zero_and_one_are_noted(expression, number, a, b):
    noting = scope()
    try:
        x = expression(*noting.symbols())
        answer = x == number
    except NeedsNumber:
        return
    if admits(noting.facts(), (a, b)):
        assert (expression(a, b) == number) == answer


def test_equal_expressions_are_equal():
    n, m = scope().symbols()
    assert n * 4 + n == 5 * n and hash(n * 4 + n) == hash(5 * n)
    assert n != m and n != 12 and not any_symbolic([n - n]) and n - n == 0
    assert (n * 64 + 3) // 64 == n and (n * 64 + 3) % 64 == 3 and n * m // m == n
    assert same(n, n + 0) and not same(n, 12)


def test_a_value_is_not_given_away():
    n, _ = scope().symbols()
    for question in (lambda: range(n), lambda: int(n), lambda: float(n), lambda: [0] * n, lambda: 1 << n, lambda: n < 2.5):
        with pytest.raises((NeedsNumber, TypeError)):
            question()


def test_questions_narrow_bounds():
    noting = scope()
    n, _ = noting.symbols()
    assert n > 4 and n < 40
    assert noting.facts() == {"low": [5, 2], "high": [39, 32], "conditions": []}
    assert n % 8 > 2
    assert [(str(size), to) for size, to in noting.conditions] == [("((s0 % 8) * -1 + 2)", "<")]
    assert admits(noting.facts(), (11, 2)) and not admits(noting.facts(), (8, 2)) and not admits(noting.facts(), (40, 2))


def test_facts_are_plain_data():
    noting = scope()
    n, m = noting.symbols()
    assert n * m % 8 > 2 and n * m > 50
    facts = json.loads(json.dumps(noting.facts()))
    assert all(admits(facts, (a, b)) == (a * b % 8 > 2 and a * b > 50) for a in range(2, 64) for b in range(2, 32))


def test_each_scope_has_its_own_symbols():
    one, other = scope().symbols()[0], scope().symbols()[0]
    assert isinstance(one, Size) and str(one) == str(other) and one != other


@needs_compiler
def test_numbers_made_of_sizes_are_pythons(tmp_path):
    """A mean's divisor, a derivative's factor: the expression of C gives the very float Python computes."""
    n, _ = scope().symbols()
    made = {"a": 2 / (n * 10), "b": n / (n - 1) * 0.1, "c": 0.1 * (n / 3) + 1.5}
    assert all(isinstance(v, Real) for v in made.values())
    body = "".join(f'printf("%a ", {v.c_text()});' for v in made.values())
    source = f"#include <stdint.h>\n#include <stdio.h>\nint main(void) {{ for (int64_t s0 = 2; s0 < 40; s0++) {{ {body} }} return 0; }}\n"
    (tmp_path / "numbers.c").write_text(source)
    subprocess.run([*find_compiler().command, "-O2", "-ffp-contract=off", str(tmp_path / "numbers.c"), "-o", str(tmp_path / "numbers")], check=True)
    found = map(float.fromhex, subprocess.run([str(tmp_path / "numbers")], check=True, capture_output=True, text=True).stdout.split())
    assert list(found) == [f for n in range(2, 40) for f in (2 / (n * 10), n / (n - 1) * 0.1, 0.1 * (n / 3) + 1.5)]
