"""Draws in C are those in numpy, bit for bit, and leave the engine where numpy would."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from lamina.backends.toolchain import find_compiler
from lamina.pyfront import draws, native_draws
from lamina.pyfront.mersenne import Engine

FLOAT32 = np.dtype(np.float32)

DRAWS: dict[str, Callable[[Engine, int], np.ndarray]] = {
    "singles": draws.singles,
    "uniform": lambda engine, n: draws.uniform(engine, n, FLOAT32, -0.3, 1.7),
    "normal": lambda engine, n: draws.normal(engine, n, FLOAT32, 0.5, 2.5),
    "half normal": lambda engine, n: draws.normal(engine, n, np.dtype(np.float16)),
    "mask": lambda engine, n: draws.mask(engine, n, FLOAT32, 0.3, 1 / 0.7),
    "certain": lambda engine, n: draws.mask(engine, n, FLOAT32, 1.0),
    "impossible": lambda engine, n: draws.mask(engine, n, FLOAT32, 0.0),
    "few normals": lambda engine, n: draws.normal(engine, min(n, 15), FLOAT32, 0.5, 2.5),
    "normals with gaps": lambda engine, n: draws.normal(engine, n, np.dtype(np.float64), -0.5, 2.5, False),
    "integers": lambda engine, n: draws.integers(engine, n, -3, 1 << 20),
    "wide integers": lambda engine, n: draws.integers(engine, n, -3, 1 << 40),
    "permutation": draws.permutation,
    "bool mask": lambda engine, n: draws.mask(engine, n, np.dtype(np.bool_), 0.3),
}


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if find_compiler() is None:
        pytest.skip("needs a C compiler")
    monkeypatch.setattr(native_draws, "_WORTH_BUILDING", 0)
    for name, value in (("loaded", None), ("asked", False), ("wanted", 0), ("looked", 0)):
        monkeypatch.setattr(native_draws._Library, name, value)
    assert native_draws.singles(Engine(0), 5000) is not None
    yield


@pytest.mark.parametrize("n", [1, 3, 16, 37, 1024, 1025, 2047, 4099, 100_000])
@pytest.mark.parametrize("name", DRAWS)
def test_the_same_bits(native: None, monkeypatch: pytest.MonkeyPatch, name: str, n: int) -> None:
    one, other = Engine(7), Engine(7)
    for engine in (one, other):
        engine.words(n % 13)
    made = [DRAWS[name](one, n) for _ in range(2)]
    monkeypatch.setattr(native_draws, "_FEWEST", 1 << 40)
    for mine in made:
        expected = DRAWS[name](other, n)
        assert mine.dtype == expected.dtype and np.array_equal(mine, expected)
    assert np.array_equal(one.state(), other.state())


def test_what_is_on_disk_is_loaded_soon(native: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a program was compiled; the disk is not asked at every draw."""
    asked: list[bool] = []

    def library(build: bool) -> None:
        asked.append(build)

    for name, value in (("loaded", None), ("asked", False), ("wanted", 0), ("looked", 0)):
        monkeypatch.setattr(native_draws._Library, name, value)
    monkeypatch.setattr(native_draws, "_WORTH_BUILDING", 1 << 20)
    monkeypatch.setattr("lamina.backends.driver.draws_library", library)
    monkeypatch.setattr(native_draws.state, "run", None)
    for _ in range(20):
        assert native_draws.singles(Engine(0), 1 << 13) is None
    assert asked == []
    monkeypatch.setattr(native_draws.state, "run", object())
    for _ in range(9):
        native_draws.singles(Engine(0), 1 << 13)
    assert asked == [False] * 3
    for _ in range(200):
        native_draws.singles(Engine(0), 1 << 13)
    assert asked[-1] and asked.count(True) == 1


def test_against_torch(native: None) -> None:
    torch = pytest.importorskip("torch")
    import lamina

    def run(lib):
        lib.manual_seed(3)
        x = lib.ones(100, 50)
        made = [lib.nn.functional.dropout(x, 0.3), lib.nn.functional.dropout(x.t(), 0.9), lib.randn(2000), lib.rand(3000)]
        return [m.tolist() for m in [*made, x.bernoulli_(0.4), lib.rand(2)]]

    assert run(lamina) == run(torch)


def test_few_numbers_and_no_library_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_draws._Library, "asked", True)
    monkeypatch.setattr(native_draws._Library, "loaded", None)
    assert native_draws.singles(Engine(0), 10_000) is None
    assert native_draws.mask(Engine(0), 10_000, 5, np.float32(1)) is None
    assert native_draws.box_muller(np.zeros(4096, np.float32), 0.0, 1.0) is None
    assert draws.normal(Engine(0), 4096, FLOAT32).size == 4096


def test_a_library_that_disagrees_is_not_used(native: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.backends import driver

    class Wrong:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *arguments: None

    monkeypatch.setattr(native_draws._Library, "asked", False)
    monkeypatch.setattr(driver, "draws_library", lambda build: Wrong())
    assert np.array_equal(draws.singles(Engine(1), 5000), (Engine(1).words(5000) & np.uint64(0xFFFFFF)) * np.float32(2.0**-24))
    assert native_draws._Library.asked and native_draws._Library.loaded is None
