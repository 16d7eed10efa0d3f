"""The catalogue of models: how a table's row becomes a function, and how models are found by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import Any

from ...files import load
from ...files.serialization import load_safetensors
from ...nn import Module
from .weights import WeightsEnum, catalogue, resolve

BUILTIN_MODELS: dict[str, Callable[..., Module]] = {}


def model(name: str, make: Callable[..., Module], *fixed: Any, **defaults: Any) -> Callable[..., Module]:
    """A function ``name(*, weights=None, progress=True, **options)`` that makes ``make(*fixed, **defaults, **options)``.

    weights: a member (or its name) of the model's weights, looked for in the hub's folder, or the path of a state dict.
    """

    def build(*, weights: Any = None, progress: bool = True, pretrained: Any = None, **options: Any) -> Module:
        chosen, path = resolve(name, weights, pretrained)
        if chosen is None and path is None:
            return make(*fixed, **{**defaults, **options})
        if chosen is not None:
            options["num_classes"] = class_count(options.get("num_classes"), chosen)
        state = _state(chosen, path, progress)
        prepared = getattr(make, "prepared", None)
        if prepared is not None:
            options, finish = prepared(chosen, {**defaults, **options})
        made = make(*fixed, **{**defaults, **options})
        made.load_state_dict(getattr(make, "renamed", lambda entries: entries)(state))
        return finish(made) if prepared is not None else made

    return publish(name, build, f"{name}: {(make.__doc__ or '').strip()}")


def publish(name: str, build: Callable[..., Module], doc: str) -> Callable[..., Module]:
    """A function that makes a model, under its name in the catalogue."""
    build.__name__ = build.__qualname__ = name
    build.__doc__ = doc
    BUILTIN_MODELS[name] = build
    return build


def class_count(asked: int | None, chosen: WeightsEnum) -> int:
    """The classes of trained weights. ValueError where others are asked for."""
    if chosen.meta["categories"] is None:  # weights of features
        return 1000 if asked is None else asked
    count = len(chosen.meta["categories"])
    if asked is not None and asked != count:
        raise ValueError(f"The parameter 'num_classes' expected value {count} but got {asked} instead.")
    return count


def trained(name: str, weights: Any, progress: bool) -> tuple[WeightsEnum | None, dict[str, Any] | None]:
    """What the weights argument of a model means, and their state: nothing, the hub's file of a member, or a file by its path."""
    chosen, path = resolve(name, weights, None)
    return chosen, None if chosen is None and path is None else _state(chosen, path, progress)


def _state(chosen: WeightsEnum | None, path: str | None, progress: bool) -> dict[str, Any]:
    if chosen is not None:
        return chosen.get_state_dict(progress=progress)
    return load_safetensors(path) if path.endswith(".safetensors") else load(path)  # type: ignore[union-attr]  # one of both


def list_models(module: Any = None, include: Iterable[str] | str | None = None, exclude: Iterable[str] | str | None = None) -> list[str]:
    """Names of the models (of a module) that match one of `include` and none of `exclude` (shell patterns)."""
    there = set(BUILTIN_MODELS) if module is None else set(BUILTIN_MODELS) & set(module.__all__)

    def matching(patterns: Iterable[str] | str) -> set[str]:
        patterns = [patterns] if isinstance(patterns, str) else patterns
        return {name for pattern in patterns for name in fnmatch.filter(there, pattern)}

    found = matching(include) if include else there
    return sorted(found - (matching(exclude) if exclude else set()))


def get_model_builder(name: str) -> Callable[..., Module]:
    """The function of a name. ValueError when there is none."""
    if name.lower() not in BUILTIN_MODELS:
        raise ValueError(f"Unknown model {name}")
    return BUILTIN_MODELS[name.lower()]


def get_model(name: str, **config: Any) -> Module:
    """A model by its name."""
    return get_model_builder(name)(**config)


def get_model_weights(name: Callable | str) -> type[WeightsEnum]:
    """The weights of a model, given by its name or its function."""
    key = name.lower() if isinstance(name, str) else name.__name__
    get_model_builder(key)
    return catalogue()[key]


def get_weight(name: str) -> WeightsEnum:
    """Weights by their full name, "ResNet50_Weights.IMAGENET1K_V2". ValueError when there are none."""
    group, dot, member = name.partition(".")
    if not dot or not member or "." in member:
        raise ValueError(f"Invalid weight name provided: '{name}'.")
    for enum in catalogue().values():
        if enum.__name__ == group:
            return enum[member]
    raise ValueError(f"The weight enum '{group}' for the specific method couldn't be retrieved.")


def make_divisible(v: float, divisor: int = 8) -> int:
    """v to the nearest multiple, at least one of them, never below nine tenths of v."""
    made = max(divisor, int(v + divisor / 2) // divisor * divisor)
    return made + divisor if made < 0.9 * v else made
