"""Kernels for prim ops that are no loop nest of index maps: scatter-add, sort, running sums."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType, StringAttr
from xdsl.ir import Operation

from ..dialects.errors import UnsupportedError
from ..dialects.target import Target


def irregular_function(
    name: str, op: Operation, inputs: Sequence[MemRefType], outputs: Sequence[MemRefType], target: Target
) -> func.FuncOp:
    """A private function of loops for one op. UnsupportedError for an op without a kernel."""
    origin = op.attributes.get("origin")
    at = origin.data if isinstance(origin, StringAttr) else None
    raise UnsupportedError(f"{op.name} has no kernel yet", at=at, help="LAMINA_DEVICE=numpy runs it on the oracle")
