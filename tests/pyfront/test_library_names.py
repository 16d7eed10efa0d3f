"""What libraries of models import of torch at their top: the names are there, and what they stand for works as PyTorch's."""

from __future__ import annotations

import importlib
import subprocess
import sys
import typing

import numpy as np
import pytest

import lamina as torch
from lamina.pyfront import import_hook, pytree
from lamina.pyfront.distributions import parameters
from lamina.pyfront.later import LaterError

NAMES = """
torch TensorType
torch._C _log_api_usage_once _is_tracing Value Graph ScriptMethod
torch._C._functorch is_batchedtensor _add_batch_dim
torch.__config__ show
torch._dynamo OptimizedModule assume_constant_result mark_dynamic
torch._dynamo.config cache_size_limit suppress_errors
torch._dynamo.eval_frame OptimizedModule
torch._inductor.config coordinate_descent_tuning triton
torch._utils _flatten_dense_tensors _unflatten_dense_tensors _take_tensors
torch.cuda CUDAGraph StreamContext graph _initialized
torch.distributed._tensor DTensor Shard
torch.distributed._tensor.experimental implicit_replication
torch.distributed.rpc is_available
torch.distributions.multivariate_normal _precision_to_scale_tril
torch.distributions.transforms _InverseTransform _clipped_sigmoid
torch.distributed.device_mesh DeviceMesh init_device_mesh
torch.distributed.fsdp FullyShardedDataParallel MixedPrecision
torch.distributed.checkpoint.state_dict StateDictOptions get_model_state_dict
torch.distributed.tensor DTensor Replicate Shard distribute_tensor
torch.distributed.tensor.placement_types Shard
torch.distributions.utils broadcast_all lazy_property
torch.fx wrap
torch.hub load_state_dict_from_url get_dir HASH_REGEX
torch.jit Final TracerWarning interface script_if_tracing
torch.library custom_op Library register_fake
torch._ops ops
torch.nn.parallel.parallel_apply parallel_apply
torch.nn.parallel.scatter_gather gather scatter
torch.nn.parallel.replicate replicate
torch._tensor Tensor
torch.ao.quantization.observer HistogramObserver
torch.autograd.function InplaceFunction
torch.cuda.random manual_seed_all
torch.nn.parameter UninitializedTensorMixin
torch.utils._python_dispatch TorchDispatchMode is_traceable_wrapper_subclass
torch.utils.cpp_extension load CUDAExtension BuildExtension CUDA_HOME
torch.nn.attention.flex_attention BlockMask create_block_mask flex_attention
torch.nn.common_types _size_1_t _size_2_t _size_any_t _ratio_2_t
torch.nn.modules.pooling _MaxUnpoolNd
torch.nn.init _calculate_fan_in_and_fan_out _calculate_correct_fan
torch.nn.modules.module _IncompatibleKeys _addindent
torch.nn.modules.transformer _get_activation_fn _get_clones
torch.nn.modules.utils _pair consume_prefix_in_state_dict_if_present
torch.serialization DEFAULT_PROTOCOL MAP_LOCATION
torch.storage TypedStorage UntypedStorage
torch.utils._pytree register_pytree_node tree_map_only _namedtuple_flatten _tuple_flatten _list_unflatten
torch.utils.data._utils.collate np_str_obj_array_pattern
torch.utils.data.dataloader _collate_fn_t get_worker_info
torch.utils.dlpack from_dlpack
torch.utils.hooks RemovableHandle
torch.utils.model_zoo load_url
torchvision _is_tracing
torchvision.models._utils IntermediateLayerGetter _make_divisible
""".strip().splitlines()

SCRIPT = """
import importlib
for line in {names!r}:
    module, *names = line.split()
    for name in names:
        if not hasattr(importlib.import_module(module), name):
            print(module, name)
"""


