"""The main job's programs, recorded from examples/digits.py: its training step and its trained model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lamina.dialects.graph import Graph
from lamina.pyfront import recorder
from lamina.pyfront.export import Exported
from lamina.pyfront.recordings import export
from lamina.pyfront.import_hook import PACKAGES, TorchFinder

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "digits.py"


@contextmanager
def torch_from_lamina() -> Iterator[ModuleType]:
    """`import torch` gives lamina inside the block; a real PyTorch that was imported is there again afterwards."""
    saved = {name: sys.modules.pop(name) for name in _torch_modules()}
    finder = TorchFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module("torch")
    finally:
        sys.meta_path.remove(finder)
        for name in _torch_modules():
            del sys.modules[name]
        sys.modules.update(saved)


def _torch_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in PACKAGES]


@lru_cache(maxsize=1)
def example() -> Any:
    """examples/digits.py as a module on top of lamina."""
    with torch_from_lamina():
        spec = importlib.util.spec_from_file_location("digits_on_lamina", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name in ("nn", "optim", "F"):
            assert "lamina" in repr(getattr(module, name)) or module.torch.__name__ == "torch"
        module.torch.optim  # noqa: B018  # looked up while the finder is there
    return module


@lru_cache(maxsize=2)
def training_step(batch: int = 64) -> tuple[Graph, tuple[np.ndarray, ...]]:
    """The Graph of one training step as the frontend hands it to the driver, and its inputs."""
    digits = example()
    torch = digits.torch
    torch.manual_seed(0)
    model = digits.CNN()
    criterion, optimizer = digits.nn.CrossEntropyLoss(), digits.optim.Adam(model.parameters(), lr=0.001)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((batch, 1, 28, 28), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, 10, batch))
    recorder.flush()
    seen: list[tuple[Graph, tuple[np.ndarray, ...]]] = []
    usual = recorder.state.run

    def record(graph: Graph, arrays: list[np.ndarray], spare: object = None) -> list[np.ndarray]:
        seen.append((graph, tuple(np.array(a) for a in arrays)))
        return [np.zeros(graph.types[i][0], graph.types[i][1].numpy) for i in graph.outputs]

    recorder.state.run = record
    try:
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    finally:
        recorder.state.run = usual
    return max(seen, key=lambda pair: len(pair[0].steps))


def trained_model(batch: int = 1) -> Exported:
    """The model's inference program with its weights (fresh ones)."""
    digits = example()
    digits.torch.manual_seed(0)
    model = digits.CNN()
    model.eval()
    return export(model, [digits.torch.zeros(batch, 1, 28, 28)])
