"""torch.ao.nn: layers of quantized numbers, by the kind of numbers they take."""

from __future__ import annotations

from . import intrinsic, qat  # noqa: F401  # public here
from . import modules as quantized  # noqa: F401  # public here
