"""Machines that lack something: compilers that fail or are not there, caches that cannot be written or are damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from needs import needs_compiler, needs_shell
from command_line import assert_plain, lamina



PROGRAM = """import torch
torch.manual_seed(0)
x = torch.randn(32, 32, requires_grad=True)
for _ in range(3):
    y = torch.softmax(x @ x, 1).log().mean()
    y.backward()
    print(f"{y.item():.4f} {x.grad.sum().item():.4f}")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the program prints on the numpy oracle."""
    path = tmp_path_factory.mktemp("right") / "train.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return lamina("run", path, LAMINA_DEVICE="numpy").out


def compiler(folder: Path, does: str) -> str:
    """A compiler that says its version and then does something else."""
    path = folder / "compiler"
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo pretender 1.0 $0; exit 0; fi\n{does}\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


PRETENDERS = {
    "fails": ('echo "x.c:1: error: I refuse" >&2; exit 1', ("failed with exit code 1: x.c:1: error: I refuse", "LAMINA_DEVICE=numpy")),
    "fails silently": ("exit 3", ("failed with exit code 3: no message", "LAMINA_DEVICE=numpy")),
    "writes nothing": ("exit 0", ("reported success and wrote nothing", "LAMINA_CC")),
    "writes junk": ('while [ "$1" != -o ]; do shift; done; echo junk > "$2"', ("cannot be loaded", "LAMINA_CC")),
}  # fmt: skip


@needs_shell
@pytest.mark.slow
@pytest.mark.parametrize("case", PRETENDERS)
def test_a_compiler_that_fails(case: str, script: Path, tmp_path: Path) -> None:
    does, words = PRETENDERS[case]
    cache = tmp_path / "cache"
    done = lamina("run", script, LAMINA_CC=compiler(tmp_path, does), LAMINA_CACHE=str(cache))
    assert done.status == 1 and done.err.count("File ") == 1 and 'train.py", line 7' in done.err, done.err
    for part in words:
        assert part in done.err, done.err
    assert_plain(done.err.replace(str(tmp_path), ""))
    assert not list(cache.rglob("program.so")), "nothing of a failed build is kept"


@pytest.mark.slow
@needs_shell
def test_compile_with_a_compiler_that_fails_writes_nothing(script: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\nNet = lambda: torch.nn.Linear(3, 2)\n", encoding="utf-8")
    wanted = ("compile", "net.py:Net", "--example", "float32[1,3]", "-o", "out", "--main")
    for does in ("exit 1", "exit 0"):
        done = lamina(*wanted, cwd=tmp_path, LAMINA_CC=compiler(tmp_path, does))
        assert done.status == 1 and "BackendError" in done.err and not (tmp_path / "out").exists()
    nobody = lamina(*wanted, cwd=tmp_path, LAMINA_CC="nonsense --flag")
    assert nobody.status == 1 and "LAMINA_CC does not run: nonsense --flag" in nobody.err and not (tmp_path / "out").exists()
    none = lamina(*wanted, cwd=tmp_path, PATH=str(tmp_path / "nothing"))
    if "no C compiler" in none.err:  # unless ziglang is installed
        assert none.status == 1 and "--no-shared" in none.err and not (tmp_path / "out").exists()
        assert_plain(none.err)
        assert none.err.count("no C compiler") == 1 and "oracle" not in none.err
    alone = lamina(*wanted, "--no-shared", cwd=tmp_path, LAMINA_CC="nonsense")
    assert alone.status == 0, alone.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["main.c", "model.c", "model.h", "model.weights"]


@pytest.mark.slow
def test_without_a_compiler_programs_run_on_the_oracle(script: Path, tmp_path: Path, right: str) -> None:
    done = lamina("run", script, PATH=str(tmp_path / "nothing"), LAMINA_CACHE=str(tmp_path / "cache"))
    assert done.status == 0 and done.out == right
    assert done.err.count("lamina: no C compiler found") in (0, 1)  # said once; not at all where ziglang is installed
    assert_plain(done.err)


@needs_compiler
@pytest.mark.parametrize("where", ["file", "/proc/nothing"])
@pytest.mark.slow
def test_a_cache_that_cannot_be_written(where: str, script: Path, tmp_path: Path, right: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = lamina("run", script, cwd=tmp_path, LAMINA_CACHE=where)
    assert done.status == 0 and done.out == right
    assert done.err.count("lamina: the cache folder cannot be written") == 1 and "LAMINA_CACHE=DIR" in done.err
    assert_plain(done.err)


@pytest.mark.slow
@needs_compiler
def test_a_damaged_cache_is_built_again(script: Path, tmp_path: Path, right: str) -> None:
    cache = tmp_path / "cache"
    assert lamina("run", script, LAMINA_CACHE=str(cache)).out == right
    libraries = list(cache.rglob("program.so"))
    assert libraries
    for i, library in enumerate(libraries):
        facts = library.with_name("facts.json")
        damages = (
            lambda: os.truncate(library, library.stat().st_size // 2),
            lambda: facts.write_text("{", encoding="utf-8"),
            library.unlink,
        )
        damages[i % 3]()
    again = lamina("run", script, LAMINA_CACHE=str(cache))
    assert again.out == right and again.status == 0, again.err
    for library in cache.rglob("program.so"):
        assert json.loads(library.with_name("facts.json").read_text(encoding="utf-8"))["files"]["program.so"] == library.stat().st_size
    for library in cache.rglob("program.so"):
        os.truncate(library, 10)
    assert lamina("run", script, LAMINA_CACHE=str(cache)).out == right


@needs_compiler
@pytest.mark.slow
def test_a_cache_is_for_its_owner_alone(script: Path, tmp_path: Path) -> None:
    lamina("run", script, XDG_CACHE_HOME=str(tmp_path / "home"), LAMINA_CACHE="")
    folder = tmp_path / "home" / "lamina"
    if folder.exists():  # elsewhere on macOS and Windows
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not [p for p in folder.rglob(".building-*")]


@pytest.mark.slow
@needs_compiler
def test_every_stage_can_be_checked(script: Path, tmp_path: Path, right: str) -> None:
    done = lamina("run", script, LAMINA_CACHE=str(tmp_path / "cache"), LAMINA_CHECK="2")
    assert done.out == right and "check: " in done.err and "agree with the oracle" in done.err, done.err


BROKEN = """import torch
from lamina.dialects.ops import build_op
from lamina.passes import cse

