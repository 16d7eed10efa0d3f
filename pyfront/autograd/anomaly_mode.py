"""Anomaly mode: a backward that looks at every gradient it makes, and names the line whose derivative is not a number."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import recorder
from ..grad_fn import named
from ..node import ALIAS, GRAD, RESULT, Boundary, Node
from ..origin import source_line
from ..walk import by_order


class _Mode:
    on = False
    check_nan = True


def is_on() -> bool:
    """True while gradients are looked at."""
    return _Mode.on and _Mode.check_nan


def is_anomaly_enabled() -> bool:
    """True while anomaly mode is on."""
    return _Mode.on


def is_anomaly_check_nan_enabled() -> bool:
    """True while anomaly mode looks for NaN."""
    return _Mode.check_nan


class set_detect_anomaly:
    """Switch anomaly mode, at once; as a context manager until its end."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _Mode.on, _Mode.check_nan
        _Mode.on, _Mode.check_nan = bool(mode), bool(check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        _Mode.on, _Mode.check_nan = self._before


class detect_anomaly(set_detect_anomaly):
    """A region whose backwards find the step that gives NaN. RuntimeError there, with the line of the forward step."""

    def __init__(self, check_nan: bool = True) -> None:
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.",
            stacklevel=2,
        )
        self._wanted = check_nan
        self._before = _Mode.on, _Mode.check_nan

    def __enter__(self) -> None:
        self._before = _Mode.on, _Mode.check_nan
        _Mode.on, _Mode.check_nan = True, self._wanted


def examine(root: Node, seed: Node, steps: Sequence[Node], ends: Sequence[Node], create_graph: bool) -> None:
    """Go through the steps of a backward one at a time. RuntimeError at the first whose gradient holds NaN."""
    arrived: dict[int, Node] = {id(root): seed}
    stop = {id(end) for end in ends}
    for node in sorted(steps, key=by_order, reverse=True):
        gradient = arrived.get(id(node))
        if gradient is None or type(node) is Boundary or id(node) in stop and node is not root:
            continue
        if node.op == ALIAS:
            found, inputs = [gradient], list(node.inputs)
        else:
            inputs = _before(node)
            found = recorder.step(GRAD, (node, gradient, *inputs), (), tuple([n.type for n in inputs]), create_graph)
            _check(node, found)
        for n, g in zip(inputs, found, strict=True):
            if n.requires_grad:
                known = arrived.get(id(n))
                arrived[id(n)] = g if known is None else recorder.record("add", (known, g))


def _before(node: Node) -> list[Node]:
    whole = node.inputs[0] if node.op == RESULT else node
    return list({id(n): n for n in whole.inputs if n.requires_grad}.values())


def _check(node: Node, found: Sequence[Node]) -> None:
    for i, gradient in enumerate(found):
        values: Any = recorder.value(gradient)
        if np.isnan(values.astype(np.float64)).any():
            whole = node.inputs[0] if node.op == RESULT and node.inputs else node
            name = named(whole.op or "clone")
            warnings.warn(
                f"Error detected in {name}. The forward call that caused the error: {source_line(node.origin)}", stacklevel=4
            )
            raise RuntimeError(
                f"Function '{name}' returned nan values in its {i}th output. It was recorded at {source_line(node.origin)}"
            )
