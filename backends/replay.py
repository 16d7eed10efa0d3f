"""Read IR text of any level, run passes given as text, print the result: what `lamina opt` does."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from xdsl.dialects.builtin import ModuleOp

from .. import lowering, passes
from ..dialects.text import parse, print_module, verify
from ..passes.base import Pass, Pipeline


@lru_cache(maxsize=1)
def known_passes() -> dict[str, type[Pass]]:
    """Every pass and lowering by its name, sorted: each Pass subclass found in `passes/` and `lowering/`."""
    found: dict[str, type[Pass]] = {}
    for package in (passes, lowering):
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for value in vars(module).values():
                own = isinstance(value, type) and issubclass(value, Pass) and value.__module__ == module.__name__
                if own and "name" in vars(value):
                    found[value.name] = value
    return dict(sorted(found.items()))


def replay(text: str, filename: str, pipeline: str = "", *, check: int = 0) -> str:
    """IR text after the pipeline (``name{option=1},name``; empty: the text as lamina prints it).

    check: 0 verifies before and after, 1 after each pass, 2 also compares every pass with the oracle on made-up inputs.
    TextError for text that cannot be parsed or verified, PassError for a pipeline that cannot run.
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
