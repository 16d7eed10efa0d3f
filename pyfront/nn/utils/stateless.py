"""torch.nn.utils.stateless: ``functional_call`` where it was before it moved to torch.func."""

from __future__ import annotations

from ...func import functional_call

__all__ = ["functional_call"]
