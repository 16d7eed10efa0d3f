"""Kernels that were printed before: their C is what they would be printed as, with the lines of the program that asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graphs import Recorder, cnn_step
from lamina.backends.emission import emit
from lamina.dialects.graph import Graph
from lamina.lowering import linalg_to_loops


class Texts(dict):
    """Texts in memory."""

    def put(self, key: str, text: str) -> None:
        self[key] = text


def attention(origin: str = "model.py:{}", more: bool = False) -> Graph:
    """Rows that read each other, with gradients: contractions, folds, a prefix sum, gathers."""
    r = Recorder()
    x, w = r.input((2, 24, 32)), r.input((32, 32))
    number = iter(range(99))

    def step(op: str, *operands: int, attrs: tuple = ()) -> int:
        return r(op, *operands, attrs=attrs, origin=origin.format(next(number) // 2))

    q = step("matmul", x, step("expand", step("reshape", w, attrs=((1, 32, 32),)), attrs=((2, 32, 32),)))
    scores = step("softmax", step("matmul", q, step("permute", q, attrs=((0, 2, 1),))), attrs=((2,),))
    out = step("tanh", step("matmul", scores, q))
    loss = step("sum", step("cumsum", out, attrs=(1,)), attrs=((0, 1, 2),))
    total = step("reshape", loss, attrs=((),))
    gradient = step("autodiff.grad", total, r.full((), 1.0), w)
    return r.graph(out, gradient, *([step("exp", w)] if more else []))


def cnn() -> Graph:
    """A training step of a small CNN."""
    return cnn_step(4, (1, 4, 8, 8), 16, 16)


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that were lowered."""
    names: list[str] = []
    original = linalg_to_loops.lower_kernel
    monkeypatch.setattr(linalg_to_loops, "lower_kernel", lambda function, target: (names.append(function.sym_name.data), original(function, target)))
    return names


@pytest.mark.parametrize(
    ("make", "target"), [(attention, "avx512"), pytest.param(attention, "avx2", marks=pytest.mark.slow), pytest.param(cnn, "avx512", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_text_is_the_same(make: Callable[[], Graph], target: str, lowered: list[str]) -> None:
    graph, texts = make(), Texts()
    plain = emit(graph, target=target).source.text
    assert emit(graph, target=target, texts=texts).source.text == plain and len(texts) > 4
    lowered.clear()
    assert emit(graph, target=target, texts=texts).source.text == plain
    assert not lowered


@pytest.mark.slow
def test_lines_are_those_of_the_program_that_asks() -> None:
    texts = Texts()
    emit(attention(), target="avx2", texts=texts)
    count = len(texts)
    elsewhere = attention("train.py:1{} */ \\1")
    assert emit(elsewhere, target="avx2", texts=texts).source.text == emit(elsewhere, target="avx2").source.text
    assert len(texts) == count


def test_what_differs_is_lowered(lowered: list[str]) -> None:
    texts = Texts()
    emit(attention(), target="avx2", texts=texts)
    lowered.clear()
    more = attention(more=True)
    found = emit(more, target="avx2", texts=texts).source.text
    assert len(lowered) == 1
    assert found == emit(more, target="avx2").source.text


@pytest.mark.slow
def test_another_target_has_other_texts() -> None:
    texts, graph = Texts(), attention()
    emit(graph, target="avx512", texts=texts)
    assert emit(graph, target="avx2", texts=texts).source.text == emit(graph, target="avx2").source.text


@pytest.mark.slow
def test_damaged_texts_are_not_taken() -> None:
    texts, graph = Texts(), attention()
    plain = emit(graph, target="avx2", texts=texts).source.text
    for damage in ("", "{", "[1, 2]", "null"):
        for key in texts:
            texts[key] = damage
        assert emit(graph, target="avx2", texts=texts).source.text == plain
