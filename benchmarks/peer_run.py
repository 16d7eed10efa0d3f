"""One row of benchmarks/peers.py in a process of its own: all peers in turn, or one of them alone from its first step on.

Prints one JSON line. Both kinds of process run the same plain code (peer_rows.py); only the compiled peers wrap it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import jax_peer
import numpy as np
import onnx_peers
from peer_rows import ROWS, Row, Work

COMPILED = ("compile", "compile-step", "compile-freezing")
PEERS = ("lamina", "eager", *COMPILED, "onnxruntime", "jax")
OTHERS = tuple(p for p in onnx_peers.PEERS if p not in PEERS)
NAP, MOST_NAPS = 0.005, 20  # seconds, between a peer's turn and the next one's


def load(peer: str) -> ModuleType:
    """The framework behind a peer."""
    if peer.startswith("lamina"):
        import lamina

        return lamina
    import torch

    return torch


def stepper(torch: ModuleType, work: Work, read: bool) -> Callable[[], object]:
    """One step or one call as a script writes it; gives the loss as a number, or the results."""
    function, inputs, optimizer, clip = work.function, work.inputs, work.optimizer, work.clip
    if optimizer is not None:

        def step() -> float:
            optimizer.zero_grad()
            loss = function(*inputs)
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(work.model.parameters(), clip)
            optimizer.step()
            return loss.item()

        return step

    wait = getattr(torch, "synchronize", None)  # lamina computes when somebody looks

    def call() -> object:
        with torch.no_grad():
            result = function(*inputs)
        if read:
            return result.item()
        if wait is not None:
            wait()
        return result

    return call


def compiled(torch: ModuleType, work: Work, peer: str) -> Work:
    """The same work through torch.compile."""
    import torch._inductor.config as inductor

    inductor.freezing = peer == "compile-freezing"
    optimizer = work.optimizer
    if peer == "compile-step":
        optimizer.step = torch.compile(optimizer.step)
    return replace(work, function=torch.compile(work.function))


def fits(row: Row, peer: str) -> bool:
    """Whether a peer can run a row."""
    if peer == "compile-step":
        return row.trains
    if peer == "compile-freezing":
        return not row.trains and row.exports
    if peer in onnx_peers.PEERS:
        return row.exports and not row.trains
    return True


def prepare(row: Row, peer: str, threads: int, weights: dict[str, np.ndarray] | None) -> tuple[Callable[[], object], Work]:
    """The peer's step, with these weights."""
    torch = load(peer)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    work = row.make(torch, np.random.default_rng(0))
    if weights is not None and work.model is not None:
        with torch.no_grad():
            for name, value in {**dict(work.model.named_parameters()), **dict(work.model.named_buffers())}.items():
                value.copy_(torch.from_numpy(weights[name].copy()))
    if peer in onnx_peers.PEERS:
        return onnx_peers.caller(peer, torch, work, threads), work
    if peer == "jax":
        return jax_peer.stepper(torch, work, threads), work
    if row.replayed and peer == "lamina":
        work = replace(work, function=torch.compile(work.function))
    if peer in COMPILED:
        work = compiled(torch, work, peer)
    return stepper(torch, work, row.read), work


def weights_of(row: Row) -> dict[str, np.ndarray]:
    """What every peer starts with: PyTorch's first weights."""
    import torch

    torch.manual_seed(0)
    model = row.make(torch, np.random.default_rng(0)).model
    if model is None:
        return {}
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value.detach().numpy().copy() for name, value in named.items()}


def arrays(result: object) -> list[np.ndarray]:
    """A result of any peer as arrays."""
    if isinstance(result, (tuple, list)):
        return [a for r in result for a in arrays(r)]
    if hasattr(result, "detach"):
        result = result.detach().numpy()
    return [np.asarray(result, dtype=np.float64)]