def broken(self, module):
    count = right(self, module)
    for op in list(module.walk()):
        if op.name == "prim.add":
            wrong = build_op("sub", list(op.operands), (), op.attributes.get("origin"))
            op.parent.insert_op_before(wrong, op)
            op.results[0].replace_all_uses_with(wrong.results[0])
            op.parent.erase_op(op)
            count += 1
    return count

kind = next(v for v in vars(cse).values() if getattr(v, "name", "") == "cse")
right, kind.run = kind.run, broken

def model(x, y):
    hidden = x * y
    return hidden + y

print(model(torch.randn(4, 4), torch.randn(4, 4)).sum().item())
"""


@needs_compiler
@pytest.mark.parametrize("setting", ["--check-each-pass", "LAMINA_CHECK"])
@pytest.mark.slow
def test_a_broken_pass_is_named(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(BROKEN, encoding="utf-8")
    environment = {"LAMINA_CHECK": "2"} if setting == "LAMINA_CHECK" else {}
    options = [setting] if setting.startswith("--") else []
    done = lamina("run", *options, path, LAMINA_CACHE=str(tmp_path / "cache"), **environment)
    line = 1 + BROKEN.splitlines().index("    return hidden + y")
    assert done.status == 1 and "PassError: cse changed the answer" in done.err, done.err
    assert "first wrong value" in done.err and "prim.sub" in done.err and f"from train.py:{line}" in done.err
    assert "help: lamina opt " in done.err and "-p 'cse' --check-each-pass" in done.err
    assert_plain(done.err.replace(str(tmp_path), ""))
