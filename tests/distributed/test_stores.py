"""Stores do what PyTorch's do; waiting, timeouts, and what happens to the files and sockets of one."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lamina.distributed as ours
from lamina.pyfront.distributed.errors import DistNetworkError, DistStoreError

SHORT = timedelta(seconds=0.1)


def made(kind: str, folder: Path, library: Any = ours) -> Any:
    if kind == "file":
        return library.FileStore(str(folder / f"store{id(library)}"), 1)
    if kind == "tcp":
        return library.TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=20))
    return library.PrefixStore("part", library.HashStore()) if kind == "prefix" else library.HashStore()


def story(store: Any) -> list[Any]:
    """Everything a store can do that all kinds have in common."""
    seen: list[Any] = [store.set("a", "1"), store.get("a"), store.add("n", 3), store.add("n", -5), store.get("n"), store.check(["a", "n"])]
    seen += [store.check(["a", "none"]), store.compare_set("c", "", "x"), store.compare_set("c", "y", "z"), store.compare_set("c", "x", "z")]
    seen += [store.compare_set("d", "expected", "new"), store.check(["d"]), store.delete_key("a"), store.check(["a"]), store.set("b", b"\x00\xff")]
    return [*seen, store.get("b"), store.wait(["b", "c"]), store.wait(["b"], timedelta(seconds=1))]


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["hash", "file", "tcp", "prefix"])
def test_same_as_pytorch(kind: str, tmp_path: Path) -> None:
    theirs = pytest.importorskip("torch.distributed")
    assert story(made(kind, tmp_path)) == story(made(kind, tmp_path, theirs))


@pytest.mark.parametrize("kind", ["hash", "file", "tcp", "prefix"])
def test_waiting(kind: str, tmp_path: Path) -> None:
    store = made(kind, tmp_path)
    with pytest.raises(DistStoreError, match="wait timeout after 100ms, keys: .*absent"):
        store.wait(["absent"], SHORT)
    store.set_timeout(SHORT)
    with pytest.raises(RuntimeError, match="wait timeout"):
        store.get("absent")
    store.set_timeout(timedelta(seconds=20))
    other = ours.TCPStore("127.0.0.1", store.port) if kind == "tcp" else store
    threading.Timer(0.05, lambda: other.set("late", "here")).start()
    assert store.get("late") == b"here"
    store.queue_push("q", "1")
    assert (store.queue_len("q"), store.queue_pop("q")) == (1, b"1")
    with pytest.raises(ours.DistQueueEmptyError):
        store.queue_pop("q", block=False)
    store.append("late", "!")
    assert store.multi_get(["late", "late"]) == [b"here!", b"here!"] and store.timeout == timedelta(seconds=20)


def test_a_file_is_taken_away_by_the_last(tmp_path: Path) -> None:
    path = tmp_path / "store"
    first, second = ours.FileStore(str(path), 2), ours.FileStore(str(path), 2)
    first.set("a", "1")
    assert second.get("a") == b"1"
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()
    path.write_bytes(b"something else, long enough to be read as a record")
    with pytest.raises(RuntimeError, match="is not the file of a store"):
        ours.FileStore(str(path), 2)


def test_strangers_do_not_disturb_a_server() -> None:
    store = ours.TCPStore("127.0.0.1", 0, 1, True)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"lams\xff\xff\xff\xff", b"lams\x03\x00\x00\x00lll", b"lams" + b"\x01\x00\x00\x00N"):
        with socket.create_connection(("127.0.0.1", store.port)) as stranger:
            stranger.sendall(noise)
            stranger.settimeout(5)
            assert stranger.recv(1) == b""  # sent away
    store.set("a", "1")
    assert store.get("a") == b"1"


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(DistNetworkError, match=f"127.0.0.1, {port}"):
        ours.TCPStore("127.0.0.1", port, 2, False, timedelta(seconds=0.3))
    assert time.monotonic() - start < 5
    keeper = ours.TCPStore("127.0.0.1", 0, 2, True, timedelta(seconds=20), wait_for_workers=False)
    with pytest.raises(DistNetworkError, match="failed to listen"):
        ours.TCPStore("127.0.0.1", keeper.port, 2, True, timedelta(seconds=1))
    with pytest.raises(DistStoreError, match="1/2 clients joined"):
        ours.TCPStore("127.0.0.1", 0, 2, True, timedelta(seconds=0.2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_is_no_member() -> None:
    store = ours.TCPStore("127.0.0.1", 0, 1, True)
    ours.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        child = os.fork()
        if not child:
            os._exit(int(ours.is_initialized()))
        assert os.waitpid(child, 0)[1] == 0
        ours.barrier()
        store.set("a", "still served")
        assert store.get("a") == b"still served"
    finally:
        ours.destroy_process_group()


@pytest.mark.parametrize(
    "options, kind, text",
    [
        ({"init_method": "tcp://127.0.0.1:1"}, ValueError, "rank parameter missing"), ({"init_method": "file:///x", "rank": 0}, ValueError, "world size"),
        ({"init_method": "smoke://x"}, RuntimeError, "No rendezvous handler"), ({}, ValueError, "environment variable RANK expected, but not set"),
        ({"backend": "smoke"}, ValueError, "Unknown backend"), ({"backend": "nccl"}, RuntimeError, "no GPUs found"),
        ({"backend": "mpi"}, RuntimeError, "MPI"), ({"timeout": 3}, TypeError, "datetime.timedelta"),
    ],
)  # fmt: skip
def test_what_init_refuses(options: dict, kind: type, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(kind, match=text):
        ours.init_process_group(**options)
    assert not ours.is_initialized()
