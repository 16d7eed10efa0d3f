"""Training steps as a GPU would run them, looked at without one: launches, which instructions make products, wide accesses, compile time.

    python benchmarks/gpu_steps.py --list
    python benchmarks/gpu_steps.py "train: GPT-2 124M, 8 x 1024 tokens, bf16" --arch sm_90a_wgmma

Prints one JSON line. The steps are those of gpu_peers.py; they are recorded, not computed. `--prepare` compiles them into the disk cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import gpu_peers

import lamina
from lamina.backends.cuda import disassembly, nvrtc, runtime
from lamina.backends.cuda.check_kernels import prepare
from lamina.backends.cuda.check_shares import shares, wide_share
from lamina.backends.cuda.memory import DeviceArray
from lamina.backends.cuda.program import build
from lamina.backends.emulation.device import EmulatedDevice
from lamina.dialects import flags
from lamina.dialects.graph import Graph
from lamina.dialects.target import with_f32
from lamina.passes.roll_graph import rolled_if_long


class _Device(EmulatedDevice):
    """Memory for any model: nothing is written to most of it."""

    total_bytes = 1 << 40

    def upload(self, address: int, array: Any) -> None:
        """Nobody reads it."""

    def download(self, array: Any, address: int) -> None:
        """All numbers are 0: no index is out of bounds."""
        array[...] = 0


class _Noted(runtime.Runtime):
    """Notes graphs instead of running them."""

    def __init__(self) -> None:
        super().__init__(_Device())
        self.pool = runtime.Pool(self._address, lambda _: None, 1 << 40)
        self.graphs: list[Graph] = []
        self.reached = 0

    def _address(self, size: int) -> int:
        self.reached += size
        return self.reached

    def run(self, graph: Graph, arrays: Sequence[Any], spare: Any = None) -> list[DeviceArray]:
        """Arrays of the outputs' types."""
        self.graphs.append(graph)
        types = [graph.types[i] for i in graph.outputs]
        return [self._new(shape, dtype.numpy) for shape, dtype in types]


def recorded(training: gpu_peers.Training) -> list[Graph]:
    """All graphs of two steps."""
    noted = runtime._runtimes["emulated"] = _Noted()
    with flags.cuda("emulated"):
        step = training.make(lamina)
        for _ in range(2):
            step()
        lamina.cuda.synchronize()
    return noted.graphs


def looked_at(training: gpu_peers.Training, arch: str) -> dict[str, Any]:
    """What is known of a step without a GPU."""
    graph, target = max(reversed(recorded(training)), key=lambda g: len(g.steps)), with_f32(arch, training.f32)
    graph = rolled_if_long(graph)
    found = shares(graph, target)
    row: dict[str, Any] = {"gflop": sum(found.flops.values()) / 1e9, "shares": {k: found.of(k) for k in ("wgmma", "mma.sync", "fma")}}
    if nvrtc.available():
        start = time.perf_counter()
        made = build(graph, target)
        row |= {"seconds": time.perf_counter() - start, "launches": len(made.source.table.launches), "kernels": len(made.compiled.usage)}
        row |= {"arena_mb": made.source.table.arena_bytes / 1e6, "spills": sum(u.spill_loads + u.spill_stores for u in made.compiled.usage)}
        if disassembly.tool() is not None:
            row["wide"] = wide_share(found.moved, disassembly.accesses(made.compiled.cubin))
    return row


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {training.name: training for training in gpu_peers.TRAINING}
    options.add_argument("row", nargs="?", choices=[*names, []], help="the step")
    options.add_argument("--arch", default="sm_90a", help="a target of `lamina compile --target cuda:…`")
    options.add_argument("--prepare", action="store_true", help="compile all steps into the disk cache, for a machine with a GPU that is given it")
    options.add_argument("--list", action="store_true", help="names of the steps")
    arguments = options.parse_args()
    if arguments.prepare:
        for training in [names[arguments.row]] if arguments.row else names.values():
            for graph in recorded(training):
                prepare(graph, with_f32(arguments.arch, training.f32))
        return 0
    if arguments.list or not arguments.row:
        print("\n".join(names))
        return 0
    print(json.dumps(looked_at(names[arguments.row], arguments.arch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
