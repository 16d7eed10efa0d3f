"""Random programs over the op book: PyTorch, the oracle and the compiled C agree, forward and backward."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from lamina.backends import toolchain
from lamina.backends.oracle import evaluate
from lamina.dialects import flags
from lamina.dialects.book import OPS
from lamina.lowering.capture import capture

pytest.importorskip("torch")
from fuzz import batches  # noqa: E402
from fuzz.op_programs import KINDS, PRELUDES, TABLE, closing  # noqa: E402
from fuzz.program import Drawn, Written, difference, drawn, reduced, write  # noqa: E402

pytestmark = pytest.mark.torch
NOT_DRAWN = {  # of optimizers, generators, scans and modules, made by derivatives only, for longer rows, or under other names
    "adagrad", "adam", "adam_amsgrad", "adamw", "adamw_amsgrad", "rmsprop", "sgd", "philox", "philox_round", "scan", "put",
    "conv_input", "conv_kernel", "unwindow", "one_hot", "batch_norm_infer", "blend", "blend_variance", "update", "l1_loss", "nll", "zeta", "polygamma", "erfc_inverse", "i0", "i1e", "clamp", "group_norm", "topk", "bitcast", "masked_softmax",
}  # fmt: skip


def programs(seed: int, count: int) -> list[Drawn]:
    return drawn(seed, count, len(PRELUDES), len(TABLE), 7, lambda choose: choose.randrange(1 << 24))


def written(program: Drawn) -> Written:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write(TABLE, KINDS, PRELUDES[program[0]], program[1], 1, closing, errors=0)


def against_pytorch(program: Drawn) -> str | None:
    made = written(program)
    single = "float32" in made.prelude[1] or "float()" in made.text
    return difference(made, 2e-3 if single else 1e-7, layout=False)


def against_c(program: Drawn) -> str | None:
    """What one program's Graphs, compiled alone, do otherwise than the oracle."""
    records: list[batches.Recorded] = []
    with batches.recording(records, 0):
        against_pytorch(program)
    for record, said in batches.differing(records):
        if not batches.is_unstable(record):
            return f"{said}\n{batches.text(record)}"
    return None


def fail(program: Drawn, check: object) -> None:
    """Shrink, then fail with the difference and a script."""
    prelude, steps = program
    steps = reduced(steps, lambda fewer: check((prelude, fewer)) is not None)
    pytest.fail(f"{check((prelude, steps))}\n\n{written((prelude, steps)).source()}")


def run(played: list[Drawn], every: int) -> set[str]:
    """Play programs against PyTorch, and every so many compiled in one unit; the ops met."""
    records: list[batches.Recorded] = []
    ops: set[str] = set()
    for number, program in enumerate(played):
        known = len(records)
        with batches.recording(records, number):
            if against_pytorch(program) is not None:
                fail(program, against_pytorch)
        ops |= {step.op for record in records[known:] for step in record.graph.steps}
        if number % every:
            del records[known:]
    if toolchain.find_compiler() is not None:
        for record, _ in batches.differing(records):
            if not batches.is_unstable(record):
                fail(played[record.number], against_c)
    return ops


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Programs that run once leave nothing in the cache on disk."""
    with flags.cache("off"), np.errstate(all="ignore"):
        yield


def test_some_programs() -> None:
    run(programs(0, 30), every=30)


def test_merged_programs_are_the_programs() -> None:
    records: list[batches.Recorded] = []
    for number, program in enumerate(programs(1, 3)):
        with batches.recording(records, number):
            against_pytorch(program)
    whole = batches.merged([r.graph for r in records])
    results = iter(evaluate(capture(whole), [a for r in records for a in r.arrays]))
    for record in records:
        for want in record.results:
            np.testing.assert_array_equal(next(results), want)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_programs(seed: int) -> None:
    run(programs(seed, 500), every=1)


@pytest.mark.slow
def test_every_stanza_that_can_be_drawn_is_drawn() -> None:
    ops = run(programs(100, 600), every=1000)
    of_complex = {name for name in OPS if name.startswith("complex_") or "dft" in name or OPS[name].dialect == "complex"}  # tests/pyfront/test_complex.py
    assert set(OPS) - ops - NOT_DRAWN - of_complex == set()
