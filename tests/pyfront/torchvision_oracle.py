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


def with_operators() -> Any:
    """`torchvision` with suppression and aligned regions also where its compiled part is missing: regions are its own in Python, not through torch.compile,
    suppression is spelled out."""
    found = torchvision()
    import torch
    from torchvision.ops import boxes

    if not hasattr(torch.ops.torchvision, "nms"):
        regions = sys.modules["torchvision.ops.roi_align"]
        regions._roi_align = getattr(regions._roi_align, "__wrapped__", regions._roi_align)
        found.ops.nms = boxes.nms = _suppressed
    return found


def _suppressed(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Indices of boxes, best first, that overlap none before them by more than the threshold."""
    import torch
    from torchvision.ops.boxes import box_iou

    overlaps, kept = box_iou(boxes, boxes), []
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        if not any(overlaps[i, k] > iou_threshold for k in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)