def test_the_names_are_there():
    """In a process of its own: the hook replaces torch."""
    code = f"from lamina.pyfront import import_hook; import_hook.install()\n{SCRIPT.format(names=NAMES)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_settings_of_the_other_compiler_are_read_and_written():
    """In a process of its own: what is written stays."""
    code = """
import torch, torch._inductor.config as inductor
torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
inductor.triton.unique_kernel_names = not inductor.triton.unique_kernel_names
torch._inductor.config.coordinate_descent_tuning = True
print(torch._dynamo.config.cache_size_limit, inductor.coordinate_descent_tuning, inductor is torch._inductor.config)
"""
    code = f"from lamina.pyfront import import_hook; import_hook.install()\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "64 True True\n"


def test_many_tensors_as_one_vector():
    flat = importlib.import_module("lamina.pyfront.flat_tensors")
    parts = [torch.arange(6.0).reshape(2, 3).T, torch.ones(()), torch.zeros(0, 2)]
    vector = flat._flatten_dense_tensors(parts)
    assert vector.tolist() == [0, 3, 1, 4, 2, 5, 1]
    back = flat._unflatten_dense_tensors(vector, parts)
    assert [tuple(t.shape) for t in back] == [(3, 2), (), (0, 2)] and back[0].tolist() == parts[0].tolist()
    back[1].fill_(7.0)
    assert vector[-1].item() == 7  # the parts share the vector's memory
    single = torch.arange(4.0).reshape(2, 2)
    flat._flatten_dense_tensors([single])[0] = 9.0
    assert single[0, 0].item() == 9
    mixed = [torch.zeros(4), torch.zeros(4, dtype=torch.float64), torch.zeros(5), torch.zeros(1)]
    assert [[t.numel() for t in group] for group in flat._take_tensors(mixed, 24)] == [[4], [5, 1], [4]]


def test_what_arrives_later_may_be_named_and_not_made():
    tensor = import_hook.object_of("torch.distributed.tensor")
    assert not isinstance(torch.ones(1), tensor.DTensor) and tensor.Shard(0).is_shard(0) and tensor.DTensor is tensor.DTensor
    scatter = import_hook.object_of("torch.nn.parallel._functions").Scatter
    for make in (tensor.DTensor, tensor.distribute_tensor, scatter, import_hook.object_of("torch.distributed.fsdp").FullyShardedDataParallel):
        with pytest.raises(LaterError, match="arrives in a later lamina"):
            make()


def test_annotations_of_modules_can_be_read():
    assert typing.get_type_hints(torch.nn.Linear)["in_features" if "in_features" in torch.nn.Linear.__annotations__ else "training"]


class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b


def test_classes_of_programs_are_nodes_of_trees():
    try:
        pytree.register_pytree_node(
            Pair, lambda p: ([p.a, p.b], None), lambda parts, _: Pair(*parts),
            flatten_with_keys_fn=lambda p: ([(pytree.GetAttrKey("a"), p.a), (pytree.GetAttrKey("b"), p.b)], None),
        )  # fmt: skip
        tree = {"x": Pair(1, [2, "three"]), "y": (4,)}
        doubled = pytree.tree_map_only(int, lambda n: 2 * n, tree)
        assert (doubled["x"].a, doubled["x"].b, doubled["y"]) == (2, [4, "three"], (8,))
        assert [(pytree.keystr(path), leaf) for path, leaf in pytree.tree_leaves_with_path(tree)] == [
            ("['x'].a", 1), ("['x'].b[0]", 2), ("['x'].b[1]", "three"), ("['y'][0]", 4),
        ]  # fmt: skip
        assert pytree.tree_any(lambda leaf: leaf == 4, tree) and not pytree.tree_all(lambda leaf: leaf == 4, tree)
        with pytest.raises(ValueError, match="already registered"):
            pytree.register_pytree_node(Pair, None, None)
    finally:
        pytree._registered.pop(Pair, None)


