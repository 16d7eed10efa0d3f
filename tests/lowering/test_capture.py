"""Graph to captured module: names, origins, several results, autodiff steps; the same text under every hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import Recorder

from lamina.dialects.text import parse, print_module, verify
from lamina.dialects.types import int64
from lamina.lowering.capture import capture


def test_inputs_keep_their_names_and_steps_their_lines() -> None:
    r = Recorder()
    x, w, odd, same = (r.input((2, 2), name=n) for n in ("x", "fc.weight", "0 odd", "fc.weight"))
    r.input((), int64)
    y = r("matmul", x, w, origin="net.py:7")
    module = capture(r.graph(y, odd, same))
    verify(module)
    text = print_module(module)
    assert 'lamina.names = ["x", "fc.weight", "0 odd", "fc.weight", ""]' in text
    assert "func.func @main(%x: tensor<2x2xf32>, %fc_weight: tensor<2x2xf32>" in text
    assert 'prim.matmul %x, %fc_weight {origin = "net.py:7"}' in text
    assert print_module(parse(text)) == text


def test_steps_with_several_results() -> None:
    r = Recorder()
    x, w = r.input((4, 3)), r.input((3,))
    y = r("batch_norm", x, w, w, attrs=(1e-5,))
    values, index = (s := r("sort", x, attrs=(1, False))), s + 1
    module = capture(r.graph(y + 1, y + 2, values, index))
    verify(module)
    assert print_module(parse(print_module(module))) == print_module(module)


PROGRAM = """
from graphs import cnn_step
from lamina.backends.pipelines import TENSORS
from lamina.backends.replay import known_passes
from lamina.dialects.text import print_module
from lamina.lowering.capture import capture
from lamina.passes.base import Pipeline
module = capture(cnn_step(2, (1, 2, 3), 4, 8))
Pipeline.parse(",".join(TENSORS), known_passes(), "captured").run(module)
print(print_module(module))
"""


@pytest.mark.slow
def test_text_does_not_depend_on_the_hash_seed() -> None:
    texts = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])}
        ran = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        texts.append(ran.stdout)
    assert texts[0] == texts[1] and "prim.conv" in texts[0]
