"""torch.nn.utils.prune: parameters behind masks of zeros and ones, and the rules that choose what is masked."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ...creation import ones_like, zeros_like
from ...random_tensors import rand, rand_like
from ...reductions import norm
from ...tensor import Tensor
from ..module import Module
from .convert_parameters import parameters_to_vector

M = TypeVar("M", bound=Module)


class BasePruningMethod:
    """A rule that makes a mask, and the forward pre-hook that multiplies a parameter by it.

    PRUNING_TYPE: what a rule applied again sees of the tensor: the elements that are left ("unstructured"), the channels
    ("structured"), or all of it ("global").
    """

    PRUNING_TYPE: str
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of a tensor, on top of the one it has."""
        raise NotImplementedError

    def apply_mask(self, module: Module) -> Tensor:
        """The masked parameter."""
        assert self._tensor_name is not None, f"Module {module} has to be pruned"
        mask, whole = (getattr(module, self._tensor_name + end) for end in ("_mask", "_orig"))
        return mask.to(dtype=whole.dtype) * whole

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any) -> BasePruningMethod:
        """Put ``name_orig`` and ``name_mask`` in a parameter's place, or another rule on top of those it is pruned by."""
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        key = _hook_of(module, name)
        whole = getattr(module, name)
        scores = whole if importance_scores is None else importance_scores
        _check_scores(scores, whole, f"parameter {name} of {module}")
        first = key is None
        before = ones_like(whole) if first else getattr(module, name + "_mask").detach().clone()
        if not first:
            old = _unhooked(module, key)
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            method = container
        mask = method.compute_mask(scores, default_mask=before)
        if first:
            del module._parameters[name]
            module.register_parameter(name + "_orig", whole)
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """A tensor with its mask applied."""
        scores = t if importance_scores is None else importance_scores
        _check_scores(scores, t, "tensor t")
        return t * self.compute_mask(scores, default_mask=ones_like(t) if default_mask is None else default_mask)

    def remove(self, module: Module) -> None:
        """Make the masked parameter a plain one."""
        name = self._tensor_name
        assert name is not None, f"Module {module} has to be pruned before pruning can be removed"
        masked = self.apply_mask(module)
        whole = module._parameters[name + "_orig"]
        delattr(module, name)
        whole.data = masked.data
        del module._parameters[name + "_orig"], module._buffers[name + "_mask"]
        setattr(module, name, whole)


def _check_scores(scores: Tensor, t: Tensor, what: str) -> None:
    assert scores.shape == t.shape, f"importance_scores should have the same shape as {what}, got {scores.shape} vs {t.shape}"


def _hook_of(module: Module, name: str) -> int | None:
    hooks = module._forward_pre_hooks.items()
    return next((key for key, hook in hooks if isinstance(hook, BasePruningMethod) and hook._tensor_name == name), None)


def _unhooked(module: Module, key: int) -> BasePruningMethod:
    hook = module._forward_pre_hooks.pop(key)
    module._hooks_changed_()
    return hook


class PruningContainer(BasePruningMethod):
    """Rules applied to one parameter after each other; the last one works on what the others left."""

    _tensor_name = None  # type: ignore[assignment]  # that of its first rule

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if len(methods) == 1:
            self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Append a rule for the same parameter."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to PruningContainer {self}. "
                f"Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask so far, and within what it leaves that of the last rule."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype).clone()
        left = _left(method, t, default_mask)
        mask[left] = method.compute_mask(t[left], default_mask=default_mask[left]).to(dtype=mask.dtype)
        return mask


def _left(method: BasePruningMethod, t: Tensor, mask: Tensor) -> Any:
    """Where a rule still has something to choose."""
    if method.PRUNING_TYPE == "unstructured":
        return mask == 1
    if method.PRUNING_TYPE == "global":
        return (slice(None),) * t.dim()
    if method.PRUNING_TYPE != "structured":
        raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
    if not hasattr(method, "dim"):
        raise AttributeError('Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.')
    dim = method.dim + t.dim() if method.dim < 0 else method.dim
    if dim < 0:
        raise IndexError(f"Index is out of bounds for tensor with dimensions {t.dim()}")
    there = mask.sum(dim=[d for d in range(t.dim()) if d != dim]) != 0
    return tuple(there if d == dim else slice(None) for d in range(t.dim()))


class Identity(BasePruningMethod):
    """Masks nothing."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask it has."""
        return default_mask


class CustomFromMask(BasePruningMethod):
    """Masks by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks together."""
        assert default_mask.shape == self.mask.shape
        return default_mask * self.mask.to(dtype=default_mask.dtype)


