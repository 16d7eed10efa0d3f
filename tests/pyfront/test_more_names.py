"""Names that programs look for beside layers and operators: they do what PyTorch's do."""

from __future__ import annotations

import importlib
import pickle

import lamina
import pytest
from lamina.dialects.errors import UnsupportedError
from lamina.pyfront import import_hook

from .witness import agree


def module(t, name):
    """A submodule of either library."""
    if t.__name__ == "torch":
        return importlib.import_module(f"torch.{name}")
    return import_hook.object_of(f"torch.{name}") or importlib.import_module(f"lamina.{import_hook.MODULES[f'torch.{name}']}")


def averaged_by_hand(t):
    utils = module(t, "_utils")
    parts = [t.arange(6.0).reshape(2, 3), t.ones(4)]
    flat = utils._flatten_dense_tensors(parts)
    return [flat, *utils._unflatten_dense_tensors(flat * 2, parts)]


def called_without_state(t):
    stateless = module(t, "nn.utils.stateless")
    layer = t.nn.Linear(2, 1)
    return stateless.functional_call(layer, {"weight": t.ones(1, 2), "bias": t.zeros(1)}, (t.ones(3, 2),)).detach()


def branches(t):
    def way(x):
        return t.cond(x.sum() > 0, lambda a: a * 2, lambda a: -a, (x,))

    return way(t.ones(2)), way(-t.ones(2))


def numbers(t):
    return [t.sym_max(1, 2.0), t.sym_min(3, 2), t.sym_int(2.7), t.sym_float(2), t.sym_not(True), t.sym_sum([1, 2, 3])]


def detached_arguments(t):
    checkpoint = module(t, "utils.checkpoint")
    x, n = checkpoint.detach_variable((t.ones(2, requires_grad=True) * 2, 3))
    return x.requires_grad, x.is_leaf, n, checkpoint.get_device_states(x)


def regions(t):
    before = t.get_autocast_cpu_dtype()
    t.set_autocast_cpu_dtype(t.float16)
    chosen = str(t.get_autocast_cpu_dtype())
    t.set_autocast_cpu_dtype(before)
    t.set_autocast_cpu_enabled(True)
    inside = t.is_autocast_cpu_enabled()
    t.set_autocast_cpu_enabled(False)
    return chosen, inside, t.is_autocast_cpu_enabled(), t.autocast_increment_nesting(), t.autocast_decrement_nesting()


def norms_without_statistics(t):
    model = t.nn.Sequential(t.nn.Linear(2, 3), t.nn.BatchNorm1d(3))
    t.func.replace_all_batch_norm_modules_(model)
    weights = {k: v.detach() for k, v in model.named_parameters()}
    x = t.linspace(-1, 1, 8).reshape(4, 2)
    gradients = t.func.grad(lambda w: (t.func.functional_call(model, w, (x,)) ** 3).sum())(weights)
    return [list(gradients), gradients["1.weight"], model[1].running_mean is None, list(model.state_dict())]


def crossed_without_a_dimension_of_three(t):
    return t.cross(t.ones(2), t.ones(2))


def selective_checkpoints(t):
    checkpoint = module(t, "utils.checkpoint")
    policy = checkpoint.CheckpointPolicy
    x = t.linspace(-1, 1, 6, requires_grad=True)

    def contexts():
        return checkpoint.create_selective_checkpoint_contexts(lambda ctx, op, *args, **kwargs: policy.MUST_RECOMPUTE)

    with checkpoint.set_checkpoint_early_stop(False):
        y = checkpoint.checkpoint(lambda x: (x.sin() * x).exp(), x, use_reentrant=False, context_fn=contexts)
    y.sum().backward()
    return y.detach(), x.grad, policy.MUST_SAVE.name


def forked_calls(t):
    jit = module(t, "jit")
    futures = [jit.fork(lambda a, b: a + b, t.ones(2), b=k) for k in range(3)]
    traced = jit.trace_module(t.nn.ReLU(), {"forward": (t.ones(2),)})
    return [jit.wait(f) for f in futures], futures[0].value(), traced(t.linspace(-1, 1, 2))


def accelerators_that_are_not_there(t):
    accelerator = module(t, "accelerator")
    return accelerator.is_available(), accelerator.device_count()


