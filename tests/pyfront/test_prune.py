"""Pruning against PyTorch: masks, parameters and buffers, rules on top of each other, and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")
import torch.nn.utils.prune  # noqa: E402


def state(model: Any) -> dict[str, Any]:
    return {"parameters": [n for n, _ in model.named_parameters()], **{k: v.numpy() for k, v in model.state_dict().items()}}


def alike(a: Any, b: Any) -> None:
    assert list(a) == list(b)
    for key, value in a.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(value, b[key], 1e-5, 1e-6, err_msg=key)
        else:
            assert value == b[key], key


RULES = {
    "identity": lambda p, m: p.identity(m, "weight"),
    "random": lambda p, m: p.random_unstructured(m, "weight", amount=0.4),
    "l1": lambda p, m: p.l1_unstructured(m, "weight", amount=5),
    "scores": lambda p, m: p.l1_unstructured(m, "weight", 0.3, importance_scores=m.weight * m.weight.sum(0)),
    "none": lambda p, m: p.l1_unstructured(m, "bias", amount=0),
    "channels": lambda p, m: p.random_structured(m, "weight", amount=2, dim=1),
    "norms": lambda p, m: p.ln_structured(m, "weight", amount=0.5, n=2, dim=0),
    "infinity": lambda p, m: p.ln_structured(m, "weight", amount=1, n=float("inf"), dim=-1),
    "given": lambda p, m: p.custom_from_mask(m, "weight", mask=(m.weight > 0)),
}


@pytest.mark.parametrize("second", [None, "l1", "norms"])
@pytest.mark.parametrize("first", RULES)
def test_rules(first: str, second: str | None) -> None:
    def run(lib: Any) -> dict[str, Any]:
        lib.manual_seed(0)
        model, prune = lib.nn.Linear(6, 4), lib.nn.utils.prune
        for rule in filter(None, (first, second)):
            assert RULES[rule](prune, model) is model
        assert prune.is_pruned(model)
        x = lib.linspace(-1, 1, 18).view(3, 6)
        optimizer = lib.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()
        found = {"y": model(x).detach().numpy(), "kept": float((model.weight != 0).sum()), **state(model)}
        name = "bias" if first == "none" else "weight"
        prune.remove(model, name)
        return found | {f"plain {k}": v for k, v in state(model).items()}

    alike(run(lamina), run(torch))


def test_over_many_parameters() -> None:
    def run(lib: Any) -> dict[str, Any]:
        lib.manual_seed(1)
        model, prune = lib.nn.Sequential(lib.nn.Linear(5, 8), lib.nn.ReLU(), lib.nn.Linear(8, 3)), lib.nn.utils.prune
        places = [(model[0], "weight"), (model[2], "weight")]
        prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=0.3)
        prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=0.3)
        x = lib.ones(2, 5)
        rule = prune.L1Unstructured(amount=2)
        return {"y": model(x).detach().numpy(), "alone": rule.prune(lib.arange(-3.0, 3.0)).numpy(), **state(model)}

    alike(run(lamina), run(torch))


def test_own_rules() -> None:
    def run(lib: Any) -> dict[str, Any]:
        lib.manual_seed(2)
        prune = lib.nn.utils.prune

        class EveryOther(prune.BasePruningMethod):
            PRUNING_TYPE = "unstructured"

            def compute_mask(self, t: Any, default_mask: Any) -> Any:
                mask = default_mask.clone()
                mask.view(-1)[::2] = 0
                return mask

        model = lib.nn.Linear(4, 3)
        EveryOther.apply(model, "weight")
        EveryOther.apply(model, "weight")
        (hook,) = model._forward_pre_hooks.values()
        return {"rules": len(hook), **state(model)}

    alike(run(lamina), run(torch))


def test_messages() -> None:
    def run(lib: Any) -> list[str]:
        model, prune, found = lib.nn.Linear(6, 4), lib.nn.utils.prune, []
        calls = [
            lambda: prune.l1_unstructured(model, "weight", amount=1.5), lambda: prune.l1_unstructured(model, "weight", amount=-1),
            lambda: prune.l1_unstructured(model, "weight", amount="a"), lambda: prune.l1_unstructured(model, "weight", amount=25),
            lambda: prune.ln_structured(model, "bias", 1, 2, 0), lambda: prune.remove(model, "weight"),
            lambda: prune.random_structured(model, "weight", 1, 2),
            lambda: prune.global_unstructured([(model, "weight")], prune.RandomStructured, amount=1),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises((ValueError, TypeError, IndexError)) as caught:
                call()
            text = str(caught.value)
            found.append(f"{caught.typename}: {text.split('Found method')[0]}")
        return [*found, sorted(n for n, _ in model.named_parameters())]

    assert run(lamina) == run(torch)
