"""Changes: a count of changes to any module's make-up, so that what was derived from one can tell that it must look again."""

from __future__ import annotations

CHANGES = [0]
"""How many changes there were."""


def changed() -> None:
    """An attribute, a table or a hook of some module changed."""
    CHANGES[0] += 1
