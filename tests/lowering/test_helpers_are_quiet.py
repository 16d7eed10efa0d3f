"""Every helper function on floating-point numbers compiles without a word, whatever the processor has: shipped C is built with warnings as errors."""

from __future__ import annotations

import subprocess

import pytest
from lamina.backends.toolchain import find_compiler
from lamina.lowering.c_helpers import Prelude, _templates

@pytest.mark.parametrize("flags", [["-march=x86-64"], ["-march=x86-64-v3"], ["-march=x86-64-v4"]], ids=" ".join)
def test_helpers_are_quiet(tmp_path, flags):
    prelude, used = Prelude(), []
    for name, form, kind in _templates():
        if kind in ("f32", "f64"):
            used.append(prelude.function(name, kind, 4 if form == "vector" else 0))
    assert {"power_f32x4", "sine_f32x4"} <= set(used) and len(used) > 20
    (tmp_path / "helpers.c").write_text(prelude.text())
    command = [*find_compiler().command, *flags, "-O1", "-Wall", "-Wextra", "-Wno-unused-function", "-c", "-o", "/dev/null", "helpers.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
