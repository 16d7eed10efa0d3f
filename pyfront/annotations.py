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
_scalar_or_tuple_any_t = _maybe_indices_t = Any
for _many in range(1, 7):  # torch.nn.common_types: an int, or one for each dimension
    globals()[f"_size_{_many}_t"] = int | tuple[(int,) * _many]
    globals()[f"_ratio_{_many}_t"] = float | tuple[(float,) * _many]
_size_any_t, _ratio_any_t = int | tuple[int, ...], float | tuple[float, ...]
_size_any_opt_t, _size_2_opt_t, _size_3_opt_t = _size_any_t | None, int | tuple[int | None, int | None], int | tuple[int | None, int | None, int | None]
_TensorOrTensors = Tensor | Sequence[Tensor]
