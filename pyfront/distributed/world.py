"""World: the process groups of this process: the one of all processes, and those made of some of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ..origin import origin, source_line
from .errors import DistBackendError, RankError, UninitializedError
from .process_group import ProcessGroup
from .rendezvous import rendezvous
from .stores import PrefixStore, Store

default_pg_timeout = timedelta(minutes=30)
_GPU_BACKENDS = ("nccl",)


class Backend(str):
    """The name of a backend: "gloo" (sockets, on CPUs), "nccl" (tensors of GPUs, by way of the host)."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl"
    backend_list = [UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI]

    def __new__(cls, name: str) -> Backend:
        """The name in lower case. ValueError for what is none."""
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return str.__new__(cls, name.lower())


class GroupMember:
    """Who is in a group. NON_GROUP_MEMBER: what ``new_group`` gives to processes that are not."""

    NON_GROUP_MEMBER = -100


class _World:
    """default: the group of all processes. made: all groups of this process. count: groups made in the program so far."""

    def __init__(self) -> None:
        self.default: ProcessGroup | None = None
        self.made: list[ProcessGroup] = []
        self.store: Store | None = None
        self.count = 0


_world = _World()
_rounds: dict[str, int] = {}  # how often a place was initialized at, in this process


class _WorldOf(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The group of all processes."""
        return _world.default


class group(metaclass=_WorldOf):
    """``group.WORLD``: the group of all processes."""

    NON_GROUP_MEMBER = GroupMember.NON_GROUP_MEMBER


def is_available() -> bool:
    """True: processes can work together."""
    return True


def is_initialized() -> bool:
    """Whether ``init_process_group`` was called, and ``destroy_process_group`` was not."""
    return _world.default is not None


def is_gloo_available() -> bool:
    """True: CPU tensors are sent over sockets."""
    return True


def is_nccl_available() -> bool:
    """Whether there is a GPU, whose tensors are sent by way of the host."""
    from .. import cuda

    return cuda.is_available()


def is_mpi_available() -> bool:
    """False."""
    return False


is_ucc_available = is_xccl_available = is_mpi_available


def is_torchelastic_launched() -> bool:
    """Whether a launcher (`lamina run --nproc-per-node`) started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_backend_available(backend: str) -> bool:
    """Whether ``init_process_group`` takes this backend here."""
    return {"gloo": is_gloo_available, "nccl": is_nccl_available}.get(backend.lower(), is_mpi_available)()


def _checked_backend(backend: str | None) -> str:
    """The backend by one name. DistBackendError, naming what can be used, for one that is not there."""
    if backend is None:
        return "gloo"
    names = {part.rpartition(":")[2].lower() for part in Backend(backend).split(",")}
    for name in sorted(names):
        if name not in Backend.backend_list[1:]:
            raise ValueError(f"Unknown backend '{name}'. Use 'gloo' (CPU tensors), or 'nccl' where there is a GPU")
        if not is_backend_available(name) and not (name in _GPU_BACKENDS and "gloo" in names):
            why = {
                "nccl": "ProcessGroupNCCL is only supported with GPUs, no GPUs found!",
                "mpi": "Distributed package doesn't have MPI built in: processes are started and found without it here",
            }.get(name, f"Distributed package doesn't have {name.upper()} built in")
            raise DistBackendError(
                why, at=source_line(origin(2)), help='init_process_group("gloo") works on CPUs: pick it with "nccl" if torch.cuda.is_available() else "gloo"'
            )
    return backend.lower() if "," not in backend else "gloo"


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1, rank: int = -1,
    store: Store | None = None, group_name: str = "", pg_options: Any = None, device_id: Any = None,
) -> None:  # fmt: skip
    """Meet all other processes of the program: all of them call this, with the same address and world_size.

    backend: "gloo", or "nccl" where there is a GPU. init_method: ``env://`` (default; the variables a launcher sets), ``tcp://host:port``
    or ``file:///path``, the last two with `rank` and `world_size`; or a `store`. timeout: of every call (30 minutes).

    ValueError when it was called before or something is missing; DistBackendError for a backend that is not there, or when not all come.
    """
    if _world.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise AssertionError("Cannot specify both init_method and store.")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    name = _checked_backend(backend)
    patience = timeout or default_pg_timeout
    if store is None:
        place = init_method or "env://"
        store, rank, world_size = rendezvous(place, rank, world_size, patience)
        again = _rounds[place] = _rounds.get(place, 0) + 1
    else:
        if world_size < 1:
            raise AssertionError("world_size must be positive if using store")
        if rank < 0:
            raise AssertionError("rank must be non-negative if using store")
        again = store.rounds = store.rounds + 1
    if rank >= world_size:
        raise ValueError(f"rank {rank} is none of {world_size} processes: ranks count from 0 to world_size - 1")
    _world.store, _world.count = PrefixStore(f"round{again}", store), 0
    _world.default = _joined(range(world_size), rank, name, patience, group_name or "0", "default_pg")


def _joined(ranks: Sequence[int], rank: int, backend: str, timeout: timedelta, name: str, desc: str) -> ProcessGroup:
    """This process as a member of a group, connected to the others."""
    assert _world.store is not None
    made = ProcessGroup(PrefixStore(f"group{_world.count}", _world.store), ranks, rank, backend, timeout, name, desc)
    _world.count += 1
    _world.made.append(made)
    return made


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leave a group, or (None) all of them. ValueError for one that is not there."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    if group is not None and group not in _world.made or _world.default is None:
        raise ValueError("Invalid process group specified")
    if group is not None and group is not _world.default:
        group.close()
        _world.made.remove(group)
        return
    for made in reversed(_world.made):
        made.close()
    _world.made.clear()
    _world.default = _world.store = None


