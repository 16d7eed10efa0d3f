"""The same program under lamina and under PyTorch: equal values, dtypes, shapes and tracking, or equal errors."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import lamina
import numpy as np
import pytest

Program = Callable[[ModuleType], Any]


def outcome(program: Program, lib: ModuleType) -> Any:
    """What a program gives, with tensors as arrays; an error as its class and sentence."""
    lib.manual_seed(0)
    try:
        return plain(program(lib))
    except Exception as error:  # noqa: BLE001  # whatever it is, both must raise it
        return type(error), str(error)


def plain(found: Any) -> Any:
    """Tensors as (shape, dtype, tracked, array)."""
    if isinstance(found, (tuple, list)):
        return [plain(part) for part in found]
    if isinstance(found, dict):
        return {key: plain(part) for key, part in found.items()}
    if hasattr(found, "detach"):
        array = np.array(found.detach().tolist())
        return tuple(found.shape), str(found.dtype).rpartition(".")[2], bool(found.requires_grad), array
    return found


def same(ours: Any, theirs: Any, rtol: float) -> None:
    """AssertionError where two outcomes differ."""
    if isinstance(theirs, tuple) and len(theirs) == 4:
        assert isinstance(ours, tuple) and ours[:3] == theirs[:3], f"{ours} is not {theirs}"
        np.testing.assert_allclose(ours[3], theirs[3], rtol=rtol, atol=rtol)
    elif isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs), f"{ours} is not {theirs}"
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, rtol)
    elif isinstance(theirs, dict):
        assert isinstance(ours, dict) and list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key], rtol)
    elif isinstance(theirs, tuple) and len(theirs) == 2 and isinstance(theirs[0], type):
        assert isinstance(ours, tuple) and len(ours) == 2, f"gave {ours}, PyTorch raises {theirs}"
        assert issubclass(ours[0], theirs[0]), f"{ours} is not {theirs}"
    else:
        assert ours == theirs


def agree(program: Program, rtol: float = 1e-9, sentence: int | None = None) -> None:
    """Run under both. sentence: how many characters of an error must be the same."""
    torch = pytest.importorskip("torch")
    import torch.autograd.forward_ad
    import torch.func
    import torch.utils.checkpoint  # noqa: F401

    ours, theirs = outcome(program, lamina), outcome(program, torch)
    same(ours, theirs, rtol)
    if sentence is not None:
        assert isinstance(theirs, tuple) and isinstance(theirs[0], type), f"PyTorch raises nothing, it gives {theirs}"
        assert ours[1][:sentence] == theirs[1][:sentence]
