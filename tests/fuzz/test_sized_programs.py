"""Programs for sizes known only at the call, against the oracle: every program of a table, and random sizes."""

from __future__ import annotations

from functools import cache

import lamina as torch
import numpy as np
import pytest
from needs import needs_compiler
from fuzz import batches
from fuzz.sized_programs import PROGRAMS, operands
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.backends import driver, families, symbolic, template_search
from lamina.dialects import flags
from lamina.dialects.sizes import admits

pytestmark = needs_compiler
FIRST, SECOND = 12, 7
NAMES = tuple(PROGRAMS)
PARTS = [NAMES[k::3] for k in range(3)]  # each part is one compiled program
EVERY_PART = pytest.mark.parametrize("part", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])


def recorded(names: tuple[str, ...], n: int) -> list[batches.Recorded]:
    """The Graphs of these programs at n."""
    found: list[batches.Recorded] = []
    leaves = [torch.tensor(value.numpy()) for value in operands(n)]
    for number, name in enumerate(names):
        with batches.recording(found, number):
            made = PROGRAMS[name](*leaves)
            for value in made if isinstance(made, tuple) else (made,):
                value.numpy()
    return found


@cache
def program(part: int, room: int = 4):
    """The template of a part's programs, and what it is compiled to."""
    first, second = (batches.merged([r.graph for r in recorded(PARTS[part], n)]) for n in (FIRST, SECOND))
    (skeleton, numbers), (other, others) = map(families.take_apart, (first, second))
    assert skeleton == other
    template = template_search.template_of(second, [numbers, others])
    assert template is not None
    made = symbolic._compile(template, symbolic.scope_of(template.values(numbers)), elsewhere=False)
    assert made is not None, "refused: LAMINA_SHOW=cache says why"
    return template, made, lambda n: tuple(b + (n - SECOND) * (a - b) // (FIRST - SECOND) for a, b in zip(*map(template.values, (numbers, others))))


def check(part: int, n: int) -> None:
    template, made, wanted = program(part)
    records = recorded(PARTS[part], n)
    graph = batches.merged([r.graph for r in records])
    values = template.values(families.take_apart(graph)[1])
    assert values == wanted(n)
    assert admits(made.facts["sizes"], values)
    results = iter(made.at(graph, values)([a for r in records for a in r.arrays]))
    for record in records:
        for want in record.results:
            said = batches.off(record, want, np.array(next(results)))
            assert said is None, f"{PARTS[part][record.number]} at n = {n}: {said}"


@EVERY_PART
def test_every_program_is_right_at_other_sizes(part):
    """Sizes that are those of other dimensions, multiples of vectors and tiles and one beside, the smallest without a dimension of 1, and the estimate."""
    for n in (3, 4, 5, 6, 7, 8, 12, 16, 17, 31, 33, 48):
        check(part, n)


@EVERY_PART
@pytest.mark.slow
def test_nothing_narrows_the_sizes(part):
    """From 3 on: x[1:] may have one row where n is 2."""
    _, made, wanted = program(part)
    assert all(admits(made.facts["sizes"], wanted(n)) for n in range(3, 49))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(PARTS) - 1), st.integers(3, 48))
def test_any_size(part, n):
    check(part, n)


def test_results_do_not_depend_on_threads():
    refused = driver.stats.refused
    template, made, _ = program(0)
    records = recorded(PARTS[0], 33)
    graph = batches.merged([r.graph for r in records])
    run = made.at(graph, template.values(families.take_apart(graph)[1]))
    arrays = [a for r in records for a in r.arrays]
    found = []
    for threads in (1, 2):
        with flags.threads(threads):
            found.append([np.array(a) for a in run(arrays)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    assert driver.stats.refused == refused
