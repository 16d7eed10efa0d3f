"""Products on warpgroups are used where a GPU was seen to make them right: the question, its answers, and who keeps them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from needs import needs_emulation

from fake_driver import FakeDriver, install

from lamina.backends.cuda import confirmation
from lamina.backends.cuda.confirmation import AGREE, CANNOT, Case, answer_of, asked, cases, differs, is_confirmed
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.runtime import Runtime
from lamina.dialects import flags
from lamina.dialects.errors import BackendError

GPU = SimpleNamespace(name="a GPU", version=13000, processors=132)


class Gpu:
    """Multiplies by numpy. wrong(call): what is added to one element of the call's result."""

    def __init__(self, arch: str, wrong=lambda call: 0) -> None:
        self.device, self.wrong, self.calls = SimpleNamespace(arch=arch), wrong, 0

    def upload(self, array: np.ndarray) -> np.ndarray:
        return array

    def download(self, array: np.ndarray) -> np.ndarray:
        return array

    def run(self, graph: object, arrays: list[np.ndarray]) -> list[np.ndarray]:
        made = arrays[0] @ arrays[1]
        made[1, 2] += self.wrong(self.calls)
        self.calls += 1
        return [made]


def case(**more: object) -> Case:
    return Case("a product", None, lambda: [np.arange(12.0).reshape(4, 3), np.ones((3, 5))], **more)  # type: ignore[arg-type]


def _say(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


@pytest.mark.parametrize("want", [None, lambda arrays: arrays[0] @ arrays[1]])
def test_results_are_held_against_numpy_and_against_each_other(want) -> None:
    assert answer_of(Gpu("warps"), Gpu("groups"), [case(want=want)], lambda name: None) == AGREE
    begun: list[str] = []
    told = answer_of(Gpu("warps"), Gpu("groups", lambda call: call == 2), [case(want=want)] * 2, begun.append)  # only the replay is wrong
    assert told.startswith("a product, groups: 1 of 20 elements are wrong: first (1, 2)") and begun == ["a product"]
    assert differs(case(want=want), Gpu("warps"), Gpu("groups", lambda call: np.nan))  # NaN is near to nothing
    assert not differs(case(want=want, error=0.1), Gpu("warps"), Gpu("groups", lambda call: 0.5))
    assert differs(case(want=want), Gpu("warps", lambda call: call == 1), Gpu("groups")).startswith("a product, warps")


def test_what_raises_is_an_answer_unless_nothing_can_be_compiled(monkeypatch) -> None:
    def breaks(call: int) -> float:
        raise BackendError("a kernel failed\nsomewhere")

    for there, begin in ((True, ""), (False, CANNOT)):
        monkeypatch.setattr(confirmation.nvrtc, "available", lambda there=there: there)
        assert answer_of(Gpu("warps"), Gpu("groups", breaks), [case()], lambda name: None) == f"{begin}a product: a kernel failed"


def test_the_process_that_is_asked() -> None:
    begun = 'print(\'{"begun": "f16"}\', flush=True); '
    assert asked(_say("print('words'); print('{\"answer\": \"agree\"}')"), 20) == AGREE
    assert asked(_say(begun + "import os; os._exit(7)"), 20) == "f16: the process ended with 7"
    assert asked(_say(begun + "import time; time.sleep(60)"), 1) == "f16: no end after 1 s"
    assert asked(_say("raise SystemExit('no driver')"), 20) == CANNOT + "no driver"


def test_an_answer_is_kept_and_a_refusal_is_said(monkeypatch, tmp_path) -> None:
    answers = [CANNOT + "no NVRTC", "f16: wrong", "nobody asks"]
    monkeypatch.setattr(confirmation, "asked", lambda: answers.pop(0))
    with flags.cache(str(tmp_path)):
        for words in ("no NVRTC", "f16: wrong"):
            with pytest.warns(UserWarning, match=f"left to mma.sync on a GPU: .*{words}.*LAMINA_CUDA=mma"):
                assert not is_confirmed(GPU)
        assert not is_confirmed(GPU) and len(answers) == 1  # known, and said once
        answers[:] = [AGREE]
        newer = SimpleNamespace(**{**vars(GPU), "version": 13010})
        assert is_confirmed(newer) and is_confirmed(newer) and not answers
    with flags.cache("off"):
        assert not is_confirmed(newer)


def test_it_runs_as_the_users_process_does_without_its_flags(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LAMINA_DUMP", str(tmp_path / "dump"))
    monkeypatch.setattr(confirmation, "_START", "import json, os, sys; print(json.dumps({'answer': [sys.argv[1:], os.environ.get('LAMINA_DUMP'), os.environ['LAMINA_CACHE']]}))")
    with flags.cache(str(tmp_path)):
        assert asked(seconds=20) == str([sys.path, None, str(confirmation.cache_folder())])


@pytest.mark.parametrize("agrees", [True, False])
def test_the_first_program_asks(monkeypatch, agrees: bool) -> None:
    install(monkeypatch, FakeDriver())
    count: list[object] = []
    monkeypatch.setattr(sys.modules[Device.__module__], "is_confirmed", lambda device: count.append(device) or agrees)
    device = Device(wgmma=None)
    assert not count
    assert ["wgmma" in device.arch for _ in range(2)] == [agrees] * 2 and len(count) == 1
    assert "wgmma" not in Device().arch and "wgmma" in Device(wgmma=True).arch and len(count) == 1


def test_every_way_is_asked() -> None:
    found = cases()
    assert set(confirmation._WAYS) <= {c.name for c in found} and len(found) == len(confirmation._WAYS) + 7


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 8])
def test_cases_agree_on_emulated_threads(monkeypatch, number: int) -> None:
    install(monkeypatch, FakeDriver())
    assert not differs(cases()[number], Runtime(Device()), Runtime(Device(wgmma=True)))
