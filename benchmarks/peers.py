"""lamina against its peers on one CPU: PyTorch eager, torch.compile, ONNX Runtime, JAX, in turn in one process per row; OpenVINO, IREE and
TVM where they are asked for.

    python benchmarks/peers.py [--rows PART ...] [--peers lamina eager compile onnxruntime jax openvino iree tvm] [--threads 1 2] [--json FILE]
                               [--rounds 11] [--cpu] [--fresh | --no-fresh] [--list]

The same plain script runs on every side (peer_rows.py), from the same weights; ours is wrapped in a compile call in the tiny MLP only, theirs
runs in the best of its modes (compile: the function; compile-step: the optimizer as well; compile-freezing: inference with
constant weights), JAX runs the same program, read from its exported graph, with its whole
step jitted and images channels last (jax_peer.py), and what reads ONNX files gets the one PyTorch exports (onnx_peers.py). Ratios are lamina/peer, below 1 lamina is faster: of the medians, and of the fastest rounds, which a busy machine
disturbs least; --cpu counts processor time instead of wall time. Results are compared with PyTorch eager before anything is timed.
Then each peer runs in fresh processes: seconds (and processor seconds, compilers included) to the first step after the import with
empty and with filled caches, and the largest resident memory. At the end: rows that ask for a bound they do not meet.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from peer_rows import ROWS, Row
from peer_run import COMPILED, OTHERS, PEERS

BOUNDS: dict[str, tuple[float | None, ...]] = {
    "MLP train": (0.45, 0.55, None, 0.7),
    "CNN train": (0.28, 0.50, None),
    "LSTM train": (0.6, 0.9, None),
    "GPT train": (0.7, 0.95, None),
    "ResNet-18 train": (0.8, 0.95, None),
    "ResNet-50": (0.62, 0.92, 1.0),
    "MobileNetV2": (0.5, 0.8, 0.95),
    "BERT-base": (0.9, 0.95, 1.0),
    "GPT-2 prefill": (0.9, 0.95, 1.0),
    "GPT-2 decode": (0.9, 0.95, 1.0),
    "tiny MLP": (0.5, 0.5, 1.0),
    "softmax": (0.8, 0.6, 0.9),
    "layernorm": (0.8, 0.6, 0.9),
    "bias GELU": (0.8, 0.6, 0.9),
    "matmul": (0.98, None, None),
    "U-Net": (0.7, 0.95, 1.0),
    "autoencoder train": (0.7, 0.95, None),
    "VAE train": (0.7, 0.95, None),
    "recommender train": (0.9, 0.9, None),
    "chain 16M": (0.25, 0.9, 0.4),
    "200 tiny ops": (1.0, None, None),
}
"""Asked of lamina on one thread: its time over that of each of these."""

_BOUNDED = ("eager", "compile", "onnxruntime", "jax")
_TITLES = {
    "eager": "torch eager", "compile": "torch.compile", "onnxruntime": "ONNX Runtime", "jax": "JAX",
    "openvino": "OpenVINO", "iree": "IREE", "tvm": "TVM",
}  # fmt: skip


def asked(name: str) -> dict[str, float | None]:
    """Column -> the bound of a row or a group of rows; None where nothing is asked."""
    bounds = dict(zip(_BOUNDED, BOUNDS.get(name, ()), strict=False))
    return {column: bounds.get(column) for column in _TITLES}


def run(row: Row, *more: str, environment: dict[str, str] | None = None, timeout: float = 1200) -> dict:
    """peer_run.py on a row in a process of its own; what it found, or {"error": …}."""
    command = [sys.executable, str(Path(__file__).with_name("peer_run.py")), row.name, *more]
    try:
        done = subprocess.run(command, env=dict(os.environ, **environment or {}), capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {timeout:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip() or "no message").splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def ratios(found: dict) -> dict[str, tuple[float, float]]:
    """Column -> lamina/peer by the medians and by the fastest rounds, torch.compile in its best mode."""
    seconds: dict[str, list[float]] = found["seconds"]
    if "lamina" not in seconds:
        return {}
    modes = [p for p in COMPILED if p in seconds]
    best = min(modes, key=lambda p: min(seconds[p])) if modes else None
    peers = {column: best if column == "compile" else column for column in _TITLES}
    ours = seconds["lamina"]
    return {
        column: (statistics.median(ours) / statistics.median(seconds[peer]), min(ours) / min(seconds[peer]))
        for column, peer in peers.items()
        if peer in seconds
    }


def report(row: Row, threads: int, found: dict, columns: list[str]) -> dict[str, tuple[float, float]]:
    """Print a row of these columns; its ratios."""
    if "error" in found:
        print(f"{row.name:20} {threads}  {found['error']}", flush=True)
        return {}
    seconds, ratio = found["seconds"], ratios(found)
    cells, bounds = [], asked(row.name)
    for column in columns:
        if column not in ratio:
            cells.append(f"{'':22}")
            continue
        (median, fastest), bound = ratio[column], bounds[column]
        limit = "" if bound is None or threads > 1 else f" of {bound:.2f}" + ("!" if fastest > bound else " ")
        cells.append(f"{fastest:6.2f} ({median:5.2f}){limit:9}")
    ours = f"{1e3 * min(seconds['lamina']):9.3f}" if "lamina" in seconds else " " * 9
    worst = max(found["difference"].values(), default=0.0)
    wrong = "  DIFFERS: " + str(found["difference"]) if worst > row.tolerance else ""
    print(f"{row.name:20} {threads} {ours} " + " ".join(cells) + f" {worst:8.1e}{wrong}", flush=True)
    for peer, why in found["failed"].items():
        print(f"{'':20}   {peer}: {why}", flush=True)
    return ratio


def fresh(row: Row, peer: str, threads: int) -> dict[str, dict]:
    """A peer alone, with empty caches and then with what that run left in them."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"LAMINA_CACHE": f"{folder}/lamina", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        return {kind: run(row, "--alone", peer, "--threads", str(threads), environment=caches) for kind in ("cold", "warm")}


