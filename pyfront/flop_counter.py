"""torch.utils.flop_counter: the name that model summaries import; lamina does not count operations of a region yet."""

from __future__ import annotations

from typing import Any

from ..dialects.errors import UnsupportedError
from .origin import origin, source_line

__all__ = ["FlopCounterMode"]


class FlopCounterMode:
    """Made, and asked before anything was counted, it answers 0; UnsupportedError where counting would begin."""

    def __init__(self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: Any = None) -> None:
        self.depth, self.display = depth, display

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """Operations by module: none were counted."""
        return {}

    def get_total_flops(self) -> int:
        """Operations of all modules."""
        return 0

    def __enter__(self) -> FlopCounterMode:
        raise UnsupportedError(
            "torch.utils.flop_counter counts nothing in lamina yet", at=source_line(origin()),
            help="lamina run --profile shows what each kernel computes",
        )  # fmt: skip

    def __exit__(self, *_: Any) -> None:
        pass
