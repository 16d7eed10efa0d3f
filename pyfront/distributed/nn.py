"""torch.distributed.nn: collectives with a derivative. A gradient goes the way back that its value came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..creation import zeros_like
from ..function import Function, FunctionCtx
from ..tensor import Tensor
from . import collectives
from .reduce_ops import ReduceOp
from .world import get_rank, get_world_size

__all__ = ["all_gather", "all_reduce", "broadcast", "reduce", "reduce_scatter"]


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, op: ReduceOp, group: Any) -> Tensor:
        ctx.op, ctx.group = op, group  # type: ignore[attr-defined]  # what a ctx is for
        result = tensor.clone()
        collectives.all_reduce(result, op, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _AllReduce.apply(gradient, ctx.op, ctx.group), None, None


class _AllGather(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, group: Any) -> tuple[Tensor, ...]:
        ctx.group = group  # type: ignore[attr-defined]
        every = [zeros_like(tensor) for _ in range(get_world_size(group))]
        collectives.all_gather(every, tensor.contiguous(), group)
        return tuple(every)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _ReduceScatter.apply(ReduceOp.SUM, ctx.group, gradients[0], *gradients), None


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, op: ReduceOp, group: Any, output: Tensor, *parts: Tensor) -> Tensor:
        ctx.group = group  # type: ignore[attr-defined]
        result = zeros_like(output)
        collectives.reduce_scatter(result, [part.contiguous() for part in parts], op, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *_AllGather.apply(gradient, ctx.group)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, src: int, group: Any) -> Tensor:
        ctx.src, ctx.group = src, group  # type: ignore[attr-defined]
        result = tensor.clone()
        collectives.broadcast(result, src, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        summed = _Reduce.apply(gradient, ctx.src, ReduceOp.SUM, ctx.group)
        return summed if get_rank() == ctx.src else zeros_like(summed), None, None


class _Reduce(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, dst: int, op: ReduceOp, group: Any) -> Tensor:
        ctx.dst, ctx.group = dst, group  # type: ignore[attr-defined]
        result = tensor.clone()
        collectives.reduce(result, dst, op, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Broadcast.apply(gradient, ctx.dst, ctx.group), None, None, None


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The tensors of all ranks combined, as a new tensor on each."""
    return _AllReduce.apply(tensor, op, group)


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks, on each."""
    return _AllGather.apply(tensor, group)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """``input_list[rank]`` of all ranks combined, on each rank. output: only its type counts."""
    return _ReduceScatter.apply(op, group, output, *input_list)


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of rank ``src``, on all."""
    return _Broadcast.apply(tensor, src, group)


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The tensors of all ranks combined on rank ``dst``; what the others get is not theirs to use."""
    return _Reduce.apply(tensor, dst, op, group)
