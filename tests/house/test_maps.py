"""Every room's README is a map of it: each file is named there, with the role its docstring states."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("passes", "lowering", "backends", "pyfront")


def role(path: Path) -> str:
    """The first sentence of a module's docstring, as words."""
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or "").split("\n\n")[0]
    return " ".join(text.split())


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_is_on_the_map(room: str) -> None:
    text = (ROOT / room / "README.md").read_text(encoding="utf8")
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    files = {p.name for p in (ROOT / room).glob("*.py") if p.name != "__init__.py"}
    assert not files - named, f"{room}/README.md does not name {sorted(files - named)}"
    gone = {n for n in named if "/" not in n and n not in files and not list(ROOT.glob(f"*/**/{n}"))}
    assert not gone, f"{room}/README.md names files that are gone: {sorted(gone)}"


def test_pyfront_roles_are_those_of_the_modules() -> None:
    text = (ROOT / "pyfront" / "README.md").read_text(encoding="utf8")
    rows = dict(re.findall(r"^\| `(\w+\.py)` \| (.*) \|$", text, flags=re.M))
    for name, said in rows.items():
        assert said == role(ROOT / "pyfront" / name), f"pyfront/README.md tells another role of {name}"
