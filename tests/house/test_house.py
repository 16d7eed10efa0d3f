"""The house rules that a machine can check: import law, file sizes, names, pins, import time."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("dialects", "passes", "lowering", "backends", "pyfront")
OLDEST = (3, 11)
MAY_IMPORT = {
    "dialects": {"dialects"},
    "passes": {"passes", "dialects"},
    "lowering": {"lowering", "passes", "dialects"},
    "backends": {"backends", "lowering", "passes", "dialects"},
    "pyfront": {"pyfront", "dialects", "backends"},
}
# The frontend reads these parts of dialects and backends only: one door into the compiler, and ready files on the way out.
PYFRONT_DIALECTS = {"types", "errors", "book", "graph", "flags"}
PYFRONT_BACKENDS = {"driver"}
COMMAND_BACKENDS = {"driver", "edited_stages", "replay"}


def sources() -> list[Path]:
    return [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


class Facts(NamedTuple):
    """What the rules ask of a file. The tree itself is not kept: the trees of all files are a million objects, and every collection of
    garbage in the tests that follow would go through them.

    imports: absolute room paths of every import of our own, e.g. ("dialects", "types"). outside: modules that are imported by name.
    pairs: ("name", "attribute") wherever an attribute of a name is written.
    """

    docstring: str | None
    imports: tuple[tuple[str, ...], ...]
    outside: frozenset[str]
    pairs: frozenset[tuple[str, str]]


@functools.cache
def facts(path: Path) -> Facts:
    """Of one file, read as the oldest Python reads it, gone through once for all rules."""
    package = path.relative_to(ROOT).parts[:-1]
    imports: list[tuple[str, ...]] = []
    outside: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    tree = ast.parse(path.read_text(encoding="utf8"), path.name, feature_version=OLDEST)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name):
                pairs.add((node.value.id, node.attr))
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = tuple(node.module.split(".")) if node.module else ()
            if module:
                imports.append((*base, *module))
            else:
                imports.extend((*base, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module or "")
            if (node.module or "").split(".")[0] == "lamina":
                imports.append(tuple(node.module.split(".")[1:]))
        elif isinstance(node, ast.Import):
            outside.update(a.name for a in node.names)
            imports.extend(tuple(a.name.split(".")[1:]) for a in node.names if a.name.split(".")[0] == "lamina")
    return Facts(ast.get_docstring(tree), tuple(imports), frozenset(outside), frozenset(pairs))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_import_law(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for target in facts(path).imports:
        if not target or target[0] not in ROOMS:
            continue
        assert target[0] in MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {'.'.join(target)}"
        if room == "pyfront" and target[0] == "dialects" and len(target) > 1:
            assert target[1] in PYFRONT_DIALECTS, f"{path.relative_to(ROOT)} reaches into {'.'.join(target)}"
        if room == "pyfront" and target[0] == "backends" and len(target) > 1:
            doors = COMMAND_BACKENDS if path.parent.name == "command" else PYFRONT_BACKENDS
            assert target[1] in doors, f"{path.relative_to(ROOT)} reaches into {'.'.join(target)}"


@pytest.mark.slow
def test_the_oldest_python_reads_every_file() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]["requires-python"].startswith(">=%d.%d" % OLDEST)
    for path in sources():
        facts(path)  # a SyntaxError where it cannot


def test_torch_is_never_imported_by_the_product() -> None:
    for path in sources():
        assert not any(n.split(".")[0] in ("torch", "torchvision") for n in facts(path).outside), path


def test_nothing_read_from_a_file_is_executed() -> None:
    for path in sources():
        assert facts(path).pairs.isdisjoint({("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler")}), path


def test_files_have_one_role() -> None:
    for path in sources():
        lines = path.read_text(encoding="utf8").splitlines()
        assert len(lines) <= 650, f"{path.relative_to(ROOT)} has {len(lines)} lines: one role, or several?"
        assert path.stem not in {"util", "utils", "helper", "helpers", "common", "misc"} or path.parent.name == "nn", path
        assert facts(path).docstring, f"{path.relative_to(ROOT)} does not say its role"


def test_no_machine_paths() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".ops", ".rules", ".mlir", ".c", ".h"} and path != Path(__file__):
            text = path.read_text(encoding="utf8")
            assert not re.search(r"(?<![\w.])/(work|farm|opt/venv|root)/", text), f"{name} names a path of one machine"


def test_pins_and_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    assert "xdsl==0.74.0" in project["project"]["dependencies"]
    listed = set(project["tool"]["setuptools"]["packages"])
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            name = "lamina." + ".".join(init.parent.relative_to(ROOT).parts)
            assert name in listed, f"{name} is missing from pyproject.toml"


def test_import_is_light() -> None:
    """`import lamina` brings no xDSL and nothing heavy (0.5 s at most is checked by benchmarks/import_time.py)."""
    code = "import sys, lamina; print([m for m in ('xdsl', 'torch', 'scipy', 'sklearn', 'PIL') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_program_for_cpus_loads_nothing_for_gpus() -> None:
    """Nor a parser: rules are read from their kept form (a first process makes it)."""
    code = (
        "import sys; from lamina.backends.pipelines import standard_pipeline; from lamina.backends import kernel_objects; "
        "standard_pipeline(keep=True); from lamina.passes.rules import algebra; algebra(); "
        "print(sorted(m for m in sys.modules if m == 'lark' or 'pyfront' not in m and m.rpartition('.')[2].startswith(('gpu', 'nv', 'cuda'))))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
