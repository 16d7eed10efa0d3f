"""Program: lines of Python drawn from a table, played on PyTorch first and then on lamina, and what differs.

A drawn step is two numbers: which template of the table, and a number its placeholders are chosen with. Placeholders
look at what PyTorch holds at that moment, so every list of steps is a program, and so is every part of it: that is
what shrinks. The lines that come out are ordinary PyTorch code; a failure prints them as a script.
"""

from __future__ import annotations

import math
import random
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

import lamina
import numpy as np
import torch

Step = tuple[int, int]
Drawn = tuple[int, list[Step]]  # which prelude, which steps
# Writes PyTorch's autograd does not hear of: its gradients then mix old and new values, ours are those of the old ones.
SILENT = re.compile(r"n\d+(\[| \+=|\.flat)|v\d+ = (v\d+\.data|torch\.empty\(0\)\.set_)|v\d+\.data( =|[.[])|n\d+ = .*(numpy\(\)|asarray)")
# A view made before such a write may have no gradient in PyTorch afterwards (None), where it has one here.
QUIET = re.compile(r"no_grad|detach\(\)|\.data")
LARGEST = 120  # elements; a line that makes more is taken back
RAISED = (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError, AttributeError, NameError)


@lru_cache(maxsize=1 << 14)
def compiled(line: str) -> CodeType:
    return compile(line, "program", "exec")


class Chooser:
    """Fills a template's placeholders by what the names hold now. ``kinds`` is the table of placeholders."""

    def __init__(self, names: dict[str, Any], kinds: dict[str, Callable[[Chooser], str]], fresh: int) -> None:
        self.names = names
        self.kinds = kinds
        self.fresh = fresh
        self.number = 0
        self.current: Any = None  # the tensor last chosen
        self.dim = 0  # the dimension last chosen
        self.index = "..."  # the index last chosen
        self.target: str | None = None

    def fill(self, template: str, number: int) -> str | None:
        """The line, or None where nothing fits."""
        self.number, self.current, self.dim, self.target = number, None, 0, None
        try:
            return re.sub(r"\{(\w+)\}", lambda found: self.kinds[found[1]](self), template)
        except NothingFits:
            return None

    def pick(self, n: int) -> int:
        """One of 0 … n-1; 0 is the simplest."""
        if n <= 0:
            raise NothingFits
        self.number, chosen = divmod(self.number, n)
        return chosen

    def of(self, options: Iterable[Any]) -> Any:
        options = list(options)
        return options[self.pick(len(options))]

    def tensor(self, wanted: Callable[[Any], bool] = lambda t: True) -> str:
        """A tensor's name, the newest first."""
        found = [k for k, v in self.names.items() if isinstance(v, torch.Tensor) and wanted(v)]
        name = self.of(reversed(found))
        self.current = self.names[name]
        return name

    def array(self) -> str:
        return self.of(reversed([k for k, v in self.names.items() if isinstance(v, np.ndarray)]))

    def new(self, prefix: str = "v") -> str:
        """A fresh name; one time in four an old one."""
        olds = [k for k in self.names if k[0] == prefix and k[1:].isdigit()]
        if olds and self.pick(4) == 3:
            self.target = self.of(reversed(olds))
        else:
            self.target = f"{prefix}{self.fresh}"
            self.fresh += 1
        return self.target


class AGAIN(RuntimeError):
    """Stands for errors that end the comparison where one of the two raises them."""


class OVERLAP(RuntimeError):
    """Stands for memory that is written from a part of itself."""


# A part whose dimensions of size 1 have strides of their own: PyTorch compares those, too, when it looks for overlap.
ONES = re.compile(r"None|:\d")
INCOMPARABLE = (
    "backward through the graph a second time",  # what exactly a graph still needs
    "a function that returns multiple views",  # PyTorch forbids more and more of it
    "more than one element of the written-to tensor",  # PyTorch warns only where index tensors are involved
)


class NothingFits(Exception):
    """No name of the program can stand here."""