def difference(ours: object, theirs: object) -> float:
    """The largest difference of two results, relative to the largest value of each array."""
    pairs = zip(arrays(ours), arrays(theirs), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def measure(row: Row, peers: list[str], threads: int, rounds: int, least: float, clock: Callable[[], float]) -> dict:
    """All peers interleaved: seconds per call and round, and how far each one's results lie from PyTorch eager's."""
    weights = weights_of(row)
    steps: dict[str, Callable[[], object]] = {}
    failed: dict[str, str] = {}
    differences: dict[str, float] = {}
    reference: list[object] = []
    for peer in sorted((p for p in peers if fits(row, p)), key=lambda p: p != "eager"):
        try:
            step, _ = prepare(row, peer, threads, weights)
            load(peer).manual_seed(1)
            results = [step() for _ in range(3)]
        except Exception as error:  # a peer that cannot run a row is a fact about it, not the end of the table
            failed[peer] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            continue
        if peer == "eager":
            reference = [[a.copy() for a in arrays(r)] for r in results]
        elif reference and not (row.random and peer in (*COMPILED, "jax")):  # a compiler draws other random numbers
            differences[peer] = max(difference(a, b) for a, b in zip(results, reference, strict=True))
        steps[peer] = step
    repeats = {}
    for peer, step in steps.items():
        step()
        start = time.perf_counter()
        step()
        repeats[peer] = max(1, int(least / max(time.perf_counter() - start, 1e-7)))
    seconds: dict[str, list[float]] = {peer: [] for peer in steps}
    for _ in range(rounds):
        for peer, step in steps.items():
            settle()
            start = clock()
            for _ in range(repeats[peer]):
                step()
            seconds[peer].append((clock() - start) / repeats[peer])
    return {"seconds": seconds, "difference": differences, "failed": failed, "compiles": compiles()}


def settle() -> None:
    """Waits until nothing of this process runs: after their last work OpenMP's threads look for more for some 5 ms, on processors that the
    next peer needs.
    """
    for _ in range(MOST_NAPS):
        before = time.process_time()
        time.sleep(NAP)
        if time.process_time() - before < NAP / 10:
            return


def compiles() -> int:
    """Programs our compiler made or loaded in this process."""
    driver = sys.modules.get("lamina.backends.driver")
    return driver.stats.compiles + driver.stats.disk_hits if driver else 0


def processor_seconds() -> float:
    """Of this process and the compilers it started."""
    return own_seconds() + own_seconds(resource.RUSAGE_CHILDREN)


def own_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Processor seconds of this process, or of those it started and waited for."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def alone(row: Row, peer: str, threads: int, steps: int) -> dict:
    """One peer from its import on: seconds to the first result, of later steps, and the process's largest memory."""
    start = time.perf_counter()
    load(peer)
    if peer in COMPILED:
        import torch._inductor.compile_fx  # noqa: F401  # part of its import, not of its first step
    imported = time.perf_counter()
    before = processor_seconds()
    step, _ = prepare(row, peer, threads, None)
    prepared = time.perf_counter()
    own, started = own_seconds(), own_seconds(resource.RUSAGE_CHILDREN)
    step()
    first, spent = time.perf_counter(), processor_seconds() - before
    own, started = own_seconds() - own, own_seconds(resource.RUSAGE_CHILDREN) - started
    step()
    second = time.perf_counter()
    made = compiles()
    later = []
    for _ in range(steps):
        before = time.perf_counter()
        step()
        later.append(time.perf_counter() - before)
    return {
        "import": imported - start, "prepare": prepared - imported, "first": first - prepared, "second": second - first,
        "first_cpu": spent, "first_own": own, "first_compiler": started, "later": statistics.median(later), "recompiles": compiles() - made,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("row")
    options.add_argument("--peers", nargs="+", default=list(PEERS))
    options.add_argument("--alone", help="this peer only, from its first step on")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--least", type=float, default=0.05)
    options.add_argument("--cpu", action="store_true")
    arguments = options.parse_args()
    row = next(r for r in ROWS if r.name == arguments.row)
    if arguments.alone:
        found = alone(row, arguments.alone, arguments.threads, 5)
    else:
        clock = time.process_time if arguments.cpu else time.perf_counter
        found = measure(row, arguments.peers, arguments.threads, arguments.rounds, arguments.least, clock)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
