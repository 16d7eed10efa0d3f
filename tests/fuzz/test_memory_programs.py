"""Random programs of views, writes, numpy and autograd do on lamina what they do on PyTorch."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from lamina.dialects import flags

pytest.importorskip("torch")
from fuzz.memory_programs import KINDS, PRELUDES, TABLE, closing  # noqa: E402
from fuzz.program import difference, write  # noqa: E402

pytestmark = pytest.mark.torch

STEPS = st.lists(st.tuples(st.integers(0, len(TABLE) - 1), st.integers(0, 1 << 24)), min_size=1, max_size=9)
QUIET = {"deadline": None, "derandomize": False, "database": None, "suppress_health_check": list(HealthCheck)}


def run_many(number: int, count: int, rounds: int = 1) -> None:
    """``count`` programs drawn from one seed. rounds: how often each is repeated: kept plans, memory used again."""

    @seed(number)
    @settings(max_examples=count, **QUIET)
    @given(st.sampled_from(PRELUDES), STEPS)
    def agree(prelude: list[str], steps: list[tuple[int, int]]) -> None:
        made = write(TABLE, KINDS, prelude, steps, rounds, closing)
        found = difference(made)
        assert found is None, f"{found}\n\n{made.source()}"

    with flags.device("numpy"):
        agree()


def test_some_programs() -> None:
    run_many(0, 120)
    run_many(1, 40, rounds=3)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2, 20))
def test_many_programs(number: int) -> None:
    run_many(number, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20, 22))
def test_many_programs_in_a_loop(number: int) -> None:
    run_many(number, 1000, rounds=3)
