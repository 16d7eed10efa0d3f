"""torch.save, torch.load and safetensors."""

from __future__ import annotations

from .serialization import (
    DEFAULT_PROTOCOL, FILE_LIKE, MAP_LOCATION, add_safe_globals, clear_safe_globals, get_safe_globals, get_unsafe_globals_in_checkpoint, load, load_safetensors,
    safe_globals, save, save_safetensors,
)  # fmt: skip

__all__ = [
    "add_safe_globals", "clear_safe_globals", "get_safe_globals", "get_unsafe_globals_in_checkpoint", "load",
    "load_safetensors", "safe_globals", "save", "save_safetensors",
]  # fmt: skip
