"""torch.utils: data loading, and the small parts programs look for there."""

from __future__ import annotations

from types import SimpleNamespace

from . import checkpoint, data
from .sharing import from_dlpack, to_dlpack

__all__ = ["checkpoint", "data", "dlpack"]
dlpack = SimpleNamespace(from_dlpack=from_dlpack, to_dlpack=to_dlpack)
__path__: list[str] = []  # a package to the import system: `import lamina.utils.data`
