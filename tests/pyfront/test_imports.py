"""Import statements of people who write ``import lamina as torch``: every alias is the one module it stands for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import lamina

ALIASES = {
    "nn": "pyfront.nn",
    "nn.functional": "pyfront.nn.functional",
    "nn.init": "pyfront.nn.init",
    "nn.modules.conv": "pyfront.nn.convolution",
    "nn.utils.rnn": "pyfront.nn.utils.rnn",
    "nn.linear": "pyfront.nn.linear",
    "optim": "pyfront.optim",
    "optim.lr_scheduler": "pyfront.optim.lr_scheduler",
    "utils": "pyfront.torch_utils",
    "utils.data": "pyfront.data",
    "utils.data.dataset": "pyfront.data.dataset",
    "autograd": "pyfront.autograd",
    "autograd.function": "pyfront.function",
    "linalg": "pyfront.linalg",
    "random": "pyfront.random",
}


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_is_the_module_itself(name: str) -> None:
    real = importlib.import_module(f"lamina.{ALIASES[name]}")
    assert importlib.import_module(f"lamina.{name}") is real
    assert real.__name__ == real.__spec__.name == f"lamina.{ALIASES[name]}"
    found = lamina
    for part in name.split("."):
        if not hasattr(found, part):
            break
        found = getattr(found, part)
    else:
        assert found is real or name == "nn.modules.conv"


def test_statements_in_a_fresh_process() -> None:
    program = """
import lamina as torch, lamina.optim, lamina.utils.data
import lamina.nn as nn
import lamina.nn.functional as F
from lamina.utils.data import DataLoader
from lamina.optim.lr_scheduler import StepLR
import sys
assert torch.nn is nn and nn.functional is F and torch.utils.data.DataLoader is DataLoader
files = {}
for name, module in sorted(sys.modules.items()):
    if getattr(module, "__file__", None) and module.__name__.startswith("lamina"):
        assert files.setdefault(module.__file__, module) is module, name
assert "xdsl" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.parametrize("name", ["nothing", "nn.nothing", "nn.functional.nothing", "utils.nothing"])
def test_what_is_not_there(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"lamina.{name}")


def test_torch_backends_survives_the_driver() -> None:
    program = """
import lamina as torch
import lamina.backends.driver as driver
from lamina.backends import driver as same
assert driver is same and torch.backends.driver is driver
assert not torch.backends.mps.is_available() and not torch.backends.cuda.matmul.allow_tf32
torch.backends.cudnn.benchmark = True
"""
    subprocess.run([sys.executable, "-c", program], check=True)
