"""Parts of torch that arrive later: their modules import, answer what can be answered truly, and refuse by name what cannot."""

from __future__ import annotations

import dis
import sys
from types import FrameType, ModuleType
from typing import Any

from ..dialects.errors import UnsupportedError
from .origin import origin, source_line


class LaterError(UnsupportedError, AttributeError):
    """A name of a part of torch that lamina does not have yet; ``hasattr`` sees that it is missing."""


class LaterImportError(UnsupportedError, ImportError):
    """The same, asked for by ``from ... import``; programs that guard an import see that it is missing."""


class LaterModule(ModuleType):
    """A module of which only some names are there. instead: what a program can do today."""

    def __init__(self, name: str, instead: str, **there: Any) -> None:
        super().__init__(name, f"{name} arrives later.")
        self.__dict__.update(there, __path__=[], _instead=instead)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        kind = LaterImportError if is_import(sys._getframe(1)) else LaterError
        raise kind(_sentence(f"{self.__name__}.{name}"), at=source_line(origin()), help=self._instead)


def _sentence(name: str) -> str:
    part = next(known for known in sorted(MODULES, reverse=True) if name.startswith(known))
    return f"{name} is not there yet: {part} arrives in a later lamina"


def is_import(frame: FrameType) -> bool:
    """Whether a frame stands in ``from ... import ...``, which turns an AttributeError into a message that says nothing."""
    return frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]


MODULES: dict[str, LaterModule] = {
    module.__name__: module
    for module in (
        LaterModule("torch.fx", "`lamina run --dump DIR` shows the program at every stage"),
        LaterModule("torch.sparse", "use dense tensors"),
    )
}  # fmt: skip


def explained(name: str) -> str | None:
    """What to say to an import of something inside of a part that arrives later; None for everything else."""
    inside = any(name.startswith(part + ".") for part in MODULES)
    return _sentence(name) if inside and name not in MODULES else None
