"""What is kept of parsed text: the same as parsing gives, made anew when a source changes or the kept form is damaged."""

import subprocess
import sys
from pathlib import Path

import lamina
import pytest
from lamina.dialects.book import OPS
from lamina.dialects.book.parser import fields_of
from lamina.dialects.book.reader import parse_all
from lamina.dialects.book.sources import sources
from lamina.dialects.kept_forms import kept_form

BOOK = Path(lamina.__file__).parent / "dialects" / "book"


def test_a_form_is_made_once_and_again_when_a_source_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    text, other = tmp_path / "words.txt", tmp_path / "code.py"
    text.write_text("a b")
    other.write_text("1")
    made = []

    def ask():
        return kept_form(text, [text, other], (), lambda: made.append(1) or tuple(text.read_text().split()))

    assert ask() == ("a", "b") and ask() == ("a", "b") and len(made) == 1
    text.write_text("a c")
    assert ask() == ("a", "c") and len(made) == 2
    other.write_text("2")
    assert ask() == ("a", "c") and len(made) == 3
    (form,) = (tmp_path / "__pycache__").iterdir()
    form.write_bytes(form.read_bytes()[:-3])
    assert ask() == ("a", "c") and len(made) == 4


def test_nothing_is_kept_where_python_keeps_no_bytecode(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = tmp_path / "words.txt"
    text.write_text("a")
    assert kept_form(text, [text], (), lambda: "made") is None and not (tmp_path / "__pycache__").exists()


def test_the_book_is_what_its_text_says_when_it_was_kept():
    kept = parse_all(sorted(BOOK.glob("*.ops")))
    source = dict(sources((BOOK / "fold.ops").read_text(), "fold.ops", "prim"))["sum"]
    assert repr(kept[source.text]) == repr(fields_of(source)) and len(kept) == len(OPS)


@pytest.mark.slow
def test_a_kept_book_and_kept_rules_need_no_parser(tmp_path):
    script = "import sys\nfrom lamina.dialects.book import OPS\nOPS.read_all()\nfrom lamina.passes.rules import algebra\n" \
        "assert len(algebra()) > 50\nprint('lark' in sys.modules)"  # fmt: skip
    environment = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = [subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert told == ["True\n", "False\n"]
