"""Connections: how the processes of one group find and reach each other: two connections for each pair, told apart from strangers."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import sys
import time
from datetime import timedelta

from .areas import Areas, shared_areas
from .errors import DistBackendError, DistNetworkError
from .plain_data import decoded, encoded
from .stores import PrefixStore, Store
from .tcp_store import TCPStore

COLLECTIVE, MESSAGES = 0, 1
"""What the two connections of a pair are for."""

BUFFER = 1 << 22  # bytes the system may hold of what was sent and not yet read
_HELLO = struct.Struct("<32sIB")  # the group's secret, who calls, for what
_INTERFACE = "GLOO_SOCKET_IFNAME"

Channels = list[list["socket.socket | None"]]


def host_identity() -> str:
    """What processes on one machine, in one container, have in common and others have not."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id",):
        try:
            with open(path, encoding="ascii") as file:
                parts.append(file.read().strip())
        except OSError:
            pass
    try:
        parts.append(os.readlink("/proc/self/ns/net"))
    except OSError:
        pass
    return " ".join(parts)


def connect(store: Store, rank: int, size: int, timeout: timedelta) -> tuple[Channels, Areas | None]:
    """The connections of this rank, two channels of one socket per other rank; and the memory it shares with all of them, on one machine.

    DistBackendError, which names them, when some ranks do not come within the timeout.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    hosts = _exchanged(store, "host", rank, size, host_identity(), deadline)
    near = len(set(hosts)) == 1
    if rank == 0:
        store.set("secret", secrets.token_bytes(32))
    listener = _listener(store, near)
    try:
        places = _exchanged(store, "place", rank, size, listener.getsockname()[:2] if not _is_local(listener) else listener.getsockname(), deadline)
        hello = store.get("secret")
        channels: Channels = [[None] * size for _ in (COLLECTIVE, MESSAGES)]
        for peer in range(rank):
            for channel in (COLLECTIVE, MESSAGES):
                made = _reach(places[peer], deadline)
                made.sendall(_HELLO.pack(hello, rank, channel))
                channels[channel][peer] = made
        _accept(listener, channels, rank, hello, deadline)
    finally:
        listener.close()
    areas = shared_areas(channels[COLLECTIVE], rank) if _is_local(listener) and size > 1 else None
    for row in channels:
        for made in row:
            if made is not None:
                _prepare(made)
    return channels, areas


def _is_local(listener: socket.socket) -> bool:
    return hasattr(socket, "AF_UNIX") and listener.family == socket.AF_UNIX


def _exchanged(store: Store, what: str, rank: int, size: int, own: object, deadline: float) -> list:
    """What each rank has to say. DistBackendError when some say nothing."""
    store.set(f"{what}/{rank}", encoded(own))
    keys = [f"{what}/{peer}" for peer in range(size)]
    if not store._await(keys, max(0.0, deadline - time.monotonic())):
        absent = [peer for peer in range(size) if not store.check([keys[peer]])]
        raise _absent(absent, size)
    return [decoded(value) for value in store.multi_get(keys)]


def _absent(ranks: list[int], size: int) -> DistBackendError:
    return DistBackendError(
        f"of the {size} processes of the group, {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks))} did not come within the timeout",
        help="start them all, with the same world_size and address; timeout= gives them longer",
    )


def _listener(store: Store, near: bool) -> socket.socket:
    """A socket others can reach: within this machine where all of them are on it."""
    if near and sys.platform == "linux":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"\0lamina-{secrets.token_hex(16)}")
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1" if near else _address(store), 0))
    listener.listen(1024)
    return listener


def _address(store: Store) -> str:
    """This machine's address for the others: that of the interface they name, or that on the store's network."""
    name = os.environ.get(_INTERFACE)
    if name:
        return _address_of(name.split(",")[0])
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    if isinstance(store, TCPStore) and ":" not in store.local_address() and not store.local_address().startswith("127."):
        return store.local_address()
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError as error:
        raise DistNetworkError(f"this machine does not know its own address: {error}", help=f"name its network interface: {_INTERFACE}=eth0") from None


def _address_of(interface: str) -> str:
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", interface.encode()[:15]))  # SIOCGIFADDR
        return socket.inet_ntoa(answer[20:24])
    except (ImportError, OSError) as error:
        raise DistNetworkError(f"{_INTERFACE} names {interface}, which has no address: {error}", help="`ip addr` lists the interfaces") from None


def _reach(place: object, deadline: float) -> socket.socket:
    local = isinstance(place, bytes)
    made = socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(max(0.05, deadline - time.monotonic()))
    try:
        made.connect(place if local else tuple(place))  # type: ignore[arg-type]  # a pair of address and port
    except OSError as error:
        made.close()
        raise DistNetworkError(
            f"cannot reach the process at {place!r}: {error}", help=f"check the firewall between the machines, or name another network: {_INTERFACE}=eth0"
        ) from None
    return made


def _accept(listener: socket.socket, channels: Channels, rank: int, secret: bytes, deadline: float) -> None:
    """Take the calls of the ranks above. Who does not know the secret is sent away."""
    size = len(channels[0])
    while any(row[peer] is None for row in channels for peer in range(rank + 1, size)):
        listener.settimeout(max(0.05, deadline - time.monotonic()))
        try:
            made, _ = listener.accept()
        except TimeoutError:
            raise _absent([p for p in range(rank + 1, size) if any(row[p] is None for row in channels)], size) from None
        made.settimeout(5.0)
        try:
            said = made.recv(_HELLO.size, socket.MSG_WAITALL)
            found, peer, channel = _HELLO.unpack(said)
        except (OSError, struct.error):
            made.close()
            continue
        fits = secrets.compare_digest(found, secret) and rank < peer < size and channel in (COLLECTIVE, MESSAGES)
        if not fits or channels[channel][peer] is not None:
            made.close()
            continue
        channels[channel][peer] = made


def _prepare(made: socket.socket) -> None:
    made.setblocking(False)
    if made.family != getattr(socket, "AF_UNIX", None):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        made.setsockopt(socket.SOL_SOCKET, option, BUFFER)
