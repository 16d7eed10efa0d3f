"""torch.cuda.amp: autocast and GradScaler under their old names."""

from __future__ import annotations

from ..dialects.types import DTYPES, DType
from . import amp
from .amp import custom_bwd, custom_fwd  # noqa: F401  # public here


class autocast(amp.autocast):
    """torch.amp.autocast("cuda", ...)."""

    def __init__(
        self, enabled: bool = True, dtype: DType = DTYPES["float16"], cache_enabled: bool = True
    ) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """torch.amp.GradScaler("cuda", ...)."""

    def __init__(
        self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
