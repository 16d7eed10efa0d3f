"""Flags: few, in one place, each also a context manager (``with flags.check(2): ...``).

| flag | variable | values |
|---|---|---|
| device | LAMINA_DEVICE | c (default), numpy: where programs on CPU tensors run |
| cuda | LAMINA_CUDA | auto (the driver's first GPU; on sm_90 products are by wgmma and TMA if a few of them, made once in a process of their own, agree with \
those by mma.sync), wgmma (without asking), mma (mma.sync on any GPU), emulated (kernels on emulated threads: slow, for tests), off |
| show | LAMINA_SHOW | comma list of artifacts: nodes, graph, rules, kernels, code, time, cache, tune, traceback |
| dump | LAMINA_DUMP | a folder: numbered IR after each changing pass, with the command that replays it |
| override | LAMINA_OVERRIDE | a folder written by dump: programs go on from the files of it that were edited |
| check | LAMINA_CHECK | 0, 1 (verify after each pass), 2 (compare every stage with the oracle) |
| fast | LAMINA_FAST | 0, 1 (allow rules that may change rounding) |
| f32 | LAMINA_F32 | ieee (default), bf16, tf32, 3xtf32: how float32 is multiplied: as it is; by GPUs on tensor cores, rounded to 10 bits of mantissa (bf16 and tf32) or as sums of two such numbers; by CPUs with AMX in tile registers, rounded to bf16 or (tf32) as sums of two such numbers; `torch.set_float32_matmul_precision` sets it, too |
| winograd | LAMINA_WINOGRAD | 1 (default: CPUs make large convolutions of three by three with fewer products, of sums of neighbours; an element that is infinite or no number reaches all results of its tile of two by two), 0 |
| symbolic | LAMINA_SYMBOLIC | 1 (default: programs for many sizes once a second size has come), 0 (every size compiles its own) |
| background | LAMINA_BACKGROUND | 0 (default), 1: a new program runs on the numpy oracle until another process has compiled it; which step is the first compiled one depends on the clock, and with it the last bits of the results (`docs/background.md`) |
| cache | LAMINA_CACHE | a folder; empty: the user's cache folder; off: none |
| tune | LAMINA_TUNE | 0 (default), or seconds: for so long a process measures plans of the products and convolutions it compiles (`docs/tuning.md`) |
| threads | LAMINA_THREADS | number of threads of compiled programs (default: the processors this process may use) |
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Flag(Generic[T]):
    """A value read from the environment once, settable, and scoped by ``with flag(value):``."""

    def __init__(self, name: str, default: T, read: Callable[[str], T], help: str) -> None:
        self.name = name
        self.variable = f"LAMINA_{name.upper()}"
        self.help = help
        self.read = read
        text = os.environ.get(self.variable)
        try:
            self.value = default if text in (None, "") else read(text)  # type: ignore[arg-type]  # text is a str here
        except ValueError:
            raise SystemExit(f"{self.variable}={text!r} is not a value of this flag\nhelp: {help}") from None

    @contextmanager
    def __call__(self, value: T) -> Iterator[None]:
        old, self.value = self.value, value
        try:
            yield
        finally:
            self.value = old


ARTIFACTS = ("nodes", "graph", "rules", "kernels", "code", "time", "cache", "tune", "traceback")


def _one_of(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    return read


def _artifacts(text: str) -> frozenset[str]:
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    if names - set(ARTIFACTS):
        raise ValueError(text)
    return names


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return read


def _seconds(text: str) -> float:
    if not 0 <= float(text) < math.inf:
        raise ValueError(text)
    return float(text)


def available_processors(root: str = "/") -> int:
    """Processors this process may use: those it may run on, as far as its container's share of time goes (rounded up)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def _quota(root: str) -> float | None:
    """Processors' worth of time the control groups of this process may use, the smallest of all levels; None without a limit."""
    found: list[float] = []
    groups = os.path.join(root, "sys", "fs", "cgroup")
    for line in _read(os.path.join(root, "proc", "self", "cgroup")).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        below = groups if not controllers else os.path.join(groups, "cpu")
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):  # inside a container the path may be the host's: what is not there has no limit
            folder = os.path.join(below, *parts[:depth])
            if not controllers:
                limit, _, period = _read(os.path.join(folder, "cpu.max")).strip().partition(" ")
            elif "cpu" in controllers.split(","):
                limit, period = (_read(os.path.join(folder, f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period"))
            else:
                break
            if limit.isdigit() and period.isdigit() and int(period):  # "max" and "-1" are no limit
                found.append(int(limit) / int(period))
    return min(found, default=None)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


device = Flag("device", "c", _one_of("c", "numpy"), "c or numpy: where programs on CPU tensors run")
cuda = Flag("cuda", "auto", _one_of("auto", "wgmma", "mma", "emulated", "off"), "auto, wgmma, mma, emulated or off: the GPU that .to('cuda') means")
show = Flag("show", frozenset(), _artifacts, f"comma list: {', '.join(ARTIFACTS)}")
dump = Flag("dump", "", str, "a folder for numbered IR files")
override = Flag("override", "", str, "a folder written by dump: programs go on from the files of it that were edited")
check = Flag("check", 0, _number(0, 2), "0, 1 (verify after each pass) or 2 (compare every stage with the oracle)")
fast = Flag("fast", False, lambda text: bool(_number(0, 1)(text)), "0 or 1: allow rules that may change rounding")
winograd = Flag(
    "winograd", True, lambda text: bool(_number(0, 1)(text)), "0 or 1: large convolutions of three by three take fewer products on CPUs (passes/winograd.py)"
)
f32 = Flag("f32", "ieee", _one_of("ieee", "bf16", "tf32", "3xtf32"), "ieee, bf16, tf32 or 3xtf32: how GPUs, and CPUs with AMX, multiply float32")
symbolic = Flag("symbolic", True, lambda text: bool(_number(0, 1)(text)), "0 or 1: one program for many sizes, once a second size has come")
background = Flag("background", False, lambda text: bool(_number(0, 1)(text)), "0 or 1: new programs run on the oracle while another process compiles them")
cache = Flag("cache", "", str, "a folder, or off")
tune = Flag("tune", 0.0, _seconds, "seconds this process may spend on measuring plans of its products and convolutions; 0: none")
threads = Flag("threads", available_processors(), _number(1, 4096), "number of threads of compiled programs, at least 1")

ALL: tuple[Flag, ...] = (device, cuda, show, dump, override, check, fast, f32, winograd, symbolic, background, cache, tune, threads)
