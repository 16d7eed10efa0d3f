"""Peers that run a model from an ONNX file, which PyTorch exports: ONNX Runtime, OpenVINO, IREE, TVM.

    pip install onnx onnxruntime openvino iree-base-compiler iree-base-runtime apache-tvm

Each gets the file and the arrays of its inputs once and gives a call without arguments. All compute in float32. IREE and TVM run what their
compilers make of a file by themselves, for this processor: nothing is tuned by measuring.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from peer_rows import Work

Arrays = dict[str, np.ndarray]
Call = Callable[[], list[np.ndarray]]


def caller(peer: str, torch: ModuleType, work: Work, threads: int) -> Call:
    """The work's function in one of PEERS, on its inputs."""
    model, feeds = _export(torch, work)
    return PEERS[peer](model, feeds, threads)


def _export(torch: ModuleType, work: Work) -> tuple[bytes, Arrays]:
    """The function as an ONNX file, and the inputs the file still asks for."""
    import onnx

    class Function(torch.nn.Module):
        def forward(self, *inputs):
            return work.function(*inputs)

    file = io.BytesIO()
    module = work.model if work.model is not None else Function()
    names = [f"x{i}" for i in range(len(work.inputs))]
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, work.inputs, file, dynamo=False, input_names=names, opset_version=17)
    model = file.getvalue()
    given = {name: x.numpy() for name, x in zip(names, work.inputs, strict=True)}
    return model, {i.name: given[i.name] for i in onnx.load_from_string(model).graph.input}


def _onnxruntime(model: bytes, feeds: Arrays, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def _openvino(model: bytes, feeds: Arrays, threads: int) -> Call:
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", options)
    request, results = compiled.create_infer_request(), range(len(compiled.outputs))

    def call() -> list[np.ndarray]:
        request.infer(feeds, share_inputs=True)
        return [request.get_output_tensor(i).data for i in results]

    return call


def _iree(model: bytes, feeds: Arrays, threads: int) -> Call:
    from iree import compiler, runtime

    with tempfile.TemporaryDirectory() as folder:
        file, imported = Path(folder, "model.onnx"), Path(folder, "model.mlir")
        file.write_bytes(model)
        command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", str(file), "-o", str(imported)]
        subprocess.run(command, check=True, capture_output=True)
        flags = ["--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"]
        binary = compiler.compile_file(str(imported), target_backends=["llvm-cpu"], input_type="onnx", extra_args=flags)
    if threads > 1:
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    config = runtime.Config("local-sync" if threads == 1 else "local-task")
    module = runtime.VmModule.copy_buffer(config.vm_instance, binary)
    context = runtime.SystemContext(config=config)
    context.add_vm_module(module)
    (name,) = (n for n in module.function_names if not n.startswith("__") and "$" not in n)
    function, inputs = context.modules[module.name][name], [runtime.asdevicearray(config.device, x) for x in feeds.values()]

    def call() -> list[np.ndarray]:
        results = function(*inputs)
        return [r.to_host() for r in (results if isinstance(results, (tuple, list)) else [results])]

    return call


def _tvm(model: bytes, feeds: Arrays, threads: int) -> Call:
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    host = tvm.get_global_func("target.llvm_get_system_cpu")()
    module = relax.get_pipeline("zero")(from_onnx(onnx.load_from_string(model)))
    machine = relax.VirtualMachine(tvm.compile(module, tvm.target.Target({"kind": "llvm", "mcpu": host})), tvm.cpu())
    inputs = [tvm.runtime.tensor(x) for x in feeds.values()]

    def arrays(result: Any) -> list[np.ndarray]:
        return [result.numpy()] if hasattr(result, "numpy") else [a for r in result for a in arrays(r)]

    return lambda: arrays(machine["main"](*inputs))


PEERS: dict[str, Callable[[bytes, Arrays, int], Call]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "iree": _iree,
    "tvm": _tvm,
}
