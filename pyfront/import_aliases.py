"""`import lamina.nn as nn`: the submodules of torch under lamina's name, each the one module it stands for."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

from .import_hook import MODULES, ROOT

_PREFIX = ROOT + "."
_TARGETS = {name.removeprefix("torch.").replace("torchvision", "vision", 1): path for name, path in MODULES.items() if path}
_FIRST = frozenset(name.partition(".")[0] for name in _TARGETS)


def target_of(name: str) -> str | None:
    """The module below the package that ``lamina.<name>`` stands for; None when it is not an alias."""
    if name.partition(".")[0] not in _FIRST:
        return None
    inner = ""
    while name:
        if name in _TARGETS:
            return _TARGETS[name] + inner
        name, _, last = name.rpartition(".")
        inner = f".{last}{inner}"
    return None


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``lamina.nn`` and its like, before the folders are searched: nothing may be loaded a second time."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for an alias, None for everything else."""
        if not fullname.startswith(_PREFIX):
            return None
        real = target_of(fullname.removeprefix(_PREFIX))
        if real is None or importlib.util.find_spec(_PREFIX + real) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Put the module the alias stands for in its place: the import system hands out what it finds there."""
        name = module.__name__
        real = target_of(name.removeprefix(_PREFIX))
        sys.modules[name] = importlib.import_module(_PREFIX + str(real))


def install() -> None:
    """Serve the aliases in this process. Doing it twice is harmless."""
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())
