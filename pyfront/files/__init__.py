"""torch.save, torch.load and safetensors."""

from __future__ import annotations

from .serialization import add_safe_globals, load, load_safetensors, save, save_safetensors

__all__ = ["add_safe_globals", "load", "load_safetensors", "save", "save_safetensors"]
