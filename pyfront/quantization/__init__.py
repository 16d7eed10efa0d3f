"""torch.ao: quantization (its public names are in `public.py`) and the layers of quantized numbers (`nn.py`)."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {"quantization": "public", "nn": "nn"}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(f".{_NAMES[name]}", __name__)
