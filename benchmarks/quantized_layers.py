"""Dynamic int8 layers against PyTorch's and against float32: `python benchmarks/quantized_layers.py` (needs PyTorch; each size in processes of its own).

Microseconds of processor time, the least of many calls on one thread, a call being `layer(x)` until its numbers are there.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

SIZES = [("Linear", rows, inputs, outputs) for inputs, outputs in ((768, 768), (768, 3072), (3072, 768)) for rows in (1, 64)]
SIZES += [("LSTM", 1, 256, 256), ("LSTM", 16, 256, 256)]
CALLS, WARM, STEPS = 200, 12, 32


def measured(library: str, kind: str, rows: int, inputs: int, outputs: int) -> tuple[float, float]:
    """Microseconds of the int8 layer and of the float one, calls interleaved; an LSTM goes over `STEPS` steps."""
    if library == "lamina":
        import lamina as torch
    else:
        import torch
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(inputs, outputs)
    made = torch.quantization.quantize_dynamic(torch.nn.Sequential(layer), {type(layer)})[0]
    x = torch.randn(rows, inputs) if kind == "Linear" else torch.randn(STEPS, rows, inputs)
    x.numpy()
    times: dict[object, list[int]] = {made: [], layer: []}
    with torch.no_grad():
        for _ in range(WARM + CALLS):
            for called, found in times.items():
                start = time.process_time_ns()
                y = called(x)
                (y[0] if isinstance(y, tuple) else y).numpy()
                found.append(time.process_time_ns() - start)
    best = [min(found[WARM:]) / 1000 for found in times.values()]
    return best[0], best[1]


def main() -> None:
    """One line per size."""
    if len(sys.argv) == 6:
        print(*measured(*sys.argv[1:3], *map(int, sys.argv[3:])))
        return
    print(f"{'layer, rows x inputs -> outputs':<32} {'int8':>8} {'f32':>8}   PyTorch's {'int8':>8} {'f32':>8}")
    for size in SIZES:
        found = []
        for library in ("lamina", "torch"):
            command = [sys.executable, __file__, library, *map(str, size)]
            found += map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:])
        print(f"{f'{size[0]}, {size[1]} x {size[2]} -> {size[3]}':<32} {found[0]:8.1f} {found[1]:8.1f}             {found[2]:8.1f} {found[3]:8.1f}")


if __name__ == "__main__":
    main()
