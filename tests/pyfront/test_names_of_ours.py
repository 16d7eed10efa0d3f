"""Names of ours: classes that programs derive from have no name a program may use for its own; those PyTorch's lack end in an underscore."""

from __future__ import annotations

from typing import Any

import pytest

import lamina
import lamina.distributions
import lamina.nn
import lamina.optim
import lamina.utils.data

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def rooms() -> list[tuple[Any, Any]]:
    return [
        (torch.nn, lamina.nn), (torch.optim, lamina.optim), (torch.optim.lr_scheduler, lamina.optim.lr_scheduler),
        (torch.utils.data, lamina.utils.data), (torch.distributions, lamina.distributions),
    ]  # fmt: skip


def taken(theirs: Any, ours: Any) -> list[str]:
    """Names a program may give to something of its own, and would hit ours."""
    return [name for name in set(ours) - set(theirs) if name.startswith("_") and not name.endswith("_")]


def test_classes_leave_names_to_programs() -> None:
    found = {}
    for theirs, ours in rooms():
        for name, cls in vars(theirs).items():
            own = getattr(ours, name, None)
            if isinstance(cls, type) and isinstance(own, type) and own not in (lamina.Tensor, lamina.nn.Parameter) and not issubclass(own, lamina.Tensor):
                found[name] = taken(dir(cls), dir(own))
    base = {*found["Module"], *found["Optimizer"], *found["DataLoader"], *found["LRScheduler"]}
    assert not base
    assert not {name: names for name, names in found.items() if names and issubclass(getattr(torch.nn, name, int), torch.nn.Module)}


@pytest.mark.parametrize("made", ["nn.Linear(2, 2)", "nn.LSTMCell(2, 2)", "nn.Sequential()", "optim.Adam([p])", "optim.SGD([p])", "utils.data.DataLoader([1])"])
def test_instances_leave_names_to_programs(made: str) -> None:
    theirs, ours = (eval(f"torch.{made}", {"torch": module, "p": module.ones(1, requires_grad=True)}) for module in (torch, lamina))  # noqa: S307
    assert not taken(vars(theirs), vars(ours))


def test_a_module_keeps_what_it_calls_its_own() -> None:
    class Metric(lamina.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._persistent, self._walk, self._calls, self.weight = {"total": True}, [], 0, lamina.nn.Parameter(lamina.ones(2))

        def _check_name(self) -> str:
            return "own"

        def forward(self, x: Any) -> Any:
            self._calls += 1
            return x * self.weight

    metric = Metric()
    assert metric(lamina.ones(2)).tolist() == [1.0, 1.0] and metric._calls == 1
    assert list(metric.state_dict()) == ["weight"] and metric.load_state_dict(metric.state_dict()).missing_keys == []


def test_containment_is_asked_of_numbers_and_tensors_only() -> None:
    x = lamina.tensor([1.0, 2.0])
    assert 1 in x and lamina.tensor(2.0) in x and 3 not in x
    with pytest.raises(RuntimeError, match="only supports Tensor or scalar, but you passed in a <class 'str'>"):
        assert "a" in x


def test_classes_of_the_root_are_found_where_they_live() -> None:
    from lamina.pyfront import import_hook

    assert import_hook.TorchModule("torch").Future is import_hook.source_of("torch.futures").Future
    assert import_hook.source_of("torch.futures").Future[int] is not None
