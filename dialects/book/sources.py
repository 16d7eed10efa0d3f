"""Where the stanzas stand: splits an `.ops` file without parsing it, so that only stanzas in use are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import BookError


class Source(NamedTuple):
    """Where a stanza stands: file, first line, its text, and the dialect of its file."""

    file: str
    line: int
    text: str
    dialect: str


def sources(text: str, file: str, dialect: str) -> Iterator[tuple[str, Source]]:
    """The stanzas of a file: each starts with `op NAME(` at the line's beginning.

    BookError on anything else between.
    """
    lines = text.split("\n")
    heads = [i for i, line in enumerate(lines) if line.startswith("op ")]
    for i, line in enumerate(lines[: heads[0] if heads else len(lines)]):
        if line.strip() and not line.startswith("--"):
            raise BookError(f"{file} must begin with a comment or an op", at=f"{file}:{i + 1}   {line}")
    for start, end in zip(heads, [*heads[1:], len(lines)]):
        found = re.match(r"op +(\w+) *\(", lines[start])
        if found is None:
            raise BookError(
                "a stanza begins with op NAME(parameters)", at=f"{file}:{start + 1}   {lines[start]}"
            )
        kept = lines[start:end]
        while not kept[-1].strip() or kept[-1].startswith("--"):
            kept.pop()
        yield found[1], Source(file, start + 1, "\n".join(kept), dialect)
