"""Processor seconds of a detector's first training steps on images of other sizes each time, with an empty cache.

    python benchmarks/detector_steps.py [--steps 7]

A RetinaNet on a ResNet-18 of `lamina.vision`, two images of about a hundred pixels per step and one or two boxes on each. Seconds come apart into this
process (Python, and the steps themselves) and the C compiler; `programs` is how many were compiled in a step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from peer_run import own_seconds


def detector(torch):
    """A small RetinaNet with random weights."""
    from lamina.vision.models.detection import RetinaNet
    from lamina.vision.models.detection.anchor_utils import AnchorGenerator
    from lamina.vision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5, returned_layers=[3, 4])
    anchors = AnchorGenerator(sizes=((16,), (32,), (64,)), aspect_ratios=((1.0,),) * 3)
    return RetinaNet(backbone, num_classes=3, min_size=96, max_size=128, anchor_generator=anchors)


def batches(torch, steps):
    """Images and their boxes."""
    boxes = torch.tensor([[10.0, 10.0, 60.0, 70.0], [30.0, 20.0, 80.0, 90.0]])
    for step in range(steps):
        images = [torch.rand(3, 96, 116 + 4 * step), torch.rand(3, 98 + 2 * step, 90)]
        kept = boxes[: 2 - step % 2]
        yield images, [{"boxes": kept, "labels": torch.ones(len(kept), dtype=torch.int64)} for _ in images]


def train(steps):
    """The steps, one line each."""
    import resource

    import lamina as torch
    from lamina.backends.driver import stats

    torch.set_num_threads(1)
    model = detector(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    print(f"{'step':5} {'wall':>7} {'own':>7} {'compiler':>9} {'programs':>9}   loss")
    own, compiler = own_seconds(), own_seconds(resource.RUSAGE_CHILDREN)
    first = own, compiler
    for step, (images, targets) in enumerate(batches(torch, steps)):
        start, compiled = time.perf_counter(), stats.compiles
        optimizer.zero_grad()
        loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()
        found = loss.item()
        wall, before = time.perf_counter() - start, (own, compiler)
        own, compiler = own_seconds(), own_seconds(resource.RUSAGE_CHILDREN)
        print(f"{step:5} {wall:7.2f} {own - before[0]:7.2f} {compiler - before[1]:9.2f} {stats.compiles - compiled:9}   {found:.4f}", flush=True)
    print(f"{'all':5} {'':7} {own - first[0]:7.2f} {compiler - first[1]:9.2f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=7)
    options.add_argument("--here", action="store_true", help="in this process, with the cache there is")
    arguments = options.parse_args()
    if arguments.here:
        train(arguments.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, __file__, "--here", "--steps", str(arguments.steps)]
        subprocess.run(again, env=os.environ | {"LAMINA_CACHE": folder}, check=True)


if __name__ == "__main__":
    main()
