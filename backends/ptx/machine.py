"""The machine that runs decoded kernels: registers of many threads at once, groups of threads at one place, who waits for what.

Threads at the same place of the code run together, the group that is furthest behind first, so that what has parted meets
again. A seed puts the warps into gangs that take turns, each until it waits, and chooses which copy arrives next.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .faults import Fault
from .parse import Instruction, Kernel, Register

if TYPE_CHECKING:
    from .copies import Copies
    from .memory import Flat, Local
    from .shared import Shared
    from .synchronisation import Barriers
    from .warpgroups import Products

Array = np.ndarray
PLAIN, BRANCH, EXIT, WAITS = range(4)
MOST_STEPS = 20_000_000
_END = 1 << 60
KNOWN, PARTLY, WATCHED = range(3)


@dataclass
class Step:
    """An instruction, decoded. run(machine, threads); of WAITS it gives the threads that go on. target: of a branch."""

    instruction: Instruction
    kind: int
    run: Callable[[Machine, Array], Array | None] | None = None
    target: int = 0


@dataclass
class Code:
    """A decoded kernel. watched: registers that warpgroups multiply. alone: threads of different blocks can run together. holes: see `holes.py`."""

    kernel: Kernel
    steps: list[Step]
    watched: frozenset[int] = frozenset()
    alone: bool = True
    by_warpgroup: bool = False
    granule: int = 4
    local_bytes: int = 0
    places: dict[str, int] = field(default_factory=dict)
    holes: dict[int, int] = field(default_factory=dict)


class Machine:
    """One block, several that share nothing, or those of a cluster, under way. tid, ctaid: three arrays each. Threads are numbered through all blocks."""

    def __init__(self, code: Code, blocks: Array, grid: tuple[int, int, int], block_threads: int, seed: int) -> None:
        self.code = code
        self.count = len(blocks) * block_threads
        self.block_threads, self.grid = block_threads, grid
        self.tid = np.tile(np.arange(block_threads, dtype=np.uint32), len(blocks))
        flat = np.repeat(blocks, block_threads)
        self.block = (flat + 1).astype(np.int32)
        self.ctaid = [(flat % grid[0]).astype(np.uint32), (flat // grid[0] % grid[1]).astype(np.uint32), (flat // (grid[0] * grid[1])).astype(np.uint32)]
        self.threads = np.arange(self.count)
        dtypes = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
        registers = code.kernel.registers
        self.registers = [np.zeros(self.count, dtypes[r.bits]) for r in registers]
        self.defined = [np.zeros(self.count, np.bool_) for _ in registers]
        self.state = [WATCHED if r.index in code.watched else PARTLY for r in registers]
        self.busy = {i: np.zeros(self.count, np.bool_) for i in code.watched}
        self.touched = {i: np.ones(self.count, np.bool_) for i in code.watched}
        self.held: dict[int, int] = {}
        self.random = random.Random(seed)
        self._gangs(seed)
        self.memory: Flat
        self.parameters: Flat
        self.constants: Flat
        self.local: Local
        self.shared: Shared
        self.barriers: Barriers
        self.copies: Copies
        self.products: Products
        self.now: Instruction | None = None
        self.acting: Array = self.threads

    def _gangs(self, seed: int) -> None:
        unit = 128 if self.code.by_warpgroup else 32
        units = -(-self.count // unit)
        chosen = [self.random.randrange(3) if seed else 0 for _ in range(units)]
        self.gang = np.repeat(np.array(chosen), unit)[: self.count]
        self.ready: list[dict[int, Array]] = [{} for _ in range(3)]
        self.place_of: dict[int, str] = {}
        self.wake(0, self.threads)
        self.alive = self.count

    # -- Registers

    def read(self, register: Register, threads: Array) -> Array:
        """The bits of a register. Fault when it was never written or a product is still being added to it."""
        i = register.index
        if self.state[i]:
            if self.state[i] == WATCHED and self.busy[i][threads].any():
                raise Fault(f"{register.name} is read while wgmma.mma_async may still use it: it was not waited for", threads)
            if self.state[i] == WATCHED:
                self.touched[i][threads] = True
            if not self.defined[i][threads].all():
                raise Fault(f"{register.name} is read and was never written", threads[~self.defined[i][threads]])
        return self.registers[i][threads] if len(threads) != self.count else self.registers[i]

    def write(self, register: Register, threads: Array, value: Array) -> None:
        """Bits into a register. Fault while a product is still being added to it."""
        i = register.index
        if len(threads) == self.count:
            self.registers[i][:] = value
        else:
            self.registers[i][threads] = value
        if self.state[i]:
            if self.state[i] == WATCHED:
                if self.busy[i][threads].any():
                    raise Fault(f"{register.name} is written while wgmma.mma_async may still use it: it was not waited for", threads)
                self.touched[i][threads] = True
            self.defined[i][threads] = True
            if self.state[i] == PARTLY and self.defined[i].all():
                self.state[i] = KNOWN

    # -- Running

    def wake(self, place: int, threads: Array) -> None:
        """These threads go on at a place."""
        for gang in np.unique(self.gang[threads]).tolist():
            self._join(self.ready[gang], place, threads[self.gang[threads] == gang])

    @staticmethod
    def _join(ready: dict[int, Array], place: int, threads: Array) -> None:
        if place in ready:
            threads = np.sort(np.concatenate([ready[place], threads]))
        ready[place] = threads

    def run(self) -> None:
        """Until all threads have ended. Fault: they wait for each other, or never end."""
        self.steps_left = MOST_STEPS
        while True:
            gangs = [ready for ready in self.ready if ready]
            if gangs:
                self._advance(gangs[0] if len(gangs) == 1 else self.random.choice(gangs))
            elif not self.alive:
                return
            elif not self.copies.bring_one(self):
                raise Fault(f"the threads wait and nothing will wake them: {self._waiting()}")

    def _waiting(self) -> str:
        return "; ".join(self.barriers.waiting()) or "nobody is left that runs"

    def _advance(self, ready: dict[int, Array]) -> None:
        """Run the group furthest behind until it waits, parts, ends or meets another one."""
        place = min(ready)
        threads = ready.pop(place)
        others = min(ready, default=_END)
        steps = self.code.steps
        while place < others:
            step = steps[place]
            self.steps_left -= 1
            if self.steps_left < 0:
                raise Fault(f"no end after {MOST_STEPS} steps", threads)
            instruction = self.now = step.instruction
            chosen = threads
            if instruction.guard is not None:
                predicate, opposite = instruction.guard
                self.acting = threads
                chosen = threads[self.read(predicate, threads) != opposite]
            self.acting = chosen
            if step.kind == PLAIN:
                if len(chosen):
                    assert step.run is not None
                    step.run(self, chosen)
                place += 1
                continue
            if len(chosen) == len(threads) and step.kind == BRANCH:
                place = step.target
                continue
            if len(chosen) < len(threads):
                if "uni" in instruction.parts and len(chosen):
                    raise Fault("threads part at a branch that says they do not (.uni)", threads)
                if not len(chosen):
                    place += 1
                    continue
                rest = np.setdiff1d(threads, chosen, assume_unique=True)
                self._join(ready, place + 1, rest)
            self._leave(step, place, chosen, ready)
            return
        self._join(ready, place, threads)

    def _leave(self, step: Step, place: int, chosen: Array, ready: dict[int, Array]) -> None:
        if step.kind == BRANCH:
            self._join(ready, step.target, chosen)
        elif step.kind == EXIT:
            self.alive -= len(chosen)
        else:
            assert step.run is not None
            going = step.run(self, chosen)
            if going is not None and len(going):
                self.wake(place + 1, going)

    # -- What instructions ask

    def whole_warps(self, threads: Array, unit: int = 32) -> Array:
        """The threads as [warps, 32] (or warpgroups of 128). Fault when some of a warp are elsewhere."""
        if len(threads) % unit == 0:
            table = threads.reshape(-1, unit)
            if (table % self.block_threads % unit == np.arange(unit)).all() and (table[:, -1] - table[:, 0] == unit - 1).all():
                return table
        what = "warp" if unit == 32 else "warpgroup"
        raise Fault(f"all threads of a {what} have to execute this together, and some are elsewhere", threads)
