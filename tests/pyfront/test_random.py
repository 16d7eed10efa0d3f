"""Random numbers: the same seed gives PyTorch's numbers, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamina.pyfront import draws
from lamina.pyfront.mersenne import Engine

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def test_known_words_of_mt19937() -> None:
    """The reference implementation's first outputs for seed 5489, and its ten-thousandth."""
    words = Engine(5489).words(10000)
    assert words[:3].tolist() == [3499211612, 581869302, 3890346734]
    assert words[9999] == 4123659995


def test_state_round_trip() -> None:
    engine = Engine(3)
    for count in (0, 1, 5, 623, 1000):
        engine.words(count)
        draws.normal(engine, 3, FLOAT32)
        state = engine.state()
        expected = draws.normal(engine, 7, FLOAT64), engine.words(2000)
        other = Engine(0)
        other.restore(state)
        assert np.array_equal(draws.normal(other, 7, FLOAT64), expected[0])
        assert np.array_equal(other.words(2000), expected[1])


@pytest.mark.parametrize("state", [np.zeros(5056, np.uint8), np.zeros(16, np.uint8), np.zeros(5056, np.float32)])
def test_bad_state_is_refused(state: np.ndarray) -> None:
    with pytest.raises(RuntimeError):
        Engine(0).restore(state)


def test_seed_range() -> None:
    assert Engine(-1).initial_seed == 2**64 - 1
    with pytest.raises(ValueError, match="64 bits"):
        Engine(2**64)


