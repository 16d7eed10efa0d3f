"""Every snippet of the five PyTorch guides that needs no GPU and no download prints what PyTorch prints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from programs_run import PROGRAMS, disagreements, expected_file, run_with_lamina, run_with_pytorch

SLOW = {"004_tutorial", "004_mnist_cnn", "004_transfer", "004_torchvision"}  # thousands of steps, large programs to compile


def _cases() -> list:
    return [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in SLOW else []) for p in PROGRAMS]


@pytest.mark.parametrize("program", _cases())
def test_prints_what_pytorch_prints(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, errors = run_with_lamina(program)
    assert status == 0, errors
    wrong = disagreements(out, expected_file(program).read_text(encoding="utf8"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_recorded_output_is_pytorchs(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    if "import torchvision" in (text := program.read_text(encoding="utf8")) or "from torchvision" in text:
        import importlib.util

        if importlib.util.find_spec("torchvision") is None:
            pytest.skip("torchvision is not installed")
    if "torch.onnx" in text:
        pytest.importorskip("onnxscript", reason="PyTorch's exporter needs it")
    wrong = disagreements(expected_file(program).read_text(encoding="utf8"), run_with_pytorch(program, tmp_path))
    assert not wrong, "\n".join(wrong)
