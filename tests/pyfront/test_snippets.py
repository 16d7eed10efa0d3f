"""The same program prints the same: every snippet runs under lamina and under PyTorch."""

from __future__ import annotations

import contextlib
import io
import re

import lamina
import numpy as np
import pytest
from lamina.dialects import flags

from . import snippets

pytestmark = pytest.mark.torch


def blocks(text: str) -> list[str]:
    return [b.strip("\n") for b in re.split(r"\n\n+(?=\S)", text.strip("\n"))]


def printed(torch: object, source: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "<snippet>", "exec"), {"torch": torch, "np": np})  # noqa: S102  # our own snippets
    return out.getvalue()


ALL = [
    pytest.param(b, id=f"{name}-{i}")
    for name in ("TENSORS", "PROMOTION", "SHAPES", "INDEXING", "REDUCTIONS", "IN_PLACE", "AUTOGRAD")
    for i, b in enumerate(blocks(getattr(snippets, name)))
]


@pytest.mark.parametrize("source", ALL)
def test_prints_what_pytorch_prints(source: str) -> None:
    torch = pytest.importorskip("torch")
    expected = printed(torch, source)
    with flags.device("numpy"):
        assert printed(lamina, source) == expected


@pytest.mark.parametrize("source", [pytest.param(b, id=b.splitlines()[-1]) for b in blocks(snippets.ERRORS)])
def test_raises_what_pytorch_raises(source: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as theirs:
        printed(torch, source)
    with flags.device("numpy"), pytest.raises(theirs.type):
        printed(lamina, source)
