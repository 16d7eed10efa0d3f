"""The process that compiles in the background: jobs as lines of JSON come in, programs go to the disk cache, an answer per job goes out."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from typing import Any

from ..dialects import flags
from ..dialects.sizes import Scope
from . import symbolic
from .cache import source_version, store
from .compiled_program import build
from .emission import without_collector
from .graph_text import graph_from_json, template_from_json


def main() -> None:
    """Jobs from standard input until it ends; everything temporary lies in one folder that goes with the process."""
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        with tempfile.TemporaryDirectory(prefix="lamina-background-") as folder:
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            for line in sys.stdin:
                print(_done(json.loads(line)), flush=True)
                if ending:  # the exit was raised where Python drops exceptions
                    break
    finally:
        os._exit(0)  # what is left is memory


def _done(job: dict[str, Any]) -> str:
    """Do a job; "made" or "failed": who asked does it again then, and says why it does not work."""
    try:
        if job["version"] != source_version():
            return "failed"
        given = job["flags"]
        with flags.cache(given["cache"]), flags.fast(given["fast"]), flags.f32(given["f32"]), flags.winograd(given["winograd"]):
            _make(job)
    except Exception:  # noqa: BLE001  # of whatever kind
        return "failed"
    return "made"


def _make(job: dict[str, Any]) -> None:
    with without_collector():
        if "graph" in job:
            graph = graph_from_json(job["graph"])
            store(job["key"], lambda folder: build(graph, folder, None, 0))
        else:
            template, scope = template_from_json(job["template"]), Scope(job["estimates"], job["high"])
            store(job["key"], lambda folder: symbolic._build(template, scope, folder))
