"""Import statements of people who write ``import lamina as torch``: every alias is the one module it stands for."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
def test_modules_of_switches_and_parts_that_arrive_later(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text('''
import torch
import torch.backends.cudnn as cudnn
import torch.distributed as dist
import torch._dynamo, torch.compiler, torch.multiprocessing, torch.version
from torch.jit import ignore
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.nn.modules.padding import ZeroPad2d
from torch.types import Number

cudnn.benchmark = True
assert torch.backends.cudnn.benchmark and cudnn is torch.backends.cudnn
with cudnn.flags(benchmark=False):
    assert not torch.backends.cudnn.benchmark
assert cudnn.benchmark and dist.is_available() and not torch.distributed.is_initialized() and DDP is torch.nn.parallel.DistributedDataParallel
assert torch.version.cuda is None and not torch.jit.is_scripting() and not torch.backends.mps.is_available()
assert not hasattr(torch, "foo") and not hasattr(torch.distributed.fsdp, "foo") and torch.accelerator.current_accelerator() is None
torch.testing.assert_close(torch.ones(2), torch.ones(2) + 1e-7)


def attempt(text):
    try:
        exec(text)
    except Exception as error:
        print(type(error).__name__, [c.__name__ for c in (ImportError, AttributeError) if isinstance(error, c)], error.sentence)


attempt("torch.distributed.fsdp.foo(1)")
attempt("torch.ao.quantization.quantize_pt2e")
attempt("from torch.quantization import quantize_fx")
attempt("import torch.distributed.elastic")
attempt("torch.nn.Foo")
attempt("from torch import foo")
attempt("import torch.foo")
torch.distributed.fsdp.foo(torch.nn.ReLU())
''')
    result = subprocess.run([sys.executable, "-m", "lamina", "run", str(script)], capture_output=True, text=True, check=False)
    later = "is not there yet: torch.{} arrives in a later lamina"
    assert result.stdout.splitlines() == [
        f"LaterError ['AttributeError'] torch.distributed.fsdp.foo {later.format('distributed.fsdp')}",
        "MissingNameError ['AttributeError'] module 'torch.ao.quantization' has no attribute 'quantize_pt2e'",
        "MissingImportError ['ImportError'] module 'torch.quantization' has no attribute 'quantize_fx'",
        "MissingModuleError ['ImportError'] No module named 'torch.distributed.elastic' in lamina",
        "MissingNameError ['AttributeError'] module 'torch.nn' has no attribute 'Foo'",
        "MissingImportError ['ImportError'] module 'torch' has no attribute 'foo'",
        "MissingModuleError ['ImportError'] No module named 'torch.foo' in lamina",
    ]
    assert result.returncode == 1
    assert f"LaterError: torch.distributed.fsdp.foo {later.format('distributed.fsdp')}" in result.stderr
    assert "torch.distributed.fsdp.foo(torch.nn.ReLU())" in result.stderr and "at program.py:" in result.stderr


def test_a_function_wins_over_the_file_it_lives_in(tmp_path: Path) -> None:
    program = tmp_path / "names.py"
    program.write_text("""
from torch.nn.utils import weight_norm
import torch, torchvision.models as models
print(weight_norm.__name__, torch.nn.utils.spectral_norm.__name__, torch.autograd.gradcheck.__name__)
names = sorted(n for n in models.__dict__ if n.islower() and not n.startswith("__") and callable(models.__dict__[n]))
print("resnet18" in names, "alexnet" in names, all(type(models.__dict__[n]).__name__ == "function" for n in names))
""")
    run = subprocess.run([sys.executable, "-m", "lamina", "run", str(program)], capture_output=True, text=True)
    assert run.stdout == "weight_norm spectral_norm gradcheck\nTrue True True\n", run.stderr


def test_everything_a_file_defines() -> None:
    """``import *`` of modules that list nothing."""
    program = """
from lamina.pyfront import import_hook; import_hook.install()
from torch.nn.utils.rnn import *
from torch.nn.init import *
from torch.nn.modules.conv import *
assert pad_sequence and xavier_uniform_ and Conv2d and "np" not in globals() and "Any" not in globals()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
