"""What a test needs of the machine it runs on; without it the test is skipped, and says so."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from lamina.backends.cuda import disassembly, nvrtc
from lamina.backends.emulation import emulate
from lamina.backends.toolchain import find_compiler

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
needs_emulation = pytest.mark.skipif(not emulate.available(), reason="the emulation needs g++, which is not installed")
needs_nvrtc = pytest.mark.skipif(not nvrtc.available(), reason="cuda-python or NVRTC is missing: pip install lamina[cuda]")
needs_nvdisasm = pytest.mark.skipif(disassembly.tool() is None, reason="nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the compiler")
