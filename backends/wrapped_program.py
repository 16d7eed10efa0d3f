"""A program behind the inputs and outputs of another graph: what it is called with differs, what it is does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .executable import Executable


class WrappedProgram:
    """Base of what calls a program for another graph than its own. program: it, or a function that is called like one."""

    def __init__(self, program: Executable | WrappedProgram | Callable[..., list[np.ndarray]]) -> None:
        self.program = program

    @property
    def source(self) -> str:
        """The C text."""
        return self.program.source

    @property
    def arena_bytes(self) -> int:
        """Working memory."""
        return self.program.arena_bytes

    def forget(self) -> None:
        """Let go of all output arrays."""
        self.program.forget()
