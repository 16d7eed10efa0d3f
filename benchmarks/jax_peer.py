"""Rows of peers.py for JAX: the whole call jitted, of a training step forward, gradients, clipping and update, state donated.

The function is PyTorch's own program, read from its exported graph (jax_graph.py); optimizers are written out here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jax_graph import function_of
from peer_rows import Work

Update = Callable[[Any, Any, tuple, Any], tuple[Any, tuple]]


def load(threads: int) -> ModuleType:
    """JAX on the CPU, with one thread or as many as there are cores."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax

    return jax


def stepper(torch: ModuleType, work: Work, threads: int) -> Callable[[], object]:
    """A training step of a PyTorch Work (gives the loss), or one call of it (gives its result, computed)."""
    jax = load(threads)
    function, weights, inputs = function_of(torch, jax, work.function, work.inputs, work.model)
    if work.optimizer is not None:
        return _training(jax, function, weights, inputs, work)
    compiled = jax.jit(lambda weights, inputs: function(weights, inputs, None))
    return lambda: jax.block_until_ready(compiled(weights, inputs))


def _training(jax: ModuleType, function: Callable, weights: list, inputs: list, work: Work) -> Callable[[], float]:
    numpy = jax.numpy
    update, memories = _update(numpy, type(work.optimizer).__name__, work.optimizer.defaults)

    def step(state: tuple, inputs: list) -> tuple:
        weights, kept, t, key = state
        key, now = jax.random.split(key)
        value, gradients = jax.value_and_grad(function)(weights, inputs, now)
        if work.clip is not None:
            norm = numpy.sqrt(sum(numpy.vdot(g, g) for g in gradients))
            gradients = [g * numpy.minimum(1.0, work.clip / (norm + 1e-6)) for g in gradients]
        t = t + 1
        moved = [update(p, g, k, t) for p, g, k in zip(weights, gradients, kept, strict=True)]
        return value, ([p for p, _ in moved], [k for _, k in moved], t, key)

    compiled = jax.jit(step, donate_argnums=0)
    state = (weights, [tuple(numpy.zeros_like(w) for _ in range(memories)) for w in weights], numpy.float32(0), jax.random.key(0))

    def call() -> float:
        nonlocal state
        value, state = compiled(state, inputs)
        return float(value)

    return call


def _update(numpy: ModuleType, name: str, options: dict) -> tuple[Update, int]:
    """update(weight, gradient, memory, step) and how many arrays it keeps per weight: PyTorch's Adam, AdamW and SGD."""
    rate, decay = options["lr"], options["weight_decay"]
    if name == "SGD":
        momentum = options["momentum"]

        def sgd(p: Any, g: Any, kept: tuple, t: Any) -> tuple:
            g = g + decay * p if decay else g
            if not momentum:
                return p - rate * g, ()
            held = momentum * kept[0] + g  # the first gradient as it is: what is kept is 0 before
            return p - rate * held, (held,)

        return sgd, int(momentum != 0)
    (b1, b2), eps = options["betas"], options["eps"]

    def adam(p: Any, g: Any, kept: tuple, t: Any) -> tuple:
        if name == "AdamW":
            p = p - rate * decay * p
        elif decay:
            g = g + decay * p
        m, v = b1 * kept[0] + (1 - b1) * g, b2 * kept[1] + (1 - b2) * g * g
        return p - rate / (1 - b1**t) * m / (numpy.sqrt(v) / numpy.sqrt(1 - b2**t) + eps), (m, v)

    return adam, 2
