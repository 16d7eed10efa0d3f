"""Messages: what one process sends to another, and what that one receives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .collectives import member_of, root_of
from .errors import DistBackendError
from .mailbox import Letter
from .process_group import ProcessGroup, type_code
from .tensors import check_tensor, flat, fresh, put
from .work import Work
from .world import default_group

__all__ = ["P2POp", "batch_isend_irecv", "irecv", "isend", "recv", "send"]


def _peer(group: ProcessGroup, rank: int | None, group_rank: int | None, what: str) -> int:
    peer = root_of(group, rank, group_rank)
    if peer == group.rank():
        raise ValueError(f"Invalid {what} rank: {what} rank should not be the same as the rank of the current process.")
    return peer


def isend(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> Work | None:
    """Send a tensor to rank `dst`; the Work ends when it is on its way."""
    check_tensor(tensor, "tensor")
    members = member_of(group)
    if members is None:
        return None
    array, work = flat(tensor), Work(lambda: tensor)
    members.mailbox.send(_peer(members, dst, group_dst, "destination"), tag, type_code(array.dtype), array, work)
    return work


def irecv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> Work | None:
    """Receive a tensor from rank `src` (None: any); it is in the tensor once the Work was waited for."""
    check_tensor(tensor, "tensor")
    members = member_of(group)
    if members is None:
        return None
    return _received(members, tensor, src, tag, group_src)


def _received(members: ProcessGroup, tensor: Tensor, src: int | None, tag: int, group_src: int | None) -> Work:
    sender = None if src is None and group_src is None else _peer(members, src, group_src, "source")
    into = fresh(tensor)
    work = _Received(members, lambda: put(tensor, into))
    members.mailbox.receive(Letter(sender, tag, type_code(into.dtype), into, work))
    return work


class _Received(Work):
    """The Work of a message that comes: one that does not is given up after the group's timeout."""

    def __init__(self, members: ProcessGroup, deliver: Callable[[], Any]) -> None:
        super().__init__(deliver)
        self._members = members

    def wait(self, timeout: Any = None) -> bool:
        """Until it is in its tensor. DistBackendError when the sender has ended, or nothing comes within the timeout."""
        patience = timeout or self._members.timeout
        if not self._done.wait(patience.total_seconds()):
            self._members.mailbox.forget(self)
            self.end(DistBackendError(
                f"Timed out waiting {round(patience.total_seconds() * 1000)}ms for recv operation to complete",
                help="every recv needs a send of the same tag to this rank",
            ))  # fmt: skip
        return super().wait()

    def source_rank(self) -> int:
        """The rank, in the group, the message came from."""
        return super().source_rank()


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Send a tensor to rank `dst`. Returns when it is on its way: the receiver may ask for it later. DistBackendError when the receiver has
    ended, or does not take it within the group's timeout.
    """
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait(default_group().timeout if group is None else group.timeout)


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receive a tensor from rank `src` (None: any). The rank it came from; -1 where this process is no member of the group."""
    check_tensor(tensor, "tensor")
    members = member_of(group)
    if members is None:
        return -1
    work = _received(members, tensor, src, tag, group_src)
    work.wait()
    return members.ranks[work.source_rank()]


class P2POp:
    """A message to be sent or received with others at once. op: isend or irecv."""

    def __init__(self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0, group_peer: int | None = None) -> None:
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or ``torch.distributed.irecv``.")
        check_tensor(tensor, "tensor")
        self.op, self.tensor, self.peer, self.group, self.tag, self.group_peer = op, tensor, peer, group, tag, group_peer


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Start all of these; one Work for each."""
    if not isinstance(p2p_op_list, list) or not all(isinstance(one, P2POp) for one in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to to be of type ``torch.distributed.P2POp``.")
    if any(one.group != p2p_op_list[0].group for one in p2p_op_list):
        raise ValueError("All ops need to use the same group.")
    ordered = sorted(p2p_op_list, key=lambda one: one.op is isend)  # what comes has its place before anything goes
    works = {id(one): one.op(one.tensor, one.peer, one.group, one.tag, one.group_peer) for one in ordered}
    return [works[id(one)] for one in p2p_op_list]
