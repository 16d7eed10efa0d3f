"""Against PyTorch on a GPU, one row per call: products, fused nests and attention by events, training steps by the clock.

    python benchmarks/gpu_peers.py --list
    python benchmarks/gpu_peers.py "matmul bf16 4096"

Prints JSON lines, each with all that is known by then: milliseconds per peer on random data, in the last one medians of interleaved rounds. Without PyTorch (or one without CUDA)
lamina runs alone. `python -m lamina.backends.cuda.check --all` measures every row, in another process behind one that takes its own along.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import language_models
import models
import numpy as np

import lamina
from lamina.backends.cuda import check_speed, check_timing, runtime
from lamina.backends.cuda.device import native_arch
from lamina.backends.cuda.runtime import Runtime
from lamina.dialects import flags

ROUNDS, ALONE, WARM, STEP_SECONDS = 11, 5, 4, 0.3

Call = Callable[[], object]
Clock = Callable[[int], float]
"""Milliseconds per call, of so many."""
Told = Callable[[dict[str, Any]], None]
"""Gets what is known of a row by then: `ms` and `failed` per peer, `goal`."""


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
    Training("train: ResNet-50, batch 64, bf16", lambda torch: resnet50(torch, autocast=True)),
    Training("train: ResNet-50, batch 64, TF32", resnet50, f32="tf32"),
    Training("train: ResNet-50, batch 64, f32", resnet50),
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


class Row:
    """Peers of one row: each is measured by itself as soon as it is ready, at the end all in turn. What is known is printed each time.

    A kernel that fails leaves the process's device without use, whoever asks: what was measured before is on a line already.
    """

    def __init__(self, goal: str, calls_for: Callable[[float], int], told: Told) -> None:
        self.goal, self.calls_for, self.told = goal, calls_for, told
        self.ms: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.clocks: dict[str, tuple[Clock, int]] = {}

    def add(self, peer: str, prepare: Callable[[], Clock]) -> None:
        """A peer that cannot do a row is a fact about it, not the end of the row."""
        try:
            clock = prepare()
            calls = self.calls_for(min(clock(1) for _ in range(WARM)))
            self.ms[peer] = statistics.median(clock(calls) for _ in range(ALONE))
            self.clocks[peer] = clock, calls
        except Exception as error:
            self.failed[peer] = _words(error)
        self.tell()

    def in_turn(self) -> None:
        """Median milliseconds of rounds in which every peer has its turn."""
        rounds: dict[str, list[float]] = {peer: [] for peer in self.clocks}
        try:
            for _ in range(ROUNDS):
                for peer, (clock, calls) in self.clocks.items():
                    rounds[peer].append(clock(calls))
        except Exception as error:
            self.failed["in turn"] = _words(error)
        else:
            self.ms |= {peer: statistics.median(times) for peer, times in rounds.items()}
        self.tell()

    def tell(self) -> None:
        self.told({"ms": self.ms, "failed": self.failed, "goal": self.goal})


def _words(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def measure(row: check_speed.SpeedRow | Training, told: Told, wgmma: bool = True) -> dict[str, str]:
    """Measures a row; what failed, per peer. Memory of the GPU is given back, for the next one. wgmma: also by warpgroups, where there are some."""
    if isinstance(row, Training):
        made, peers = Row(row.goal, lambda once: max(1, min(200, int(1e3 * STEP_SECONDS / max(once, 1e-3)))), told), by_the_clock
    else:
        made, peers = Row(row.goal, check_timing.calls_of_a_round, told), by_events
    torch = torch_with_cuda()
    try:
        with flags.f32(row.f32):
            peers(made, row, torch, wgmma and has_warpgroups())
            made.in_turn()
    finally:
        made.clocks.clear()
        gc.collect()
        for device in DEVICES:
            _gpu(device).pool.empty()
        if torch is not None:
            torch.compiler.reset()  # what it compiled for the row
            torch.cuda.empty_cache()
    return made.failed


def by_events(made: Row, row: check_speed.SpeedRow, torch: ModuleType | None, wgmma: bool) -> None:
    """A measured program: each peer's rounds between events of its own. What has never run on a GPU comes last."""
    made.add("lamina", lambda: _ours(_gpu("mma"), row))
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = row.f32 == "tf32"
        made.add("eager", lambda: _theirs(torch, counterpart(torch, row)))
        if row in check_speed.NESTS[:3]:
            made.add("compile", lambda: _theirs(torch, torch.compile(counterpart(torch, row))))
    if wgmma:
        made.add("lamina, wgmma", lambda: _ours(_gpu("wgmma"), row))


DEVICES = ("mma", "wgmma")


def _gpu(device: str) -> Runtime:
    """lamina's runtime of one of its targets; both are the same GPU."""
    with flags.cuda(device):
        return runtime.runtime()


def has_warpgroups() -> bool:
    """Whether the GPU has another target, with products on warpgroups."""
    compute = _gpu("mma").device.compute
    return native_arch(compute, wgmma=True) != native_arch(compute)


def _ours(gpu: Runtime, row: check_speed.SpeedRow) -> Clock:
    timed, clock = check_timing.Timed(gpu, row.make(row.large)), check_timing.Clock(gpu)
    return lambda calls: clock.of(timed.run, calls)


def _theirs(torch: ModuleType, call: Call) -> Clock:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def of(calls: int) -> float:
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    return of


def by_the_clock(made: Row, row: Training, torch: ModuleType | None, wgmma: bool) -> None:
    """A training step: the host's clock over some steps, until the GPU is done."""
    made.add("lamina", lambda: _our_steps(row, "mma"))
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = row.f32 == "tf32"  # its convolutions use it if not told
        made.add("eager", lambda: _steps(torch, row.make(torch)))
    if wgmma:
        made.add("lamina, wgmma", lambda: _our_steps(row, "wgmma"))
    if torch is not None:
        made.add("compile", lambda: _steps(torch, torch.compile(row.make(torch))))


def _our_steps(row: Training, device: str) -> Clock:
    """lamina's steps on one of its targets, whichever is asked for elsewhere."""
    with flags.cuda(device):
        inner = _steps(lamina, row.make(lamina))

    def of(steps: int) -> float:
        with flags.cuda(device):
            return inner(steps)

    return of


def _steps(torch: ModuleType, step: Call) -> Clock:
    def of(steps: int) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3 / steps

    return of


def rows() -> dict[str, check_speed.SpeedRow | Training]:
    """All rows by name, those that PyTorch is the measure of first: a visit may end before the last."""
    return {row.name: row for row in (*check_speed.PRODUCTS, *check_speed.ATTENTION, *TRAINING, *check_speed.NESTS)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("row", nargs="?", choices=[*rows(), []], help="what is measured")
    options.add_argument("--list", action="store_true", help="names of the rows")
    arguments = options.parse_args()
    if arguments.list or not arguments.row:
        print("\n".join(rows()))
        return 0
    measure(rows()[arguments.row], lambda found: print(json.dumps(found), flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
