"""Rendezvous: from the address a program gives to the store where its processes meet, and to this one's rank."""

from __future__ import annotations

import os
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from .file_store import FileStore
from .stores import Store
from .tcp_store import TCPStore

AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Set to True where the launcher keeps the store, not the process of rank 0."""


def rendezvous(url: str, rank: int = -1, world_size: int = -1, timeout: timedelta = timedelta(minutes=30)) -> tuple[Store, int, int]:
    """Store, rank and world size. url: ``env://`` (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), ``tcp://host:port``, ``file:///path``.

    ValueError where something is missing; RuntimeError for another scheme.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    kept_elsewhere = False
    if parts.scheme == "env":
        rank = int(query["rank"]) if "rank" in query else rank if rank >= 0 else int(_variable("RANK"))
        world_size = int(query["world_size"]) if "world_size" in query else world_size if world_size > 0 else int(_variable("WORLD_SIZE"))
        host, port = _variable("MASTER_ADDR"), int(_variable("MASTER_PORT"))
        kept_elsewhere = os.environ.get(AGENT_STORE) == "True"
    elif parts.scheme in ("tcp", "file"):
        rank, world_size = int(query.get("rank", rank)), int(query.get("world_size", world_size))
        if rank < 0:
            raise ValueError(f"Error initializing torch.distributed using {parts.scheme}:// rendezvous: rank parameter missing")
        if world_size < 1:
            raise ValueError(f"Error initializing torch.distributed using {parts.scheme}:// rendezvous: world size parameter missing")
        if parts.scheme == "file":
            path = parts.netloc + parts.path
            if not path:
                raise ValueError("Error initializing torch.distributed using file:// rendezvous: path missing")
            return FileStore(path, world_size), rank, world_size
        if not parts.port or not parts.hostname:
            raise ValueError("Error initializing torch.distributed using tcp:// rendezvous: port number missing")
        host, port = parts.hostname, parts.port
    else:
        raise RuntimeError(f"No rendezvous handler for {parts.scheme}://")
    store = TCPStore(host, port, world_size, rank == 0 and not kept_elsewhere, timeout, wait_for_workers=False, multi_tenant=True)
    return store, rank, world_size


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError(
            f"Error initializing torch.distributed using env:// rendezvous: environment variable {name} expected, but not set "
            "(`lamina run --nproc-per-node N SCRIPT` sets it for every process it starts)"
        )
    return value