def default_group() -> ProcessGroup:
    """The group of all processes. UninitializedError (a ValueError) when there is none yet."""
    if _world.default is None:
        raise UninitializedError(
            "Default process group has not been initialized, please make sure to call init_process_group.", at=source_line(origin()),
            help="`lamina run --nproc-per-node 2 SCRIPT` starts two processes that can call init_process_group('gloo')",
        )
    return _world.default


def group_of(group: Any) -> ProcessGroup | None:
    """The group an argument means; None where this process is no member of it. ValueError for one that was destroyed."""
    if group is None:
        return default_group()
    if group == GroupMember.NON_GROUP_MEMBER:
        return None
    default_group()
    if group not in _world.made:
        raise ValueError("Invalid process group specified or has been destroyed.")
    return group


def get_rank(group: Any = None) -> int:
    """This process's number in a group; -1 where it is no member."""
    found = group_of(group)
    return -1 if found is None else found.rank()


def get_world_size(group: Any = None) -> int:
    """How many processes a group has; -1 where this one is no member."""
    found = group_of(group)
    return -1 if found is None else found.size()


def get_backend(group: Any = None) -> str:
    """The backend of a group."""
    found = group_of(group)
    if found is None:
        raise ValueError("Invalid process group specified")
    return Backend(found.backend)


def get_backend_config(group: Any = None) -> str:
    """Which backend each device has."""
    return ",".join(f"{device}:{get_backend(group)}" for device in ("cpu", "cuda"))


def get_default_backend_for_device(device: Any) -> str:
    """The backend for tensors of a device."""
    return "nccl" if str(device).startswith("cuda") else "gloo"


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This process's number on its machine, from LOCAL_RANK."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError(
        "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, "
        "assuming you are not running in a multi-device context and want the code to run locally instead."
    )


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks of a group in the whole program."""
    found = group_of(group)
    return [] if found is None else list(found.ranks)


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The number in a group of a rank of the program. ValueError where it is no member."""
    found = group_of(group)
    if found is None:
        raise ValueError(f"Group {group} is not registered, please create group with torch.distributed.new_group API")
    if global_rank not in found.ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return found.ranks.index(global_rank)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the program of a number in a group. ValueError where there is none."""
    found = group_of(group)
    if found is None:
        raise ValueError(f"Group {group} is not registered, please create group with torch.distributed.new_group API")
    if not 0 <= group_rank < found.size():
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return found.ranks[group_rank]


def get_pg_count() -> int:
    """How many groups this process is in."""
    return len(_world.made)


def new_group(
    ranks: Sequence[int] | None = None, timeout: timedelta | None = None, backend: str | None = None, pg_options: Any = None,
    use_local_synchronization: bool = False, group_desc: str | None = None, device_id: Any = None,
) -> Any:  # fmt: skip
    """A group of some ranks (None: all). All processes of the program call this, in the same order; those that are no members get
    NON_GROUP_MEMBER."""
    whole = default_group()
    chosen = list(whole.ranks) if ranks is None else sorted(ranks)
    if len(chosen) > whole.size():
        raise ValueError("the new group's world size should be less or equal to the world size set by init_process_group")
    for r in chosen:
        if not 0 <= r < whole.size():
            raise RankError(f"Rank {r} is out of range. Valid ranks are 0 to {whole.size() - 1} (world_size={whole.size()})", at=source_line(origin()))
    if len(set(chosen)) < len(chosen):
        raise RankError(f"a rank is in the new group twice: {chosen}", at=source_line(origin()))
    name = whole.backend if backend is None else _checked_backend(backend)
    if whole.rank() not in chosen:
        _world.count += 1
        return GroupMember.NON_GROUP_MEMBER
    return _joined(chosen, chosen.index(whole.rank()), name, timeout or default_pg_timeout, str(_world.count), group_desc or "undefined")


def new_subgroups(
    group_size: int | None = None, group: Any = None, timeout: timedelta | None = None, backend: str | None = None, pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Groups of `group_size` neighbours each. This process's, and all of them. ValueError where they do not fill the world."""
    size = group_size if group_size is not None else int(os.environ.get("LOCAL_WORLD_SIZE", get_world_size()))
    world = get_world_size()
    if world < size:
        raise ValueError(f"The arg 'group_size' ({size}) must not exceed the world size ({world})")
    if world % size != 0:
        raise ValueError(f"The world size ({world}) must be divisible by 'group_size={size}'")
    return new_subgroups_by_enumeration([list(range(at, at + size)) for at in range(0, world, size)], timeout, backend)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None, backend: str | None = None, pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Groups of these ranks. This process's (None: it is in none of them), and all of them."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    everyone = [rank for ranks in ranks_per_subgroup_list for rank in ranks]
    if len(set(everyone)) < len(everyone):
        raise ValueError("a rank is in more than one of the subgroups")
    made = [new_group(ranks, timeout, backend) for ranks in ranks_per_subgroup_list]
    own = [g for g in made if g != GroupMember.NON_GROUP_MEMBER]
    return (own[0] if own else None), made


def _forked() -> None:
    """A child of this process is no member of its groups."""
    _world.default = _world.store = None
    _world.made.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

__all__ = [
    "Backend", "GroupMember", "default_pg_timeout", "destroy_process_group", "get_backend", "get_backend_config", "get_default_backend_for_device",
    "get_global_rank", "get_group_rank", "get_node_local_rank", "get_pg_count", "get_process_group_ranks", "get_rank", "get_world_size", "group",
    "init_process_group", "is_available", "is_backend_available", "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available",
    "is_torchelastic_launched", "is_ucc_available", "is_xccl_available", "new_group", "new_subgroups", "new_subgroups_by_enumeration",
]  # fmt: skip