def gradients_of_convolutions(t):
    by = module(t, "nn.grad")
    x, w = t.arange(2 * 4 * 5.0).reshape(1, 2, 4, 5), t.arange(3 * 2 * 2 * 2.0).reshape(3, 2, 2, 2).requires_grad_()
    y = t.nn.functional.conv2d(x, w, stride=2, padding=1)
    of_x = by.conv2d_input(x.shape, w, t.ones_like(y), stride=2, padding=1)
    row = by.conv1d_weight(x[0], (4, 1, 2), t.ones(4, 4).unsqueeze(0)[0], groups=2)
    again = t.autograd.grad(of_x.pow(2).sum(), w)[0]
    return of_x, by.conv2d_weight(x, w.shape, t.ones_like(y), stride=2, padding=1), row, again


def without_writes(t):
    def grown(x):
        x.add_(1)
        return x.view(-1).mul_(2)

    x = t.ones(2, 2)
    return t.func.functionalize(grown)(x), x, t.func.vmap(t.func.functionalize(grown, remove="mutations_and_views"))(t.ones(3, 2))


def batches_by_rules(t):
    collate = module(t, "utils.data._utils.collate")

    class Word:
        length = 3

    rules = {Word: lambda batch, *, collate_fn_map: sum(w.length for w in batch), **collate.default_collate_fn_map}
    first = collate.collate([{"w": Word(), "n": (1, 2.0)}, {"w": Word(), "n": (3, 4.0)}], collate_fn_map=rules)
    collate.default_collate_fn_map[Word] = rules[Word]
    try:
        return first, t.utils.data.default_collate([[Word()], [Word()]])
    finally:
        del collate.default_collate_fn_map[Word]


def numbers_in_tensors(t):
    F, x, two = t.nn.functional, t.tensor([-1.0, 0.5, 2.0]), t.tensor(2)  # noqa: N806
    slope = t.tensor(0.25)
    each = [F.leaky_relu(x, slope), t.nn.LeakyReLU(slope)(x), F.elu(x, slope), F.softplus(x, two), F.hardtanh(x, -slope, slope)]
    return [*each, F.leaky_relu(x, slope * 2), F.layer_norm(x, (3,), eps=slope), F.interpolate(x.reshape(1, 1, 3), size=two)]


def drawn_after_what_is_not_initialised(t):
    layer = t.nn.utils.skip_init(t.nn.Linear, 3, 2, dtype=t.float64)
    return tuple(layer.weight.shape), str(layer.weight.dtype).rpartition(".")[2], layer.bias.is_meta, t.rand(2)


