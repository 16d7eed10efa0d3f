"""torchvision as the oracle, also where its compiled part was built for another PyTorch: the Python part is all that is asked."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest


def torchvision() -> Any:
    """The installed torchvision; skips the test without one."""
    pytest.importorskip("torch")
    try:
        import torchvision as found
    except ModuleNotFoundError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
        import torchvision as found
    import torchvision.transforms.v2  # noqa: F401  # an attribute from now on
    return found
