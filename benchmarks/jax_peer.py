"""Rows of peers.py for JAX: the whole training step jitted, parameters and Adam's moments donated.

JAX has no PyTorch-style modules, so a step is written here for what is a stack of linear layers with ReLU between them, from the same weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

from peer_rows import Work


def load(threads: int) -> ModuleType:
    """JAX on the CPU, with one thread or as many as there are cores."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    import jax

    return jax


def stepper(work: Work, threads: int) -> Callable[[], float]:
    """A training step of a PyTorch Work of linear layers: cross entropy and Adam with its default options; gives the loss."""
    jax = load(threads)
    numpy = jax.numpy
    x, y = (numpy.asarray(t.numpy()) for t in work.inputs)
    weights = [numpy.asarray(p.detach().numpy().copy()) for p in work.model.parameters()]
    options = work.optimizer.defaults
    rate, (b1, b2), eps = options["lr"], options["betas"], options["eps"]

    def loss(weights: list, x: object, y: object) -> object:
        last = len(weights) - 2
        for i in range(0, len(weights), 2):
            x = x @ weights[i].T + weights[i + 1]
            x = x if i == last else jax.nn.relu(x)
        return -numpy.mean(numpy.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))

    def adam(p: object, g: object, m: object, v: object, t: object) -> tuple:
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        return p - rate / (1 - b1**t) * m / (numpy.sqrt(v) / numpy.sqrt(1 - b2**t) + eps), m, v

    def step(state: tuple, x: object, y: object) -> tuple:
        weights, first, second, t = state
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        t = t + 1
        moved = [adam(*each, t) for each in zip(weights, gradients, first, second, strict=True)]
        return value, (*([m[i] for m in moved] for i in range(3)), t)

    compiled = jax.jit(step, donate_argnums=0)
    state = (weights, [numpy.zeros_like(w) for w in weights], [numpy.zeros_like(w) for w in weights], numpy.float32(0))

    def call() -> float:
        nonlocal state
        value, state = compiled(state, x, y)
        return float(value)

    return call
