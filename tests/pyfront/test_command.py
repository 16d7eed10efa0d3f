"""The command line: scripts run as they are, errors show the user's lines, and every subcommand answers."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lamina(*arguments: str, cwd: Path | None = None, stdin: str | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lamina", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, input=stdin, timeout=300, check=False)


def script(folder: Path, text: str, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
def test_run_serves_torch(tmp_path: Path) -> None:
    script(tmp_path, "VALUE = 3", "settings.py")
    path = script(
        tmp_path,
        "import sys\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\nfrom torch import optim\n"
        "from torch.utils.data import DataLoader, TensorDataset\nfrom torch.optim.lr_scheduler import StepLR\nimport settings\n"
        "assert __name__ == '__main__' and issubclass(nn.Linear, torch.nn.Module)\n"
        "print(sys.argv[1:], torch.__version__, settings.VALUE, F.relu(torch.tensor([-1., 2.])).tolist())\n"
        "assert not hasattr(torch, 'nonsense') and not torch.cuda.is_available()\n"
        "try:\n    import torch.nonsense\nexcept ImportError as e:\n    print('guarded')\n",
    )
    done = lamina("run", str(path), "a", "--b")
    assert done.stdout.splitlines() == ["['a', '--b'] 2.13.0 3 [0.0, 2.0]", "guarded"], done.stderr


def test_errors_show_the_users_lines(tmp_path: Path) -> None:
    path = script(tmp_path, "import torch\ndef f(x):\n    return torch.nn.Linear(4, 2)(x)\nf(torch.ones(3, 5))\n")
    done = lamina("run", str(path))
    assert done.returncode == 1
    assert "ShapeError: mat1 and mat2 shapes cannot be multiplied (3x5 and 4x2)" in done.stderr
    assert 'train.py", line 4' in done.stderr and 'train.py", line 3' in done.stderr
    assert "pyfront" not in done.stderr and done.stderr.count("File ") == 2


@pytest.mark.parametrize(
    "text, status, words",
    [
        ("raise SystemExit(3)", 3, ""), ("import sys\nsys.exit('stopped')", 1, "stopped"), ("1/0", 1, "ZeroDivisionError"),
        ("def f(:", 1, "SyntaxError"), ("import torch.nowhere", 1, "No module named 'torch.nowhere'"),
    ],
)  # fmt: skip
def test_exit_status(tmp_path: Path, text: str, status: int, words: str) -> None:
    done = lamina("run", str(script(tmp_path, text)))
    assert done.returncode == status and words in done.stderr and "pyfront" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_run_reads_the_main_of_folders_and_zip_files(tmp_path: Path, kind: str) -> None:
    program = tmp_path / "program"
    program.mkdir()
    script(program, "VALUE = 3", "settings.py")
    script(program, "import torch, settings, sys\nprint((torch.ones(2) * settings.VALUE).tolist(), __name__, __file__, sys.argv)\n", "__main__.py")
    path = program
    if kind == "zip":
        path = tmp_path / "program.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for name in ("__main__.py", "settings.py"):
                packed.write(program / name, name)
    done = lamina("run", str(path), "a")
    assert done.stdout.strip() == f"[3.0, 3.0] __main__ {path / '__main__.py'} {[str(path), 'a']}", done.stderr


@pytest.mark.slow
def test_a_folder_without_a_main_is_refused(tmp_path: Path) -> None:
    done = lamina("run", str(tmp_path))
    assert done.returncode == 1 and "FileError: cannot read" in done.stderr and "__main__.py" in done.stderr


def test_missing_script() -> None:
    done = lamina("run", "nowhere.py")
    assert done.returncode == 1 and "FileError: cannot read nowhere.py" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_check_lists_what_is_missing(tmp_path: Path) -> None:
    script(tmp_path, "import torch\n\n\ntorch.nowhere.fft(1)\n", "model.py")
    path = script(tmp_path, "import torch.nn as nn\nfrom model import x\nimport torch.distributed as dist; dist.sent(1)\nnn.Nonsense(3)\nx.sspaddmm(1)\n")
    done = lamina("check", "train.py", cwd=tmp_path)
    lines = [line.split()[:2] for line in done.stdout.splitlines()[:-1]]
    assert done.returncode == 1 and path.exists()
    assert lines == [
        ["train.py:3", "torch.distributed.sent"], ["train.py:4", "torch.nn.Nonsense"], ["train.py:5", "torch.Tensor.sspaddmm"],
        ["model.py:4", "torch.nowhere"],
    ]  # fmt: skip
    assert lamina("check", str(EXAMPLES / "digits.py")).returncode == 0


@pytest.mark.slow
def test_explain_flags_and_opt(tmp_path: Path) -> None:
    assert "op tanh" in lamina("explain", "tanh").stdout
    assert "did you mean tanh" in lamina("explain", "tanhh").stderr
    assert "LAMINA_DEVICE" in lamina("flags").stdout
    module = "builtin.module {\n}\n"
    assert "builtin.module" in lamina("opt", "-", stdin=module).stdout
    assert lamina("opt", str(tmp_path / "none.mlir")).returncode == 1


@pytest.mark.slow
def test_compile_writes_a_program(tmp_path: Path) -> None:
    path = script(tmp_path, "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                  "        self.fc = torch.nn.Linear(3, 2)\n    def forward(self, x):\n        return self.fc(x).relu()\n"
                  "if __name__ == '__main__':\n    torch.save(Net().state_dict(), 'net.pt')\n")  # fmt: skip
    assert lamina("run", str(path), cwd=tmp_path).returncode == 0
    done = lamina("compile", f"{path}:Net", "--weights", "net.pt", "--example", "float32[1,3]", "-o", "out", "--main", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"model.c", "model.h", "model.weights", "main.c"} <= {p.name for p in (tmp_path / "out").iterdir()}
    wrong = lamina("compile", f"{path}:Nut", "--example", "float32[1,3]", "-o", "out", cwd=tmp_path)
    assert "models it defines: Net" in wrong.stderr
    assert "is not a type" in lamina("compile", f"{path}:Net", "--example", "float[1", "-o", "out", cwd=tmp_path).stderr
