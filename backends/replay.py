"""Read IR text of any level, run passes given as text, print the result or its source: what `lamina opt` does."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import lru_cache

from xdsl.dialects.builtin import ArrayAttr, MemRefType, ModuleOp

from .. import lowering, passes
from ..dialects.book import OPS
from ..dialects.errors import PassError
from ..dialects.kernel import FusedOp
from ..dialects.text import print_module, read, verify
from ..passes.base import LEVELS, Pass, Pipeline, levels_taken
from ..passes.program import main_block


class Registry(Mapping[str, type[Pass]]):
    """Passes by name: every Pass subclass in the modules of `passes/` and `lowering/`.

    Where a pass is looked for: in the module called like it, then in all others in order, until it is found. So a pipeline for
    CPUs does not load what lowers for GPUs.
    """

    def __init__(self) -> None:
        self.found: dict[str, type[Pass]] = {}
        self.modules = [
            f"{package.__name__}.{info.name}"
            for package in (passes, lowering)
            for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name)
        ]

    def __getitem__(self, name: str) -> type[Pass]:
        own = name.replace("-", "_")
        for module in [m for m in self.modules if m.rpartition(".")[2] == own]:
            self.modules.remove(module)
            self._load(module)
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


SOURCES = ("c", "cu")
"""What a module becomes at the end: C of the loops level, CUDA C++ of the gpu level."""


def replay(text: str, filename: str, pipeline: str = "", *, check: int = 0, source: str = "") -> str:
    """IR text after the pipeline (``name{option=1},name``; empty: the text as lamina prints it).

    check: 0 verifies before and after, 1 after each pass, 2 also compares every pass with the oracle on
    made-up inputs. source: one of SOURCES in place of IR. TextError for text that cannot be parsed or verified, PassError for a pipeline that cannot
    run, or does not lead to the source.
    """
    steps = Pipeline.parse(pipeline, known_passes())
    module = read(text, filename)
    check_level(steps, module)
    run_checked(steps, module, check)
    verify(module)
    return _source_of(module, source) if source else print_module(module)


def _source_of(module: ModuleOp, source: str) -> str:
    """A module as source text. PassError where it is not at the level that has one."""
    level = {"c": "loops", "cu": "gpu"}[source]
    levels, why = possible_levels(module)
    launches = any(op.name.startswith(("gpu.", "nv.")) for op in module.walk())
    if level not in levels or launches != (source == "cu"):
        facts = [("takes", level, f"--emit {source}"), ("is", "gpu" if launches else " or ".join(levels), why)]
        raise PassError("there is no source of this module yet", facts, help=f"end the pipeline in linalg-to-{level}, behind bufferize")
    if source == "c":
        from ..lowering.loops_to_c import emit_c

        return emit_c(module).text
    from ..lowering.cuda_source import emit_cuda

    names = module.attributes.get("lamina.names")
    inputs = len(names.data) if isinstance(names, ArrayAttr) else 0
    return emit_cuda(module, len(main_block(module).args) - 1 - inputs).text


def check_level(steps: Pipeline, module: ModuleOp) -> None:
    """PassError when the first pass takes none of the levels this module may be of."""
    if not steps.passes:
        return
    levels, why = possible_levels(module)
    first = steps.passes[0]
    if not set(levels) & set(levels_taken(first)):
        raise PassError(
            f"{first.name} cannot run on this module",
            [("takes", " or ".join(levels_taken(first)), first.name), ("is", " or ".join(levels), why)],
            help="`lamina opt --list` shows what each pass is for; put the passes that lead there in front",
        )


def possible_levels(module: ModuleOp) -> tuple[tuple[str, ...], str]:
    """The levels a module may be of, going by its ops, and an op that says so."""
    first: dict[str, str] = {}
    for op in module.walk():
        inside = isinstance(op.parent_op(), FusedOp)
        first.setdefault(f"{op.name.partition('.')[0]}{' in a kernel' if inside else ''}", op.name)
    if "memref" in first or any(isinstance(arg.type, MemRefType) for arg in main_block(module).args):
        return (("buffered",), first["linalg"]) if "linalg" in first else (("buffered", "loops", "gpu"), "memref")
    for kind, levels in (
        ("linalg in a kernel", ("linalg",)), ("prim in a kernel", ("fused",)), ("autodiff", ("captured",)),
        ("nn", ("captured", "differentiated")),
    ):  # fmt: skip
        if kind in first:
            return levels, first[kind]
    regular = [op.name for op in module.walk() if op.name.startswith("prim.") and OPS[op.name[5:]].family != "irregular"]
    if regular:
        return ("captured", "differentiated", "primitive", "fused"), f"{regular[0]} outside a kernel"
    return LEVELS[: LEVELS.index("buffered")], "no kernels"


def run_checked(steps: Pipeline, module: ModuleOp, check: int) -> None:
    """Run a pipeline on a module in place under the given check level."""
    if not check:
        steps.run(module)
        return
    from .check import Checker

    steps.run(module, Checker(module, level=check).after)
