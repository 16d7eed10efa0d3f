"""Parts of torch that arrive later: their modules import, answer what can be answered truly, and refuse by name what cannot."""

from __future__ import annotations

import dis
import sys
from functools import lru_cache
from types import FrameType, ModuleType
from typing import Any

from ..dialects.errors import UnsupportedError
from . import placements
from .origin import origin, source_line


class LaterError(UnsupportedError, AttributeError):
    """A name of a part of torch that lamina does not have yet; ``hasattr`` sees that it is missing."""


class LaterImportError(UnsupportedError, ImportError):
    """The same, asked for by ``from ... import``; programs that guard an import see that it is missing."""


class LaterModule(ModuleType):
    """A module of which only some names are there. instead: what a program can do today."""

    def __init__(self, name: str, instead: str, **there: Any) -> None:
        super().__init__(name, f"{name} arrives later.")
        self.__dict__.update(there, __path__=[], _instead=instead)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        kind = LaterImportError if is_import(sys._getframe(1)) else LaterError
        raise kind(_sentence(f"{self.__name__}.{name}"), at=source_line(origin()), help=self._instead)


def _sentence(name: str) -> str:
    part = next((known for known in sorted(MODULES, reverse=True) if name.startswith(known)), name)
    return f"{name} is not there yet: {part} arrives in a later lamina"


def is_import(frame: FrameType) -> bool:
    """Whether a frame stands in ``from ... import ...``, which turns an AttributeError into a message that says nothing."""
    return frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]


def _may_be_named(name: str, instead: str) -> type:
    """A class that programs test against; nothing is an instance of it. LaterError where one is made."""

    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise LaterError(_sentence(name), at=source_line(origin()), help=instead)

    return type(name.rpartition(".")[2], (), {"__init__": refuse, "__doc__": f"{name} arrives later.", "__module__": name.rpartition(".")[0]})


def _may_be_imported(name: str, instead: str) -> Any:
    """A function that programs import and may do without. LaterError where it is called."""

    def refuse(*_: Any, **__: Any) -> None:
        raise LaterError(_sentence(name), at=source_line(origin()), help=instead)

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse


PyTorchFileReader = type(
    "PyTorchFileReader", (), {"__init__": lambda self, *_, **__: _refuse_reader(), "__doc__": "Named in annotations; torch.load reads files."}
)


SymInt = type("SymInt", (), {"__doc__": "A size that is no number yet, in another compiler: programs test against it, nothing is one."})


BATCHING: dict[str, Any] = {
    name: _may_be_imported(f"torch._C._functorch.{name}", "torch.func.vmap records a function for all examples")
    for name in ("_add_batch_dim", "_remove_batch_dim")
}
"""Steps of PyTorch's vmap, which libraries import for a vmap of their own."""
_SCRIPTING = "a call that torch.jit.trace or torch.export records is a program of its own here"
SCRIPTING: dict[str, type] = {
    name: _may_be_named(f"torch._C.{name}", _SCRIPTING)
    for name in (
        "Argument Block CompilationUnit FunctionSchema Graph Node ScriptMethod Type Value AnyType BoolType DictType FloatType IntType "
        "ListType NoneType NumberType OptionalType StringType TensorType TupleType"
    ).split()
}
"""Classes of PyTorch's scripting compiler, which programs name in annotations and test against: nothing is an instance of one."""


def _refuse_reader() -> None:
    raise LaterError("torch.PyTorchFileReader is part of PyTorch's binary", at=source_line(origin()), help="torch.load reads files")


_DATA_PARALLEL = "torch.nn.parallel.DistributedDataParallel trains on several processes"

