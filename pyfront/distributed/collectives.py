"""Collectives: calls that all processes of a group make together, on tensors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from ..origin import origin, source_line
from ..tensor import Tensor
from .errors import DistBackendError, RankError
from .patterns import Combination
from .process_group import ProcessGroup
from .reduce_ops import ReduceOp, combine_of, finish_of
from .tensors import check_dtypes, check_tensor, check_tensors, cut, flat, fresh, put, put_all
from .transfer import Inflow, Outflow
from .work import Work
from .world import get_rank, group_of

__all__ = [
    "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_single", "all_reduce", "all_reduce_coalesced", "all_to_all",
    "all_to_all_single", "barrier", "broadcast", "gather", "monitored_barrier", "reduce", "reduce_scatter", "reduce_scatter_single",
    "reduce_scatter_tensor", "scatter",
]  # fmt: skip


def member_of(group: Any) -> ProcessGroup | None:
    """The group of a call; None, with a warning, where this process is no member."""
    found = group_of(group)
    if found is None:
        call = sys._getframe(1).f_code.co_name
        warnings.warn(f"Running {call} on global rank {get_rank()} which does not belong to the given group.", stacklevel=3)
    return found


def root_of(group: ProcessGroup, rank: int | None, group_rank: int | None, default: int | None = None) -> int:
    """The number in a group of the root of a call. RankError (a ValueError) where it is no member, or given twice."""
    if group_rank is not None:
        if rank is not None:
            raise ValueError("Can't specify both group_rank and global_rank")
        if not 0 <= group_rank < group.size():
            raise RankError(f"Group rank {group_rank} is not part of group {group}", at=source_line(origin()))
        return group_rank
    rank = default if rank is None else rank
    if rank is None:
        raise ValueError("Must specify global_rank or group_rank")
    if rank not in group.ranks:
        raise RankError(f"Global rank {rank} is not part of group {group}", at=source_line(origin()), help="ranks count from 0 to world_size - 1")
    return group.ranks.index(rank)


def _combination(op: ReduceOp, group: ProcessGroup, array: np.ndarray) -> Combination:
    return Combination(combine_of(op, array.dtype), finish_of(op, group.size(), array.dtype))


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """The tensors of all ranks combined, in place, on every rank: the same bits on each."""
    check_tensor(tensor, "tensor")
    members = member_of(group)
    if members is None:
        return None
    source, result = flat(tensor), fresh(tensor)
    by, told = _combination(op, members, source), members.told("all_reduce", source, op)
    return members.run(lambda: members.patterns.all_reduce(told, source, result, by), lambda: put(tensor, result), async_op)


def all_reduce_coalesced(tensors: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """``all_reduce`` of several tensors of one dtype at once."""
    check_tensors(tensors, "tensors")
    check_dtypes(*tensors)
    members = member_of(group)
    if members is None:
        return None
    source = np.concatenate([flat(one) for one in tensors])
    result = np.empty_like(source)
    by, told = _combination(op, members, source), members.told("all_reduce", source, op)
    return members.run(
        lambda: members.patterns.all_reduce(told, source, result, by), lambda: put_all(tensors, cut(result, tensors)), async_op
    )


def reduce(
    tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM, group: Any = None, async_op: bool = False, group_dst: int | None = None
) -> Work | None:
    """The tensors of all ranks combined, in place, on rank `dst`."""
    check_tensor(tensor, "tensor")
    members = member_of(group)
    if members is None:
        return None
    root = root_of(members, dst, group_dst)
    source, result = flat(tensor), fresh(tensor)
    by, told = _combination(op, members, source), members.told("reduce", source, op, root)
    return members.run(
        lambda: members.patterns.reduce(told, source, result, root, by),
        lambda: put(tensor, result) if members.rank() == root else tensor, async_op,
    )  # fmt: skip


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Work | None:
    """The tensor of rank `src`, in place, on every rank."""
    check_tensor(tensor, "tensor")
    members = member_of(group)
    if members is None:
        return None
    root = root_of(members, src, group_src)
    mine = members.rank() == root
    array = flat(tensor) if mine else fresh(tensor)
    told = members.told("broadcast", array, root=root)
    return members.run(
        lambda: members.patterns.broadcast(told, array, root), lambda: tensor if mine else put(tensor, array), async_op
    )


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """The tensor of each rank into ``tensor_list[rank]``, on every rank."""
    check_tensors(tensor_list, "tensor_list")
    check_tensor(tensor, "tensor")
    check_dtypes(tensor, *tensor_list)
    members = member_of(group)
    if members is None:
        return None
    _check_list(tensor_list, [tensor] * members.size(), "tensor_list", "all_gather", members)
    source, results = flat(tensor), [fresh(one) for one in tensor_list]
    told = members.told("all_gather", source)
    return members.run(
        lambda: members.patterns.all_gather(told, source, results), lambda: put_all(tensor_list, results), async_op
    )


def _check_list(given: Sequence[Tensor], like: Sequence[Tensor], name: str, call: str, group: ProcessGroup) -> None:
    """ValueError for a list that is not one tensor of the right number of elements for each rank."""
    if len(given) != group.size():
        raise ValueError(f"{call}: `{name}` has {len(given)} tensors, and the group {group.size()} ranks: it takes one for each")
    for number, (one, other) in enumerate(zip(given, like, strict=True)):
        if one.numel() != other.numel():
            raise ValueError(
                f"{call}: invalid tensor size at index {number} of `{name}`: {list(one.shape)} does not hold the elements of {list(other.shape)}"
            )


def _check_list_of_root(given: list[Tensor] | None, tensor: Tensor, group: ProcessGroup, root: int, call: str, end: str) -> None:
    """ValueError unless the root, and nobody else, has a list of one tensor like this for each rank. end: what PyTorch calls the root."""
    if group.rank() == root and not given:
        raise ValueError(f"Argument ``{call}_list`` must be specified on {end} rank.")
    if group.rank() != root and given:
        raise ValueError(f"Argument ``{call}_list`` must NOT be specified on non-{end} ranks.")
    if given:
        _check_list(given, [tensor] * group.size(), f"{call}_list", call, group)


def all_gather_coalesced(
    output_tensor_lists: list[list[Tensor]], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Work | None:
    """``all_gather`` of several tensors: ``output_tensor_lists[rank]`` takes those of a rank."""
    if not isinstance(output_tensor_lists, list):
        raise TypeError("Invalid function argument: output_tensor_lists should be a list")
    check_tensors(input_tensor_list, "input_tensor_list")
    for one in output_tensor_lists:
        check_tensors(one, "output_tensor_lists")
    check_dtypes(*input_tensor_list)
    members = member_of(group)
    if members is None:
        return None
    source = np.concatenate([flat(one) for one in input_tensor_list])
    results = [np.empty_like(source) for _ in range(members.size())]
    told = members.told("all_gather", source)

    def deliver() -> list[Tensor]:
        return [t for mine, array in zip(output_tensor_lists, results, strict=True) for t in put_all(mine, cut(array, mine))]

    return members.run(lambda: members.patterns.all_gather(told, source, results), deliver, async_op)


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """The tensors of all ranks one behind the other (or stacked) in ``output_tensor``, on every rank."""
    check_tensor(input_tensor, "input_tensor")
    check_tensor(output_tensor, "output_tensor")
    check_dtypes(input_tensor, output_tensor)
    members = member_of(group)
    if members is None:
        return None
    if output_tensor.numel() != members.size() * input_tensor.numel():
        raise ValueError("output tensor size must be equal to world_size times input tensor size")
    source, result = flat(input_tensor), fresh(output_tensor)
    results, told = list(result.reshape(members.size(), -1)), members.told("all_gather", source)
    return members.run(lambda: members.patterns.all_gather(told, source, results), lambda: put(output_tensor, result), async_op)


all_gather_single = all_gather_into_tensor


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """The tensor of each rank into ``gather_list[rank]``, on rank `dst`."""
    check_tensor(tensor, "tensor")
    if gather_list:
        check_tensors(gather_list, "gather_list")
        check_dtypes(tensor, *gather_list)
    members = member_of(group)
    if members is None:
        return None
    root = root_of(members, dst, group_dst, 0)
    _check_list_of_root(gather_list, tensor, members, root, "gather", "destination")
    source, results = flat(tensor), [fresh(one) for one in gather_list] if gather_list else None
    told = members.told("gather", source, root=root)
    return members.run(
        lambda: members.patterns.gather(told, source, results, root), lambda: put_all(gather_list or [], results or []), async_op
    )


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None, group: Any = None, async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """``scatter_list[rank]`` of rank `src` into the tensor of each rank."""
    check_tensor(tensor, "tensor")
    if scatter_list:
        check_tensors(scatter_list, "scatter_list")
        check_dtypes(tensor, *scatter_list)
    members = member_of(group)
    if members is None:
        return None
    root = root_of(members, src, group_src, 0)
    _check_list_of_root(scatter_list, tensor, members, root, "scatter", "source")
    result = fresh(tensor)
    sources, told = [flat(one) for one in scatter_list] if scatter_list else None, members.told("scatter", result, root=root)
    return members.run(lambda: members.patterns.scatter(told, sources, result, root), lambda: put(tensor, result), async_op)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """``input_list[rank]`` of all ranks combined into the output of each rank."""
    check_tensor(output, "output")
    check_tensors(input_list, "input_list")
    check_dtypes(output, *input_list)
    members = member_of(group)
    if members is None:
        return None
    if len(input_list) != members.size():
        raise ValueError(f"reduce_scatter: `input_list` has {len(input_list)} tensors, and the group {members.size()} ranks: it takes one for each")
    if input_list[members.rank()].numel() != output.numel():
        raise ValueError("reduce_scatter: the output takes as many elements as this rank's tensor of `input_list` has")
    return _reduce_scatter(members, output, [flat(one) for one in input_list], op, async_op)


def _reduce_scatter(members: ProcessGroup, output: Tensor, sources: list[np.ndarray], op: ReduceOp, later: bool) -> Work | None:
    result = fresh(output)
    by, told = _combination(op, members, result), members.told("reduce_scatter", result, op, elements=sum(one.size for one in sources))
    return members.run(lambda: members.patterns.reduce_scatter(told, sources, result, by), lambda: put(output, result), later)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """The inputs of all ranks combined, of which each rank gets its part."""
    check_tensor(output, "output")
    check_tensor(input, "input")
    check_dtypes(output, input)
    members = member_of(group)
    if members is None:
        return None
    if input.numel() != members.size() * output.numel():
        raise ValueError("input tensor must be the same size as output size times world size")
    return _reduce_scatter(members, output, list(flat(input).reshape(members.size(), -1)), op, async_op)


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Work | None:
    """``input_tensor_list[j]`` of rank i into ``output_tensor_list[i]`` of rank j."""
    check_tensors(output_tensor_list, "output_tensor_list")
    check_tensors(input_tensor_list, "input_tensor_list")
    check_dtypes(*input_tensor_list, *output_tensor_list)
    members = member_of(group)
    if members is None:
        return None
    for name, given in (("output_tensor_list", output_tensor_list), ("input_tensor_list", input_tensor_list)):
        _check_list(given, given, name, "all_to_all", members)
    results = [fresh(one) for one in output_tensor_list]
    return _exchange(members, [flat(one) for one in input_tensor_list], results, lambda: put_all(output_tensor_list, results), async_op)


def _exchange(
    members: ProcessGroup, sources: list[np.ndarray], results: list[np.ndarray], deliver: Callable[[], Any], later: bool
) -> Work | None:
    heads = [members.told("all_to_all", one) for one in sources]
    expected = [members.told("all_to_all", one) for one in results]
    if sources[members.rank()].size != results[members.rank()].size:
        raise ValueError("all_to_all: what a rank has for itself and what it takes from itself are of different sizes")
    return members.run(lambda: members.patterns.all_to_all(heads.__getitem__, sources, results, expected.__getitem__), deliver, later)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None, input_split_sizes: list[int] | None = None, group: Any = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """The input cut along its first dimension (evenly, or in these sizes), part j to rank j; the parts that come one behind the other."""
    check_tensor(output, "output")
    check_tensor(input, "input")
    check_dtypes(output, input)
    members = member_of(group)
    if members is None:
        return None
    result = fresh(output)
    sources = _split(flat(input), input, input_split_sizes, members)
    return _exchange(members, sources, _split(result, output, output_split_sizes, members), lambda: put(output, result), async_op)


def _split(array: np.ndarray, tensor: Tensor, sizes: list[int] | None, members: ProcessGroup) -> list[np.ndarray]:
    rows = tensor.shape[0] if tensor.dim() else 1
    if not sizes:
        if rows % members.size():
            raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
        sizes = [rows // members.size()] * members.size()
    if len(sizes) != members.size():
        raise RuntimeError("Number of tensor splits not equal to group size")
    if sum(sizes) != rows:
        raise RuntimeError("Split sizes doesn't match total dim 0 size")
    row, at, parts = array.size // rows if rows else 0, 0, []
    for n in sizes:
        parts.append(array[at * row : (at + n) * row])
        at += n
    return parts


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> Work | None:
    """Return once all ranks have called it."""
    members = member_of(group)
    if members is None:
        return None
    told = members.told("barrier")
    return members.run(lambda: members.patterns.barrier(told), lambda: None, async_op)


def monitored_barrier(group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:
    """Return once all ranks have called it. DistBackendError, on rank 0, that names the first (or all) of those that did not in time."""
    members = member_of(group)
    if members is None:
        return
    patience = (timeout or members.timeout).total_seconds()
    told = members.told("monitored_barrier")
    lines = members.lines

    def call() -> None:
        if members.rank():
            lines.move([], [Outflow(0, told.head, [])], patience)
            lines.move([Inflow(0, told.head, [], told.differs)], [], patience + 1.0)  # rank 0 is the one to say who is missing
            return
        coming = [Inflow(peer, told.head, [], told.differs) for peer in range(1, members.size())]
        try:
            lines.move(coming, [], patience)
        except DistBackendError:
            missing = [members.ranks[flow.peer] for flow in coming if not flow.finished]
            if not missing:
                raise
            shown = missing if wait_all_ranks else missing[:1]
            ranks = f"Ranks {', '.join(map(str, shown))}" if wait_all_ranks else f"[Rank {shown[0]}]"
            raise DistBackendError(
                f"[Rank 0]: {ranks} failed to pass monitoredBarrier in {round(patience * 1000)} ms",
                help="look at the output of these processes: they ended, or do something else",
            ) from None
        lines.move([], [Outflow(peer, told.head, []) for peer in range(1, members.size())], patience)

    members.run(call, lambda: None, False)
