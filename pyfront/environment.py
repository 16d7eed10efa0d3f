"""torch.utils.collect_env: what a report of a fault needs to know about the machine, as a text."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from typing import NamedTuple


class SystemEnv(NamedTuple):
    """What is installed here."""

    torch_version: str
    is_debug_build: str
    cuda_compiled_version: str
    gcc_version: str
    os: str
    libc_version: str
    python_version: str
    python_platform: str
    is_cuda_available: str
    nvidia_gpu_models: str
    pip_packages: str
    cpu_info: str


def get_env_info() -> SystemEnv:
    """The facts, each as a text."""
    import lamina

    from . import cuda

    is_there = cuda.is_available()
    return SystemEnv(
        torch_version=f"{lamina.__version__} (lamina)",
        is_debug_build="False",
        cuda_compiled_version="compiled at run time",
        gcc_version=_first_line("gcc"),
        os=f"{platform.system()} {platform.release()}",
        libc_version="-".join(platform.libc_ver()),
        python_version=f"{sys.version} ({sys.maxsize.bit_length() + 1}-bit runtime)".replace(chr(10), " "),
        python_platform=platform.platform(),
        is_cuda_available=str(is_there),
        nvidia_gpu_models=", ".join([cuda.get_device_name(i) for i in range(cuda.device_count())]) if is_there else "None",
        pip_packages=chr(10).join([f"[pip3] {name}=={version}" for name, version in _packages()]),
        cpu_info=f"{platform.machine()}, {os.cpu_count()} processors",
    )


def pretty_str(envinfo: SystemEnv) -> str:
    """The facts as a text, in PyTorch's order."""
    return f"""PyTorch version: {envinfo.torch_version}
Is debug build: {envinfo.is_debug_build}
CUDA used to build PyTorch: {envinfo.cuda_compiled_version}

OS: {envinfo.os}
GCC version: {envinfo.gcc_version}
Libc version: {envinfo.libc_version}

Python version: {envinfo.python_version}
Python platform: {envinfo.python_platform}
Is CUDA available: {envinfo.is_cuda_available}
GPU models and configuration: {envinfo.nvidia_gpu_models}

CPU:
{envinfo.cpu_info}

Versions of relevant libraries:
{envinfo.pip_packages}"""


def get_pretty_env_info() -> str:
    """What there is, as a text."""
    return pretty_str(get_env_info())


def main() -> None:
    """Print it."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


def _first_line(compiler: str) -> str:
    path = shutil.which(compiler)
    if path is None:
        return "Could not collect"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()
    return said[0] if said else "Could not collect"


def _packages() -> list[tuple[str, str]]:
    wanted = ("lamina", "numpy", "safetensors", "onnx", "transformers", "timm", "torchvision", "xdsl")
    found = []
    for name in wanted:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
