"""The example programs run under PyTorch and under lamina: losses, results and weights agree, whichever wrote the weights."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from needs import needs_compiler
from command_line import ROOT, lamina
from digits_program import torch_from_lamina


pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytestmark = [pytest.mark.slow, pytest.mark.torch, needs_compiler]

# program -> arguments that keep it short, how far final scores may lie apart (a point of accuracy, a percent of an error)
PROGRAMS = {
    "mlp_regression": (["--epochs", "8"], 0.01),
    "forecasting": (["--epochs", "3"], 0.005),
    "vae": (["--epochs", "4"], 0.3),
    "char_gpt": (["--steps", "60", "--write", "20"], 0.03),
    "ddp": (["--epochs", "3"], 0.0),
    "transfer": (["--epochs", "4", "--source", "source.pt"], 0.0112),  # two of 180 held-out pictures; both start from PyTorch's file
}
# One thread: PyTorch's sums then have one order. Its own torchvision may be built for another PyTorch: see torchvision_oracle.py.
UNDER_TORCH = """
import runpy, sys, types
sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
import torch
torch.set_num_threads(1)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def final_score(text: str) -> float:
    found = re.search(r"final score: (-?[\d.]+)", text)
    assert found, text
    return float(found[1])


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_frameworks_agree(name: str, tmp_path: Path) -> None:
    if name == "transfer":
        sys.path.insert(0, str(ROOT / "tests" / "pyfront"))
        try:
            from torchvision_oracle import torchvision
        finally:
            sys.path.pop(0)
        torchvision()
    script, (arguments, apart) = ROOT / "examples" / f"{name}.py", PROGRAMS[name]
    command = [sys.executable, "-c", UNDER_TORCH, str(script), *arguments, "--weights", "torch.pt", "--losses", "torch.txt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = final_score(done.stdout)
    run = lamina("run", script, *arguments, "--weights", "lamina.pt", "--losses", "lamina.txt", cwd=tmp_path)
    assert run.status == 0, run.err
    ours = final_score(run.out)

    losses, wanted = (np.loadtxt(tmp_path / f"{which}.txt") for which in ("lamina", "torch"))
    assert len(losses) == len(wanted) >= 50
    np.testing.assert_allclose(losses[:50], wanted[:50], rtol=1e-3)
    assert abs(ours - theirs) <= apart

    # Weights of either open in the other, and score there what they scored at home.
    assert abs(loaded(script).evaluate(str(tmp_path / "lamina.pt")) - ours) < 2e-3
    with torch_from_lamina():
        assert abs(loaded(script).evaluate(str(tmp_path / "torch.pt")) - theirs) < 2e-3