class TestAgainstTorch:
    """Every draw against the real thing, with the state compared afterwards."""

    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        self.torch = pytest.importorskip("torch")

    def _start(self, seed: int = 5) -> Engine:
        self.torch.manual_seed(seed)
        return Engine(seed)

    def _same(self, engine: Engine, ours: np.ndarray, theirs: object) -> None:
        assert np.array_equal(ours, theirs.numpy())
        assert np.array_equal(engine.state(), self.torch.get_rng_state().numpy())

    def test_state_after_seeding(self) -> None:
        for seed in (0, 5, 2**40 + 1, -3):
            engine = self._start(seed)
            assert np.array_equal(engine.state(), self.torch.get_rng_state().numpy())

    @pytest.mark.parametrize("n", [0, 1, 7, 1000])
    def test_uniform(self, n: int) -> None:
        engine = self._start()
        self._same(engine, draws.uniform(engine, n, FLOAT32), self.torch.rand(n))
        self._same(engine, draws.uniform(engine, n, FLOAT64), self.torch.rand(n, dtype=self.torch.float64))
        self._same(engine, draws.uniform(engine, n, FLOAT32, -0.3, 0.7), self.torch.empty(n).uniform_(-0.3, 0.7))
        for low, high in ((-0.7745966692414834, 0.7745966692414834), (1e6, 1e6 + 1), (5.0, 9.0)):
            for ours, theirs in ((FLOAT32, self.torch.float32), (FLOAT64, self.torch.float64)):
                expected = self.torch.empty(n, dtype=theirs).uniform_(low, high)
                self._same(engine, draws.uniform(engine, n, ours, low, high), expected)
        half = draws.uniform(engine, n, np.dtype(np.float16))
        self._same(engine, half, self.torch.rand(n, dtype=self.torch.float16))

    @pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 33, 5000])
    def test_normal(self, n: int) -> None:
        engine = self._start()
        for _ in range(2):
            self._same(engine, draws.normal(engine, n, FLOAT32), self.torch.randn(n))
        self._same(engine, draws.normal(engine, n, FLOAT32, 0.3, 0.7), self.torch.empty(n).normal_(0.3, 0.7))
        self._same(engine, draws.normal(engine, n, FLOAT64), self.torch.randn(n, dtype=self.torch.float64))

    @pytest.mark.parametrize("low, high", [(0, 10), (-5, 2**28 - 6), (0, 2**28), (-7, 2**40), (-(2**63), 2**63 - 1)])
    def test_integers(self, low: int, high: int) -> None:
        engine = self._start()
        self._same(engine, draws.integers(engine, 500, low, high), self.torch.randint(low, high, (500,)))

    @pytest.mark.parametrize("name", ["int64", "int32", "int16", "int8", "uint8", "bool", "float32", "float64"])
    def test_any_integers(self, name: str) -> None:
        engine = self._start()
        theirs = self.torch.empty(300, dtype=getattr(self.torch, name)).random_()
        self._same(engine, draws.any_integers(engine, 300, np.dtype(name)), theirs)

    @pytest.mark.parametrize("n", [0, 1, 2, 10, 1000])
    def test_permutation(self, n: int) -> None:
        engine = self._start()
        self._same(engine, draws.permutation(engine, n), self.torch.randperm(n))

    @pytest.mark.parametrize("p", [0.0, 0.25, 0.3, 0.9, 1.0])
    def test_bernoulli(self, p: float) -> None:
        engine = self._start()
        self._same(engine, draws.bernoulli(engine, 1000, p), self.torch.empty(1000, dtype=self.torch.bool).bernoulli_(p))
        for dtype in (np.float32, np.float64):
            chances = np.linspace(0, p, 300).astype(dtype)
            theirs = self.torch.bernoulli(self.torch.from_numpy(chances))
            self._same(engine, draws.bernoulli_each(engine, chances).astype(dtype), theirs)

    def test_dropout_mask(self) -> None:
        engine = self._start()
        theirs = self.torch.nn.functional.dropout(self.torch.ones(1000), 0.3)
        keep = draws.bernoulli(engine, 1000, 1 - 0.3)
        self._same(engine, keep / np.float32(0.7), theirs)

    def test_other_distributions(self) -> None:
        engine = self._start()
        empty = self.torch.empty
        self._same(engine, draws.exponential(engine, 1000, FLOAT32, 2.0), empty(1000).exponential_(2.0))
        self._same(engine, draws.geometric(engine, 1000, FLOAT32, 0.3), empty(1000).geometric_(0.3))
        self._same(engine, draws.cauchy(engine, 1000, FLOAT32, 1.0, 2.0), empty(1000).cauchy_(1.0, 2.0))
        self._same(engine, draws.log_normal(engine, 41, FLOAT32, 0.5, 0.2), empty(41).log_normal_(0.5, 0.2))

    @pytest.mark.parametrize("count, replacement", [(1, False), (1, True), (4, False), (50, True)])
    def test_multinomial(self, count: int, replacement: bool) -> None:
        weights = np.random.default_rng(0).random((6, 9)).astype(np.float32)
        engine = self._start()
        theirs = self.torch.multinomial(self.torch.from_numpy(weights), count, replacement)
        self._same(engine, draws.multinomial(engine, weights, count, replacement), theirs)


def test_public_functions_follow_torch() -> None:
    import lamina

    torch = pytest.importorskip("torch")

    def run(lib: Any) -> list:
        lib.manual_seed(11)
        x = lib.empty(3, 4)
        mine = lib.Generator().manual_seed(2)
        made = [
            lib.rand(2, 3), lib.randn((2, 10)), lib.randint(10, (4,)), lib.randint(-3, 9, (2, 2)), lib.randperm(7), lib.rand_like(x),
            lib.randn_like(x), lib.normal(1.0, 2.0, (3,)), lib.normal(lib.zeros(20), 0.5), lib.bernoulli(lib.full((9,), 0.3)),
            x.uniform_(-1, 1).clone(), x.normal_().clone(), x.bernoulli_(0.4).clone(), x.random_(5).clone(), x.exponential_().clone(),
            lib.multinomial(lib.tensor([0.2, 0.5, 0.3]), 2), lib.rand(3, generator=mine), lib.randn(2, generator=mine),
        ]  # fmt: skip
        state = lib.get_rng_state()
        made.append(lib.rand(3))
        lib.set_rng_state(state)
        made += [lib.rand(3), lib.tensor(lib.initial_seed())]
        with lib.random.fork_rng():
            lib.rand(100)
        return [m.tolist() for m in [*made, lib.rand(2)]]

    assert run(lamina) == run(torch)
