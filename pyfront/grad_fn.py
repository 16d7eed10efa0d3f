"""grad_fn: how a tracked tensor names the operation that made it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .node import ALIAS, RESULT, SAVED, Boundary, Node
from .tensor import Tensor

# PyTorch's names where they are not the operation's name in capitals with Backward0 behind.
_NAMES = {
    "softmax": "SoftmaxBackward0",
    "norm": "LinalgVectorNormBackward0",
    "log_softmax": "LogSoftmaxBackward0",
    "matmul": "MmBackward0",
    "to_copy": "ToCopyBackward0",
    "mse_loss": "MseLossBackward0",
    "cross_entropy": "NllLossBackward0",
    "linear": "AddmmBackward0",
    "div_number": "DivBackward1",
    "conv": "ConvolutionBackward0",
    "batch_norm": "NativeBatchNormBackward0",
    "layer_norm": "NativeLayerNormBackward0",
    "max_pool": "MaxPool2DWithIndicesBackward0",
    "avg_pool": "AvgPool2DBackward0",
    "concat": "CatBackward0",
    "cast": "ToCopyBackward0",
    "fill": "FillBackward0",
    "update": "CopySlices",
    "copy_slices": "CopySlices",
    "rsub": "RsubBackward1",
    "autodiff.grad": "GradBackward0",
    "put_add": "IndexPutBackward0",
    "take": "IndexBackward0",
    "reshape": "ViewBackward0",
    "maximum": "MaximumBackward0",
    "absolute": "AbsBackward0",
    "round_": "RoundBackward0",
    "prod_": "ProdBackward0",
    "dropout": "MulBackward0",
    "masked_fill": "MaskedFillBackward0",
    "scatter_add": "ScatterAddBackward0",
    "topk": "TopkBackward0",
    "einsum": "ViewBackward0",
    "tensordot": "ViewBackward0",
    "outer": "MulBackward0",
    "kron": "UnsafeViewBackward0",
    "square": "PowBackward0",
    "log1p": "Log1PBackward0",
    "chunk": "SplitBackward0",
    "tile": "RepeatBackward0",
    "repeat_interleave": "ViewBackward0",
    "squeeze_several": "SqueezeBackward4",
    "meshgrid": "ExpandBackward0",
    "combinations": "StackBackward0",
    "cartesian_prod": "StackBackward0",
    "take_along_dim": "GatherBackward0",
    "diff": "SubBackward0",
    "cross": "LinalgCrossBackward0",
    "det": "LinalgDetBackward0",
    "inverse": "LinalgInvExBackward0",
    "clamp": "ClampBackward1",
    "softsign": "DivBackward0",
    "selu": "EluBackward0",
    "col2im": "Col2ImBackward0",
    "m_t": "TransposeBackward0",
    "dft": "FftC2CBackward0",
    "real_dft": "FftR2CBackward0",
    "dft_to_real": "FftC2RBackward0",
}


_classes: dict[str, type[GradFn]] = {}


class GradFn:
    """The node behind a computed tensor: a name, and the ones before it in ``next_functions``.

    metadata: a dictionary for users. variable: the leaf an ``AccumulateGrad`` adds to.
    """

    __slots__ = ("_node", "_name", "metadata")
    requires_grad = True

    def __new__(cls, node: Node, name: str) -> GradFn:
        """An instance of a class of that name, as in PyTorch: programs look at ``type(grad_fn).__name__``."""
        found = _classes.get(name)
        if found is None:
            found = _classes[name] = type(name, (GradFn,), {"__slots__": ()})
        return object.__new__(found)

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name
        self.metadata: dict = {}

    @property
    def variable(self) -> Tensor:
        """The leaf whose gradient is accumulated. AttributeError for any other node."""
        node = self._node
        owner = getattr(node.deliver, "owner", None) if type(node) is Boundary else None
        if owner is None:
            raise AttributeError(f"'{self._name}' object has no attribute 'variable'")
        return owner()

    def _sequence_nr(self) -> int:
        return self._node.order

    def name(self) -> str:
        """``AddBackward0``."""
        return f"torch::autograd::{self._name}" if self._name == "AccumulateGrad" else self._name

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        """What backward goes to next; None for what needs no gradient."""
        node = self._node
        while node.op == RESULT and node.inputs:
            node = node.inputs[0]
        node = _reduction(node)
        before = node.behind if type(node) is Boundary else node.inputs
        return tuple([(_of_node(n) if n.requires_grad else None, 0) for n in before])

    def __repr__(self) -> str:
        return f"<{self._name} object at {id(self._node):#x}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFn) and other._node is self._node

    def __hash__(self) -> int:
        return id(self._node)


class GradientEdge(NamedTuple):
    """A place in the graph: what ``autograd.grad`` and ``backward`` take in place of a tensor."""

    node: GradFn
    output_nr: int
    ownership_token: Any = None


def edge_of(tensor: Tensor) -> GradientEdge:
    """The edge a tensor's gradient arrives on. RuntimeError when none does."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    found = tensor.grad_fn
    return GradientEdge(found if found is not None else _of_node(tensor._read()), 0)


def _of_node(node: Node) -> GradFn:
    while node.op in (ALIAS, RESULT) and type(node) is not Boundary and node.inputs:
        node = node.inputs[0]
    return GradFn(
        node, "AccumulateGrad" if type(node) is Boundary and node.leaf else named(_reduction(node).op or "clone", "")
    )


def _reduction(node: Node) -> Node:
    """The reduction whose dimensions of size 1 a step of the same line drops: ``sum(0)`` is one function and two steps. Other nodes as they are."""
    if node.op != "reshape" or type(node) is Boundary:
        return node
    found = node.inputs[0]
    if type(found) is Boundary or not found.inputs or found.origin != node.origin:
        return node
    kept, whole = found.type[0], found.inputs[0].type[0]
    drops = len(kept) == len(whole) and kept != whole and [n for n in kept if n != 1] == [n for n in node.type[0] if n != 1]
    return found if drops and all(n in (m, 1) for n, m in zip(kept, whole, strict=True)) and found.op != "slice" else node


def named(label: str, variant: str = "0") -> str:
    """``AddBackward0`` from ``add``."""
    if label.endswith("Backward"):  # a user's autograd.Function
        return label
    if label in _NAMES:
        return _NAMES[label]
    if re.search("pool1d", label):  # 2-d pools of one row
        return "SqueezeBackward1"
    words = [re.sub(r"(\d)d$", r"\1D", part.capitalize()) if "pool" in part else part.capitalize() for part in label.split("_")]
    return "".join(words) + "Backward" + (variant or "0")


def grad_fn(self: Tensor) -> Any:
    """The operation that made this tensor, or None for leaves and untracked tensors."""
    if not self.requires_grad or self.is_leaf:
        return None
    node = self._read()
    label = self._label
    if label is None:
        made = node
        while made.op in (ALIAS, RESULT, SAVED) and made.inputs:
            made = made.inputs[0]
        label = made.op or "clone"
    return GradFn(node, named(label, _variant(label, node)))


def _variant(label: str, node: Node) -> str:
    """PyTorch numbers overloads: ``sum()`` is SumBackward0, ``sum(dim)`` SumBackward1."""
    if label in ("sum", "mean", "prod", "amax_", "norm", "std", "var") and node.type[0]:
        return "1"
    if label in ("max", "min") and not node.type[0]:
        return "1"
    if label == "pow" and node.inputs and len(node.inputs) > 1 and node.inputs[1].requires_grad:
        return "2" if node.inputs[0].op == "full" else "1"
    return "0"


Tensor.grad_fn = property(grad_fn)
Tensor.output_nr = 0
