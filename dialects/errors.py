"""Errors: one sentence, aligned facts, the user's line, one action."""

from __future__ import annotations

from collections.abc import Sequence
from pickle import UnpicklingError

Fact = tuple[str, str, str]


class LaminaError(RuntimeError):
    """An error a user can act on.

    sentence: what is wrong. facts: (label, text, origin) rows. at: "file.py:12   source line". help: the next action.
    """

    def __init__(self, sentence: str, facts: Sequence[Fact] = (), at: str | None = None, help: str | None = None) -> None:
        self.sentence = sentence
        self.facts = tuple(facts)
        self.at = at
        self.help = help
        super().__init__(sentence)

    def __str__(self) -> str:
        lines = [self.sentence]
        widths = [max((len(row[i]) for row in self.facts), default=0) for i in range(2)]
        for label, text, origin in self.facts:
            lines.append(f"    {label:<{widths[0]}}  {text:<{widths[1]}}  {origin}".rstrip())
        if self.at:
            lines.append(f"    at {self.at}")
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)


class ShapeError(LaminaError):
    """Shapes that do not fit together."""


class DTypeError(LaminaError):
    """Element types that do not fit together."""


class BookError(LaminaError):
    """A stanza of the op book that cannot be read or does not hold together."""


class RuleError(LaminaError):
    """A rewrite rule that cannot be read or breaks a law."""


class PassError(LaminaError):
    """A pass given in a wrong order, or one that changed the answer."""


class TextError(LaminaError):
    """IR text that cannot be parsed or verified."""


class BackendError(LaminaError):
    """The C compiler, the cache or a device refused."""


class DeviceError(LaminaError):
    """Tensors on different devices, or a device that fails."""


class NoDeviceError(DeviceError, AssertionError):
    """A device that is not there (PyTorch without CUDA raises AssertionError)."""


class OutOfMemoryError(DeviceError):
    """A device has too little memory."""


class FileError(LaminaError, UnpicklingError):
    """A file that is missing, truncated or not what it should be, or holds what is not to be loaded: programs catch pickle's error for that."""


class UnsupportedError(LaminaError, NotImplementedError):
    """Something PyTorch has and lamina does not (yet)."""
