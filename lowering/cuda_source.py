"""gpu level to CUDA C++: one file without includes, every kernel a function, PTX only in the prelude."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp

from ..dialects.nv_hopper import TensorMapOp
from .cuda_function import CudaFunctionPrinter
from .cuda_prelude import CudaPrelude
from .gpu_launch import launch_shape
from .gpu_launches import LaunchTable, launch_table


@dataclass(frozen=True)
class CudaSource:
    """A program's kernels as text, and how they are launched.

    device: types and PTX for a GPU's compiler; portable: types and plain helper functions; functions: the kernels, by name. The
    emulation puts its own text in the place of `device` and keeps the rest as it is.
    """

    device: str
    portable: str
    functions: tuple[tuple[str, str], ...]
    table: LaunchTable

    @property
    def kernels(self) -> str:
        """The text of all kernels."""
        return "\n\n".join(text for _, text in self.functions)

    def with_kernels(self, text: str) -> CudaSource:
        """The same with another text of all kernels."""
        return replace(self, functions=(("kernels", text),))

    def rewritten(self, text: str) -> CudaSource:
        """The same launches of what somebody wrote in the place of all of it."""
        return replace(self, device=text.rstrip("\n"), portable="", functions=())

    @property
    def text(self) -> str:
        """The .cu file."""
        return "\n\n".join((self.device, self.portable, self.kernels)) + "\n"


def emit_cuda(module: ModuleOp, outputs: int | None = None) -> CudaSource:
    """The CUDA C++ of a gpu-level module. BackendError names an op that has none. outputs: see launch_table."""
    prelude = CudaPrelude()
    kernels: list[tuple[str, str]] = []
    parameters: dict[str, list[int]] = {}
    maps: dict[str, list[TensorMapOp]] = {}
    packed: set[str] = set()
    for function in module.body.block.ops:
        if isinstance(function, func.FuncOp) and launch_shape(function) is not None:
            printer = CudaFunctionPrinter(prelude, function)
            kernels.append((printer.symbol, printer.global_function()))
            parameters[function.sym_name.data] = printer.parameters()
            maps[function.sym_name.data] = printer.maps()
            if printer.packed:
                packed.add(function.sym_name.data)
    table = launch_table(module, parameters, outputs, maps, packed)
    return CudaSource(prelude.device(), prelude.portable(), tuple(kernels), table)
