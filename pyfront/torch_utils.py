"""torch.utils: data loading, and the small parts programs look for there."""

from __future__ import annotations

from . import data

__all__ = ["data"]
__path__: list[str] = []  # a package to the import system: `import lamina.utils.data`
