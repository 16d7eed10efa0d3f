"""Where the values of a buffered program live, and what @main does with them, before the arena is planned."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType
from xdsl.ir import Attribute, SSAValue

ALWAYS = 1 << 60
"""A last step nobody reaches: memory that is never handed on."""


@dataclass(eq=False, slots=True)
class Storage:
    """Memory several values may share: a program input or output, or a piece of the arena."""

    size: int
    first: int
    last: int
    argument: SSAValue | None = None  # of the new @main; None: in the arena
    is_input: bool = False
    offset: int = 0

    def keep(self, step: int) -> None:
        """The contents matter until this step, too."""
        self.last = max(self.last, step)


@dataclass(eq=False, slots=True)
class Row(Storage):
    """A part of another storage: `shift` elements behind its beginning, and `span` further at every step of a loop."""

    base: Storage = None  # type: ignore[assignment]  # always given
    loop: Loop | None = None
    span: int = 0
    shift: int = 0

    def keep(self, step: int) -> None:
        """So do those of the whole."""
        self.base.keep(step)


def row(base: Storage, loop: Loop | None, span: int, shift: int) -> Row:
    """A part of a storage; its lifetime is that of the whole."""
    return Row(0, 0, ALWAYS, base=base, loop=loop, span=span, shift=shift)


Home = tuple[Storage, MemRefType]


@dataclass(slots=True)
class Call:
    """One kernel call."""

    function: func.FuncOp
    operands: list[Home]
    results: list[Home]
    origin: Attribute | None
    scratch: Storage | None = None
    step: int = 0


@dataclass(eq=False, slots=True)
class Loop:
    """Calls that are made once per step. index: the number of the step, once @main is written."""

    steps: int
    reverse: bool
    items: list[Call | Loop] = field(default_factory=list)
    index: SSAValue | None = None
