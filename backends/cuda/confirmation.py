"""Whether a GPU's products on warpgroups are right: a few are made on it once, in a process of their own, and the answer is kept.

`main` is what that process runs: products of whole numbers, which are exact, by wgmma and by mma.sync, and against numpy where that
is fast; attention within its tolerance. A kernel that hangs or leaves the device without use takes this process along, not the user's.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...dialects import flags
from ...dialects.errors import LaminaError
from ...dialects.graph import Graph
from ...dialects.types import bfloat16
from ..cache import cache_folder, key_of, note, noted, source_version
from . import nvrtc

if TYPE_CHECKING:
    from .device import Device
    from .runtime import Runtime

SECONDS = 180
"""For all of it, compiling included; then it is taken for a kernel that hangs."""
AGREE = "agree"
_START = "import sys; sys.path[:] = sys.argv[1:]; from lamina.backends.cuda.confirmation import main; main()"
CANNOT = "nothing could be asked: "
"""Begins an answer that says nothing of the GPU, and is not kept."""
LARGE = (2048, 4608, 1152)
"""Rows, columns and terms of products that give every block of a large GPU several tiles, and clusters something to share."""


def is_confirmed(device: Device) -> bool:
    """Whether warpgroups are to make products on this GPU. The first process on a machine asks it, and says so where the answer is no. Where no answer can
    be kept nobody asks: not."""
    if cache_folder() is None:
        return False
    compiler = nvrtc.version() if nvrtc.available() else ""
    key = key_of("warpgroups", source_version(), device.name, device.version, device.processors, compiler)
    answer = noted(key)
    if answer is None:
        answer = asked()
        if not answer.startswith(CANNOT):
            note(key, answer)
        if answer != AGREE:
            told = f"products on warpgroups are left to mma.sync on {device.name}: {answer}"
            warnings.warn(f"{told}. `python -m lamina.backends.cuda.check --all --section layouts` says more; LAMINA_CUDA=mma asks no more", stacklevel=2)
    return answer == AGREE


def asked(command: Sequence[str] = (), seconds: float = SECONDS) -> str:
    """What a process of its own says: AGREE, or what is wrong. It is as this one but for the flags, which are of the user's programs."""
    from .check_tools import run

    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAMINA_")} | {"LAMINA_CACHE": str(cache_folder() or "off")}
    done = run(command or (sys.executable, "-c", _START, *sys.path), seconds, environment)
    lines = [line for line in done.output.splitlines() if line.startswith("{")]
    found = json.loads(lines[-1]) if lines else {"begun": ""}
    if "answer" in found:
        return str(found["answer"])
    if not found["begun"]:
        return CANNOT + (done.output.strip().splitlines() or ["the process said nothing"])[-1][:200]
    return f"{found['begun']}: {f'no end after {seconds:.0f} s' if done.timed_out else f'the process ended with {done.code}'}"


@dataclass(frozen=True)
class Case:
    """A program both targets run. want: its result by numpy; None: that of mma.sync is held against it. error: 0 for equal results, else the largest
    difference in parts of the largest number."""

    name: str
    graph: Graph
    arrays: Callable[[], list[np.ndarray]]
    want: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    error: float = 0.0


_WAYS = (
    "bf16, along the sum and along the sum", "bf16, turned and turned", "f16", "bf16, batches", "bf16, a cut sum",
    "TF32", "TF32, turned and turned", "bytes, int8 and uint8",
)  # fmt: skip


def cases() -> list[Case]:
    """Each way warpgroups multiply, then many tiles at once. float32 is multiplied as TF32."""
    from .check_layouts import CONVOLUTIONS, LAYOUTS, Convolution, Layout
    from .check_programs import arrays_for, attention

    chosen: list[Layout | Convolution] = [*(layout for layout in LAYOUTS if layout.name in _WAYS), *(CONVOLUTIONS[k] for k in (0, 1, 4))]
    large = [Layout(f"bf16, {' x '.join(map(str, LARGE))}{', turned' * turned}", bfloat16, bfloat16, turned, turned, sizes=LARGE) for turned in (False, True)]
    made = [Case(layout.name, layout.graph(), layout.arrays, layout.want) for layout in chosen]
    made += [Case(layout.name, layout.graph(), layout.arrays) for layout in large]
    for depth in (64, 128):
        graph = attention(2, 4, 512, 512, depth, bfloat16, True, True)
        made.append(Case(f"attention and gradients, depth {depth}", graph, partial(arrays_for, graph), error=2e-2))
    return made


def differs(case: Case, by_warps: Runtime, by_groups: Runtime) -> str:
    """What is wrong with a case's results; "" if nothing is. Called three times: launched, captured, replayed."""
    from .check_layouts import described

    arrays = case.arrays()
    want = None if case.want is None else [case.want(arrays)]
    for gpu in (by_warps, by_groups):
        with flags.f32("tf32"):
            given = [gpu.upload(a) for a in arrays]
            made = [[gpu.download(a) for a in gpu.run(case.graph, given)] for _ in range(3)]
        want = want or made[0]
        for got in made:
            for a, b in zip(got, want, strict=True):
                x, y = (n.astype(np.float64) for n in (a, b))
                wrong = ~(np.abs(x - y) <= case.error * max(1.0, float(np.abs(y).max())))
                if wrong.any():
                    return f"{case.name}, {gpu.device.arch}: {wrong.sum()} of {wrong.size} elements are wrong: {described(np.argwhere(wrong))}"
    return ""


def answer_of(by_warps: Runtime, by_groups: Runtime, given: Sequence[Case], begins: Callable[[str], None]) -> str:
    """AGREE, or the first difference. begins: told what runs next."""
    for case in given:
        begins(case.name)
        try:
            words = differs(case, by_warps, by_groups)
        except LaminaError as error:
            words = f"{case.name}: {str(error).splitlines()[0]}"
            if not nvrtc.available():
                return CANNOT + words
        if words:
            return words
    return AGREE


def main() -> None:
    from .device import Device
    from .runtime import Runtime

    runtimes = [Runtime(Device(wgmma=wgmma)) for wgmma in (False, True)]
    told = answer_of(*runtimes, cases(), lambda name: print(json.dumps({"begun": name}), flush=True))
    print(json.dumps({"answer": told}), flush=True)
