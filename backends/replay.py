"""Read IR text of any level, run passes given as text, print the result: what `lamina opt` does."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import lru_cache

from xdsl.dialects.builtin import ModuleOp

from .. import lowering, passes
from ..dialects.text import parse, print_module, verify
from ..passes.base import Pass, Pipeline


class Registry(Mapping[str, type[Pass]]):
    """Passes by name: every Pass subclass in the modules of `passes/` and `lowering/`.

    Modules are imported in order until a name is found, so asking for a tensor-level pass does not load the C
    emitter.
    """

    def __init__(self) -> None:
        self.found: dict[str, type[Pass]] = {}
        self.modules = [
            f"{package.__name__}.{info.name}"
            for package in (passes, lowering)
            for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name)
        ]

    def __getitem__(self, name: str) -> type[Pass]:
        while name not in self.found and self.modules:
            self._load(self.modules.pop(0))
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        while self.modules:
            self._load(self.modules.pop(0))
        return iter(sorted(self.found))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _load(self, name: str) -> None:
        module = importlib.import_module(name)
        for value in vars(module).values():
            own = isinstance(value, type) and issubclass(value, Pass) and value.__module__ == name
            if own and "name" in vars(value):
                self.found[value.name] = value


@lru_cache(maxsize=1)
def known_passes() -> Registry:
    """Every pass and lowering by its name."""
    return Registry()


def replay(text: str, filename: str, pipeline: str = "", *, check: int = 0) -> str:
    """IR text after the pipeline (``name{option=1},name``; empty: the text as lamina prints it).

    check: 0 verifies before and after, 1 after each pass, 2 also compares every pass with the oracle on
    made-up inputs. TextError for text that cannot be parsed or verified, PassError for a pipeline that cannot
    run.
    """
    steps = Pipeline.parse(pipeline, known_passes())
    module = parse(text, filename)
    verify(module)
    run_checked(steps, module, check)
    verify(module)
    return print_module(module)


def run_checked(steps: Pipeline, module: ModuleOp, check: int) -> None:
    """Run a pipeline on a module in place under the given check level."""
    if not check:
        steps.run(module)
        return
    from .check import Checker

    steps.run(module, Checker(module, level=check).after)
