"""``torch.signal``: its windows."""

from __future__ import annotations

from . import windows

__all__ = ["windows"]
__path__: list[str] = []  # a package to the import system: `import lamina.signal.windows`
