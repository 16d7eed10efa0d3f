"""Scripts of many kinds under `lamina run` and `lamina check`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import ROOT, lamina, many

MISSING = """import torch
import torch.nn as nn, torch.nn.functional as F
from torch.distributed import init_process_group, init_device_mesh
import torch.fx
from torch.nn import Bogus
from torch.utils.data import Dataset, StreamingThing

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Nonsense(3)
        self.b = nn.Linear(1, 2)

    def forward(self, x):
        y = F.frobnicate(x)
        y = torch.nonexistent(y)
        return y.sspaddmm(x).relu()

optimizer = torch.optim.Magic([torch.ones(1)])
dtype = torch.float7
"""
USES = [
    "3  torch.distributed.init_device_mesh", "5  torch.nn.Bogus", "6  torch.utils.data.StreamingThing", "11  torch.nn.Nonsense",
    "15  torch.nn.functional.frobnicate", "16  torch.nonexistent", "17  torch.Tensor.sspaddmm   (if this is a tensor)",
    "19  torch.optim.Magic", "20  torch.float7",
]  # fmt: skip


@pytest.mark.slow
def test_check_lists_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(MISSING, encoding="utf-8")
    (tmp_path / "broken.py").write_text("def f(:\n", encoding="utf-8")
    found, examples, broken, absent = many(
        [
            ("check", "train.py"), ("check", *sorted((ROOT / "examples").glob("*.py"))), ("check", "broken.py"), ("check", "none.py"),
        ],
        tmp_path,
    )  # fmt: skip
    assert found.status == 1 and found.out.splitlines()[:-1] == [f"train.py:{use}" for use in USES]
    assert "9 names are missing" in found.out
    assert examples.status == 0 and "all names of torch are there" in examples.out, examples.out
    assert broken.status == 1 and "FileError: broken.py:1 is not Python" in broken.err
    assert absent.status == 1 and "FileError: cannot read none.py" in absent.err


def test_a_package_of_scripts(tmp_path: Path) -> None:
    """Siblings, packages, relative imports, `__main__`, arguments, standard input, and a working folder of its own."""
    (tmp_path / "job" / "nets").mkdir(parents=True)
    (tmp_path / "job" / "nets" / "__init__.py").write_text("from .small import Net\n", encoding="utf-8")
    (tmp_path / "job" / "nets" / "small.py").write_text(
        "import torch.nn as nn\nfrom . import sizes\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(sizes.N, 2)\n",
        encoding="utf-8",
    )
    (tmp_path / "job" / "nets" / "sizes.py").write_text("N = 5\n", encoding="utf-8")
    (tmp_path / "job" / "train.py").write_text(
        "import sys, pickle, __main__\nimport torch\nfrom nets import Net\n\n"
        "class Settings:\n    pass\n\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], __file__.endswith('train.py'), Net()(torch.ones(1, 5)).shape, __main__.Settings is Settings)\n"
        "    print(type(pickle.loads(pickle.dumps(Settings()))).__name__, open('here.txt').read(), input())\n"
        "    sys.exit(7)\n",
        encoding="utf-8",
    )
    (tmp_path / "here.txt").write_text("here", encoding="utf-8")
    command = [sys.executable, "-m", "lamina", "run", "job/train.py", "--lr", "0.1", "--device", "x", "-h"]
    done = subprocess.run(command, cwd=tmp_path, input="typed\n", capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == [
        "['--lr', '0.1', '--device', 'x', '-h'] True torch.Size([1, 2]) True", "Settings here typed",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.slow
def test_interrupt(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import torch\nprint('ready', flush=True)\nwhile True:\n    torch.ones(10).sum().item()\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "lamina", "run", "train.py"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()  # an endless program must not outlive its test
    # CPython leaves by the signal itself when the interrupt hit code made from text (dataclasses, say); shells show 130 for both.
    assert process.returncode in (130, -signal.SIGINT)
    assert err.strip().endswith("KeyboardInterrupt") and "pyfront" not in err


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "lamina", "explain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(60)


def test_explain_an_op_that_is_not_there() -> None:
    done = lamina("explain", "sofmax")
    assert done.status == 1 and "there is no op 'sofmax' in the book" in done.err and "did you mean softmax" in done.err
