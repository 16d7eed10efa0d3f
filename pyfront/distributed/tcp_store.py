"""TCPStore: a store that one process keeps and all others reach by its address and port."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from .errors import DistNetworkError
from .plain_data import DamagedError, decoded, encoded
from .stores import DEFAULT_TIMEOUT, Store, Table, until

_LENGTH = struct.Struct("<4sI")
_MARK = b"lams"
_LARGEST = 1 << 28  # bytes of one request
_WORKERS = "init/workers"
_SLACK = 5.0  # seconds an answer may be late


class _Client:
    """One connection as the server sees it: what came and is not a whole request yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.received = connection, bytearray()


class Server:
    """Keeps a table and answers requests, in a thread. Names that are not there yet are waited for without blocking anybody.

    listener: a bound socket, which the server owns from now on.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.table = Table()
        self.address, self.port = listener.getsockname()[:2]
        self._listener, self._waiting = listener, []  # type: socket.socket, list[tuple[_Client, list[str], float]]
        listener.listen(512)
        self._wake, self._woken = socket.socketpair()
        self._poller = selectors.DefaultSelector()
        self._poller.register(listener, selectors.EVENT_READ)
        self._poller.register(self._woken, selectors.EVENT_READ)
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._serve, name=f"lamina-store-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server; connections to it end, too."""
        if os.getpid() == self._owner and self._thread.is_alive():
            self._wake.send(b"x")
            self._thread.join()

    def let_go(self) -> None:
        """In a forked child: close the copies of its sockets."""
        for key in list(self._poller.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # all of them are sockets
        self._wake.close()

    def _serve(self) -> None:
        while True:
            soonest = min((deadline for _, _, deadline in self._waiting), default=None)
            for key, _ in self._poller.select(None if soonest is None else max(0.0, soonest - time.monotonic())):
                if key.fileobj is self._woken:
                    for other in list(self._poller.get_map().values()):
                        other.fileobj.close()  # type: ignore[union-attr]  # all of them are sockets
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            self._answer_waiting()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again
            return
        connection.settimeout(_SLACK)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller.register(connection, selectors.EVENT_READ, _Client(connection))

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(1 << 16)
            client.received += data
            while data and len(client.received) >= _LENGTH.size:
                mark, length = _LENGTH.unpack_from(client.received)
                if mark != _MARK or length > _LARGEST:
                    raise DamagedError("not a request")
                if len(client.received) < _LENGTH.size + length:
                    return
                request = decoded(bytes(client.received[_LENGTH.size : _LENGTH.size + length]))
                del client.received[: _LENGTH.size + length]
                self._answer(client, request)
        except (OSError, DamagedError, KeyError, TypeError, ValueError):
            data = b""
        if not data:  # it ended, or is none of ours
            self._waiting = [entry for entry in self._waiting if entry[0] is not client]
            self._poller.unregister(client.connection)
            client.connection.close()

    def _answer(self, client: _Client, request: list) -> None:
        do, key, *arguments = request
        if do == "await":
            self._waiting.append((client, key, time.monotonic() + arguments[0]))
        else:
            _send(client.connection, self.table.apply(do, key, *arguments))

    def _answer_waiting(self) -> None:
        now, left = time.monotonic(), []
        for client, keys, deadline in self._waiting:
            there = self.table.has(keys)
            if not there and now < deadline:
                left.append((client, keys, deadline))
                continue
            try:
                _send(client.connection, there)
            except OSError:
                pass  # its end is seen when it is read
        self._waiting = left


def _send(connection: socket.socket, value: Any) -> None:
    data = encoded(value)
    connection.sendall(_LENGTH.pack(_MARK, len(data)) + data)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionResetError("it was closed")
        data += piece
    return bytes(data)


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to a port (0: a free one), on this machine only where `host` is this machine's own address.

    DistNetworkError when the port is taken.
    """
    own = host in ("localhost", "127.0.0.1", "::1")
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((("::1" if host == "::1" else "127.0.0.1") if own else "", port))
    except OSError as error:
        listener.close()
        raise DistNetworkError(
            f"The server socket has failed to listen on port {port}: {error.strerror}", help="choose another port: 0 is any free one"
        ) from None
    return listener


_servers: dict[int, Server] = {}  # of this process, by port: several stores may share one


class TCPStore(Store):
    """A store at ``host_name:port``. is_master: this process keeps it (port 0: any free one). world_size: how many processes come.

    The master returns once all have come, if `wait_for_workers` and the world_size is known. DistNetworkError when nobody answers there
    within the timeout.
    """

    def __init__(
        self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False, timeout: timedelta = DEFAULT_TIMEOUT,
        wait_for_workers: bool = True, multi_tenant: bool = False, master_listen_fd: int | None = None, use_libuv: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(timeout)
        self.host, self.world_size, self._server, self._lock = host_name, world_size, None, threading.Lock()
        if is_master:
            if multi_tenant and port in _servers:
                self._server = _servers[port]
            else:
                listener = socket.socket(fileno=master_listen_fd) if master_listen_fd is not None else listening(host_name, port)
                self._server = Server(listener)
                _servers[self._server.port] = self._server
            port = self._server.port
        self._port = port
        self._connection = self._connect(time.monotonic() + timeout.total_seconds())
        come = self.add(_WORKERS, 1)
        if is_master and wait_for_workers and world_size and come < world_size:
            self._wait_for_workers(world_size)

    def _wait_for_workers(self, world_size: int) -> None:
        if not until(lambda: int(self._do("get", _WORKERS)) >= world_size, self._timeout.total_seconds()):
            from .errors import DistStoreError

            come = int(self._do("get", _WORKERS))
            raise DistStoreError(
                f"Timed out after {self._timeout.total_seconds():g} seconds waiting for clients. {come}/{world_size} clients joined.",
                help="start as many processes as world_size says",
            )

    def _connect(self, deadline: float) -> socket.socket:
        while True:
            try:
                connection = socket.create_connection((self.host, self._port), max(0.05, min(5.0, deadline - time.monotonic())))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise DistNetworkError(
                        f"The client socket has timed out after {round(self._timeout.total_seconds() * 1000)}ms while trying to connect to "
                        f"({self.host}, {self._port}): {error}",
                        help="start the process of rank 0 there, and check address, port and firewall",
                    ) from None
                time.sleep(0.02)

    @property
    def port(self) -> int:
        """The port the store is at."""
        return self._port

    @property
    def libuvBackend(self) -> bool:
        """False: there is no libuv here."""
        return False

    def local_address(self) -> str:
        """The address of this machine on the network the store is on."""
        return self._connection.getsockname()[0]

    def _do(self, do: str, key: Any, *arguments: Any) -> Any:
        return self._ask([do, key, *arguments], self._timeout.total_seconds())

    def _await(self, keys: Sequence[str], seconds: float) -> bool:
        return self._ask(["await", list(keys), seconds], seconds)

    def _ask(self, request: list, seconds: float) -> Any:
        with self._lock:
            try:
                self._connection.settimeout(seconds + _SLACK)
                _send(self._connection, request)
                mark, length = _LENGTH.unpack(_exactly(self._connection, _LENGTH.size))
                if mark != _MARK or length > _LARGEST:
                    raise ConnectionResetError("something else answers there")
                return decoded(_exactly(self._connection, length))
            except (OSError, DamagedError) as error:
                raise DistNetworkError(
                    f"the store at {self.host}:{self._port} does not answer: {error}", help="the process that keeps it (rank 0, or the launcher) has ended"
                ) from None

    def close(self) -> None:
        """End the connection; the server goes on for others."""
        self._connection.close()


def stop_servers() -> None:
    """End the servers of this process."""
    for server in _servers.values():
        server.close()
    _servers.clear()


def _forked() -> None:
    for server in _servers.values():
        server.let_go()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
