"""Kernels that only move 16-bit floats move them as integers: values of such floats are carried in 32 bits, which nothing needs here.

    out[j][i] = in[i][j] : bf16      read and written as memref<..xi16>
"""

from __future__ import annotations

from xdsl.dialects.builtin import i16
from xdsl.dialects.linalg.ops import YieldOp

from .contraction_tile import HALVES
from .nest_stages import Kernel, Stage


def move_as_integers(kernel: Kernel) -> None:
    """Gives the buffers of such a kernel elements that are integers; kernels that compute, fill or hold other loops stay as they are."""
    if not kernel.others and kernel.stages and all(map(_only_moves, kernel.stages)):
        for buffer in kernel.buffers:
            if isinstance(buffer.element, HALVES):
                buffer.element = i16


def _only_moves(stage: Stage) -> bool:
    return stage.block is not None and stage.fill is None and not any(stage.starts) and all(isinstance(op, YieldOp) for op in stage.block.ops)
