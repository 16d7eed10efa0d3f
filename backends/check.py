"""The check after each pass: does the module verify, does it still compute the same; if not, who broke it."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from xdsl.dialects.builtin import BFloat16Type, Float16Type, ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue
from xdsl.printer import Printer

from ..dialects.autodiff import SavedOp
from ..dialects.errors import Fact, LaminaError, PassError
from ..dialects.ops import type_of
from ..dialects.target import gpu_target_named
from ..dialects.text import print_module, verify
from ..lowering.cuda_source import emit_cuda
from ..passes.base import LEVELS, Ran, levels_taken
from ..passes.program import main_block, origin_text
from .dump import Dump
from .emulation import emulate
from .executor import execute
from .oracle import evaluate
from .oracle_linalg import points_of

TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""Allowed difference, relative to the largest number of an output (at least 1): passes may reorder sums."""

TENSOR_LEVELS = LEVELS[: LEVELS.index("linalg") + 1]


class Checker:
    """A callback for `Pipeline.run`: ``pipeline.run(module, Checker(module, level=2).after)``.

    module: as it enters the pipeline. level 1 verifies after each pass; 2 also evaluates the module after
    each pass, with the oracle or (below the tensor levels) the loop executor, and compares with what the
    first one gave. arrays: inputs to evaluate with (default: `sample_inputs`). dump: where the stages are
    being written, for the command in the error; without one the module before the broken pass is written to a
    temporary file. largest: iteration points beyond which modules below the tensor levels are only verified
    (the executor is Python: about a microsecond each).
    """

    def __init__(
        self,
        module: ModuleOp,
        arrays: Sequence[np.ndarray] | None = None,
        level: int = 1,
        dump: Dump | None = None,
        largest: int = 1 << 22,
    ) -> None:
        self.level = level
        self.dump = dump
        self.largest = largest
        self.stage = ""
        self.points = 0
        self.before = module.clone()
        if level >= 2:
            self.arrays = list(sample_inputs(module) if arrays is None else arrays)
            self.wanted = evaluate(module, self.arrays)

    def after(self, ran: Ran, module: ModuleOp) -> None:
        """PassError when the module does not verify or no longer computes the same."""
        self.stage = ran.step.gives or self.stage or levels_taken(ran.step)[0]
        try:
            verify(module)
        except LaminaError as error:
            help = self._help(ran)
            raise PassError(
                f"{ran.step.name} left a module that does not verify: {error.sentence}",
                error.facts,
                help=help,
            ) from error
        if self.level >= 2:
            if self.stage in TENSOR_LEVELS:
                found = evaluate(module, self.arrays)
                rounded = bool(ran.step.rounds and ran.changes) and _holds_sixteen_bit_floats(module)
                self._compare(ran, module, found, rounded)
                if rounded:
                    self.wanted = found
            elif self.points > self.largest:
                print(f"check: {ran.step.name} verified, not run: {self.points} loop iterations", file=sys.stderr)
            elif self.stage != "gpu":
                self._compare(ran, module, execute(module, self.arrays))
            elif emulate.available():
                self._compare(ran, module, self._emulated(module), gpu_target_named(ran.step.target).f32 != "ieee")
            else:
                print(f"check: {ran.step.name} verified, not run: there is no g++ for emulated threads", file=sys.stderr)
        self.before = module.clone()
        self.points = max(self.points, points_of(module))

    def _emulated(self, module: ModuleOp) -> list[np.ndarray]:
        """What the kernels of a module give on emulated threads, as the dtypes that are wanted: the IR carries bytes without a sign."""
        made = emulate.Emulation(emit_cuda(module, len(self.wanted)))(self.arrays)
        return [have.view(want.dtype) for want, have in zip(self.wanted, made, strict=True)]

    def _compare(self, ran: Ran, module: ModuleOp, found: Sequence[np.ndarray], rounded: bool = False) -> None:
        for index, (want, have) in enumerate(zip(self.wanted, found, strict=True)):
            difference = compare(want, have, rounded)
            if difference.fits:
                continue
            facts: list[Fact] = [(f"output {index}", str(difference), "")]
            if self.stage in TENSOR_LEVELS:
                facts += self._first_wrong(module, index)
            raise PassError(f"{ran.step.name} changed the answer", facts, help=self._help(ran))

    def _first_wrong(self, module: ModuleOp, index: int) -> list[Fact]:
        op = first_wrong_op(self.before, module, self.arrays, index)
        if op is None:
            return []
        names = value_names(module)
        results = ", ".join(names.get(r, "?") for r in op.results)
        return [
            (
                "first wrong value",
                f"{results} {op.name}",
                f"from {origin_text(op)}" if origin_text(op) else "",
            )
        ]

    def _help(self, ran: Ran) -> str:
        if self.dump is not None and self.dump.rows and self.dump.rows[-1].command:
            return f"cd {self.dump.folder}; {self.dump.rows[-1].command} --check-each-pass"
        path = Path(tempfile.mkdtemp(prefix="lamina-check-")) / f"before-{ran.step.name}.mlir"
        path.write_text(print_module(self.before), encoding="utf8")
        step = replace(ran.step, because="")
        return f"lamina opt {path} -p '{step}' --check-each-pass"


