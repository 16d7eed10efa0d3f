"""`lamina explain`: every op explains itself; a wrong name gets near ones."""

from __future__ import annotations

import pytest
from lamina.dialects.book import OPS
from lamina.dialects.book.explain import contents, explain, explain_call
from lamina.dialects.errors import BookError
from lamina.dialects.types import float32


@pytest.mark.parametrize("name", list(OPS))
def test_every_op_explains_itself(name):
    text = explain(name)
    assert text.startswith(f"{OPS[name].dialect}.{name}   dialects/book/")
    assert OPS[name].text in text and "types    " in text


def test_what_it_says():
    assert "d x      (g * (1 - (y * y)))" in explain("tanh")
    assert "uses     mul div sum exp sub max" in explain("softmax")
    assert "add of x, starting from 0" in explain("sum")
    assert (
        explain_call("matmul", (((2, 3), float32), ((3, 4), float32)))
        == "matmul(float32[2, 3], float32[3, 4]) -> float32[2, 4]"
    )


def test_near_names():
    with pytest.raises(BookError, match="did you mean .*tanh"):
        explain("tahn")


def test_contents_lists_every_op():
    assert set(OPS) <= set(contents().split())
