"""The main job end to end: train, save, compile, classify with the C program; and PyTorch's loss curve."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from command_line import DIGITS, ROOT, lamina


sklearn = pytest.importorskip("sklearn")
pytest.importorskip("tqdm")
pytestmark = [pytest.mark.slow, needs_compiler]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of training in a fresh cache, and the trained model as C."""
    folder = tmp_path_factory.mktemp("main-job")
    done = lamina(
        "run", "--dump", "ir", DIGITS, "--epochs", "2", "--weights", "digits.pth", "--losses", "losses.txt", cwd=folder,
        LAMINA_CACHE=str(folder / "cache"),
    )  # fmt: skip
    assert done.status == 0, done.err
    (folder / "out.txt").write_text(done.out, encoding="utf-8")
    done = lamina(
        "compile", f"{DIGITS}:CNN", "--weights", "digits.pth", "--example", "float32[1,1,28,28]", "--main", "--dump", "model-ir",
        "-o", "model", cwd=folder,
    )  # fmt: skip
    assert done.status == 0, done.err
    return folder


def test_it_learns(folder: Path) -> None:
    text = (folder / "out.txt").read_text(encoding="utf-8")
    accuracy = [float(number) for number in re.findall(r"held out [\d.]+, ([\d.]+)%", text)]
    saved = re.search(r"saved weights: ([\d.]+)%", text)
    assert len(accuracy) == 2 and accuracy[1] > 93, text
    assert saved and float(saved[1]) == accuracy[1]


def test_the_losses_are_pytorchs(folder: Path) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, DIGITS, "--epochs", "1", "--weights", "torch.pth", "--losses", "torch.txt"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs = (np.loadtxt(folder / name) for name in ("losses.txt", "torch.txt"))
    assert len(theirs) == 23 and len(ours) == 46
    np.testing.assert_allclose(ours[:20], theirs[:20], atol=1e-3)


def test_c_predicts_what_python_predicts(folder: Path) -> None:
    done = lamina("run", ROOT / "examples" / "classify_with_c.py", "--weights", "digits.pth", "--model", "model", cwd=folder)
    assert done.status == 0, (done.out, done.err)
    numbers = re.search(r"held-out images (\d+): C and Python agree on (\d+)", done.out)
    assert numbers and numbers[1] == numbers[2] == "359"


def test_the_dump_can_be_followed(folder: Path) -> None:
    """Every stage is there with the command that replays it, and each replay of the model's stages gives the next file."""
    programs = [p.parent for p in (folder / "ir").rglob("index.md") if list(p.parent.glob("*-captured.mlir"))]
    assert programs
    model = folder / "model-ir"
    rows = re.findall(r"\[(\d+-[\w-]+\.\w+)\].*?`(lamina opt (\S+) -p '(.*?)')` \|", (model / "index.md").read_text(encoding="utf-8"))
    assert len(rows) >= 6
    from lamina.backends.replay import replay

    for made, _, source, pipeline in rows:
        text = (model / source).read_text(encoding="utf-8")
        assert replay(text, source, pipeline) == (model / made).read_text(encoding="utf-8"), made


def test_a_second_process_compiles_nothing(folder: Path) -> None:
    text = (
        "import json, sys, runpy\nfrom lamina.pyfront.command import main\nfrom lamina.backends.driver import stats\n"
        "status = main(sys.argv[1:])\nprint(json.dumps([status, stats.compiles, stats.disk_hits]))\n"
    )
    command = [sys.executable, "-c", text, "run", str(DIGITS), "--epochs", "1", "--weights", "again.pth"]
    environment = os.environ | {"LAMINA_CACHE": str(folder / "second")}
    for expected in (True, False):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        status, compiles, hits = json.loads(done.stdout.splitlines()[-1])
        assert status == 0 and (compiles > 0) == expected and (hits > 0) != expected, done.stderr
