"""Calls that only draw random numbers and are known: the numbers, lines and modes of the same calls in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lamina
import pytest
from needs import needs_compiler

from lamina.backends import driver
from lamina.backends.executable import Quick
from lamina.pyfront import native_draws, quick, recorder
from lamina.pyfront.definitions import TABLE
from lamina.pyfront.sampling import Redraw

DRAWS: list[tuple[str, tuple, dict[str, Any]]] = [
    ("rand", (1,), {}), ("rand", ((),), {}), ("rand", (3, 5), {}), ("rand", (20,), {}), ("rand", (0,), {}), ("rand", (2,), {"dtype": lamina.float64}),
    ("rand", (3,), {"dtype": lamina.float16}), ("randn", (1,), {}), ("randn", (3,), {}), ("randn", (3, 5), {}), ("randn", (16,), {}), ("randn", (40,), {}),
    ("randn", (2,), {"dtype": lamina.float64}), ("randn", (3,), {"dtype": lamina.bfloat16}), ("randint", (0, 4, (1,)), {}), ("randint", (-3, 1 << 20, (5,)), {}),
    ("randint", (1 << 40, (3,)), {}), ("randint", (0, 5, (4,)), {"dtype": lamina.int32}), ("normal", (0.5, 2.0, (3,)), {}), ("normal", (0.5, 0.0, (3,)), {}),
]  # fmt: skip


@pytest.fixture(params=["python", pytest.param("c", marks=needs_compiler)])
def drawn_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Who draws, and who records: calls become known anew, and are tried in C soon or never."""
    monkeypatch.setattr(recorder.state, "quick", True)
    monkeypatch.setattr(native_draws, "TRIED_AGAIN", 2 if request.param == "c" else 1 << 40)
    monkeypatch.setattr(native_draws, "_WORTH_BUILDING", 0)
    for name, value in {"loaded": None, "asked": False, "looked": 0, "wanted": 0}.items():
        monkeypatch.setattr(native_draws._Library, name, value)
    for definition in {TABLE[name].calls.function: TABLE[name] for name, _, _ in DRAWS}.values():
        definition.calls.clear()
        monkeypatch.setattr(definition.calls, "tries", 64)
    before = Quick.library
    quick.slow()
    if request.param == "c":
        quick.quicken(*driver.recording_libraries())
    yield request.param
    quick.slow()
    Quick.library = before


def _called(name: str, args: tuple, options: dict[str, Any], how: Callable[[str], Callable]) -> tuple:
    made = how(name)(*args, **options)
    node = made._node
    return made.numpy().tobytes(), made.dtype, tuple(made.shape), made.requires_grad, made.is_inference(), node.op, node.inputs, node.origin


def test_the_same_numbers(drawn_by: str) -> None:
    """Whichever call comes after which; samples that are left of a pair are the next ones in either way."""
    def run(how: Callable[[str], Callable]) -> list[tuple]:
        lamina.manual_seed(7)
        found = []
        for turn in range(8):
            with lamina.inference_mode(turn == 5):
                found += [_called(name, args, options, how) for name, args, options in DRAWS[turn:] + DRAWS[:turn]]
        return [*found, lamina.get_rng_state().numpy().tobytes()]

    again = run(lambda name: getattr(lamina, name))
    kept = [call for name in ("rand", "randn", "randint", "normal") for call in TABLE[name].calls.values()]
    assert len(kept) == len(DRAWS) and all(type(call) is Redraw for call in kept)
    assert sum(call.few is not None for call in kept) == (14 if drawn_by == "c" else 0)
    assert run(lambda name: TABLE[name].function) == again


def test_what_is_not_kept(drawn_by: str) -> None:
    """Own generators, gradients, several draws and draws beside other steps; each default dtype is its own."""
    for _ in range(4):
        generator = lamina.Generator().manual_seed(3)
        first, second = [lamina.rand(2, generator=generator) for _ in range(2)]
        assert first.tolist() != second.tolist() and lamina.rand(2, generator=generator.manual_seed(3)).tolist() == first.tolist()
        assert lamina.rand(2, requires_grad=True).requires_grad and lamina.rand(2, dtype=lamina.complex64).is_complex()
    assert not TABLE["rand"].calls
    for _ in range(4):
        assert lamina.rand(2).dtype is lamina.float32
    lamina.set_default_dtype(lamina.float64)
    try:
        assert [lamina.rand(2).dtype for _ in range(4)] == 4 * [lamina.float64]
    finally:
        lamina.set_default_dtype(lamina.float32)
    assert lamina.rand(2).dtype is lamina.float32


def test_who_records_calls_is_told(drawn_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of vmap, one that is compiled, a program that is recorded, and a call that may be kept."""
    for _ in range(6):
        lamina.rand(3)
    draw = lambda x: x + lamina.rand(3)  # noqa: E731
    same = lamina.func.vmap(draw, randomness="same")(lamina.zeros(2, 3))
    assert same[0].tolist() == same[1].tolist()
    different = lamina.func.vmap(draw, randomness="different")(lamina.zeros(2, 3))
    assert different[0].tolist() != different[1].tolist()
    compiled = lamina.compile(lambda x: x + lamina.rand(3))
    assert len({tuple(compiled(lamina.zeros(3)).tolist()) for _ in range(4)}) == 4
    assert compiled.compiled.reason == "it draws random numbers"
    monkeypatch.setattr(recorder.state, "draws", [])
    assert lamina.rand(3)._node.value is None and [d[1] for d in recorder.state.draws] == ["uniform"]
    monkeypatch.setattr(recorder.state, "draws", None)
    monkeypatch.setattr(recorder.state, "noted", [])
    made = lamina.rand(3)
    assert [d.leaf for d in recorder.state.noted] == [made._node]


def test_sizes_without_end_are_not_kept(drawn_by: str) -> None:
    for n in range(200):
        assert lamina.rand(n).shape == (n,)
    assert 0 < len(TABLE["rand"].calls) <= 64
