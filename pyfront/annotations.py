"""torch.types: names for annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: F401, UP035  # torch.jit.annotations has them

from ..dialects.types import DType
from .size import Size, device
from .tensor import Tensor

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number = int | float | bool
Device = device | str | int | None
FileLike = str | os.PathLike | Any
Storage = Any
_bool, _int, _float, _complex, _dtype, _device = bool, int, float, complex, DType, device
_size = Size | list[int] | tuple[int, ...]
_TensorOrTensors = Tensor | Sequence[Tensor]
