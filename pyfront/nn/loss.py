"""Loss layers: the functions of torch.nn.functional with their arguments kept."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import functional as F
from .activation import signature_of
from .functions.loss import reduction_of
from .linear import Linear
from .module import Entry, Module


class _Loss(Module):
    """_arguments: names and defaults the function takes beside its tensors. _buffers_taken: those that are tensors."""

    _function_: Callable[..., Tensor]
    _arguments_: dict[str, Any] = {}
    _leading_: tuple[str, ...] = ()
    reduction: str

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        name, order = type(self).__name__, self._order_()
        if len(args) > len(order):
            raise TypeError(f"{name}() takes at most {len(order)} arguments, got {len(args)}")
        given = {**dict(zip(order, args, strict=False)), **options}
        unknown = [key for key in given if key not in order]
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}")
        old = given.pop("size_average", None), given.pop("reduce", None)
        self.reduction = reduction_of(given.pop("reduction", "mean"), *old)
        for key, default in self._arguments_.items():
            value = given.get(key, default)
            if key in ("weight", "pos_weight"):
                self.register_buffer(key, value)
            else:
                setattr(self, key, value)

    @classmethod
    def _order_(cls) -> tuple[str, ...]:
        """All arguments as PyTorch orders them: some stand between size_average and reduce."""
        behind = tuple(k for k in cls._arguments_ if k in ("ignore_index", "eps") and k not in cls._leading_)
        trailing = tuple(k for k in cls._arguments_ if k not in (*cls._leading_, *behind))
        return (*cls._leading_, "size_average", *behind, "reduce", "reduction", *trailing)

    def forward(self, *tensors: Tensor) -> Tensor:
        """The loss of the tensors the function takes."""
        options = {name: getattr(self, name) for name in self._arguments_}
        function = getattr(F, self._function_.__name__)  # where torch.fx exchanges it
        return function(*tensors, reduction=self.reduction, **options)


class _WeightedLoss(_Loss):
    """A loss whose classes have weights. Programs derive theirs from it."""

    _arguments_ = {"weight": None}
    _leading_ = ("weight",)
    weight: Any = Entry("_buffers")


def _forward_of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`_Loss.forward` with the function's tensors by name: of them torch.fx makes a graph's inputs."""

    def forward(self: _Loss, *tensors: Tensor, **named: Tensor) -> Tensor:
        given = (*tensors, *(named.pop(name) for name in names[len(tensors) :] if name in named))
        return _Loss.forward(self, *given, **named)

    tensors = [p for p in inspect.signature(function).parameters.values() if p.annotation in ("Tensor", Tensor) and p.default is p.empty]
    names = [p.name for p in tensors]
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = inspect.Signature([me, *tensors], return_annotation=Tensor)  # type: ignore[attr-defined]
    forward.__annotations__ = dict.fromkeys([*names, "return"], Tensor)
    forward.__doc__ = _Loss.forward.__doc__
    return forward


def _layer(
    name: str, function: Callable[..., Tensor], leading: tuple[str, ...] = (), kind: type[_Loss] = _Loss, **arguments: Any
) -> type[_Loss]:  # fmt: skip
    body = {
        "_function_": staticmethod(function), "_arguments_": arguments, "_leading_": leading, "__doc__": function.__doc__,
        "__module__": __name__, "forward": _forward_of(function),
    }  # fmt: skip
    body |= {key: Entry("_buffers") for key in ("weight", "pos_weight") if key in arguments}
    made = type(name, (kind,), body)
    usual = {**arguments, "size_average": None, "reduce": None, "reduction": "mean"}
    made.__signature__ = signature_of({k: usual[k] for k in made._order_()})  # type: ignore[attr-defined]
    return made


_W = ("weight",)
MSELoss = _layer("MSELoss", F.mse_loss)
L1Loss = _layer("L1Loss", F.l1_loss)
SmoothL1Loss = _layer("SmoothL1Loss", F.smooth_l1_loss, beta=1.0)
CrossEntropyLoss = _layer("CrossEntropyLoss", F.cross_entropy, _W, _WeightedLoss, weight=None, ignore_index=-100, label_smoothing=0.0)
NLLLoss = _layer("NLLLoss", F.nll_loss, _W, _WeightedLoss, weight=None, ignore_index=-100)
BCELoss = _layer("BCELoss", F.binary_cross_entropy, _W, _WeightedLoss, weight=None)
BCEWithLogitsLoss = _layer("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits, _W, weight=None, pos_weight=None)
KLDivLoss = _layer("KLDivLoss", F.kl_div, log_target=False)
PoissonNLLLoss = _layer("PoissonNLLLoss", F.poisson_nll_loss, ("log_input", "full"), log_input=True, full=False, eps=1e-8)
HingeEmbeddingLoss = _layer("HingeEmbeddingLoss", F.hinge_embedding_loss, ("margin",), margin=1.0)
MarginRankingLoss = _layer("MarginRankingLoss", F.margin_ranking_loss, ("margin",), margin=0.0)
SoftMarginLoss = _layer("SoftMarginLoss", F.soft_margin_loss)
MultiLabelSoftMarginLoss = _layer("MultiLabelSoftMarginLoss", F.multilabel_soft_margin_loss, _W, _WeightedLoss, weight=None)
CosineEmbeddingLoss = _layer("CosineEmbeddingLoss", F.cosine_embedding_loss, ("margin",), margin=0.0)
TripletMarginLoss = _layer(
    "TripletMarginLoss", F.triplet_margin_loss, ("margin", "p", "eps", "swap"), margin=1.0, p=2.0, eps=1e-6, swap=False
)


MultiLabelMarginLoss = _layer("MultiLabelMarginLoss", F.multilabel_margin_loss)
MultiMarginLoss = _layer("MultiMarginLoss", F.multi_margin_loss, ("p", "margin", "weight"), _WeightedLoss, p=1, margin=1.0, weight=None)


class NLLLoss2d(NLLLoss):
    """NLLLoss under its old name for pictures."""


class TripletMarginWithDistanceLoss(_Loss):
    """Triplet margin loss with a distance of one's own."""

    def __init__(
        self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
        swap: bool = False, reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction=reduction)
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss."""
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function, margin=self.margin, swap=self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class HuberLoss(_Loss):
    """Squared within delta of the target, linear beyond."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return F.huber_loss(input, target, self.reduction, self.delta)


class LinearCrossEntropyLoss(Module):
    """Cross entropy of a linear layer's results, the layer included."""

    weight = Entry("_buffers")

    def __init__(
        self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (), bias: bool = False, device: Any = None, dtype: Any = None,
        reduction: str = "mean", weight: Tensor | None = None, ignore_index: int | None = None, label_smoothing: float = 0.0, options: Any = None,
    ) -> None:  # fmt: skip
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction, self.num_classes, self.out_features = reduction, num_classes, out_features
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        self.linear = Linear(in_features, math.prod(out_features, start=num_classes), bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        rows, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input, self.linear.weight.reshape(*rows, self.linear.in_features), target, linear_bias=None if bias is None else bias.reshape(rows),
            weight=self.weight, reduction=self.reduction, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class CTCLoss(_Loss):
    """Connectionist temporal classification: minus the log-probability of labellings, over all alignments."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        """The loss."""
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )


class GaussianNLLLoss(_Loss):
    """Negative log-likelihood of a normal distribution."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """The loss."""
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class CosineSimilarity(Module):
    """cosine_similarity along a dimension."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """One number per pair of vectors."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """pairwise_distance of rows."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """One number per pair of rows."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
