"""Ordinary programs end with PyTorch's numbers: as attacks, generators, agents, meta-learners and the rest are written."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import FunctionType
from typing import Any

import lamina
import numpy as np
import pytest
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

THEMES = ("adversarial", "decisions", "derivatives", "generative", "habits", "representation", "sequences", "structures")


def programs() -> list[FunctionType]:
    modules = [importlib.import_module(f"program.ordinary.{theme}") for theme in THEMES]
    return [f for module in modules for f in vars(module).values() if isinstance(f, FunctionType) and f.__module__ == module.__name__]


def agree(program: Callable[[Any], list], device: str) -> None:
    expected = program(torch)
    with flags.device(device):
        found = program(lamina)
    assert len(found) == len(expected) and expected
    np.testing.assert_allclose(found, expected, 1e-3, 1e-4)


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.__name__)
def test_on_the_oracle(program: Callable[[Any], list]) -> None:
    agree(program, "numpy")


@pytest.mark.slow
@pytest.mark.parametrize("program", programs(), ids=lambda program: program.__name__)
def test_compiled(program: Callable[[Any], list]) -> None:
    agree(program, "c")
