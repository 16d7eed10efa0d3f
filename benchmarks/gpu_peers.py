"""Against PyTorch on a GPU, one row per call: products, fused nests and attention by events, training steps by the clock.

    python benchmarks/gpu_peers.py --list
    python benchmarks/gpu_peers.py "matmul bf16 4096"

Prints one JSON line: milliseconds per peer, medians of interleaved rounds on random data. Without PyTorch (or one without CUDA)
lamina runs alone. `python -m lamina.backends.cuda.check --all` runs every row in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import language_models
import models
import numpy as np

import lamina
from lamina.backends.cuda import check_speed, check_timing
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.runtime import Runtime
from lamina.dialects import flags

ROUNDS, WARM, STEP_SECONDS = 11, 4, 0.3

Call = Callable[[], object]


@dataclass(frozen=True)
class Training:
    """make(torch) prepares a step on the GPU: a function that takes one, without waiting for it. f32: how float32 is multiplied."""

    name: str
    make: Callable[[ModuleType], Call]
    goal: str = "≥ 1.5 × eager, ≥ 1.0 × compile"
    f32: str = "ieee"


# Training steps, written once for either framework


def _step(torch: ModuleType, model, loss: Callable[[], object], optimizer) -> Call:
    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def _images(torch: ModuleType, model, x: np.ndarray, classes: int, optimizer: Callable, autocast: bool = False) -> Call:
    model = model.to("cuda").train()
    images = torch.from_numpy(x).to("cuda")
    labels = torch.from_numpy(np.arange(len(x)) % classes).to("cuda")
    criterion = torch.nn.CrossEntropyLoss()

    def loss() -> object:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
            return criterion(model(images), labels)

    return _step(torch, model, loss, optimizer(model.parameters()))


def digits_cnn(torch: ModuleType, batch: int = 64) -> Call:
    x = np.random.default_rng(0).standard_normal((batch, 1, 28, 28), dtype=np.float32)
    return _images(torch, models.digits_cnn(torch), x, 10, lambda p: torch.optim.Adam(p, lr=1e-3))


def resnet50(torch: ModuleType, batch: int = 64, autocast: bool = False) -> Call:
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    return _images(torch, models.resnet(torch, 50), x, 1000, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), autocast)


def gpt2(torch: ModuleType, batch: int = 8, time: int = 1024, layers: int = 12, width: int = 768, words: int = 50257) -> Call:
    model = language_models.gpt(torch, layers, width, 12, time, words).to("cuda")
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, words, (batch, time + 1))).to("cuda")
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def loss() -> object:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return torch.nn.functional.cross_entropy(model(x).reshape(-1, words), y.reshape(-1))

    return _step(torch, model, loss, torch.optim.AdamW(model.parameters(), lr=3e-4))


TRAINING = (
    Training("train: digits CNN, batch 64, f32", digits_cnn),
    Training("train: GPT-2 124M, 8 x 1024 tokens, bf16", gpt2),
    Training("train: ResNet-50, batch 64, f32", resnet50),
    Training("train: ResNet-50, batch 64, TF32", resnet50, f32="tf32"),
    Training("train: ResNet-50, batch 64, bf16", lambda torch: resnet50(torch, autocast=True)),
)


# What PyTorch has in the place of a measured program


def counterpart(torch: ModuleType, row: check_speed.SpeedRow) -> Call:
    """The same work on arrays of the same shapes."""
    shapes = row.make(row.large).inputs
    inputs = [torch.randn(shape, device="cuda", dtype=getattr(torch, dtype.name)) for shape, dtype in shapes]
    F = torch.nn.functional
    if row.name.startswith("matmul"):
        return lambda: inputs[0] @ inputs[1]
    if row.name.startswith("attention"):
        q, k, v, seed = inputs
        if "gradients" not in row.name:
            return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
        given = [x.requires_grad_() for x in (q, k, v)]
        return lambda: torch.autograd.grad(F.scaled_dot_product_attention(*given, is_causal=True), given, seed)
    if row.name.startswith("bias GELU"):
        return lambda: F.gelu(inputs[0] + inputs[1])
    if row.name.startswith("softmax"):
        return lambda: inputs[0].softmax(-1)
    if row.name.startswith("layer norm"):
        return lambda: F.layer_norm(inputs[0], (4096,), inputs[1], inputs[2])
    parameters = [torch.nn.Parameter(x) for x in inputs[3::4]]
    for p, gradient in zip(parameters, inputs[4::4], strict=True):
        p.grad = gradient
    optimizer = torch.optim.Adam(parameters, fused=True)
    return optimizer.step


# Measuring


def torch_with_cuda() -> ModuleType | None:
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def by_events(row: check_speed.SpeedRow) -> dict:
    """A measured program: each peer's rounds between events of its own."""
    clocks: dict[str, Callable[[int], float]] = {}
    failed: dict[str, str] = {}
    gpu = Runtime(Device())
    targets = {"lamina": gpu}
    wide = Device(wgmma=True)
    if wide.arch != gpu.device.arch:
        targets["lamina, wgmma"] = Runtime(wide)
    for name, runtime in targets.items():
        _try(failed, name, lambda runtime=runtime: clocks.setdefault(name, _ours(runtime, row)))
    torch = torch_with_cuda()
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = row.f32 == "tf32"
        _try(failed, "eager", lambda: clocks.setdefault("eager", _theirs(torch, counterpart(torch, row))))
        if row in check_speed.NESTS[:3]:
            _try(failed, "compile", lambda: clocks.setdefault("compile", _theirs(torch, torch.compile(counterpart(torch, row)))))
    ms = _interleaved(clocks, check_timing.calls_of_a_round)
    if "lamina, wgmma" in ms:
        ms["lamina, mma.sync"] = ms.get("lamina")
        ms["lamina"] = min(t for t in (ms.get("lamina"), ms["lamina, wgmma"]) if t is not None)
    return {"ms": ms, "failed": failed, "goal": row.goal}


