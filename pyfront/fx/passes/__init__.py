"""torch.fx.passes: what is known of the values of a graph."""

from . import shape_prop

__all__ = ["shape_prop"]
