"""AdaptiveLogSoftmaxWithLoss: a softmax over many classes, of which the rare ones stand in clusters."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

from ...dialects.types import DTYPES
from ..joining import cat
from ..tensor import Tensor
from . import functional as F
from .containers import ModuleList, Sequential
from .linear import Linear
from .module import Module

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax over n_classes: the first cutoffs[0] in a head, the others in clusters of ever smaller layers.

    Every cluster is computed for every row and what does not apply is left out, so that the program does not depend on
    the targets. Source: Grave et al., Efficient softmax approximation for GPUs (2017).
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0, head_bias: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        cuts = list(cutoffs)
        if not cuts:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cuts != sorted(set(cuts)) or min(cuts) <= 0 or max(cuts) > n_classes - 1 or any(int(c) != c for c in cuts)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value is "
                "between 1 and n_classes-1"
            )
        options = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cuts, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cuts[0], len(cuts)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            inner, outer = int(in_features // (div_value ** (i + 1))), self.cutoffs[i + 1] - self.cutoffs[i]
            down, up = Linear(in_features, inner, bias=False, **options), Linear(inner, outer, bias=False, **options)
            self.tail.append(Sequential(down, up))

    def reset_parameters(self) -> None:
        """All layers anew."""
        self.head.reset_parameters()
        for down, up in self.tail:
            down.reset_parameters()
            up.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> Any:
        """(log-probability of each target [n], its mean with the sign changed). RuntimeError for targets out of range."""
        batched = target_.dim() > 0
        self._check_(input_, target_)
        input, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        held = target._value()
        if held.size and (held.min() < 0 or held.max() >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{held.min()}, {held.max()}] "
                "were found. "
            )
        head = F.log_softmax(self.head(input), 1)
        chosen, output = target.clamp_max(self.shortlist_size), None
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            inside = (target >= low).logical_and(target < high)
            if not ((held >= low) & (held < high)).any():
                continue
            place = (target - low).clamp(0, high - low - 1)
            own = F.log_softmax(self.tail[i](input), 1).gather(1, place.unsqueeze(1)).squeeze(1)
            own = own.masked_fill(inside.logical_not(), 0.0)
            output = own if output is None else output + own
            chosen = chosen.masked_fill(inside, self.shortlist_size + i)
        first = head.gather(1, chosen.to(DTYPES["int64"]).unsqueeze(1)).squeeze(1)
        output = first if output is None else output + first
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _check_(self, input: Tensor, target: Tensor) -> None:
        if target.dim() == 1:
            if input.shape[0] != target.shape[0]:
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
            if input.dim() != 2:
                raise RuntimeError(
                    f"1D target tensor expects 2D input tensors, but found inputs with size {input.size()}"
                )
        elif target.dim() == 0:
            if input.dim() != 1:
                raise RuntimeError(
                    f"0D target tensor expects 1D input tensors, but found inputs with size {input.size()}"
                )
        else:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: float[n, in_features] -> float[n, n_classes]."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(F.log_softmax(cluster(input), 1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row; where the head chooses no cluster, the head decides."""
        first = self.head(input).argmax(1)
        every = self.log_prob(input).argmax(1)
        return first.where(first < self.shortlist_size, every)
