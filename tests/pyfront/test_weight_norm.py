"""weight_norm and spectral_norm against PyTorch over steps of training, in evaluation, and when removed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")
X = np.random.RandomState(0).randn(4, 3, 5).astype(np.float32)


@pytest.mark.parametrize("norm, options", [("weight_norm", {}), ("weight_norm", {"dim": None}), ("spectral_norm", {}), ("spectral_norm", {"n_power_iterations": 3})], ids=str)  # fmt: skip
@pytest.mark.parametrize("layer", ["Linear", "Conv1d", "ConvTranspose1d"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_norms(norm: str, options: dict, layer: str) -> None:
    def run(lib: Any) -> dict[str, Any]:
        lib.manual_seed(2)
        made = lib.nn.Linear(5, 3) if layer == "Linear" else getattr(lib.nn, layer)(3, 2, 2)
        module = getattr(lib.nn.utils, norm)(made, **options)
        found: dict[str, Any] = {f"first {k}": v.detach().clone().numpy() for k, v in module.state_dict().items()}
        optimizer = lib.optim.SGD(module.parameters(), 0.1)
        for i in range(3):
            optimizer.zero_grad()
            y = module(lib.from_numpy(X))
            (y * y).mean().backward()
            optimizer.step()
            found[f"y{i}"] = y.detach().numpy()
        module.eval()
        found["eval"] = module(lib.from_numpy(X)).detach().numpy()
        found |= {k: v.numpy() for k, v in module.state_dict().items()}
        getattr(lib.nn.utils, f"remove_{norm}")(module)
        found |= {f"removed {k}": v.numpy() for k, v in module.state_dict().items()}
        found["removed"] = module(lib.from_numpy(X)).detach().numpy()
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = run(lamina), run(torch)
    assert list(ours) == list(theirs)
    for key, expected in theirs.items():
        np.testing.assert_allclose(ours[key], expected, 1e-4, 1e-5, err_msg=key)


def test_messages() -> None:
    def attempts(lib: Any) -> list[str]:
        found = []
        layer = lib.nn.utils.spectral_norm(lib.nn.Linear(2, 2))
        for call in (lib.nn.utils.spectral_norm, lib.nn.utils.remove_weight_norm):
            with pytest.raises((RuntimeError, ValueError)) as caught:
                call(layer)
            found.append(f"{caught.typename}: {caught.value}")
        return found

    assert attempts(lamina) == attempts(torch)