class _ByAmount(BasePruningMethod):
    """Masks a number, or a fraction, of something."""

    def __init__(self, amount: float) -> None:
        if not isinstance(amount, numbers.Real):
            raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
        if amount < 0 or (not isinstance(amount, numbers.Integral) and amount > 1.0):
            raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")
        self.amount = amount

    def _count(self, available: int) -> int:
        if not isinstance(self.amount, numbers.Integral):
            return round(self.amount * available)
        if self.amount > available:
            raise ValueError(f"amount={self.amount} should be smaller than the number of parameters to prune={available}")
        return int(self.amount)


class _Unstructured(_ByAmount):
    """Masks the elements of lowest, or highest, score."""

    PRUNING_TYPE = "unstructured"
    largest: bool

    def _scores(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask it has without the chosen elements."""
        count = self._count(t.nelement())
        mask = default_mask.clone()
        if count:
            chosen = self._scores(t).reshape(-1).topk(count, largest=self.largest).indices
            mask.view(-1)[chosen] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Masks elements at random."""

    largest = True

    def _scores(self, t: Tensor) -> Tensor:
        return rand_like(t)


class L1Unstructured(_Unstructured):
    """Masks the elements of smallest magnitude."""

    largest = False

    def _scores(self, t: Tensor) -> Tensor:
        return t.abs()


class _Structured(_ByAmount):
    """Masks whole channels along a dimension."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def _kept(self, t: Tensor, count: int) -> Tensor:
        """The channels that stay, as a mask or as numbers."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask it has without the chosen channels."""
        if t.dim() <= 1:
            found = f"Found tensor of shape {t.shape} with {t.dim()} dims"
            raise ValueError(f"Structured pruning can only be applied to multidimensional tensors. {found}")
        if self.dim >= t.dim():
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        count = self._count(t.shape[self.dim])
        kept = self._kept(t, count)
        if not count:
            return default_mask
        mask = zeros_like(t)
        mask[tuple(kept if d == self.dim % t.dim() else slice(None) for d in range(t.dim()))] = 1
        return mask * default_mask.to(dtype=mask.dtype)


class RandomStructured(_Structured):
    """Masks channels at random."""

    def _kept(self, t: Tensor, count: int) -> Tensor:
        scores = rand(t.shape[self.dim], device=t.device)
        return scores > scores.kthvalue(count).values if count else scores >= 0


class LnStructured(_Structured):
    """Masks the channels of smallest norm."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _kept(self, t: Tensor, count: int) -> Tensor:
        others = [d for d in range(t.dim()) if d != self.dim % t.dim()]
        return norm(t, self.n, others).topk(t.shape[self.dim] - count, largest=True).indices


def identity(module: M, name: str) -> M:
    """Put a mask of ones on a parameter."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: M, name: str, amount: float) -> M:
    """Mask elements of a parameter at random."""
    RandomUnstructured.apply(module, name, amount=amount)
    return module


def l1_unstructured(module: M, name: str, amount: float, importance_scores: Tensor | None = None) -> M:
    """Mask the elements of a parameter whose magnitude (or score) is smallest."""
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: M, name: str, amount: float, dim: int) -> M:
    """Mask channels of a parameter at random."""
    RandomStructured.apply(module, name, amount=amount, dim=dim)
    return module


def ln_structured(module: M, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None) -> M:
    """Mask the channels of a parameter whose norm is smallest."""
    LnStructured.apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: M, name: str, mask: Tensor) -> M:
    """Mask a parameter by a given mask."""
    CustomFromMask.apply(module, name, mask=mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: type[BasePruningMethod], importance_scores: dict | None = None, **kwargs: Any
) -> None:
    """Mask elements of many parameters by one rule over all of them."""
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    if not isinstance(importance_scores or {}, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    places = list(parameters)
    given = importance_scores or {}
    scores = parameters_to_vector([given.get((module, name), getattr(module, name)) for module, name in places])
    masks = [getattr(module, name + "_mask", ones_like(getattr(module, name))) for module, name in places]
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. '
            f"Found method {pruning_method} of type {method.PRUNING_TYPE}"
        )
    method._tensor_name = "temp"
    mask = PruningContainer(method).compute_mask(scores, parameters_to_vector(masks))
    sizes = [m.numel() for m in masks]
    for (module, name), part, like in zip(places, mask.split(sizes), masks, strict=True):
        custom_from_mask(module, name, part.view_as(like))


def remove(module: M, name: str) -> M:
    """Make a masked parameter a plain one. ValueError when it is not masked."""
    key = _hook_of(module, name)
    if key is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    _unhooked(module, key).remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether any parameter of a module is masked."""
    return any(isinstance(hook, BasePruningMethod) for part in module.modules() for hook in part._forward_pre_hooks.values())
