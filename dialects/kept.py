"""A packed copy of an input that a program keeps between calls, as the compiler tells it to whoever calls the program."""

from __future__ import annotations

from typing import NamedTuple

from .types import Type


class Kept(NamedTuple):
    """input: of which the copy is. type: its memory. form: how it is packed; equal forms make equal copies."""

    input: int
    type: Type
    form: str
