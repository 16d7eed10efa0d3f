"""Contractions of what was padded with zeros: steps that meet the margin are left out, and sums stay what they were."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))

from contraction_programs import NHWC, Compiled, Operand, Program, convolution, input_gradient, kernel_gradient, kernel_of, lowered  # noqa: E402

from lamina.backends import executor  # noqa: E402
from lamina.dialects.target import AVX2, AVX512, AVX512_AMX  # noqa: E402
from lamina.lowering.contraction_candidates import candidates, neighbours  # noqa: E402
from lamina.lowering.contraction_choice import like  # noqa: E402
from lamina.lowering.contraction_decision import Decision  # noqa: E402
from lamina.lowering.contraction_limits import Limit, Way, kept, steps_within  # noqa: E402
from lamina.lowering.contraction_schedule import posed, schedule  # noqa: E402

SPATIAL = (2, 3)


@dataclass(frozen=True)
class Padded(Program):
    """A program whose left factor is zero but for a box: ``margin`` elements on either side of these dims."""

    margin: int = 1
    dims: tuple[int, ...] = SPATIAL

    def text(self, scratch: int = 0) -> str:
        starts, sizes = self.box()
        box = ", ".join(map(str, (*starts, *sizes)))
        attribute = f") attributes {{lamina.margins = [array<i64: {box}>]}} {{"
        return super().text(scratch).replace(") {", attribute, 1)

    def box(self) -> tuple[list[int], list[int]]:
        shape = self.left.shape(self.sizes)
        starts = [self.margin if d in self.dims else 0 for d in range(len(shape))]
        return starts, [n - 2 * s for n, s in zip(shape, starts, strict=True)]

    def arrays(self, outside: float = 0.0) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        arrays = [o.array(self.sizes, rng) for o in (self.left, self.right, *self.others)]
        inside = tuple(slice(low, low + n) for low, n in zip(*self.box(), strict=True))
        padded = np.full(arrays[0].shape, outside, arrays[0].dtype)
        padded[inside] = arrays[0][inside]
        return [padded, *arrays[1:]]


def padded(program: Program, margin: int = 1, dims: tuple[int, ...] = SPATIAL) -> Padded:
    return Padded(**vars(program), margin=margin, dims=dims)


def assert_close(program: Padded, compiled: Compiled) -> None:
    arrays = program.arrays()
    apply = (lambda total, bias: np.maximum(total + bias, 0)) if program.others else None
    found, wanted = compiled(arrays), program.expected(arrays, apply)
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=6e-6 * max(1, np.abs(wanted).max()))


def dilated(n: int, c: int, o: int, h: int, dilation: int) -> Program:
    sizes = {"n": n, "o": o, "i": h - 2 * dilation, "j": h - 2 * dilation, "c": c, "u": 3, "v": 3}
    x = Operand(("n", "c", f"i+{dilation}*u", f"j+{dilation}*v"), NHWC)
    return Program(sizes, x, Operand(("o", "c", "u", "v")), Operand(("n", "o", "i", "j"), NHWC), direct=True)


PROGRAMS = {
    "batch": padded(convolution(15, 9, 20, 6)), "one image": padded(convolution(1, 16, 33, 9)), "tiny image": padded(convolution(5, 17, 16, 4)),
    "strided": padded(convolution(7, 5, 18, 9, 3, 2)), "large window": padded(convolution(3, 6, 17, 9, 5), 2), "one side": padded(convolution(6, 8, 16, 6), 1, (2,)),
    "rows first": padded(convolution(6, 8, 19, 6, order=(0, 3, 2, 1))), "dilated": padded(dilated(5, 7, 16, 9, 2), 2),
    "wide margin": padded(convolution(4, 6, 16, 9), 3), "input gradient": padded(input_gradient(9, 19, 10, 5)),
    "kernel gradient": padded(kernel_gradient(17, 9, 18, 6)), "gradient of one": padded(kernel_gradient(2, 20, 7, 5)),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize(("name", "target"), [(n, AVX2 if k % 3 == 1 else AVX512) for k, n in enumerate(PROGRAMS)], ids=lambda v: getattr(v, "name", v))
def test_sums_are_those_of_the_whole_reduction(name: str, target) -> None:  # noqa: ANN001
    program = PROGRAMS[name]
    problem = posed(kernel_of(program)[1], target)[2]
    assert len(problem.limits) == len(program.dims)
    assert_close(program, Compiled(program, target))


@needs_compiler
@pytest.mark.parametrize("name", ["batch", "kernel gradient", "strided"])
@pytest.mark.slow
def test_every_plan_sums_the_same(name: str) -> None:
    program = PROGRAMS[name]
    problem = posed(kernel_of(program)[1], AVX512)[2]
    found = candidates(problem, AVX512, 2)
    apart = [like(problem, AVX512, Decision(apart=n)) for n in (0, 1)]
    for decision in dict.fromkeys([*found, *(p.decision for p in apart if p), *neighbours(problem, AVX512, found[0])[:3]]):
        assert_close(program, Compiled(program, AVX512, plain=decision.plain, plan=str(decision)))


@needs_compiler
@pytest.mark.slow
def test_tiles_with_the_moving_loops_outside_read_no_margin() -> None:
    program, plan = PROGRAMS["batch"], "apart=2 inner=0 rows=5 vectors=1 side=right"
    found, whole = (Compiled(program, AVX512, plan=plan)(program.arrays(outside)) for outside in (np.nan, 0.0))
    np.testing.assert_array_equal(found, whole)
    partly = Compiled(program, AVX512, plan="apart=0 inner=1 rows=2 vectors=1 side=right")(program.arrays(np.nan))
    assert np.isnan(partly).any()


def test_the_loop_executor_goes_through_the_same_steps() -> None:
    program = padded(convolution(3, 4, 16, 5))
    made = lowered(program, AVX512)
    assert made is not None
    arrays = program.arrays()
    found = executor.execute(made[0], arrays)[0]
    wanted = program.expected(arrays, lambda total, bias: np.maximum(total + bias, 0))
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-5)


def test_plans_take_the_moving_loops_outside_where_that_pays() -> None:
    def plan(program: Program, target=AVX512):  # noqa: ANN001, ANN202
        scheduled = schedule(kernel_of(program)[1], target)
        assert scheduled is not None
        return scheduled.plan

    assert plan(padded(convolution(64, 32, 64, 9))).apart == 2
    assert plan(convolution(64, 32, 64, 9)).decision.apart is None
    assert not plan(padded(convolution(2, 8, 16, 58))).limits  # of 56 x 56 pixels hardly any tap is left out
    narrow = replace(padded(convolution(15, 9, 20, 6)), casts=("extf", "extf"))
    half = replace(narrow, left=replace(narrow.left, element="bf16"), right=replace(narrow.right, element="bf16"))
    assert not posed(kernel_of(half)[1], AVX512_AMX)[2].limits  # groups of depths are summed whole


@pytest.mark.parametrize(("extent", "start", "step", "least", "most"), [*itertools.product([1, 4, 9], [-3, 2], [1, 2, -1, -3], [0, -2], [0, 1])])
def test_steps_within_are_those_whose_positions_meet_the_box(extent: int, start: int, step: int, least: int, most: int) -> None:
    for size, outside in itertools.product([1, 3, 5], [((6, 1),), ((3, 2), (2, 1)), ()]):
        limit, total = Limit(2, start, extent), 0
        for moved in itertools.product(*([i * s for i in range(n)] for n, s in outside)):
            at = start + sum(moved)
            low, high = steps_within(at + least, at + most, extent, step)
            found = list(range(max(low, 0), min(high, size)))
            assert found == [r for r in range(size) if at + most + r * step >= 0 and at + least + r * step < extent]
            total += len(found)
        places = prod(n for n, _ in outside)
        assert kept(limit, Way(outside, least, most, size, step)) == pytest.approx(total / (places * size))