class Difference(NamedTuple):
    """How far two outputs are apart."""

    largest: float
    allowed: float
    words: str = ""

    @property
    def fits(self) -> bool:
        return not self.words and self.largest <= self.allowed

    def __str__(self) -> str:
        return self.words or f"largest difference {self.largest:.2g}, allowed {self.allowed:.2g}"


def _holds_sixteen_bit_floats(module: ModuleOp) -> bool:
    types = (value.type for op in module.walk() for value in (*op.operands, *op.results))
    return any(isinstance(t, TensorType) and isinstance(t.element_type, BFloat16Type | Float16Type) for t in types)


def compare(want: np.ndarray, have: np.ndarray, rounded: bool = False) -> Difference:
    """Compare: shapes and dtypes equal, NaN and infinities in the same places, the rest within tolerance (rounded: that of 16 bits)."""
    if want.shape != have.shape or want.dtype != have.dtype:
        return Difference(0, 0, f"is {have.dtype}{list(have.shape)}, was {want.dtype}{list(want.shape)}")
    if want.size == 0:
        return Difference(0, 0)
    if want.dtype.kind in "iub":
        wrong = int((want != have).sum())
        return Difference(0, 0, f"{wrong} of {want.size} values differ" if wrong else "")
    a, b = want.astype(np.float64), have.astype(np.float64)
    finite = np.isfinite(a)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not same[~finite].all() or not np.isfinite(b[finite]).all():
        count = int((~same & (~finite | ~np.isfinite(b))).sum())
        return Difference(0, 0, f"{count} of {a.size} values are NaN or infinite on one side only")
    if not finite.any():
        return Difference(0, 0)
    scale = max(1.0, float(np.abs(a[finite]).max()))
    allowed = max(TOLERANCE[str(want.dtype)], TOLERANCE["bfloat16"] if rounded else 0)
    return Difference(float(np.abs(a[finite] - b[finite]).max()), allowed * scale)


def first_wrong_op(
    before: ModuleOp, after: ModuleOp, arrays: Sequence[np.ndarray], output: int
) -> Operation | None:
    """The first op of `after` whose value is new and spoils an output.

    An op is right if its value occurs in `before`. From the wrong output the walk goes back through values
    that do not; the first such op in program order is where the numbers part.
    """
    known: dict[tuple[object, ...], list[np.ndarray]] = {}
    observe_values(
        before, arrays, lambda op, value: known.setdefault((value.shape, value.dtype), []).append(value)
    )
    right: set[Operation] = set()

    def note(op: Operation, value: np.ndarray) -> None:
        if any(compare(old, value).fits for old in known.get((value.shape, value.dtype), ())):
            right.add(op)

    observe_values(after, arrays, note)
    block = main_block(after)
    last = block.last_op
    pending: list[SSAValue] = [] if last is None else [last.operands[output]]
    wrong: set[Operation] = set()
    while pending:
        op = pending.pop().owner
        if isinstance(op, Operation) and op not in right and op not in wrong:
            wrong.add(op)
            pending.extend(op.operands)
    return next((op for op in block.ops if op in wrong), None)


def value_names(module: ModuleOp) -> dict[SSAValue, str]:
    """The names values have in the printed module: `%7`."""
    printer = Printer(stream=io.StringIO())
    printer.print_op(module)
    return {value: f"%{name}" for value, name in printer._ssa_values.items()}  # xDSL has no public way to ask


def observe_values(
    module: ModuleOp, arrays: Sequence[np.ndarray], see: Callable[[Operation, np.ndarray], None]
) -> None:
    """Call see(op, value) for every result of every op of `@main`."""

    def observe(op: Operation, env: dict[SSAValue, np.ndarray]) -> None:
        for result in op.results:
            see(op, env[result])

    evaluate(module, arrays, observe)


def sample_inputs(module: ModuleOp, seed: int = 0) -> list[np.ndarray]:
    """Made-up inputs for `@main`: normal numbers; 0 and 1 for integers, which are often indices."""
    rng = np.random.default_rng(seed)
    arrays = []
    for arg in main_block(module).args:
        shape, dtype = type_of(arg)
        if dtype.is_floating_point:
            arrays.append(np.asarray(rng.standard_normal(shape)).astype(dtype.numpy))
        else:
            arrays.append(np.asarray(rng.integers(0, 2, shape)).astype(dtype.numpy))
    return _consistent(module, arrays)


def _consistent(module: ModuleOp, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Made-up contents of values an earlier program computed, replaced by what those values are for the other inputs."""
    block = main_block(module)
    places = {arg: i for i, arg in enumerate(block.args)}
    saved = [op for op in block.ops if isinstance(op, SavedOp) and op.operands[1] in places]
    for _ in saved:  # one may depend on another
        found: dict[int, np.ndarray] = {}

        def see(op: Operation, env: dict[SSAValue, np.ndarray], found: dict[int, np.ndarray] = found) -> None:
            if isinstance(op, SavedOp) and op.operands[1] in places:
                found[places[op.operands[1]]] = env[op.operands[0]]

        evaluate(module, arrays, see)
        if all(np.array_equal(arrays[i], array, equal_nan=True) for i, array in found.items()):
            break
        for i, array in found.items():
            arrays[i] = np.array(array)
    return arrays
