"""Philox 2x32-10 against the known answers of its authors' library (Random123, kat_vectors)."""

from __future__ import annotations

import numpy as np

from graphs import Recorder

from lamina.backends import driver
from lamina.backends.oracle import evaluate
from lamina.dialects.types import int64
from lamina.lowering.capture import capture

# counter (low word, high word), key, result (low word, high word)
KNOWN = (
    ((0x00000000, 0x00000000), 0x00000000, (0xFF1DAE59, 0x6CD10DF2)),
    ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
    ((0x243F6A88, 0x85A308D3), 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
)


def _words(pairs) -> np.ndarray:
    return np.array([low | high << 32 for low, high in pairs], np.uint64).view(np.int64)


def test_known_answers() -> None:
    r = Recorder()
    x, key = r.input((3,), int64), r.input((3,), int64)
    graph = r.graph(r("philox", x, key))
    arrays = [_words(k[0] for k in KNOWN), np.array([k[1] for k in KNOWN], np.int64)]
    want = _words(k[2] for k in KNOWN)
    for got in (evaluate(capture(graph), arrays)[0], driver.compile_graph(graph)(arrays)[0]):
        assert np.array_equal(got, want)
