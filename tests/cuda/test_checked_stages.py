"""LAMINA_CHECK, LAMINA_DUMP and LAMINA_OVERRIDE for programs on a GPU: every stage against the oracle, the last one on emulated threads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from needs import needs_emulation

from lamina.backends.check import Checker
from lamina.backends.cuda.program import cuda_source
from lamina.backends.cuda.runtime import Runtime
from lamina.backends.emulation.device import EmulatedDevice
from lamina.backends.pipelines import gpu_pipeline
from lamina.dialects import flags
from lamina.dialects.errors import PassError
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import bool_, float32
from lamina.lowering.capture import capture

pytestmark = needs_emulation
TYPE = (4, 6), float32
GRAPH = Graph(
    (TYPE, TYPE), (Step("mul", (), (0, 1)), Step("sum", ((1,),), (2,)), Step("less", (), (0, 1))), (3, 4), ("model.py:7",) * 3, ("x", "y"),
    (TYPE, TYPE, TYPE, ((4, 1), float32), ((4, 6), bool_)),
)  # fmt: skip


def test_every_stage_is_compared(capsys) -> None:
    cuda_source(GRAPH, "sm_90a", check=2)
    said = capsys.readouterr().err
    assert re.search(r"check: \d+ stages agree with the oracle: 3 ops from model.py:7", said) and "not run" not in said


@pytest.mark.slow
def test_kernels_that_are_wrong_are_found() -> None:
    """An operand multiplied by itself: the last pass is named."""
    module, pipeline = capture(GRAPH), gpu_pipeline("sm_90a")
    checker = Checker(module, level=2)

    def spoil(ran, m) -> None:
        if ran.step.gives == "gpu":
            multiply = next(op for op in m.walk() if op.name == "arith.mulf")
            multiply.operands = (multiply.operands[0], multiply.operands[0])
        checker.after(ran, m)

    with pytest.raises(PassError, match="linalg-to-gpu changed the answer") as raised:
        pipeline.run(module, spoil)
    assert "-p 'linalg-to-gpu' --check-each-pass" in str(raised.value)


@pytest.mark.slow
def test_programs_that_run_are_dumped_and_edited_ones_run(tmp_path: Path) -> None:
    x, y = (np.random.default_rng(k).standard_normal((4, 6)).astype(np.float32) for k in (1, 2))
    gpu = Runtime(EmulatedDevice())
    with flags.dump(str(tmp_path)):
        total, smaller = map(gpu.download, gpu.run(GRAPH, [x, y]))
    np.testing.assert_allclose(total, (x * y).sum(1, keepdims=True), rtol=1e-5)
    assert (smaller == (x < y)).all() and "program-000" in (tmp_path / "index.md").read_text(encoding="utf-8")
    (source,) = (tmp_path / "program-000").glob("*-program.cu")
    (stage,) = (tmp_path / "program-000").glob("*-linalg-to-gpu.mlir")
    assert "__global__" in source.read_text(encoding="utf-8") and "gpu." in stage.read_text(encoding="utf-8")
    text = stage.read_text(encoding="utf-8")
    stage.write_text(text.replace("arith.mulf", "arith.addf"), encoding="utf-8")
    with flags.override(str(tmp_path)):
        edited = gpu.download(Runtime(EmulatedDevice()).run(GRAPH, [x, y])[0])
    np.testing.assert_allclose(edited, (x + y).sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(gpu.download(Runtime(EmulatedDevice()).run(GRAPH, [x, y])[0]), total)
