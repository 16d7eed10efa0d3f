"""torchvision's names: transforms, datasets, models, utils, io, ops. Needs Pillow (`pip install lamina[vision]`)."""

from __future__ import annotations

import importlib
from typing import Any

from ...dialects.errors import UnsupportedError

try:
    import PIL  # noqa: F401  # everything here reads or writes pictures
except ModuleNotFoundError:
    raise ModuleNotFoundError("torchvision's names need Pillow: pip install 'lamina[vision]'", name="PIL") from None

__all__ = ["datasets", "get_image_backend", "io", "models", "ops", "set_image_backend", "transforms", "tv_tensors", "utils"]
__version__ = "0.28.0"  # the torchvision whose behaviour is followed
__path__: list[str]

_MODULES = {name: name for name in ("datasets", "io", "models", "ops", "transforms", "tv_tensors")} | {"utils": "pictures"}


def get_image_backend() -> str:
    """What loads images."""
    return "PIL"


def set_image_backend(backend: str) -> None:
    """Pillow is the one there is."""
    if backend not in ("PIL", "accimage"):
        raise ValueError(f"Invalid backend '{backend}'. Options are 'PIL' and 'accimage'")
    if backend != "PIL":
        raise UnsupportedError("the image backend 'accimage' is not here", help="use 'PIL'")


def _is_tracing() -> bool:
    """Whether a call is being recorded to be a program of its own; DETR asks before it puts images of several sizes together."""
    from ..torch_jit import is_tracing

    return is_tracing()


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    found = globals()[name] = importlib.import_module(f".{_MODULES[name]}", __name__)
    return found