PROGRAMS = [
    drawn_after_what_is_not_initialised,
    gradients_of_convolutions, without_writes, batches_by_rules, numbers_in_tensors,
    selective_checkpoints, forked_calls, accelerators_that_are_not_there,
    crossed_without_a_dimension_of_three, averaged_by_hand, called_without_state, branches, numbers, detached_arguments, regions,
    norms_without_statistics,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_as_in_pytorch(program):
    agree(program, rtol=1e-4)


def test_batches_are_cut_for_devices():
    from lamina.pyfront.nn.spreading import scatter, scatter_kwargs

    x = lamina.arange(6.0).reshape(3, 2)
    first, second = scatter({"x": x, "n": 2, "pair": (x, [x[:2]])}, ["cpu", "cpu"])
    assert first["x"].shape == (2, 2) and second["x"].shape == (1, 2) and first["n"] == second["n"] == 2
    assert second["pair"][1][0].tolist() == [[2.0, 3.0]]
    inputs, options = scatter_kwargs((x,), None, ["cpu", "cpu"])
    assert len(inputs) == 2 and options == ({}, {})


def test_parts_are_put_together_again():
    from lamina.nn.parallel import gather, parallel_apply

    x = lamina.arange(6.0).reshape(3, 2)
    back = gather([{"a": x[:1], "b": (x[0, 0],)}, {"a": x[1:], "b": (x[1, 1],)}], "cpu")
    assert back["a"].tolist() == x.tolist() and back["b"][0].tolist() == [0.0, 3.0]
    doubled, negated = parallel_apply([lamina.nn.Identity(), lamina.neg], [lamina.ones(2), (lamina.ones(2),)])
    assert doubled.tolist() == [1.0, 1.0] and negated.tolist() == [-1.0, -1.0]


def test_both_ways_are_in_a_mapped_program():
    x = lamina.tensor([[1.0, 2.0], [-1.0, -2.0]])
    found = lamina.vmap(lambda r: lamina.cond(r.sum() > 0, lambda a: a * 2, lambda a: -a, (r,)))(x)
    assert found.tolist() == [[2.0, 4.0], [1.0, 2.0]]


def test_while_loop():
    i, total = lamina.while_loop(lambda i, s: i < 4, lambda i, s: (i + 1, s + i), (lamina.tensor(0), lamina.tensor(0)))
    assert (i.item(), total.item()) == (4, 6)


def test_largest_eigenvalues():
    lamina.manual_seed(0)
    a = lamina.randn(5, 5, dtype=lamina.float64)
    a, b = a @ a.T, lamina.eye(5, dtype=lamina.float64) * 2
    values, vectors = lamina.lobpcg(a, k=2)
    assert lamina.allclose(a @ vectors, vectors * values) and values[0] > values[1]
    values, vectors = lamina.lobpcg(a, k=1, B=b, largest=False)
    assert lamina.allclose(a @ vectors, b @ vectors * values) and values.shape == (1,)


def test_what_is_not_to_be_loaded_is_pickles_error(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": Unknown()}, tmp_path / "a.pt")
    for t in (torch, lamina):
        with pytest.raises(pickle.UnpicklingError, match="Unknown"):
            t.load(tmp_path / "a.pt")


class Unknown:
    """A class that no file may name."""


def test_the_machine_is_described():
    from lamina.pyfront import environment

    found = environment.get_pretty_env_info()
    assert f"PyTorch version: {lamina.__version__} (lamina)" in found and "Is CUDA available: " in found and "[pip3] numpy==" in found


def test_statements_are_timed():
    benchmark = module(lamina, "utils.benchmark")
    x = lamina.ones(8)
    timer = benchmark.Timer("f(x)", globals={"f": lambda x: x + 1, "x": x}, label="sum", description="ours")
    found = timer.timeit(5)
    assert found.number_per_run == 5 and 0 < found.median < 1 and "sum" in repr(found) and found.label == "sum"
    several = timer.blocked_autorange(min_run_time=0.01)
    assert sum(several.raw_times) >= 0.01 and several.iqr >= 0
    assert "ours" in str(benchmark.Compare([found, several]))


def test_random_tensors_of_tests():
    for dtype in (lamina.float32, lamina.int64, lamina.uint8, lamina.bool, lamina.complex64, lamina.bfloat16):
        made = lamina.testing.make_tensor((3, 4), dtype=dtype, device="cpu")
        assert made.shape == (3, 4) and made.dtype is dtype
    made = lamina.testing.make_tensor(2, 3, dtype=lamina.float32, device="cpu", low=1, high=2, requires_grad=True, noncontiguous=True)
    assert made.requires_grad and not made.is_contiguous() and 1 <= made.min() and made.max() < 2


def test_questions_about_a_gpu():
    cuda = lamina.cuda
    assert cuda.memory_stats() == {} or "allocated_bytes.all.peak" in cuda.memory_stats()
    assert "memory" in cuda.memory_summary() and cuda.nvtx.range_push("step") == 0
    with cuda.nvtx.range("step"):
        cuda.nvtx.range_pop()
    with pytest.raises(ValueError, match="Allowed range"):
        cuda.set_per_process_memory_fraction(1.5)
    assert lamina.OutOfMemoryError is cuda.OutOfMemoryError and lamina.ones(2).record_stream(None) is None


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("wrong", [lambda t, g: t.ones(3), lambda t, g: g.double()], ids=["shape", "dtype"])
def test_hooks_that_change_what_a_gradient_is_are_refused(computed, wrong):
    def program(t):
        x = t.ones(2, requires_grad=True)
        (y := x * 2 if computed else x).register_hook(lambda g: wrong(t, g))
        (y * y).sum().backward()

    agree(program, sentence=40)


def test_close_in_the_old_way():
    testing = module(lamina, "testing")
    with pytest.warns(FutureWarning, match="assert_close"):
        testing.assert_allclose(lamina.ones(2), [1.0, 1.0 + 1e-6])
    with pytest.warns(FutureWarning), pytest.raises(AssertionError):
        testing.assert_allclose(lamina.ones(2, dtype=lamina.float64), lamina.tensor([1.0, 1.1]))


def test_a_forked_call_raises_where_it_is_waited_for():
    future = lamina.jit.fork(lambda x: x.reshape(7), lamina.ones(3))
    with pytest.raises(RuntimeError, match="7"):
        lamina.jit.wait(future)
    with pytest.raises(UnsupportedError, match="one call of forward"):
        lamina.jit.trace_module(lamina.nn.ReLU(), {"other": (lamina.ones(2),)})
