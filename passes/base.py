"""Pass and Pipeline: what every transformation of a module looks like, and how they are put in order."""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.arg_spec import ArgSpecConvertible, parse_pipeline
from xdsl.utils.exceptions import ArgSpecParseError

from ..dialects.errors import PassError

LEVELS = ("captured", "differentiated", "primitive", "fused", "linalg", "buffered", "loops", "gpu")
"""Levels of xDSL modules, from what the user wrote to statements (loops: for CPUs, gpu: for one CUDA thread); source follows."""


class Changes(int):
    """How many changes a pass made, with one line per kind of change (``add_zero x12, algebra.rules:1``)."""

    details: tuple[str, ...]

    def __new__(cls, count: int, details: Sequence[str] = ()) -> Changes:
        self = super().__new__(cls, count)
        self.details = tuple(details)
        return self


@dataclass(frozen=True)
class Pass(ArgSpecConvertible):
    """A named transformation of a module in place; its dataclass fields are its options.

    A subclass is ``@dataclass(frozen=True)`` and sets

    - ``name``: kebab-case verb phrase, as typed after ``lamina opt -p``;
    - ``takes``: the level, or a tuple of levels, it works on;
    - ``gives``: the level it produces; ``""`` keeps the level it was given;
    - ``rounds``: whether it may read 16-bit floats in place of what was rounded to them.

    Its docstring shows ``before`` and ``after`` where a few lines can; that text is run by a test.
    """

    name: ClassVar[str]
    takes: ClassVar[str | tuple[str, ...]]
    gives: ClassVar[str] = ""
    rounds: ClassVar[bool] = False

    because: str = dataclasses.field(default="", kw_only=True)
    """Why this pass is listed a second time in a pipeline (required there)."""

    def run(self, module: ModuleOp) -> int:
        """Change the module in place; returns the number of changes (0: the module is untouched)."""
        raise NotImplementedError(f"{type(self).__name__}.run")


def levels_taken(cls: type[Pass] | Pass) -> tuple[str, ...]:
    """The levels a pass works on, always as a tuple."""
    return (cls.takes,) if isinstance(cls.takes, str) else tuple(cls.takes)


class Ran(NamedTuple):
    """What one pass of a pipeline did."""

    index: int
    step: Pass
    changes: int
    seconds: float


After = Callable[[Ran, ModuleOp], None]


class Pipeline:
    """Passes in an order that was checked when the pipeline was built.

    passes: run one after the other. level: the level the module will have; "" when it is not known
    (a file given to ``lamina opt``): then the first pass is taken at its word.
    PassError when a pass cannot take what comes before it, or is listed twice without ``because="..."``.
    """

    def __init__(self, passes: Iterable[Pass], level: str = "") -> None:
        self.passes = tuple(passes)
        self.level = level
        self.gives = _check_order(self.passes, level)

    def run(self, module: ModuleOp, after: After | None = None) -> list[Ran]:
        """Run every pass on the module in place; ``after(ran, module)`` is called after each of them."""
        history: list[Ran] = []
        for index, step in enumerate(self.passes, 1):
            start = time.perf_counter()
            changes = step.run(module)
            history.append(Ran(index, step, changes, time.perf_counter() - start))
            if after is not None:
                after(history[-1], module)
        return history

    def until(self, level: str) -> Pipeline:
        """The first part of this pipeline, up to the pass that gives the level (and those that keep it).

        PassError when no pass gives it.
        """
        last, current = (0 if self.level == level else None), self.level
        for index, step in enumerate(self.passes, 1):
            current = step.gives or current
            last = index if current == level else last
        if last is None:
            raise PassError(f"this pipeline never reaches the level {level!r}", help="levels: " + ", ".join(LEVELS))
        return Pipeline(self.passes[:last], self.level)

    def __add__(self, other: Pipeline) -> Pipeline:
        return Pipeline(self.passes + other.passes, self.level)

    def __str__(self) -> str:
        return ",".join(str(step) for step in self.passes)

    @staticmethod
    def parse(text: str, known: Mapping[str, type[Pass]], level: str = "") -> Pipeline:
        """The pipeline ``name{option=1 other=2},name``. PassError for unknown passes and options."""
        try:
            specs = list(parse_pipeline(text))
        except ArgSpecParseError as error:
            raise PassError(f"cannot read the pipeline {text!r}: {error}") from error
        return Pipeline([_from_spec(spec, known) for spec in specs], level)


def _from_spec(spec: Any, known: Mapping[str, type[Pass]]) -> Pass:
    if spec.name not in known:
        near = difflib.get_close_matches(spec.name, known, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise PassError(f"there is no pass called {spec.name!r}", help=f"{guess}known passes: {', '.join(sorted(known))}")
    try:
        return known[spec.name].from_spec(spec)
    except ValueError as error:
        options = [f"{f.name}: {f.type}" for f in dataclasses.fields(known[spec.name])]
        raise PassError(f"{spec.name}: {error}", help="its options: " + ", ".join(options)) from error


def _check_order(passes: Sequence[Pass], level: str) -> tuple[str, ...]:
    """The levels the module may have at the end; PassError for the first pass that does not fit."""
    possible = (level,) if level else LEVELS
    before = f"the module, which is {level}" if level else "nothing"
    seen: set[str] = set()
    for step in passes:
        takes = levels_taken(step)
        common = tuple(name for name in possible if name in takes)
        if not common:
            facts = [("takes", " or ".join(takes), step.name), ("comes after", " or ".join(possible), before)]
            raise PassError(f"{step.name} cannot run here", facts, help="put it where the level fits")
        if step.name in seen and not step.because:
            raise PassError(
                f"{step.name} is listed twice",
                help=f'give the second one a reason: {step.name}{{because="..."}}',
            )
        seen.add(step.name)
        possible = (step.gives,) if step.gives else common
        before = step.name
    return possible


def module_pass(cls: type[Pass]) -> type[ModulePass]:
    """The same pass, name and options for xDSL's own drivers (xdsl-opt, its interactive viewer)."""

    def apply(self: Any, ctx: Context, op: ModuleOp) -> None:
        cls(**{f.name: getattr(self, f.name) for f in dataclasses.fields(cls)}).run(op)

    fields = [(f.name, f.type, _field_copy(f)) for f in dataclasses.fields(cls)]
    adapted = dataclasses.make_dataclass(
        f"{cls.__name__}ModulePass",
        fields,
        bases=(ModulePass,),
        namespace={"name": cls.name, "apply": apply, "__doc__": cls.__doc__},
        frozen=True,
    )
    adapted.__module__ = cls.__module__  # option types are written as text and looked up there
    return adapted


def _field_copy(f: dataclasses.Field[Any]) -> Any:
    return dataclasses.field(default=f.default, default_factory=f.default_factory, kw_only=f.kw_only)  # type: ignore[call-overload]  # one of both is MISSING
