"""state_dict and load_state_dict, with PyTorch's keys and messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..autograd import no_grad
from ..tensor import Tensor
from .changes import changed, let_go
from .hooks import RemovableHandle
from .parameter import Parameter, is_lazy

_EXTRA_STATE_KEY_SUFFIX = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) could not use."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    __str__ = __repr__


class StateMethods:
    """The part of Module that is saved and loaded."""

    _version = 1

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """Parameters and persistent buffers under dotted names, detached unless `keep_vars`."""
        if args:  # the old positional form
            destination, prefix, keep_vars = (*args, *(destination, prefix, keep_vars)[len(args) :])
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, local_metadata)
            if replaced is not None and getattr(hook, "_from_public_api", False):
                raise RuntimeError("state_dict post-hook must return None")
            destination = destination if replaced is None else replaced
        return destination

    def _persistent_(self) -> dict[str, Tensor]:
        """Own parameters and persistent buffers that are there."""
        kept = {k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}
        return {k: v for k, v in {**self._parameters, **kept}.items() if v is not None}

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._persistent_().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not StateMethods.get_extra_state:
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """Anything else a subclass wants in its state_dict; to be overridden with ``set_extra_state``."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called.")

    def set_extra_state(self, state: Any) -> None:
        """The counterpart of ``get_extra_state``."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called.")

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata)`` after the state is collected."""

        def in_place(*arguments: Any) -> Any:
            return hook(*arguments)

        in_place._from_public_api = True  # type: ignore[attr-defined]  # functions carry attributes
        return RemovableHandle(self._state_dict_hooks, in_place)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """The same, and what the hook returns replaces the state."""
        return RemovableHandle(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, prefix, keep_vars)`` before the state is collected."""
        return RemovableHandle(self._state_dict_pre_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)``."""
        return RemovableHandle(self._load_state_dict_pre_hooks, lambda *a: hook(self, *a))

    def _register_load_state_dict_pre_hook(self, hook: Callable, with_module: bool = False) -> RemovableHandle:
        return RemovableHandle(self._load_state_dict_pre_hooks, (lambda *a: hook(self, *a)) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """``hook(module, incompatible_keys)`` after loading."""
        return RemovableHandle(self._load_state_dict_post_hooks, hook)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy (or with `assign` take over) the tensors of a state_dict.

        TypeError when it is no mapping; RuntimeError listing missing and unexpected keys and shapes that differ.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None) or {}
        state_dict = OrderedDict(state_dict)
        let_go()
        with no_grad():
            self._load_tree_(state_dict, "", metadata, strict, assign, missing, unexpected, errors)
        if strict:
            if unexpected:
                errors.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
            if missing:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}")
        return _IncompatibleKeys(missing, unexpected)

    def _load_tree_(
        self, state: dict, prefix: str, metadata: Mapping, strict: bool, assign: bool,
        missing: list[str], unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        local_metadata = dict(metadata.get(prefix[:-1], {}), assign_to_params_buffers=assign)
        self._load_from_state_dict(state, prefix, local_metadata, True, missing, unexpected, errors)
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}{name}."
                part = {k: v for k, v in state.items() if k.startswith(below)}
                module._load_tree_(part, below, metadata, strict, assign, missing, unexpected, errors)
        for hook in self._load_state_dict_post_hooks.values():
            if hook(self, _IncompatibleKeys(missing, unexpected)) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, if "
                    "incompatible_keys need to be modified, it should be done inplace."
                )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Take this module's own entries; children are loaded by the caller."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, tensor in self._persistent_().items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
            else:
                self._load_one_(name, tensor, key, state_dict[key], assign, error_msgs)
        extra = prefix + _EXTRA_STATE_KEY_SUFFIX
        if type(self).set_extra_state is not StateMethods.set_extra_state:
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            else:
                missing_keys.append(extra)
        elif extra in state_dict:
            unexpected_keys.append(extra)
        self._note_unexpected_(state_dict, prefix, unexpected_keys)

    def _load_one_(self, name: str, ours: Tensor, key: str, theirs: Any, assign: bool, errors: list[str]) -> None:
        if not isinstance(theirs, Tensor):
            errors.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint'
                f" but received {type(theirs)}"
            )
            return
        if is_lazy(ours) and is_lazy(theirs):
            return
        if theirs.dim() == 1 and len(theirs) == 1 and ours.dim() == 0:
            theirs = theirs[0]  # checkpoints of very old versions
        if theirs.shape != ours.shape:
            errors.append(
                f"size mismatch for {key}: copying a param with shape {theirs.shape} from checkpoint,"
                f" the shape in current model is {ours.shape}."
            )
        elif not assign:
            ours.copy_(theirs)
        elif isinstance(ours, Parameter):
            changed(self)
            self._parameters[name] = theirs if isinstance(theirs, Parameter) else Parameter(theirs, ours.requires_grad)
        else:
            changed(self)
            self._buffers[name] = theirs

    def _note_unexpected_(self, state_dict: dict, prefix: str, unexpected: list[str]) -> None:
        own = self._persistent_()
        for key in state_dict:
            if key.startswith(prefix) and key != prefix + _EXTRA_STATE_KEY_SUFFIX:
                name, *below = key[len(prefix) :].split(".", 1)
                known = name in self._modules if below else name in own
                if not known:
                    unexpected.append(key)


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Take a prefix (``module.`` of a wrapped model) off the names that have it, in place; of the metadata's, too."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[key[len(prefix) :]] = state_dict.pop(key)
    metadata = getattr(state_dict, "_metadata", None)
    for key in list(metadata or ()):
        if key and (key.startswith(prefix) or key == prefix.rstrip(".")):
            metadata[key[len(prefix) :]] = metadata.pop(key)


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
