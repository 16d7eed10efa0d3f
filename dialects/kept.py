"""What a program makes of some inputs and keeps between calls (packed copies, transformed weights), as the compiler tells it to whoever calls the
program."""

from __future__ import annotations

from typing import NamedTuple

from .types import Type


class Kept(NamedTuple):
    """inputs: of which it is made. type: its memory. form: how; equal forms of equal inputs are equal."""

    inputs: tuple[int, ...]
    type: Type
    form: str
