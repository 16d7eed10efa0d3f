"""torch.distributed.algorithms.ddp_comm_hooks.default_hooks: how gradients go round, where a program wants that otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...dialects.types import DTYPES, DType
from ..tensor import Tensor
from .buckets import GradBucket
from .collectives import all_reduce
from .futures import Future
from .world import default_group

__all__ = ["allreduce_hook", "bf16_compress_hook", "bf16_compress_wrapper", "fp16_compress_hook", "fp16_compress_wrapper"]
_Hook = Callable[[Any, GradBucket], Future]


def _averaged(group: Any, buffer: Tensor) -> Future:
    members = group or default_group()
    work = all_reduce(buffer.div_(members.size()), group=members, async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future:
    """What is done without a hook: the average of all ranks."""
    return _averaged(process_group, bucket.buffer())


def _compressed(process_group: Any, bucket: GradBucket, dtype: DType) -> Future:
    wanted = bucket.buffer().dtype
    return _averaged(process_group, bucket.buffer().to(dtype)).then(lambda future: future.value().to(wanted))


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future:
    """The average of all ranks, sent as float16."""
    return _compressed(process_group, bucket, DTYPES["float16"])


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future:
    """The average of all ranks, sent as bfloat16."""
    return _compressed(process_group, bucket, DTYPES["bfloat16"])


def _wrapper(hook: _Hook, dtype: DType) -> _Hook:
    def wrapped(state: Any, bucket: GradBucket) -> Future:
        wanted = bucket.buffer().dtype
        bucket.set_buffer(bucket.buffer().to(dtype))
        return hook(state, bucket).then(lambda future: future.value().to(wanted))

    return wrapped


def fp16_compress_wrapper(hook: _Hook) -> _Hook:
    """A hook that is given float16 buckets."""
    return _wrapper(hook, DTYPES["float16"])


def bf16_compress_wrapper(hook: _Hook) -> _Hook:
    """A hook that is given bfloat16 buckets."""
    return _wrapper(hook, DTYPES["bfloat16"])
