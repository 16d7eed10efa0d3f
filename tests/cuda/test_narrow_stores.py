"""What is widened before it is stored: stored narrow where readers can widen it, the same numbers, and where it is left alone."""

from __future__ import annotations

import pytest
from needs import needs_emulation
from xdsl.dialects import func

from graphs import Recorder

from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import arrays_for
from lamina.backends.cuda.program import cuda_source, gpu_module
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.types import bfloat16, float16, float32, int64
from lamina.lowering.capture import capture


def classifier(half=bfloat16, rows: int = 40, width: int = 33, words: int = 70, returned: bool = False, factor: bool = False) -> Graph:
    """Cross entropy in float32 of a product of 16 bits, and its gradients: several kernels read the widened logits."""
    r = Recorder()
    x, w, target, v = r.input((rows, width), half), r.input((width, words), half), r.input((rows,), int64), r.input((words, 24))
    logits = r("cast", r("matmul", x, w), attrs=(float32,))
    loss = r("cross_entropy", logits, target)
    first = r("autodiff.grad", loss, r.full((), 1.0), x, w)
    outputs = [loss, first, first + 1]
    return r.graph(*outputs, *([logits] if returned else []), *([r("matmul", logits, v)] if factor else []))


def stored(graph: Graph, arch: str = "sm_90a") -> set[str]:
    """Types of arrays of rows by words in memory."""
    held = [a.type for op in gpu_module(graph, arch).body.block.ops if isinstance(op, func.FuncOp) for a in op.body.block.args]
    return {str(kind.element_type) for kind in held if 40 in kind.get_shape() and 70 in kind.get_shape()}


@needs_emulation
@pytest.mark.parametrize("half", [bfloat16, float16], ids=str)
@pytest.mark.slow
def test_logits_are_stored_as_they_were_rounded(half) -> None:
    graph = classifier(half)
    assert stored(graph) == {"bf16" if half is bfloat16 else "f16"}
    emulation, arrays = emulate.Emulation(cuda_source(graph, "sm_90a")), arrays_for(graph)
    for seed in (0, 3):
        assert largest_error(graph, emulation(arrays, seed), evaluate(capture(graph), arrays)) <= 1


@pytest.mark.parametrize("options", [{"returned": True}, {"factor": True}], ids=str)
def test_what_others_see_or_products_multiply_stays(options) -> None:
    assert "f32" in stored(classifier(**options))
