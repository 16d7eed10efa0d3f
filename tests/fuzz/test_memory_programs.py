"""Random programs of views, writes, numpy and autograd do on lamina what they do on PyTorch."""

from __future__ import annotations

import random

import pytest
from lamina.dialects import flags

pytest.importorskip("torch")
from fuzz.memory_programs import KINDS, PRELUDES, TABLE, closing  # noqa: E402
from fuzz.program import Drawn, Step, Written, difference, drawn, reduced, write  # noqa: E402

pytestmark = pytest.mark.torch


def number(choose: random.Random) -> int:
    """What placeholders are chosen with: small numbers, the simple choices, as often as large ones."""
    return choose.randrange(1 << choose.choice((1, 6, 12, 24)))


def run_many(seed: int, count: int, rounds: int = 1) -> None:
    """``count`` programs drawn from one seed. rounds: how often each is repeated: kept plans, memory used again."""

    def written(prelude: int, steps: list[Step]) -> Written:
        return write(TABLE, KINDS, PRELUDES[prelude], steps, rounds, closing)

    def check(program: Drawn) -> None:
        prelude, steps = program
        if difference(written(prelude, steps)) is None:
            return
        fewer = reduced(steps, lambda some: difference(written(prelude, some)) is not None)
        made = written(prelude, fewer)
        pytest.fail(f"{difference(made)}\n\n{made.source()}")

    with flags.device("numpy"):
        for program in drawn(seed, count, len(PRELUDES), len(TABLE), 9, number):
            check(program)


def test_some_programs() -> None:
    run_many(0, 120)
    run_many(1, 40, rounds=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 20))
def test_many_programs(seed: int) -> None:
    run_many(seed, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 22))
def test_many_programs_in_a_loop(seed: int) -> None:
    run_many(seed, 1000, rounds=3)