def report_fresh(row: Row, peer: str, found: dict[str, dict]) -> None:
    cold, warm = found["cold"], found["warm"]
    if "error" in cold or "error" in warm:
        print(f"{row.name:20} {peer:17} {cold.get('error') or warm.get('error')}", flush=True)
        return
    first = [f"{f['prepare'] + f['first']:8.2f} {f['first_cpu']:8.2f}" for f in (cold, warm)]
    print(
        f"{row.name:20} {peer:17} {first[0]} {first[1]} {warm['import']:8.2f} {cold['peak_mib']:9.0f} {warm['peak_mib']:9.0f} "
        f"{warm['recompiles']:6}",
        flush=True,
    )


def chosen(parts: list[str] | None) -> list[Row]:
    """Rows whose names hold one of the parts, or begin with it where that is exact."""
    if not parts:
        return list(ROWS)
    exact = {row.name for row in ROWS}
    return [r for r in ROWS if any(r.name == p if p in exact else p in r.name for p in parts)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", nargs="+", help="parts of names")
    options.add_argument("--peers", nargs="+", choices=(*PEERS, *OTHERS), default=list(PEERS))
    options.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--least", type=float, default=0.05, help="seconds a round repeats a call for")
    options.add_argument("--cpu", action="store_true", help="processor time instead of wall time")
    options.add_argument("--fresh", action=argparse.BooleanOptionalAction, default=True, help="first steps and memory")
    options.add_argument("--json", type=Path, help="write everything that was measured")
    options.add_argument("--list", action="store_true")
    arguments = options.parse_args()
    rows = chosen(arguments.rows)
    if arguments.list:
        print("\n".join(row.name for row in rows))
        return

    record: dict = {"interleaved": {}, "fresh": {}}
    missed: list[str] = []
    print("lamina/peer: fastest rounds (medians) of what is asked; ! where it is missed")
    columns = [c for c in _TITLES if any(p == c or (c == "compile" and p in COMPILED) for p in arguments.peers)]
    print(f"{'':20} t {'lamina ms':>9} " + " ".join(f"{_TITLES[c]:>15} {'':6}" for c in columns) + f" {'differ':>8}")
    grouped: dict[tuple[str, int, str], list[float]] = {}
    more = ["--rounds", str(arguments.rounds), "--least", str(arguments.least), *(["--cpu"] if arguments.cpu else [])]
    for row in rows:
        for threads in arguments.threads:
            found = run(row, "--threads", str(threads), "--peers", *arguments.peers, *more)
            record["interleaved"].setdefault(row.name, {})[threads] = found
            bounds = asked(row.name)
            for column, (_, fastest) in report(row, threads, found, columns).items():
                bound = bounds[column]
                if row.group:
                    grouped.setdefault((row.group, threads, column), []).append(fastest)
                elif bound is not None and threads == 1 and fastest > bound:
                    missed.append(f"{row.name}/{column} {fastest:.2f} of {bound}")
    for (group, threads, column), values in grouped.items():
        mean = math.exp(sum(map(math.log, values)) / len(values))
        print(f"{group:20} {threads} geometric mean against {column}: {mean:.3f}")
        bound = asked(group)[column]
        if bound is not None and threads == 1 and mean > bound:
            missed.append(f"{group}/{column} {mean:.2f} of {bound}")
    if missed:
        print("missed: " + "; ".join(missed))
    if arguments.fresh:
        print(f"\n{'':20} {'':17} {'cold s':>8} {'cpu s':>8} {'warm s':>8} {'cpu s':>8} {'import s':>8} {'cold MiB':>9} {'warm MiB':>9} {'recomp':>6}")
        for row in rows:
            for peer in arguments.peers:
                if peer in ("lamina", "eager", "compile") and (peer != "compile" or row.trains or row.exports):
                    found = fresh(row, peer, arguments.threads[0])
                    record["fresh"].setdefault(row.name, {})[peer] = found
                    report_fresh(row, peer, found)
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
