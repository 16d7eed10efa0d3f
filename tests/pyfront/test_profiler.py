"""torch.profiler: schedules as PyTorch's, ranges, steps, tables and traces."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

import lamina
from lamina.pyfront import profiler as ours


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Profiler")
def test_schedules() -> None:
    theirs = pytest.importorskip("torch").profiler
    for wait, warmup, active, repeat, skip in itertools.product((0, 2), (0, 1), (1, 3), (0, 2), (0, 3)):
        options = {"wait": wait, "warmup": warmup, "active": active, "repeat": repeat, "skip_first": skip}
        a, b = ours.schedule(**options), theirs.schedule(**options)
        assert [a(n).name for n in range(20)] == [b(n).name for n in range(20)]


def counts(profile: Any) -> dict[str, int]:
    return {e.key: e.count for e in profile.key_averages()}


def test_ranges_and_their_table() -> None:
    x = lamina.ones(3, requires_grad=True)

    @ours.record_function("twice")
    def twice(y: Any) -> Any:
        return y * 2

    with ours.profile(activities=[ours.ProfilerActivity.CPU], record_shapes=True) as profile:
        for _ in range(3):
            with ours.record_function("outer"):
                twice(x).sum().backward()
    twice(x)
    assert counts(profile) == {"twice": 3, "outer": 3}
    lines = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=1).splitlines()
    assert lines[1].startswith("outer") and len(lines) == 3, "the outer range takes longer"
    assert all(e.cpu_time_total > 0 for e in profile.key_averages()) and x.grad.tolist() == [6.0] * 3


def test_steps_of_a_schedule(tmp_path: Any) -> None:
    saved = []
    plan = ours.schedule(wait=1, warmup=1, active=2, repeat=2)
    with ours.profile(schedule=plan, on_trace_ready=lambda p: saved.append((p.step_num, counts(p)))) as profile:
        for _ in range(9):
            with ours.record_function("part"):
                pass
            profile.step()
    assert saved == [(4, {"part": 2, "ProfilerStep*": 2}), (8, {"part": 2, "ProfilerStep*": 2})]
    with ours.profile(on_trace_ready=ours.tensorboard_trace_handler(str(tmp_path))), ours.record_function("whole"):
        pass
    (file,) = tmp_path.iterdir()
    assert [e["name"] for e in json.loads(file.read_text())["traceEvents"]] == ["whole"]
