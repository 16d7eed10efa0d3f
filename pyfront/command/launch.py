"""`lamina run --nproc-per-node N SCRIPT`: the same script in several processes that find each other, ended together when one fails."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, NamedTuple

from ...dialects import flags as all_flags
from ...dialects.errors import FileError
from . import flags

PAUSE, PATIENCE = 2.0, 10.0
"""Seconds the others have to end by themselves when one has failed (they say what they were waiting for), and once they are asked to."""


class Options(NamedTuple):
    """How many processes: per machine, machines, and which one this is; where the store of all is."""

    processes: int
    machines: int
    machine: int
    address: str
    port: int


def add(parser: argparse.ArgumentParser) -> None:
    """The options, under torchrun's names."""

    def option(name: str, **details: Any) -> None:
        parser.add_argument(*dict.fromkeys([f"--{name}", f"--{name.replace('-', '_')}"]), **details)

    option("nproc-per-node", type=_processes, metavar="N", help="run the script in N processes at once (auto: one per processor): torch.distributed connects them")
    option("nnodes", type=int, default=1, metavar="N", help="machines that run it (1); the same command on each, with its --node-rank")
    option("node-rank", type=int, default=0, metavar="I", help="which of them this is, from 0")
    option("master-addr", default="127.0.0.1", metavar="HOST", help="the address of machine 0")
    option("master-port", type=int, default=0, metavar="PORT", help="a port of machine 0 (any free one on a single machine)")


def _processes(text: str) -> int:
    if text in ("auto", "cpu"):
        return all_flags.available_processors()
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)


def options_of(given: argparse.Namespace) -> Options | None:
    """What was asked for; None: one process, this one. FileError for what does not fit together."""
    if given.nproc_per_node is None and given.nnodes == 1:
        return None
    if not 0 <= given.node_rank < given.nnodes:
        raise FileError(f"--node-rank {given.node_rank} is none of {given.nnodes} machines", help="ranks count from 0")
    if given.nnodes > 1 and not given.master_port:
        raise FileError("several machines need --master-addr and --master-port", help="give the address of machine 0 and a free port of it, on each")
    return Options(given.nproc_per_node or 1, given.nnodes, given.node_rank, given.master_addr, given.master_port)


def launch(options: Options, given: argparse.Namespace, script: str, arguments: Sequence[str]) -> int:
    """Run the processes of this machine; the exit status of the one that failed first, or 0."""
    from ..distributed.tcp_store import Server, listening

    server = Server(listening(options.address, options.port)) if options.machine == 0 else None
    port = server.port if server else options.port
    before = signal.signal(signal.SIGTERM, _stop) if threading.current_thread() is threading.main_thread() else None
    running: list[subprocess.Popen] = []
    try:
        for local in range(options.processes):
            command = [sys.executable, "-m", __package__.partition(".")[0], "run", *flags.arguments(given, f"rank{_rank(options, local)}"), script, *arguments]
            running.append(subprocess.Popen(command, env=_environment(options, port, local, bool(given.threads))))
        return _watched(options, running)
    except KeyboardInterrupt:
        return 130
    finally:
        _end(running)
        if server is not None:
            server.close()
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _rank(options: Options, local: int) -> int:
    return options.machine * options.processes + local


def _environment(options: Options, port: int, local: int, threads_given: bool) -> dict[str, str]:
    """What a process is told, under torchrun's names."""
    threads = str(max(1, all_flags.available_processors() // options.processes))
    told = {
        "RANK": _rank(options, local), "LOCAL_RANK": local, "WORLD_SIZE": options.processes * options.machines,
        "LOCAL_WORLD_SIZE": options.processes, "GROUP_RANK": options.machine, "GROUP_WORLD_SIZE": options.machines, "ROLE_RANK": _rank(options, local),
        "ROLE_WORLD_SIZE": options.processes * options.machines, "MASTER_ADDR": options.address, "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "lamina", "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0, "TORCHELASTIC_USE_AGENT_STORE": True,
    }  # fmt: skip
    environment = {**os.environ, **{name: str(value) for name, value in told.items()}}
    if not threads_given:
        environment.setdefault(all_flags.threads.variable, threads)
    environment.setdefault("OMP_NUM_THREADS", threads)
    return environment


def _watched(options: Options, running: Sequence[subprocess.Popen]) -> int:
    """Wait until all have ended well, or one has not: it is named on stderr."""
    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    for local, process in enumerate(running):
        threading.Thread(target=lambda local=local, process=process: ended.put((local, process.wait())), daemon=True).start()  # type: ignore[misc]  # defaults bind
    for _ in running:
        local, status = ended.get()
        if status:
            how = f"was killed by signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"ended with exit status {status}"
            others = "; the other processes were stopped" if len(running) > 1 else ""
            _wait(running, PAUSE)
            print(f"lamina: rank {_rank(options, local)} (process {running[local].pid}) {how}{others}", file=sys.stderr, flush=True)
            return status if status > 0 else 128 - status
    return 0


def _wait(running: Sequence[subprocess.Popen], seconds: float) -> None:
    """Until all have ended, or so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for process in running):
        time.sleep(0.02)


def _end(running: Sequence[subprocess.Popen]) -> None:
    """Ask all that still run to end, then make them."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    _wait(running, PATIENCE)
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
