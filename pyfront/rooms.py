"""Rooms: small modules of torch that only answer questions: other accelerators, the compiler's switches, the version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from ..dialects import flags
from . import later, overrides, placement, recorder
from .compiling import OptimizedModule
from .torch_backends import Room

VERSION = "2.13.0"  # the PyTorch whose behaviour lamina follows


def _no(*_: Any, **__: Any) -> bool:
    return False


def _none(*_: Any, **__: Any) -> None:
    return None


def _zero(*_: Any, **__: Any) -> int:
    return 0


def _synchronize(*_: Any, **__: Any) -> None:
    recorder.flush()


def _same(function: Callable | None = None, *_: Any, **__: Any) -> Any:
    return (lambda f: f) if function is None else function


@contextmanager  # which decorates functions, too
def _nothing_noted(*_: Any, **__: Any) -> Iterator[None]:
    yield


def _absent(name: str, doc: str) -> Room:
    """An accelerator that is not there."""
    return Room(
        name, doc, is_available=_no, device_count=_zero, is_initialized=_no, synchronize=_synchronize, empty_cache=_none,
        manual_seed=_none, manual_seed_all=_none, seed=_none, current_allocated_memory=_zero, driver_allocated_memory=_zero,
    )  # fmt: skip


def _cuda() -> Any:
    from . import cuda

    return cuda


def _cpu() -> Any:
    from .size import CPU

    return CPU


def _parse_to(*args: Any, **options: Any) -> tuple[Any, Any, bool, Any]:
    """Device, dtype, whether to wait and memory format, as the arguments of ``to`` name them."""
    from .conversion import destination
    from .size import device

    where, dtype = destination(args, options)
    return None if where is None else device(where), dtype, bool(options.get("non_blocking", False)), options.get("memory_format")


def _of_cuda(name: str, absent: Any) -> Callable[..., Any]:
    """What torch.cuda answers; without a GPU, what there is nothing of."""
    return lambda *args, **options: getattr(_cuda(), name)(*args, **options) if _cuda().is_available() else absent


def _current(*_: Any, **__: Any) -> Any:
    from .size import device

    return device("cuda", _cuda().current_device()) if _cuda().is_available() else None


# Settings of the other compiler that programs read before they change them, as they are at first.
_DYNAMO_CONFIG = Room(
    "torch._dynamo.config", "Settings of another compiler: noted.", cache_size_limit=8, recompile_limit=8, accumulated_cache_size_limit=256,
    accumulated_recompile_limit=256, suppress_errors=False, verbose=False, capture_scalar_outputs=False, capture_dynamic_output_shape_ops=False,
    automatic_dynamic_shapes=True, assume_static_by_default=True, dynamic_shapes=True, optimize_ddp=True, compiled_autograd=False,
    error_on_recompile=False, guard_nn_modules=True, force_parameter_static_shapes=True, specialize_int=False, allow_rnn=False,
)  # fmt: skip
_INDUCTOR_CONFIG = Room(
    "torch._inductor.config", "Settings of another compiler: noted.", coordinate_descent_tuning=False, coordinate_descent_check_all_directions=False,
    fx_graph_cache=True, max_autotune=False, conv_1x1_as_mm=False, epilogue_fusion=True, force_fuse_int_mm_with_mul=False, shape_padding=True,
    fallback_random=False, debug=False, freezing=False, cpp_wrapper=False, allow_buffer_reuse=True, reorder_for_compute_comm_overlap=False,
    triton=SimpleNamespace(unique_kernel_names=True, cudagraphs=False, cudagraph_trees=True), cpp=SimpleNamespace(threads=-1),
)  # fmt: skip
_NN = Room("torch._C._nn", "What libraries ask of PyTorch's own layers.", _parse_to=_parse_to)

_FUNCTORCH = Room(
    "torch._C._functorch", "What libraries ask about tensors within vmap and grad: they are ordinary ones.", is_batchedtensor=_no,
    is_gradtrackingtensor=_no, is_functorch_wrapped_tensor=_no, maybe_get_level=lambda _: -1, get_unwrapped=_same,
    **later.BATCHING,
)  # fmt: skip

NVTX = Room(
    "torch.cuda.nvtx", "Ranges for a profiler that does not look: nothing is noted.", range_push=_zero, range_pop=_zero, range_start=_zero,
    range_end=_none, mark=_none, range=_nothing_noted,
)  # fmt: skip

PROFILER = Room(
    "torch.cuda.profiler", "Where another profiler is told when to look: nothing is noted.", start=_none, stop=_none, init=_none,
    profile=lambda *_, **__: nullcontext(),
)  # fmt: skip

ROOMS: tuple[Room, ...] = (
    Room(
        "torch.version", "The version whose behaviour lamina follows.", __version__=VERSION, cuda=None, hip=None, xpu=None,
        debug=False, git_version="", __all__=["__version__", "cuda", "debug", "git_version", "hip", "xpu"],
    ),
    Room(
        "torch.__config__", "How what answers to this name was built.", show=lambda: f"lamina, following PyTorch {VERSION}\n  - C programs, compiled as they are needed\n",
        parallel_info=lambda: f"threads: {flags.threads.value}\n",
    ),
    Room(
        "torch._C", "What libraries ask PyTorch's own binary: there is none.", _log_api_usage_once=_none, _are_functorch_transforms_active=_no,
        _get_accelerator=lambda: _current() or _cpu(), _get_default_device=lambda: str(placement.default()), DisableTorchFunctionSubclass=overrides.classes_off,
        DisableTorchFunction=overrides.all_off, _disabled_torch_function_impl=overrides.disabled, _TensorMeta=type, _get_tracing_state=_none, _nn=_NN, _jit_set_profiling_executor=_none, _jit_set_profiling_mode=_none, _jit_set_texpr_fuser_enabled=_none,
        _is_tracing=lambda: recorder.state.traces > 0, _functorch=_FUNCTORCH, **later.SCRIPTING,
    ),
    _FUNCTORCH,
    NVTX,
    PROFILER,
    Room("torch._subclasses", "Tensors without contents, as another compiler uses them: there are none."),
    Room("torch._subclasses.fake_tensor", "Tensors without contents, as another compiler uses them: there are none.", is_fake=_no),
    Room("torch.fx.experimental", "Parts of tracing that libraries ask whether they are at work."),
    Room("torch.fx.experimental.proxy_tensor", "Whether operations are being traced one by one: they never are.", get_proxy_mode=_none),
    _NN,
    Room(
        "torch.cpu", "The CPU as a device.", is_available=lambda: True, device_count=lambda: 1, current_device=lambda: "cpu",
        synchronize=_synchronize, is_initialized=lambda: True, set_device=_none, stream=lambda *_: nullcontext(),
    ),
    _absent("torch.mps", "Apple's GPUs: there are none."),
    _absent("torch.xpu", "Intel's GPUs: there are none."),
    _absent("torch.mtia", "Meta's accelerators: there are none."),
    Room(
        "torch.accelerator", "Whichever accelerator there is.", is_available=lambda: _cuda().is_available(),
        device_count=lambda: _cuda().device_count(), current_accelerator=_current, synchronize=_synchronize,
        **{
            name: _of_cuda(name, answer)
            for name, answer in {
                "empty_cache": None, "memory_allocated": 0, "memory_reserved": 0, "max_memory_allocated": 0, "max_memory_reserved": 0,
                "reset_peak_memory_stats": None, "current_stream": None, "memory_stats": {},
            }.items()
        },
        current_device_index=lambda: _cuda().current_device(), current_device_idx=lambda: _cuda().current_device(),
        set_device_index=lambda index: _cuda().set_device(index), set_device_idx=lambda index: _cuda().set_device(index),
    ),
    Room(
        "torch.compiler", "Switches around torch.compile: everything is compiled anyway.", is_compiling=_no,
        is_dynamo_compiling=_no, is_exporting=_no, disable=_same, allow_in_graph=_same, reset=_none,
        cudagraph_mark_step_begin=_none, assume_constant_result=_same, list_backends=lambda *_, **__: ["lamina"],
        set_stance=lambda *_, **__: nullcontext(),
    ),
    Room(
        "torch._dynamo", "Switches of another compiler: noted.", reset=_none, disable=_same, allow_in_graph=_same,
        config=_DYNAMO_CONFIG, is_compiling=_no, list_backends=lambda *_, **__: ["lamina"], assume_constant_result=_same,
        mark_dynamic=_none, mark_static=_none, maybe_mark_dynamic=_none, mark_static_address=_none, graph_break=_none,
        OptimizedModule=OptimizedModule, eval_frame=SimpleNamespace(OptimizedModule=OptimizedModule),
    ),
    Room("torch._dynamo.eval_frame", "Where programs look for what torch.compile makes of a module.", OptimizedModule=OptimizedModule),
    Room("torch._dynamo._trace_wrapped_higher_order_op", "Indexing inside vmap works as it is.", TransformGetItemToIndex=nullcontext),
    _DYNAMO_CONFIG,
    Room("torch._inductor", "Switches of another compiler: noted.", config=_INDUCTOR_CONFIG),
    _INDUCTOR_CONFIG,
)  # fmt: skip