def _ours(gpu: Runtime, row: check_speed.SpeedRow) -> Callable[[int], float]:
    timed, clock = check_timing.Timed(gpu, row.make(row.large)), check_timing.Clock(gpu)

    def of(calls: int) -> float:
        with flags.f32(row.f32):
            return clock.of(timed.run, calls)

    of(1)
    return of


def _theirs(torch: ModuleType, call: Call) -> Callable[[int], float]:
    call()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def of(calls: int) -> float:
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    return of


def by_the_clock(row: Training) -> dict:
    """A training step: the host's clock over some steps, until the GPU is done."""
    clocks: dict[str, Callable[[int], float]] = {}
    failed: dict[str, str] = {}
    flags.f32.value = row.f32
    _try(failed, "lamina", lambda: clocks.setdefault("lamina", _steps(lamina, row.make(lamina))))
    torch = torch_with_cuda()
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = row.f32 == "tf32"  # its convolutions use it if not told
        _try(failed, "eager", lambda: clocks.setdefault("eager", _steps(torch, row.make(torch))))
        _try(failed, "compile", lambda: clocks.setdefault("compile", _steps(torch, torch.compile(row.make(torch)))))
    ms = _interleaved(clocks, lambda once: max(1, min(200, int(1e3 * STEP_SECONDS / max(once, 1e-3)))))
    return {"ms": ms, "failed": failed, "goal": row.goal}


def _steps(torch: ModuleType, step: Call) -> Callable[[int], float]:
    def of(steps: int) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3 / steps

    of(1)
    return of


def _try(failed: dict[str, str], peer: str, prepare: Callable[[], object]) -> None:
    """A peer that cannot do a row is a fact about it, not the end of the row."""
    try:
        prepare()
    except Exception as error:
        words = str(error).splitlines()
        failed[peer] = f"{type(error).__name__}: {words[0] if words else ''}"[:200]


def _interleaved(clocks: dict[str, Callable[[int], float]], calls_for: Callable[[float], int]) -> dict[str, float]:
    """Median milliseconds of each, in turn."""
    calls = {name: calls_for(min(clock(1) for _ in range(WARM))) for name, clock in clocks.items()}
    rounds: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(ROUNDS):
        for name, clock in clocks.items():
            rounds[name].append(clock(calls[name]))
    return {name: statistics.median(times) for name, times in rounds.items()}


def rows() -> dict[str, check_speed.SpeedRow | Training]:
    """All rows by name."""
    return {row.name: row for row in (*check_speed.MEASURED, *TRAINING)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("row", nargs="?", choices=[*rows(), []], help="what is measured")
    options.add_argument("--list", action="store_true", help="names of the rows")
    arguments = options.parse_args()
    if arguments.list or not arguments.row:
        print("\n".join(rows()))
        return 0
    row = rows()[arguments.row]
    print(json.dumps(by_the_clock(row) if isinstance(row, Training) else by_events(row)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
