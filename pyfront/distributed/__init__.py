"""torch.distributed: processes that work together over sockets of their own: collectives, messages, plain objects, stores."""

from . import collectives, messages, objects, world
from .collectives import *  # noqa: F403  # public here
from .errors import (  # noqa: F401  # public here
    DistBackendError, DistError, DistNetworkError, DistQueueEmptyError, DistStoreError,
)  # fmt: skip
from .file_store import FileStore
from .messages import *  # noqa: F403  # public here
from .objects import *  # noqa: F403  # public here
from .process_group import ProcessGroup
from .reduce_ops import ReduceOp, supports_complex
from .rendezvous import rendezvous
from .stores import HashStore, PrefixStore, Store
from .tcp_store import TCPStore
from .work import Work
from .world import *  # noqa: F403  # public here

reduce_op = ReduceOp  # PyTorch's old name

__all__ = sorted({
    *collectives.__all__, *messages.__all__, *objects.__all__, *world.__all__, "DistBackendError", "DistError", "DistNetworkError",
    "DistQueueEmptyError", "DistStoreError", "FileStore", "HashStore", "PrefixStore", "ProcessGroup", "ReduceOp", "Store", "TCPStore", "Work",
    "reduce_op", "rendezvous", "supports_complex",
})  # fmt: skip
