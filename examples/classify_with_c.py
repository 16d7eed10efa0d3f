"""Classify the held-out digits with the C program that `lamina compile … --main` wrote, and compare with Python.

    lamina run examples/classify_with_c.py --weights digits.pth --model DIR

Builds DIR/main.c and DIR/model.c with the system's C compiler, feeds it every held-out image, and checks that the C
program and the Python model predict the same digit on each of them. Exit code 1 if one differs.
"""

import argparse
import os
import subprocess
import sys

import torch
from digits import CNN, scanned_digits


def python_predictions(images, weights):
    model = CNN()
    model.load_state_dict(torch.load(weights))
    model.eval()
    with torch.no_grad():
        return [model(image.unsqueeze(0)).argmax(dim=1).item() for image in images]


def c_predictions(images, folder):
    program = os.path.join(folder, "classify")
    compiler = os.environ.get("CC", "cc")
    sources = [os.path.join(folder, name) for name in ("main.c", "model.c")]
    subprocess.run([compiler, "-std=c11", "-O2", "-Wall", "-Wextra", *sources, "-lm", "-o", program], check=True)
    raw = os.path.join(folder, "held_out.bin")
    with open(raw, "wb") as file:
        for image in images:
            file.write(image.contiguous().numpy().tobytes())
    command = [program, os.path.join(folder, "model.weights"), raw]
    return [int(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def main():
    parser = argparse.ArgumentParser(description="Compare the C program's predictions with Python's.")
    parser.add_argument("--weights", default="digits.pth")
    parser.add_argument("--model", default="model", help="the folder `lamina compile` wrote")
    options = parser.parse_args()

    _, held_out = scanned_digits()
    images = [held_out[i][0] for i in range(len(held_out))]
    ours, theirs = python_predictions(images, options.weights), c_predictions(images, options.model)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    right = sum(p == held_out[i][1] for i, p in enumerate(theirs))
    print(f"held-out images {len(images)}: C and Python agree on {same}; the C program is right on {right} ({right / len(images):.2%})")
    sys.exit(0 if same == len(images) else 1)


if __name__ == "__main__":
    main()
