"""Modules as functions of their parameters: functional_call, stack_module_state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..joining import stack
from ..tensor import Tensor


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Let every batch norm inside do without running statistics, which transforms of functions cannot write; the module itself."""
    from ..nn.normalization import _NormBase

    for module in root.modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call ``module`` with other tensors in place of its parameters and buffers, named by their dotted names.

    tie_weights: tensors that are one in the module stay one. strict: RuntimeError for names that are missing or unknown.
    ValueError when several dicts give the same name.
    """
    if isinstance(parameter_and_buffer_dicts, Mapping):
        given = dict(parameter_and_buffer_dicts)
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        given = {}
        if not all(isinstance(d, Mapping) for d in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        for d in parameter_and_buffer_dicts:
            repeated = sorted(set(given) & set(d))
            if repeated:
                raise ValueError(
                    f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
                )
            given.update(d)
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    called = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, given, tie_weights, strict):
        return module(*called, **(kwargs or {}))


@contextmanager
def _replaced(module: Any, given: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    """The module with other tensors in its tables; the tables' own come back, and what was put in their place meanwhile
    (a buffer replaced in forward) goes back into ``given``'s place."""
    own = _tables(module)
    if strict:
        _check_strict(type(module).__name__, own, given)
    places = {name: [own[name]] for name in given if name in own}
    if tie_weights:
        _add_tied(own, given, places)
    for name in given:
        if name not in own:
            _check_path(module, name)
    saved = [(table, key, table[key]) for found in places.values() for table, key in found]
    try:
        for name, found in places.items():
            for table, key in found:
                table[key] = given[name]
        yield
    finally:
        for table, key, tensor in saved:
            table[key] = tensor


def _tables(module: Any) -> dict[str, tuple[dict, str]]:
    """Where each parameter and buffer of a module tree is kept, by dotted name; shared ones under every name."""
    found: dict[str, tuple[dict, str]] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers):
            for key in table:
                found[f"{prefix}.{key}" if prefix else key] = (table, key)
    return found


def _add_tied(own: dict[str, tuple[dict, str]], given: dict[str, Tensor], places: dict[str, list]) -> None:
    """One value for tensors that are one in the module. ValueError when it is given two."""
    names: dict[int, list[str]] = {}
    for name, (table, key) in own.items():
        if table[key] is not None:
            names.setdefault(id(table[key]), []).append(name)
    for tied in names.values():
        told = [name for name in tied if name in given]
        if len(told) > 1 and any(given[name] is not given[told[0]] for name in told):
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(told)}, which are tied. Consider using "
                "tie_weights=False"
            )
        if told:
            places[told[0]] += [own[name] for name in tied if name not in given]


def _check_strict(called: str, own: dict[str, Any], given: dict[str, Tensor]) -> None:
    unexpected = sorted(set(given) - set(own))
    missing = sorted(name for name, (table, key) in own.items() if name not in given and table[key] is not None)
    if not unexpected and not missing:
        return
    message = f"Error(s) in reparametrizing for {called}:\n"
    if unexpected:
        message += f"\tUnexpected key(s): {', '.join(map(repr, unexpected))}.\n"
    if missing:
        message += f"\tMissing key(s): {', '.join(map(repr, missing))}.\n"
    raise RuntimeError(message.rstrip("\n"))


def _check_path(module: Any, name: str) -> None:
    """AttributeError when a name that is nobody's leads through modules that are not there."""
    at = module
    for part in name.split(".")[:-1]:
        if part not in at._modules:
            raise AttributeError(f"{type(at).__name__} has no attribute `{part}`")
        at = at._modules[part]


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of several modules of one architecture, stacked, to be mapped over with vmap.

    RuntimeError when there are none, when they differ in class or in mode.
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or not any(m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = {k: _stacked([dict(m.named_parameters())[k] for m in models]) for k, _ in models[0].named_parameters()}
    buffers = {k: _stacked([dict(m.named_buffers())[k] for m in models]) for k, _ in models[0].named_buffers()}
    return parameters, buffers


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Tensors as one, a leaf where they are leaves."""
    if not all(t.is_leaf for t in tensors):
        return stack(tensors)
    tracked = [t.requires_grad for t in tensors]
    if any(tracked) != all(tracked):
        raise RuntimeError("Expected all parameters of the models to require grad, or none")
    return stack([t.detach() for t in tensors]).requires_grad_(tracked[0])