def test_operations_of_programs():
    library = importlib.import_module("lamina.pyfront.torch_library")

    @library.custom_op("house::cube", mutates_args=())
    def cube(x: torch.Tensor) -> torch.Tensor:
        return x.detach() ** 3

    def saved(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    cube.register_autograd(lambda ctx, g: 3 * g * ctx.saved_tensors[0] ** 2, setup_context=saved)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    torch.ops.house.cube(x).sum().backward()
    assert x.grad.tolist() == [3.0, 12.0] and torch.ops.house.cube.default is cube
    own = library.Library("house", "FRAGMENT")
    own.define("twice(Tensor x) -> Tensor")
    with pytest.raises(NotImplementedError, match="without an implementation"):
        torch.ops.house.twice(x)
    own.impl("twice", lambda x: 2 * x, "CPU")
    assert torch.ops.house.twice(torch.ones(2)).tolist() == [2.0, 2.0]
    with pytest.raises(AttributeError):
        torch.ops.house.missing  # noqa: B018  # asking is the test


def test_weights_from_a_url(tmp_path):
    hub = importlib.import_module("lamina.pyfront.torch_hub")
    torch.save({"w": torch.arange(3.0)}, tmp_path / "net.pth")
    import hashlib

    digits = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "net.pth").rename(tmp_path / f"net-{digits}.pth")
    url = (tmp_path / f"net-{digits}.pth").as_uri()
    found = hub.load_state_dict_from_url(url, str(tmp_path / "kept"), progress=False, check_hash=True)
    assert found["w"].tolist() == [0.0, 1.0, 2.0] and (tmp_path / "kept" / f"net-{digits}.pth").exists()
    with pytest.raises(RuntimeError, match="invalid hash value"):
        hub.load_state_dict_from_url(url, str(tmp_path / "other"), progress=False, check_hash=True, file_name="net-00000000.pth")
    assert not list((tmp_path / "other").iterdir())


def test_prefixes_are_taken_off():
    weights = {"module.a": 1, "b": 2}
    importlib.import_module("lamina.pyfront.nn.tuples").consume_prefix_in_state_dict_if_present(weights, "module.")
    assert weights == {"a": 1, "b": 2}


def test_unsigned_and_eight_bit_floats():
    x = torch.tensor([1, 2, 60000], dtype=torch.uint16)
    assert (x * 2).tolist() == [2, 4, 54464] and x.float().sum().item() == 60003.0 and x.numpy().dtype == np.uint16
    with pytest.raises(RuntimeError, match="Promotion for uint16, uint32, uint64 types is not supported"):
        x + torch.tensor([1, 2, 3])
    assert torch.float8_e4m3fn.itemsize == 1 and torch.float8_e4m3fn.is_floating_point
    large = torch.full((2100, 2100), 1.3)  # so large that it would be compiled
    assert large.to(torch.float8_e4m3fn).float()[0, 0].item() == 1.25


def test_lazy_properties_and_triangles():
    calls = []

    class Holder:
        @parameters.lazy_property
        def value(self):
            calls.append(1)
            return torch.ones(1)

    holder = Holder()
    assert holder.value is holder.value and calls == [1]
    vector = torch.arange(6.0)
    matrix = parameters.vec_to_tril_matrix(vector)
    assert matrix.tolist() == [[0, 0, 0], [1, 2, 0], [3, 4, 5]] and parameters.tril_matrix_to_vec(matrix).tolist() == vector.tolist()


def test_an_optimizer_around_another_one() -> None:
    """accelerate's wrapper is an Optimizer that never calls the constructor."""

    class Wrapper(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.inner = inner

        def step(self) -> None:
            self.inner.step()

    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    wrapper = Wrapper(torch.optim.SGD([weight], lr=0.5))
    wrapper.step()
    assert weight.tolist() == [0.5, 0.5] and wrapper._stepped_ == 1


def test_names_of_fills_without_underscore_warn() -> None:
    x = torch.empty(2)
    with pytest.warns(FutureWarning, match=r"`nn.init.constant` is now deprecated in favor of `nn.init.constant_`"):
        assert torch.nn.init.constant(x, 3.0) is x
    assert x.tolist() == [3, 3]
