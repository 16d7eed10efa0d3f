"""Kernels compiled in units: equal kernels of several programs are compiled once, units side by side give the kernels one unit gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from needs import needs_nvrtc

from fake_driver import FakeDriver

from lamina.backends.cuda import nvrtc, units
from lamina.backends.cuda.check_programs import PROGRAMS
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.launching import DriverProgram
from lamina.backends.cuda.program import cuda_source
from lamina.dialects import flags
from lamina.dialects.errors import BackendError

programs = {p.name: p for p in PROGRAMS}
pytestmark = needs_nvrtc


def source_of(name: str, arch: str = "sm_90a"):
    program = programs[name]
    return cuda_source(program.make(program.small), arch)


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """An empty cache, and the texts NVRTC gets."""
    texts: list[str] = []
    real = nvrtc.compile_cuda

    def noted(text: str, *rest: object, **named: object):
        texts.append(text)
        return real(text, *rest, **named)

    monkeypatch.setattr(units.nvrtc, "compile_cuda", noted)
    with flags.cache(str(tmp_path / "cache")):
        yield texts


def built(source, folder: Path) -> list[units.Module]:
    folder.mkdir()
    units.build_units(source, folder, "sm_90a")
    return units.read_modules(folder)


def test_kernels_are_compiled_once(compiled, tmp_path) -> None:
    source = source_of("sums")
    first = built(source, tmp_path / "a")
    count = len(compiled)
    held = {own for module in first for own in module.kernels}
    assert held == set(source.table.kernels()) and count >= 1
    assert all(module.cubin.startswith(b"\x7fELF") and name.encode() in module.cubin for module in first for name in module.kernels.values())
    renamed = [(f"q{own}", re.sub(rf"\b{own}\b", f"q{own}", text).replace("/* ", "/* somewhere else, ")) for own, text in source.functions]
    other = type(source)(source.device, source.portable, tuple(renamed), source.table)
    again = built(other, tmp_path / "b")
    assert len(compiled) == count  # other names and other lines of the user's: the same kernels
    assert [{own[1:]: name for own, name in m.kernels.items()} for m in again] == [dict(m.kernels) for m in first]


def test_a_kernel_that_differs_is_compiled_alone(compiled, tmp_path) -> None:
    source = source_of("sums")
    built(source, tmp_path / "a")
    own, text = source.functions[-1]
    count = len(compiled)
    changed = text.rsplit("}", 1)[0] + "    if (threadIdx.x > 100000u) __trap();\n}"
    built(type(source)(source.device, source.portable, (*source.functions[:-1], (own, changed)), source.table), tmp_path / "b")
    assert len(compiled) == count + 1 and compiled[-1].count("__global__ void") == 1 and "__trap" in compiled[-1]


def test_units_side_by_side_hold_every_kernel(compiled, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(units, "LEAST", 1)
    monkeypatch.setattr(units, "TURNS", 1)
    monkeypatch.setattr(units.flags, "available_processors", lambda: 3)
    source = source_of("layer norm and gradient")
    modules = built(source, tmp_path / "a")
    names = {name for m in modules for name in m.kernels.values()}
    assert len(modules) == len(compiled) == min(3, len(names)) > 1
    assert sorted(own for m in modules for own in m.kernels) == sorted(source.table.kernels())
    assert (tmp_path / "a" / "program.ptx").read_text().count(".entry") == len(names)


def test_what_nvrtc_refuses_is_an_error(compiled, tmp_path) -> None:
    source = source_of("elementwise")
    with pytest.raises(BackendError, match="NVRTC refuses"):
        built(source.with_kernels("this is no C"), tmp_path / "a")


def test_kernels_are_found_in_their_modules(monkeypatch, tmp_path) -> None:
    """The driver is asked for each kernel once, in the module that holds it, by its name there."""
    import sys
    from types import SimpleNamespace

    asked: list[tuple[object, bytes]] = []
    driver = FakeDriver()
    driver.cuModuleLoadData = lambda cubin: (driver.CUresult.CUDA_SUCCESS, cubin)
    driver.cuModuleGetFunction = lambda module, name: (asked.append((module, name)), (driver.CUresult.CUDA_SUCCESS, name))[1]
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(driver=driver))
    table = source_of("sums").table
    names = table.kernels()
    modules = [units.Module(f"cubin {k % 2}".encode(), {n: f"lamina_{n}" for n in names[k % 2 :: 2]}) for k in range(2)]
    units.write_modules(tmp_path, modules)
    assert json.loads((tmp_path / units.MODULES).read_text())[0] == dict(modules[0].kernels)
    DriverProgram(Device(), units.read_modules(tmp_path), table)
    assert sorted(asked) == sorted((f"cubin {names.index(n) % 2}".encode(), f"lamina_{n}".encode()) for n in names)
