"""Contraction kernels against PyTorch, one thread, interleaved: GFLOP/s and ours/theirs.

    python benchmarks/contraction.py [part of a name ...] [--rounds 5] [--cpu]

Convolution inputs of ours are already padded and channels-last; PyTorch runs both layouts and the better one
counts. Ratios are those of the fastest rounds, which a busy machine disturbs least; --cpu counts processor time.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
from side_by_side import interleave

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "lowering"))

from contraction_programs import (  # noqa: E402
    Compiled,
    Operand,
    Program,
    convolution,
    input_gradient,
    kernel_gradient,
    linear,
    matrix,
)

Calls = dict[str, Callable[[], object]]


def torch_matrix(m: int, n: int, k: int, a: str = "mk", b: str = "kn", element: str = "f32") -> Calls:
    import torch

    dtype = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "f16": torch.float16}[element]
    left, right = (torch.randn(*s).to(dtype) for s in ((m, k) if a == "mk" else (k, m), (k, n) if b == "kn" else (n, k)))
    left, right = left if a == "mk" else left.t(), right if b == "kn" else right.t()
    return {"mm": lambda: torch.mm(left, right)}


def narrow(n: int, a: str, b: str, element: str) -> Program:
    """A square product of 16-bit floats, summed and given as float32."""
    left, right = Operand(tuple(a), element=element), Operand(tuple(b), element=element)
    return Program({"m": n, "n": n, "k": n}, left, right, Operand(("m", "n")), direct=True)


def torch_linear(m: int, n: int, k: int) -> Calls:
    import torch

    x, w, b = torch.randn(m, k), torch.randn(n, k), torch.randn(n)
    return {"linear": lambda: torch.relu_(torch.nn.functional.linear(x, w, b))}


def batched(z: int, m: int, n: int, k: int, b: str) -> tuple[Program, Callable[[], Calls]]:
    sizes = {"z": z, "m": m, "n": n, "k": k}
    program = Program(
        sizes, Operand(("z", "m", "k")), Operand(tuple(b)), Operand(("z", "m", "n")), direct=True
    )

    def calls() -> Calls:
        import torch

        left = torch.randn(z, m, k)
        right = torch.randn(z, k, n) if b == "zkn" else torch.randn(z, n, k).transpose(1, 2)
        return {"bmm": lambda: torch.bmm(left, right)}

    return program, calls


def torch_convolution(what: str, n: int, c: int, o: int, h: int, k: int = 3, stride: int = 1) -> Calls:
    """``what``: forward, input or kernel (gradients). ``h`` is the padded height."""
    import torch

    pad = (k - 1) // 2
    x, w, b = torch.randn(n, c, h - 2 * pad, h - 2 * pad), torch.randn(o, c, k, k), torch.randn(o)
    g = torch.randn_like(torch.conv2d(x, w, b, stride, pad))
    xl, wl, gl = (t.contiguous(memory_format=torch.channels_last) for t in (x, w, g))
    if what == "forward":
        return {
            "nchw": lambda: torch.relu_(torch.conv2d(x, w, b, stride, pad)),
            "nhwc": lambda: torch.relu_(torch.conv2d(xl, wl, b, stride, pad)),
        }
    backward = torch.ops.aten.convolution_backward
    rest = (
        [o],
        [stride] * 2,
        [pad] * 2,
        [1, 1],
        False,
        [0, 0],
        1,
        [what == "input", what == "kernel", False],
    )
    return {"nchw": lambda: backward(g, x, w, *rest), "nhwc": lambda: backward(gl, xl, wl, *rest)}


def cases() -> dict[str, tuple[Program, Callable[[], Calls]]]:
    found: dict[str, tuple[Program, Callable[[], Calls]]] = {}
    for m, n, k, a, b in (
        (64, 256, 784, "mk", "kn"), (512, 512, 512, "mk", "kn"), (1024, 1024, 1024, "mk", "kn"), (128, 576,
        64, "km", "kn"), (64, 576, 128, "mk", "kn"), (1, 1000, 2048, "mk", "kn"), (1, 1000, 2048, "mk", "nk"),
        (8, 512, 512, "mk", "nk"), (16, 2048, 2048, "mk", "nk"), (1000, 3, 1000, "mk", "kn"),
    ):  # fmt: skip
        found[f"{a}·{b} {m},{n},{k}"] = matrix(m, n, k, a, b), lambda s=(m, n, k, a, b): torch_matrix(*s)
    for n in (64, 256, 512, 1024, 2048):
        for a, b, element in (
            ("mk", "kn", "f32"), ("mk", "nk", "f32"), ("km", "kn", "f32"), ("km", "nk", "f32"), ("mk", "kn", "f64"),
            ("mk", "kn", "bf16"), ("mk", "nk", "bf16"),
        ):  # fmt: skip
            name = f"square {a}·{b} {element} {n}"
            program = matrix(n, n, n, a, b, element) if element[0] == "f" else narrow(n, a, b, element)
            found[name] = program, lambda s=(n, n, n, a, b, element): torch_matrix(*s)
    for s in ((64, 256, 784), (64, 128, 576), (64, 10, 128), (128, 768, 3072), (128, 3072, 768)):
        found["linear+relu " + ",".join(map(str, s))] = linear(*s), lambda s=s: torch_linear(*s)
    found["attention qk 96,128,128,64"] = batched(96, 128, 128, 64, "znk")
    found["attention pv 96,128,64,128"] = batched(96, 128, 64, 128, "zkn")
    for s in ((64, 1, 16, 30), (64, 16, 32, 16), (64, 32, 64, 9), (16, 64, 64, 30), (16, 128, 128, 16)):
        name = f"{s[1]}->{s[2]} @{s[3] - 2} x{s[0]}"
        found[f"conv {name}"] = convolution(*s), lambda s=s: torch_convolution("forward", *s)
        if s[1] > 1:
            found[f"conv dx {name}"] = (
                input_gradient(s[0], s[1], s[2], s[3]),
                lambda s=s: torch_convolution("input", *s),
            )
        found[f"conv dw {name}"] = kernel_gradient(*s), lambda s=s: torch_convolution("kernel", *s)
    for s in (
        (3, 64, 229, 7, 2),
        (64, 64, 58),
        (128, 128, 30),
        (128, 256, 29, 3, 2),
        (256, 256, 16),
        (512, 512, 9),
    ):
        torchs = (1, *s[:2], s[2] + (s[2] == 229 or s[2] == 29), *s[3:])
        found[f"resnet18 {s[0]}->{s[1]} @{s[2]}"] = (
            convolution(1, *s),
            lambda s=torchs: torch_convolution("forward", *s),
        )
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parts", nargs="*")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--cpu", action="store_true")
    arguments = options.parse_args()
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    rng = np.random.default_rng(0)
    clock = time.process_time if arguments.cpu else time.perf_counter
    ratios = []
    print(f"{'':32} {'us':>9} {'GFLOP/s':>8} {'torch us':>9} {'ratio':>6}")
    for name, (program, others) in cases().items():
        if arguments.parts and not any(part in name for part in arguments.parts):
            continue
        compiled = Compiled(program, plain=True)
        operands = (program.left, program.right, *program.others)
        _, call = compiled.bind([o.array(program.sizes, rng) for o in operands])
        timed = interleave({"ours": call, **others()}, rounds=arguments.rounds, warm=1, least=0.02, clock=clock)
        ours, *theirs = (t.fastest for t in timed)
        best = min(theirs)
        ratios.append(ours / best)
        rate = 2e-9 * prod(program.sizes.values()) / ours
        print(f"{name:32} {ours * 1e6:9.1f} {rate:8.1f} {best * 1e6:9.1f} {ours / best:6.2f}", flush=True)
    if ratios:
        print(f"geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}")


if __name__ == "__main__":
    main()
