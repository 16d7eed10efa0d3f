"""Background compilation (LAMINA_BACKGROUND): one other process fills the disk cache while a new program runs on the oracle.

The process (`background_worker.py`) starts with the first job and gets one job after the other through a pipe, as JSON. A thread of this process
waits for its answers, so that asking whether a program is there costs a look at a dict. Whatever goes wrong there, the program is then
compiled here, where it says what is wrong.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..dialects import flags
from .cache import cache_folder, lookup, source_version

MOST_WAITING = 16
"""Jobs that may wait: a program that makes new graphs faster than they are compiled keeps the oracle."""

ORACLE_SPEED = 10_000_000
"""Element operations numpy does while the compiler takes one step of a graph to machine code (about 10 ms)."""

COMPILER_STEPS = 50
"""What the compiler does once for every program, in steps of a graph."""

PATIENCE = 20
"""Seconds the other process gets to clean up before it is killed."""

_SAID = frozenset(("graph", "rules", "kernels", "time"))
"""Artifacts the compiler prints while it works."""

_ROOT = Path(__file__).resolve().parent.parent
_START = "import sys; sys.path[0:1] = sys.argv[1:]; from lamina.backends.background_worker import main; main()"


class Making(Exception):
    """A program is being made elsewhere: the oracle is to run it for now."""


def pays(work: int, steps: int) -> bool:
    """Whether programs are compiled elsewhere, and the oracle is done with a graph before a compiler would be."""
    if not flags.background.value or flags.tune.value or flags.show.value & _SAID or cache_folder() is None or _in_child:
        return False
    return work < ORACLE_SPEED * (COMPILER_STEPS + steps)


def leave(key: str, job: Callable[[], dict[str, Any]]) -> None:
    """Have the cache entry of a key made elsewhere: Making while it is. Returns when it is there, or must be made here.

    job: what `background_worker.py` is to do, asked for once.
    """
    global _worker
    if _worker is None:
        if lookup(key) is not None:
            return
        _worker = Worker()
    if _worker.is_to_make(key, job):
        raise Making(key)


class Worker:
    """The other process, and what is known of its jobs."""

    def __init__(self) -> None:
        self.asked: dict[str, bool] = {}  # key -> whether an answer has come
        self.jobs: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.ended = ""  # why it makes nothing any more
        self.said = False
        self.process: subprocess.Popen[str] | None = None
        own = [str(_ROOT.parent)] if _ROOT.name == "lamina" else []
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, *own], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                start_new_session=True,  # an interrupt from the keyboard is not for it
            )  # fmt: skip
        except OSError as error:
            self.ended = f"cannot be started: {error}"
            return
        threading.Thread(target=self._answers, args=(self.process,), daemon=True, name="lamina-background").start()

    def is_to_make(self, key: str, job: Callable[[], dict[str, Any]]) -> bool:
        """Whether the entry of a key is being made there, from now on if not before."""
        if self.ended:
            self._say_once()
            return False
        if key in self.asked:
            return not self.asked[key]
        if lookup(key) is not None:
            return False
        if sum(not answered for answered in self.asked.values()) >= MOST_WAITING:
            return True
        settings = {"cache": str(cache_folder()), "fast": flags.fast.value, "f32": flags.f32.value, "winograd": flags.winograd.value}
        try:
            text = json.dumps({"key": key, "version": source_version(), "flags": settings} | job())
        except TypeError:  # attributes that are no text: they are compiled where they are
            return False
        self.asked[key] = False
        self.jobs.put((key, text))
        return True

    def _answers(self, process: subprocess.Popen[str]) -> None:
        """One job after the other, until the process ends (in a thread)."""
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while True:
                key, text = self.jobs.get()
                process.stdin.write(text + "\n")
                process.stdin.flush()
                if not process.stdout.readline():
                    break
                self.asked[key] = True
        self.ended = f"has ended with exit code {process.wait()}"

    def _say_once(self) -> None:
        if not self.said:
            self.said = True
            warnings.warn(
                f"the background compiler {self.ended}: programs are compiled here from now on", RuntimeWarning, stacklevel=2
            )

    def close(self) -> None:
        """End the process and what it started; what it had half made goes with it."""
        process = self.process
        if process is None:
            return
        with contextlib.suppress(OSError):  # it may have ended
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGTERM)
            else:
                process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def let_go(self) -> None:
        """In a forked child: the process is the parent's."""
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError, ValueError):
                    os.close(pipe.fileno())  # type: ignore[union-attr]  # its buffer may hold what the parent was writing
            self.process.returncode = 0  # nothing of it is waited for here


_worker: Worker | None = None


def close() -> None:
    """End the other process, if there is one."""
    global _worker
    if _worker is not None:
        _worker.close()
        _worker = None


def _forked() -> None:
    """A forked child, a loader's worker, compiles what it needs itself."""
    global _worker, _in_child
    if _worker is not None:
        _worker.let_go()
        _worker = None
    _in_child = True


_in_child = False
atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
