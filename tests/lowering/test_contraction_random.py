"""Random contractions (any mix of batch, row, column and reduction loops, orders, windows, epilogues) against numpy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from contraction_programs import BIAS_RELU, Compiled, Operand, Program, lowered  # noqa: E402

from lamina.dialects.target import AVX2, PORTABLE, native_target  # noqa: E402


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Loops a, b (batch), m, n (rows), o, p (columns), k, l (reductions); rows may be windows over k."""
    sizes = {"b": draw(st.integers(1, 3)), "m": draw(st.integers(1, 20)), "n": draw(st.integers(1, 9))}
    sizes |= {"o": draw(st.integers(1, 40)), "p": draw(st.integers(1, 5))}
    sizes |= {"k": draw(st.integers(1, 9)), "l": draw(st.integers(2, 40))}
    window = draw(st.booleans())
    row = f"{draw(st.integers(1, 2))}*m+k" if window else "m"

    def shuffled(dims: list[str]) -> Operand:
        order = draw(st.permutations(range(len(dims))))
        return Operand(tuple(dims), None if list(order) == sorted(order) else tuple(order))

    left = shuffled(["b", row, "n", *([] if window else ["k"]), "l"])
    right = shuffled(["b", "o", "p", "k", "l"])
    result = shuffled(["b", "m", "n", "o", "p"])
    if draw(st.booleans()):
        return Program(sizes, left, right, result, (Operand((draw(st.sampled_from("mnop")),)),), BIAS_RELU)
    return Program(sizes, left, right, result, direct=True)


@pytest.mark.slow
@needs_compiler
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs(), st.sampled_from(("native", "avx2", "portable")))
def test_random_contractions(program: Program, name: str) -> None:
    target = {"native": native_target(), "avx2": AVX2, "portable": PORTABLE}[name]
    if lowered(program, target) is None:
        return
    rng = np.random.default_rng(0)
    operands = (program.left, program.right, *program.others)
    arrays = [o.array(program.sizes, rng) for o in operands]
    found = Compiled(program, target)(arrays)
    wanted = program.expected(arrays, (lambda t, b: np.maximum(t + b, 0)) if program.others else None)
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-3)