@dataclass
class Written:
    """A program as lines, and what PyTorch did: per line the class it raised (or None) and what it assigned."""

    prelude: list[str]
    lines: list[str] = field(default_factory=list)
    targets: list[str | None] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    rounds: int = 1
    log: list[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    def source(self) -> str:
        """A script for ``python`` and for ``lamina run``: both print the same when both are right."""
        shown = []
        for line in self.lines:
            shown.append(f"    with attempt({line!r}):\n        {line}\n    show(globals())")
        for line in self.last:
            shown.append(f"with attempt({line!r}):\n    {line}\nshow(globals())")
        body = "\n".join([f"for _ in range({self.rounds}):", *shown[: len(self.lines)], *shown[len(self.lines) :]])
        return SCRIPT.format(prelude="\n".join(self.prelude), body=body if self.lines else "\n".join(shown))


SCRIPT = '''import contextlib
import numpy as np
import torch

@contextlib.contextmanager
def attempt(line):
    try:
        yield
        print(line)
    except Exception as error:
        print(line, "->", next(c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins"))

def show(names):
    for name, x in sorted(names.items()):
        if isinstance(x, torch.Tensor):
            print("   ", name, list(x.shape), x.dtype, "stride", x.stride(), "offset", x.storage_offset(), "leaf", x.is_leaf,
                  "grad" if x.requires_grad else "", x.tolist())
        elif isinstance(x, (np.ndarray, list, tuple, float)) and name[0] in "ngs":
            print("   ", name, [y.tolist() if hasattr(y, "tolist") else y for y in x] if isinstance(x, tuple) else x)

{prelude}
{body}
'''


class World:
    """One framework while it plays a program."""

    def __init__(self, lib: Any) -> None:
        self.names: dict[str, Any] = {"torch": lib, "np": np}
        self.error: Exception | None = None  # the last one

    def run(self, line: str) -> type | None:
        """Play one line; the class of what it raised."""
        try:
            exec(compiled(line), self.names)
        except RAISED as error:
            self.error = error
            return type(error)
        return None

    def outcome(self, line: str) -> type | None:
        """``run``, with AGAIN for what the two need not agree about."""
        raised = self.run(line)
        if raised is None:
            return None
        said = str(self.error)
        return AGAIN if any(words in said for words in INCOMPARABLE) else OVERLAP if "single memory location" in said else raised

    def look(self, x: Any) -> Any:
        """What is visible of a tensor without its values."""
        if not hasattr(x, "storage_offset"):
            return None
        try:
            return about(x)
        except RuntimeError:
            return None  # one of several views made at once, invalid since its base was written

    def has_empty(self) -> bool:
        """True when some tensor has no element."""
        return any(isinstance(v, torch.Tensor) and not v.numel() for v in self.names.values())

    def has_ones(self, line: str) -> bool:
        """True when some tensor of the line has a dimension of size 1."""
        named = [self.names.get(name) for name in re.findall(r"v\d+", line)]
        return any(isinstance(v, torch.Tensor) and 1 in v.shape for v in named)

    def settle(self) -> None:
        """Let PyTorch notice which views a write made part of the history: it does when their grad_fn is asked for."""
        for x in self.names.values():
            if isinstance(x, torch.Tensor):
                self.look(x)

    def values(self) -> dict[str, Any]:
        """Everything the names hold, as arrays and numbers."""
        return {k: v for k, v in ((k, held(v)) for k, v in self.names.items() if k[0] in "vngs") if v is not None}

    def shared(self) -> list[tuple[str, str]]:
        """Pairs of tensors in the same memory."""
        first = {
            k: v.data_ptr() - v.storage_offset() * v.element_size()
            for k, v in self.names.items()
            if hasattr(v, "storage_offset") and v.numel()
        }
        return [(a, b) for a in first for b in first if a < b and first[a] == first[b]]


def about(x: Any) -> tuple:
    strides = tuple([s if n > 1 else 0 for n, s in zip(x.shape, x.stride(), strict=True)])
    seen = (tuple(x.shape), str(x.dtype).removeprefix("torch."), x.requires_grad, x.is_leaf, x.is_contiguous())
    return (*seen, strides, x.storage_offset()) if x.numel() else seen


def held(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return x.astype(np.float64)
    if isinstance(x, (bool, int, float)):
        return float(x)
    if isinstance(x, (list, tuple)):
        return [held(y) for y in x]
    if hasattr(x, "storage_offset"):
        return np.array(x.tolist(), np.float64)
    return None


def write(
    table: list[str], kinds: dict[str, Callable[[Chooser], str]], prelude: list[str], steps: list[Step],
    rounds: int = 1, closing: Callable[[dict[str, Any]], list[str]] = lambda names: [], errors: int = 2,
) -> Written:  # fmt: skip
    """Steps as lines that PyTorch has played once. closing: lines after the last round, by what the names hold."""
    world, made = World(torch), Written(list(prelude), rounds=rounds)
    for line in prelude:
        assert world.run(line) is None, line
    chooser = Chooser(world.names, kinds, len(prelude))
    for kind, number in steps:
        line = chooser.fill(table[kind % len(table)], number)
        if line is None:
            continue
        before = dict(world.names)
        raised = world.run(line)
        world.settle()
        made_too_large = any(isinstance(v, torch.Tensor) and v.numel() > LARGEST for v in world.names.values())
        errors -= raised is not None
        unable = raised is not None and (issubclass(raised, NotImplementedError) or "second time" in str(world.error))
        if made_too_large or unable or raised and errors < 0:
            world.names.clear()
            world.names.update(before)
            continue
        made.lines.append(line)
        made.targets.append(chooser.target)
    if any("resize_" in line for line in made.lines):
        made.rounds = 1  # memory that grows is not set
    for line in made.lines * (made.rounds - 1):
        world.run(line)
    made.last = closing(world.names)
    return made


def play(made: Written, lib: Any) -> tuple[World, list[Any]]:
    """Play a written program from the start; what could be seen after each line."""
    world, log = World(lib), []
    for line in made.prelude:
        raised = world.run(line)
        assert raised is None, (line, raised)
    for _ in range(made.rounds):
        for line, target in zip(made.lines, made.targets, strict=True):
            log.append((world.outcome(line), world.look(world.names.get(target))))
            if lib is torch:
                world.settle()
    for line in made.last:
        log.append((world.outcome(line), None))
    return world, log


def difference(made: Written, tolerance: float = 1e-5, layout: bool = True) -> str | None:
    """What lamina does otherwise than PyTorch; None when nothing. layout: also strides, offsets and shared memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, expected = play(made, torch)
        ours, found = play(made, lamina)
        return _compare(made, theirs, expected, ours, found, tolerance, layout)


def _compare(made: Written, theirs: World, expected: list, ours: World, found: list, tolerance: float, layout: bool) -> str | None:
    lines = made.lines * made.rounds + made.last
    silent = any(map(SILENT.match, made.lines))
    for line, (raised, seen), (raised_here, seen_here) in zip(lines, expected, found, strict=True):
        if AGAIN in (raised, raised_here) and (made.rounds > 1 or raised_here is None or "as_strided" in made.text):
            return None
        if made.rounds > 1 and (raised in (IndexError, NotImplementedError) or raised_here is IndexError and theirs.has_empty()):
            return None  # PyTorch's kernels have written a part by then, or did not look at the indices of nothing
        if line in made.last and silent:
            break
        if raised is OVERLAP and raised_here is None and (ONES.search(line) or theirs.has_ones(line)):
            return None
        again = made.rounds > 1  # later rounds meet names of other shapes; which of two errors comes first is not compared
        if (raised is None) != (raised_here is None) or raised and not again and not issubclass(raised_here, base(raised)):
            return f"{line}\nPyTorch raises {raised}, lamina {raised_here}"
        if (seen != seen_here) if layout or not seen or not seen_here else seen[:4] != seen_here[:4]:
            return f"{line}\nPyTorch shows {seen}\nlamina shows  {seen_here}"
    a, b = theirs.values(), ours.values()
    for name in a:
        if silent and name[0] == "g":
            continue
        if name in b and name[0] == "g" and any(map(QUIET.search, made.lines)):
            a[name] = with_lost(a[name], b[name])
        if name not in b or not close(a[name], b[name], tolerance):
            return f"{name} is\n{a[name]} in PyTorch and\n{b.get(name)} in lamina"
    if not layout:
        return None
    for name, x in theirs.names.items():
        seen = theirs.look(x) if isinstance(x, torch.Tensor) else None
        if seen is not None and seen != ours.look(ours.names[name]):
            return f"{name}: PyTorch shows {seen}\nlamina shows {ours.look(ours.names[name])}"
    if (one := theirs.shared()) != (other := ours.shared()):
        return f"memory shared in PyTorch: {one}\nmemory shared in lamina: {other}"
    return None


def base(raised: type) -> type:
    """The builtin class a program would catch."""
    return next(c for c in raised.__mro__ if c.__module__ == "builtins")


def with_lost(theirs: Any, ours: Any) -> Any:
    """PyTorch's gradients, ours where it has none."""
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [b if a is None else a for a, b in zip(theirs, ours, strict=True)]
    return theirs


def close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(close, a, b, [tolerance] * len(a)))
    if a is None or b is None:
        return a is b
    if isinstance(a, float):
        return isinstance(b, float) and (math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or a != a and b != b)
    if a.shape != b.shape:
        return False
    return bool(np.array_equal(a, b, equal_nan=True)) or bool(np.allclose(a, b, tolerance, tolerance, equal_nan=True))


def drawn(seed: int, count: int, preludes: int, table: int, longest: int, number: Callable[[random.Random], int]) -> list[Drawn]:
    """Programs that are the same on every machine and in every order of tests: what fails in one run fails in the next."""
    choose = random.Random(seed)
    return [
        (choose.randrange(preludes), [(choose.randrange(table), number(choose)) for _ in range(choose.randint(1, longest))])
        for _ in range(count)
    ]


def reduced(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """The fewest steps that still fail: parts are left out, then numbers made small."""
    size = max(len(steps) // 2, 1)
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if fails(shorter):
                steps = shorter
            else:
                at += size
        size //= 2
    for at, (kind, number) in enumerate(steps):
        while number and fails([*steps[:at], (kind, number // 2), *steps[at + 1 :]]):
            number //= 2
            steps = [*steps[:at], (kind, number), *steps[at + 1 :]]
    return steps
