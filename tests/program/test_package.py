"""The package as users get it: a wheel with every data file, installed away from the sources; Python versions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from command_line import ROOT

NOT_INSTALLED = (".md", ".pyc", "")
ROOMS = ("dialects", "passes", "lowering", "backends", "pyfront")


def wanted() -> set[str]:
    """Every file of the rooms that the package needs, as names in the wheel."""
    found = {"lamina/__init__.py", "lamina/__main__.py"}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix not in NOT_INSTALLED:
                found.add(f"lamina/{path.relative_to(ROOT).as_posix()}")
    return found


def test_data_files_are_listed() -> None:
    """Every kind of data file of a room is in pyproject.toml (the wheel itself is built in a slower test)."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix not in (".py", *NOT_INSTALLED):
                package = "lamina." + ".".join(path.parent.relative_to(ROOT).parts)
                assert f"*{path.suffix}" in listed.get(package, ()), f"{path.relative_to(ROOT)} would not be installed"


def run(*command: object, cwd: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", "*.egg-info", ".pytest_cache")
    shutil.copytree(ROOT, source, ignore=ignored)
    alone = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *alone, "-w", folder, source, cwd=folder)
    return next(folder.glob("lamina-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == wanted()


SCRIPT = """import lamina
import torch
assert "site-packages" in lamina.__file__ or "dist-packages" in lamina.__file__, lamina.__file__
x = torch.randn(64, 64, requires_grad=True)
for _ in range(3):
    (x @ x).softmax(1).log().sum().backward()
print(x.grad.shape, torch.__version__)
"""


@pytest.mark.slow
def test_the_installed_package_works(wheel: Path, tmp_path: Path) -> None:
    """`pip install` into a fresh environment; what lamina depends on comes from the one that runs the tests."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Dependencies: linked in one by one, so that an editable lamina of the outer environment is not found.
    inside = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    outside = {Path(p) for p in sys.path if p.endswith(("site-packages", "dist-packages"))}
    for folder in outside:
        for path in folder.iterdir():
            skip = path.suffix == ".pth" or "lamina" in path.name.lower() or path.name.startswith(("torch", "__editable__"))
            if not skip and not (inside / path.name).exists():
                (inside / path.name).symlink_to(path)
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    command = python.with_name("lamina")
    for start in ((command,), (python, "-m", "lamina")):
        out = run(*start, "run", "train.py", cwd=tmp_path, LAMINA_CACHE=str(tmp_path / "cache"))
        assert out == "torch.Size([64, 64]) 2.13.0\n"
    assert "op tanh" in run(command, "explain", "tanh", cwd=tmp_path)
    assert "simplify" in run(command, "opt", "--list", cwd=tmp_path)