_PARALLEL: dict[str, tuple[str, str]] = {
    "tensor": ("DTensor DeviceMesh", "distribute_tensor distribute_module init_device_mesh"),
    "tensor._utils": ("", "compute_local_shape_and_global_offset"),
    "tensor.parallel": ("ColwiseParallel RowwiseParallel SequenceParallel PrepareModuleInput PrepareModuleOutput", "parallelize_module loss_parallel"),
    "tensor.experimental": ("", "context_parallel implicit_replication"),
    "_tensor": ("DTensor DeviceMesh", "distribute_tensor distribute_module init_device_mesh"),
    "_tensor.experimental": ("", "implicit_replication"),
    "optim": ("ZeroRedundancyOptimizer PostLocalSGDOptimizer DistributedOptimizer", ""),
    "rpc": ("RRef", "init_rpc shutdown remote rpc_async rpc_sync get_worker_info"),
    "device_mesh": ("DeviceMesh", "init_device_mesh"),
    "fsdp": (
        "FullyShardedDataParallel FSDPModule MixedPrecision MixedPrecisionPolicy CPUOffload CPUOffloadPolicy OffloadPolicy ShardingStrategy "
        "BackwardPrefetch StateDictType FullStateDictConfig FullOptimStateDictConfig ShardedStateDictConfig ShardedOptimStateDictConfig",
        "fully_shard register_fsdp_forward_method",
    ),
    "fsdp.wrap": ("", "_or_policy lambda_auto_wrap_policy transformer_auto_wrap_policy size_based_auto_wrap_policy"),
    "fsdp.fully_sharded_data_parallel": ("FullyShardedDataParallel FullStateDictConfig FullOptimStateDictConfig ShardedStateDictConfig ShardedOptimStateDictConfig", ""),
    "_composable": ("", ""),
    "_composable.fsdp": ("FSDPModule", "fully_shard"),
    "checkpoint": ("FileSystemReader FileSystemWriter", "save load save_state_dict load_state_dict async_save"),
    "checkpoint.state_dict": (
        "StateDictOptions", "get_state_dict get_model_state_dict get_optimizer_state_dict set_state_dict set_model_state_dict set_optimizer_state_dict",
    ),
    "checkpoint.default_planner": ("DefaultLoadPlanner DefaultSavePlanner", ""),
    "checkpoint.hf_storage": ("HuggingFaceStorageReader HuggingFaceStorageWriter", ""),
    "_functional_collectives": ("", "wait_tensor all_to_all_single_autograd all_gather_tensor all_reduce reduce_scatter_tensor"),
}
"""Parts of ``torch.distributed`` that libraries import at their top: their classes, which nothing is an instance of, and functions."""


_PLACEMENTS = {each.__name__: each for each in (placements.Placement, placements.Shard, placements.Replicate, placements.Partial)}


def _never() -> bool:
    return False


def _parallel(part: str) -> LaterModule:
    name = f"torch.distributed.{part}"
    classes, functions = (names.split() for names in _PARALLEL[part])
    there = {each: _class_of(f"torch.distributed.{part.partition('.')[0]}.{each}") for each in classes}
    there |= _PLACEMENTS if part in ("tensor", "_tensor") else {}
    there |= {"is_available": _never} if part == "rpc" else {}
    there.update({each: _may_be_imported(f"{name}.{each}", _DATA_PARALLEL) for each in functions})
    return LaterModule(name, _DATA_PARALLEL, **there)


_DEVICES: dict[str, str] = {"_functions": "Scatter Gather Broadcast"}
"""What ``torch.nn.parallel`` has for one process with several GPUs: imported by programs that run on one device, too."""


def _on_devices(part: str) -> LaterModule:
    name = f"torch.nn.parallel.{part}"
    return LaterModule(name, _DATA_PARALLEL, **{each: _may_be_imported(f"{name}.{each}", _DATA_PARALLEL) for each in _DEVICES[part].split()})


@lru_cache(maxsize=None)
def _class_of(name: str) -> type:
    """One class, wherever it is imported from."""
    return _may_be_named(name, _DATA_PARALLEL)


_DISPATCH = "torch.overrides.TorchFunctionMode sees every public call"
_EXTENSIONS = "lamina has no C++ interface of PyTorch's: torch.library.custom_op takes a function of Python"
_OF_TOOLS = (
    LaterModule(
        "torch.utils._python_dispatch", _DISPATCH, TorchDispatchMode=_may_be_named("torch.utils._python_dispatch.TorchDispatchMode", _DISPATCH),
        is_traceable_wrapper_subclass=lambda tensor: False,
    ),
    LaterModule(
        "torch.utils.cpp_extension", _EXTENSIONS, CUDA_HOME=None, ROCM_HOME=None, IS_WINDOWS=sys.platform == "win32",
        **{n: _may_be_imported(f"torch.utils.cpp_extension.{n}", _EXTENSIONS) for n in "load load_inline include_paths library_paths CppExtension CUDAExtension".split()},
        BuildExtension=_may_be_named("torch.utils.cpp_extension.BuildExtension", _EXTENSIONS),
    ),
)  # fmt: skip
"""Modules of torch.utils that programs import at their top: `TorchDispatchMode` is tested against, extensions are built by few."""


MODULES: dict[str, LaterModule] = {
    module.__name__: module
    for module in (
        *map(_parallel, _PARALLEL), *map(_on_devices, _DEVICES), *_OF_TOOLS,
    )
}  # fmt: skip


def explained(name: str) -> str | None:
    """What to say to an import of something inside of a part that arrives later; None for everything else."""
    inside = any(name.startswith(part + ".") for part in MODULES)
    return _sentence(name) if inside and name not in MODULES else None
