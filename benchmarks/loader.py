"""How fast image folders load: ImageFolder, transforms and two worker processes, against PyTorch and torchvision.

Images are made by the script. Both frameworks load the same folder in turn, each in processes of its own; the figure is CPU seconds
of a whole epoch, workers included (a busy machine does not change them), and wall seconds beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PROGRAM = """
import json, os, sys, time, types
folder, epochs, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

torch.set_num_threads(1)
torch.manual_seed(0)
chain = transforms.Compose([
    transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
loader = DataLoader(datasets.ImageFolder(folder, chain), batch_size=32, shuffle=True, num_workers=workers)
rows = []
for _ in range(epochs):
    before, start = os.times(), time.perf_counter()
    total = 0.0
    for images, labels in loader:
        total += float(images[0, 0, 0, 0])
    after = os.times()
    rows.append([sum(after[:4]) - sum(before[:4]), time.perf_counter() - start, total])
print(json.dumps(rows))
"""


def make_images(folder: Path, count: int) -> None:
    """JPEG files of 320 x 256 pixels in four classes: smooth colours with noise."""
    from PIL import Image

    random = np.random.RandomState(0)
    for i in range(count):
        coarse = Image.fromarray(random.randint(0, 256, (8, 10, 3)).astype(np.uint8)).resize((320, 256), Image.Resampling.BICUBIC)
        noise = random.randint(-12, 13, (256, 320, 3))
        target = folder / f"class{i % 4}"
        target.mkdir(exist_ok=True)
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(target / f"{i}.jpg", quality=90)


def measured(command: list[str], folder: Path, epochs: int, workers: int) -> list[list[float]]:
    done = subprocess.run([*command, str(folder), str(epochs), str(workers)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        make_images(folder / "images", options.images)
        script = folder / "load.py"
        script.write_text(PROGRAM, encoding="utf-8")
        commands = {"lamina": [sys.executable, "-m", "lamina", "run", str(script)], "PyTorch": [sys.executable, str(script)]}
        rows: dict[str, list[list[float]]] = {which: [] for which in commands}
        for _ in range(options.rounds):
            for which, command in commands.items():
                # the first epoch warms up
                rows[which] += measured(command, folder / "images", options.epochs + 1, options.workers)[1:]
    if {round(r[2], 3) for r in rows["lamina"]} != {round(r[2], 3) for r in rows["PyTorch"]}:
        print("the pictures differ")
    for column, what in ((0, "CPU"), (1, "wall")):
        ours, theirs = (statistics.median(r[column] for r in rows[which]) for which in ("lamina", "PyTorch"))
        figures = f"lamina {ours:.3f}, PyTorch {theirs:.3f}; throughput ratio {theirs / ours:.3f}"
        print(f"{what:5} seconds an epoch of {options.images} images: {figures}")


if __name__ == "__main__":
    main()
