"""DistributedDataParallel where one process is the whole group: what does not need a second one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from datetime import timedelta

import pytest

import lamina as torch
import lamina.distributed as dist

nn, DDP = torch.nn, torch.nn.parallel.DistributedDataParallel


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=timedelta(seconds=20))
    yield
    dist.destroy_process_group()


def gradients(model: nn.Module) -> list:
    model.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    return [p.grad.tolist() for p in model.parameters()]


def test_copies_and_pickles_are_models_of_their_own() -> None:
    model = DDP(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    wanted = gradients(model)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(made.state_dict()) == list(model.state_dict())
        assert made.module[0].weight is not model.module[0].weight and made.reducer is not model.reducer
        assert gradients(made) == wanted
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    other = DDP(nn.Linear(3, 1), process_group=dist.new_group())
    with pytest.raises(RuntimeError, match="default process group"):
        copy.deepcopy(other)


def test_a_model_that_is_gone_hears_nothing() -> None:
    linear = nn.Linear(3, 1)
    wanted = gradients(linear)
    model = DDP(linear)
    assert gradients(model) == wanted
    group, before = model.process_group, model.process_group._count
    del model
    assert gradients(linear) == wanted and group._count == before


def test_gradients_that_are_kept_are_not_overwritten() -> None:
    model = DDP(nn.Linear(3, 1))
    kept = []
    for k in range(4):
        model.zero_grad()
        model(torch.full((1, 3), float(k))).sum().backward()
        kept.append(model.module.weight.grad)
    assert [g.tolist() for g in kept] == [[[float(k)] * 3] for k in range(4)]


def test_frozen_parts_other_dtypes_hooks_and_accumulation() -> None:
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 2, dtype=torch.float64), "frozen": nn.Linear(3, 3)})
    net["frozen"].requires_grad_(False)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net["b"](self.net["a"](self.net["frozen"](x)).double())

    model, seen = DDP(Whole()), []
    net["a"].weight.register_hook(lambda g: seen.append(g.shape) or g * 2)
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    model(x).sum().backward()
    once = net["a"].weight.grad.clone()
    with model.no_sync():
        model(x).sum().backward()
    torch.testing.assert_close(net["a"].weight.grad, once * 2)
    model(x).sum().backward()
    torch.testing.assert_close(net["a"].weight.grad, once * 3)
    assert len(seen) == 3 and net["b"].weight.grad.dtype is torch.float64 and net["frozen"].weight.grad is None
    with pytest.raises(RuntimeError, match="can only be called once"):
        for _ in range(2):
            model.register_comm_hook(None, lambda state, bucket: None)


def test_a_backward_that_fails_leaves_nothing_behind() -> None:
    model = DDP(nn.Linear(3, 1))
    y = model(torch.ones(1, 3)).sum()
    y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert len(gradients(model)) == 2
