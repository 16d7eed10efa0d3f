"""Shape propagation: a graph run on examples, with the shape and dtype of every value noted in its Node."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...size import Size
from ...tensor import Tensor
from ...traits import channels_last, channels_last_3d, contiguous_format
from ..arguments import map_aggregate
from ..interpreter import Interpreter
from ..node import Node


class TensorMetadata(NamedTuple):
    """What is known of a tensor without its values."""

    shape: Size
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _of(tensor: Tensor) -> TensorMetadata:
    formats = (contiguous_format, channels_last, channels_last_3d)
    rank = {channels_last: 4, channels_last_3d: 5}
    format = next((f for f in formats if rank.get(f, tensor.dim()) == tensor.dim() and tensor.is_contiguous(memory_format=f)), None)
    return TensorMetadata(tensor.shape, tensor.dtype, tensor.requires_grad, tuple(tensor.stride()), format, False, {})


class ShapeProp(Interpreter):
    """Notes ``tensor_meta`` (a TensorMetadata, or several, nested as the value is) and ``type`` in ``node.meta``."""

    def run_node(self, n: Node) -> Any:
        """A Node's value, noted."""
        result = super().run_node(n)
        found = False

        def noted(x: Any) -> Any:
            nonlocal found
            if not isinstance(x, Tensor):
                return x
            found = True
            return _of(x)

        meta = map_aggregate(result, noted)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Run the graph on these arguments."""
        return super().run(*args)
