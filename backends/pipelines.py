"""The standard pipelines, as data: pass names in order, options where they differ from the defaults."""

from __future__ import annotations

import json
from functools import lru_cache

from ..dialects.target import target_named
from ..passes.base import Pipeline
from .replay import known_passes

# From what was recorded to primitive ops: gradients, algebra, composites spelled out.
TENSORS = (
    "autodiff",
    "open-composites",
    "cse",
    "constants",
    "simplify",
    "join-pads",
    "hoist",
    "narrow",
    'simplify{because="slices that moved meet pads, what left a loop meets what was outside"}',
    "split-phases",
    "winograd",
    "sink-unwindow",
    'cse{because="simplified ops became equal"}',
    "dce",
)

# From primitive ops to statements: kernels, layouts, buffers, loops.
KERNELS = (
    "fuse",
    "layout",
    "kernel-to-linalg",
    "bufferize",
    "linalg-to-loops",
)

STANDARD = TENSORS + KERNELS


@lru_cache(maxsize=8)
def standard_pipeline(target: str = "native", keep: bool = False, plans: str = "") -> Pipeline:
    """Captured level to loops level for a target (a name of `dialects/target.py` or "native"). keep, plans: see `bufferize`."""
    steps = [step for step in STANDARD]
    for name in ("bufferize", "linalg-to-loops"):
        steps[steps.index(name)] = f"{name}{{target={target}}}"
    if keep or plans:
        options = f"target={target}{' keep=true' if keep else ''}{f' plans={json.dumps(plans)}' if plans else ''}"
        steps[-2] = f"bufferize{{{options}}}"
    if target_named(target).f32 != "ieee":
        steps.remove("winograd")  # sums rounded to fewer bits before they are multiplied
    elif keep:
        steps[steps.index("winograd")] = "winograd{keep=true}"
    return Pipeline.parse(",".join(steps), known_passes(), "captured")


@lru_cache(maxsize=8)
def gpu_pipeline(target: str) -> Pipeline:
    """Captured level to gpu level for an NVIDIA architecture (a name of `dialects/target.py`, like "sm_90a")."""
    steps = [step for step in STANDARD if step not in ("linalg-to-loops", "winograd")]
    steps.insert(steps.index("fuse"), "shorten-sums")
    steps[steps.index("bufferize")] = f"bufferize{{target={target}}}"
    steps.append(f"linalg-to-gpu{{target={target}}}")
    return Pipeline.parse(",".join(steps), known_passes(), "captured")
