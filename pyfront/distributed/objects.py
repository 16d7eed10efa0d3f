"""Objects: plain data (numbers, text, containers, arrays, tensors) between processes. Nothing that arrives is unpickled."""

from __future__ import annotations

from typing import Any

import numpy as np

from .collectives import member_of, root_of
from .messages import recv, send
from .plain_data import decoded, encoded
from .process_group import ProcessGroup
from ..creation import of_array, zeros
from ...dialects.types import DTYPES

__all__ = ["all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list", "scatter_object_list", "send_object_list"]
_CALL = "object collective"


def _bytes_of(value: Any) -> np.ndarray:
    return np.frombuffer(encoded(value), np.uint8)


def _object_of(data: np.ndarray) -> Any:
    return decoded(memoryview(np.ascontiguousarray(data)), tensors=True)


def _agreed_sizes(group: ProcessGroup, size: int) -> list[int]:
    """How many bytes each rank has."""
    own = np.array([size], np.int64)
    sizes = [np.empty(1, np.int64) for _ in range(group.size())]
    told = group.told(_CALL, own)
    group.run(lambda: group.patterns.all_gather(told, own, sizes), lambda: None, False)
    return [int(one[0]) for one in sizes]


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """The object of each rank into ``object_list[rank]``, on every rank. NotPlainError (a TypeError) for what is no plain data."""
    members = member_of(group)
    if members is None:
        return
    if len(object_list) != members.size():
        raise ValueError(f"all_gather_object: `object_list` has {len(object_list)} places, and the group {members.size()} ranks")
    _gathered(members, object_list, obj)


def _gathered(members: ProcessGroup, into: list[Any], obj: Any) -> None:
    data = _bytes_of(obj)
    sizes = _agreed_sizes(members, data.size)
    most = max(sizes)
    source = np.zeros(most, np.uint8)
    source[: data.size] = data
    results = [np.empty(most, np.uint8) for _ in sizes]
    told = members.told(_CALL, source)
    members.run(lambda: members.patterns.all_gather(told, source, results), lambda: None, False)
    for rank, (array, size) in enumerate(zip(results, sizes, strict=True)):
        into[rank] = _object_of(array[:size])


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None, group_dst: int | None = None) -> None:
    """The object of each rank into ``object_gather_list[rank]``, on rank `dst`."""
    members = member_of(group)
    if members is None:
        return
    root = root_of(members, dst, group_dst, 0)
    mine = members.rank() == root
    if mine and not object_gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if not mine and object_gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    data = _bytes_of(obj)
    most = max(_agreed_sizes(members, data.size + 8))
    source = np.zeros(most, np.uint8)
    source[:8] = np.array([data.size], np.int64).view(np.uint8)
    source[8 : 8 + data.size] = data
    results = [np.empty(most, np.uint8) for _ in range(members.size())] if mine else None
    told = members.told("gather", source, root=root)
    members.run(lambda: members.patterns.gather(told, source, results, root), lambda: None, False)
    for rank, array in enumerate(results or ()):
        object_gather_list[rank] = _object_of(array[8 : 8 + int(array[:8].view(np.int64)[0])])  # type: ignore[index]  # the root has one


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None) -> None:
    """The objects of rank `src`, in place, on every rank."""
    members = member_of(group)
    if members is None:
        return
    root = root_of(members, src, group_src, 0)
    mine = members.rank() == root
    found = _broadcast(members, list(object_list) if mine else None, root)
    if len(found) != len(object_list):
        raise RuntimeError(f"broadcast_object_list: rank {members.ranks[root]} has {len(found)} objects, this one places for {len(object_list)}")
    if not mine:
        object_list[:] = found


def _broadcast(members: ProcessGroup, value: Any, root: int) -> Any:
    data = _bytes_of(value) if members.rank() == root else np.empty(0, np.uint8)
    array = _agreed(members, data, root)
    told = members.told(_CALL, array, root=root)
    members.run(lambda: members.patterns.broadcast(told, array, root), lambda: None, False)
    return _object_of(array)


def _agreed(members: ProcessGroup, data: np.ndarray, root: int) -> np.ndarray:
    """The root's bytes, or room for them."""
    size = np.array([data.size], np.int64)
    told = members.told(_CALL, size, root=root)
    members.run(lambda: members.patterns.broadcast(told, size, root), lambda: None, False)
    return data if members.rank() == root else np.empty(int(size[0]), np.uint8)


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None, group: Any = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """``scatter_object_input_list[rank]`` of rank `src` into ``scatter_object_output_list[0]`` of each rank."""
    members = member_of(group)
    if members is None:
        return
    if not isinstance(scatter_object_output_list, list) or len(scatter_object_output_list) < 1:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    root = root_of(members, src, group_src, 0)
    mine = members.rank() == root
    if mine and scatter_object_input_list is None:
        raise ValueError("source rank must provide non-None scatter_object_input_list")
    pieces = [_bytes_of(one) for one in scatter_object_input_list or ()] if mine else []
    if mine and len(pieces) != members.size():
        raise ValueError(f"scatter_object_list: {len(pieces)} objects for {members.size()} ranks")
    sizes = _broadcast(members, [one.size for one in pieces] if mine else None, root)
    most = max(sizes)
    sources = [np.concatenate([one, np.zeros(most - one.size, np.uint8)]) for one in pieces] if mine else None
    result = np.empty(most, np.uint8)
    told = members.told("scatter", result, root=root)
    members.run(lambda: members.patterns.scatter(told, sources, result, root), lambda: None, False)
    scatter_object_output_list[0] = _object_of(result[: sizes[members.rank()]])


def send_object_list(
    object_list: list[Any], dst: int | None = None, group: Any = None, device: Any = None, group_dst: int | None = None, use_batch: bool = False
) -> None:
    """Send objects to rank `dst`."""
    data = _bytes_of(list(object_list)).copy()
    send(of_array(np.array([data.size], np.int64)), dst, group, group_dst=group_dst)
    send(of_array(data), dst, group, group_dst=group_dst)


def recv_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None, use_batch: bool = False
) -> int:
    """Receive objects from rank `src` (None: any), in place. The rank they came from."""
    size = zeros(1, dtype=DTYPES["int64"])
    sender = recv(size, src, group, group_src=group_src)
    if sender < 0:
        return sender
    data = zeros(int(size.item()), dtype=DTYPES["uint8"])
    recv(data, sender, group)
    found = _object_of(data._value())
    if len(found) != len(object_list):
        raise RuntimeError(f"recv_object_list: rank {sender} sent {len(found)} objects, this one has places for {len(object_list)}")
    object_list[:] = found
    return sender
