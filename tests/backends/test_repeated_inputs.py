"""Calls whose inputs are mostly those of the last call: whoever called in between, what they compute is what they are given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import needs_compiler

from lamina.backends import driver
from lamina.backends.executable import Executable, Quick
from lamina.dialects.graph import Arrays, Graph

sys.path.insert(0, str(Path(__file__).parent))

from backend_graphs import Recorder  # noqa: E402

pytestmark = needs_compiler


def _graph() -> Graph:
    r = Recorder()
    x, w, y = r.input(40, 30), r.input(48, 30), r.input(40, 48)
    return r.done(r.op("add", r.op("matmul", x, r.op("permute", w, attrs=((1, 0),))), y))


@pytest.fixture(scope="module")
def program() -> Executable:
    made = driver.compile_graph(_graph())
    assert made._copies.kept, "packed weights are what is to be followed"
    return made


def _numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _base(seed: int) -> Arrays:
    return Arrays([None, _numbers(seed, 48, 30), _numbers(seed + 1, 40, 48)])


def _taken(base: Arrays, *given: np.ndarray) -> Arrays:
    made = Arrays(base)
    made.base, made.changing = base, tuple(range(len(given)))
    made[: len(given)] = given
    return made


class Callers:
    """Two programs that share their table, a bound function of each, and inputs."""

    def __init__(self, program: Executable) -> None:
        self.programs = [program, program.beside(program.inputs, program.outputs, program.sizes)]
        self.bases = [_base(10), _base(20)]
        self.xs = [_numbers(k, 40, 30) for k in range(3)] + [_numbers(9, 30, 40).T]
        self.bound = [p.bind([None, *base[1:]]) for p, base in zip(self.programs, self.bases, strict=True)]
        self.others = Arrays([None, None, self.bases[0][2]])
        self.held: list[tuple[np.ndarray, np.ndarray]] = []

    def do(self, how: str, which: int, base: int, x: int, holds: bool) -> None:
        given = self.xs[x]
        if how == "bound":
            base = which
            (made,) = self.bound[which]([given])
        elif how == "listed":
            (made,) = self.programs[which]([given, *self.bases[base][1:]])
        elif how == "renewed":  # equal numbers, other arrays: what was taken from is gone
            self.bases[base] = Arrays([None, *[a.copy() for a in self.bases[base][1:]]])
            (made,) = self.programs[which](_taken(self.bases[base], given))
            if base == which:
                self.bound[which] = self.programs[which].bind([None, *self.bases[base][1:]])
        elif how == "weights":  # of which there are packed copies
            (made,) = self.programs[which](_taken(self.others, given, self.bases[base][1]))
        else:
            (made,) = self.programs[which](_taken(self.bases[base], given))
        _, w, y = self.bases[base]
        y = self.others[2] if how == "weights" else y
        expected = given @ w.T + y
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)
        if holds:
            self.held.append((made, expected))
        for array, numbers in self.held[-3:]:
            np.testing.assert_allclose(array, numbers, rtol=1e-4, atol=1e-4)
        del self.held[:-3]


CALLS = st.tuples(st.sampled_from(["taken", "taken", "listed", "bound", "renewed", "weights", "weights"]), st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(CALLS, min_size=2, max_size=12))
def test_in_any_order(program: Executable, calls: list[tuple[Any, ...]]) -> None:
    callers = Callers(program)
    for call in calls:
        callers.do(*call)


def test_only_what_changes_is_looked_at(program: Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    base, x = _base(30), _numbers(31, 40, 30)
    program(_taken(base, x))
    monkeypatch.setattr(program, "_find", None)
    monkeypatch.setattr(program, "_pack", None)
    for k in range(4):
        x = _numbers(k, 40, 30)
        np.testing.assert_allclose(program(_taken(base, x))[0], x @ base[1].T + base[2], rtol=1e-4, atol=1e-4)


def test_a_bound_function_does_not_run_on_what_a_program_beside_wrote(program: Executable) -> None:
    """Neither of them holds what it got: its arrays, and its result, may be somebody else's by then."""
    base, x, y = _base(50), _numbers(51, 40, 30), _numbers(52, 40, 30)
    first, second = [p.bind([None, *base[1:]]) for p in (program, program.beside(program.inputs, program.outputs, program.sizes))]
    for _ in range(6):  # until results lie where they lay
        first([x])
        second([y])
    (made,) = first([x])
    expected = made.copy()
    x[:] = 0.0
    second([y])
    assert np.array_equal(made, expected)


def test_large_programs_are_called_so(program: Executable) -> None:
    assert not program._is_small or Quick.library is None
