"""Every collective, on two processes."""

from datetime import timedelta

import torch
import torch.distributed as dist

assert dist.is_available() and not dist.is_initialized()
dist.init_process_group("gloo", timeout=timedelta(seconds=60))
rank, size = dist.get_rank(), dist.get_world_size()
print(rank, size, dist.get_backend(), dist.is_initialized(), dist.get_process_group_ranks(dist.group.WORLD))

# -- everything to everybody
t = torch.arange(5.0) + rank
print(dist.all_reduce(t), t)
for op in (dist.ReduceOp.MAX, dist.ReduceOp.MIN, dist.ReduceOp.PRODUCT, dist.ReduceOp.BAND, dist.ReduceOp.BOR, dist.ReduceOp.BXOR):
    t = torch.tensor([[1, 2, 3], [7, 5, 9]]) + 2 * rank
    dist.all_reduce(t, op=op)
    print(t)
for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.uint8):
    t = torch.tensor([1, 2, 3], dtype=dtype) * (rank + 1)
    dist.all_reduce(t)
    print(t)
z = torch.tensor([1 + 2j, 3j]) * (rank + 1)
dist.all_reduce(z)
print(z)
large = torch.arange(300001.0) * (rank + 1)  # round the ring
dist.all_reduce(large)
print(large[:2], large[-2:], bool((large == torch.arange(300001.0) * 3).all()))
work = dist.all_reduce(large, async_op=True)
small = torch.ones(1)
other = dist.all_reduce(small, async_op=True)
print(other.wait(), work.wait(), work.is_completed(), small, large[-1])
view = torch.zeros(3, 4)
dist.all_reduce(view[1].add_(rank + 1))  # a part of a memory
print(view)
weight = torch.nn.Parameter(torch.ones(2) * rank)
dist.all_reduce(weight)
print(weight)
many = [torch.ones(2) * rank, torch.ones(3, 1)]
dist.all_reduce_coalesced(many)
print(many)

# -- one to all, all to one
for dst in range(2):
    t = torch.ones(2) * (rank + 1)
    dist.reduce(t, dst)
    print(t if rank == dst else "")
for src in range(2):
    t = torch.full((2, 2), float(rank))
    dist.broadcast(t, src)
    print(t)
t = torch.arange(70000) * (rank + 1)
dist.broadcast(t, src=1)
print(t[-1])
gathered = [torch.zeros(2, 2) for _ in range(size)]
dist.all_gather(gathered, torch.full((2, 2), rank + 1.0))
print(gathered)
into = torch.zeros(2 * size)
dist.all_gather_single(into, torch.tensor([rank, rank + 10.0]))
print(into)
received = [torch.zeros(1) for _ in range(size)] if rank == 1 else None
dist.gather(torch.tensor([rank + 0.5]), received, dst=1)
print(received)
t = torch.zeros(2)
dist.scatter(t, [torch.ones(2) * (k + 5) for k in range(size)] if rank == 0 else None, src=0)
print(t)

# -- parts
t = torch.zeros(2)
dist.reduce_scatter(t, [torch.ones(2) * k + rank for k in range(size)])
print(t)
t = torch.zeros(2, 2)
dist.reduce_scatter_single(t, torch.arange(8.0).view(4, 2) + rank)
print(t)
out = [torch.zeros(2) for _ in range(size)]
dist.all_to_all(out, [torch.ones(2) * (10 * rank + k) for k in range(size)])
print(out)
t = torch.zeros(4)
dist.all_to_all_single(t, torch.arange(4.0) + 10 * rank)
print(t)
t = torch.zeros(1 + 3 if rank == 0 else 2 + 1)
dist.all_to_all_single(t, torch.arange(3.0 if rank == 0 else 4.0) + 10 * rank, [1, 3] if rank == 0 else [2, 1], [1, 2] if rank == 0 else [3, 1])
print(t)

# -- groups
alone = dist.new_group([1])
print(dist.get_rank(alone), dist.get_world_size(alone), alone == dist.GroupMember.NON_GROUP_MEMBER)
both = dist.new_group(timeout=timedelta(seconds=30))
t = torch.ones(1)
dist.all_reduce(t, group=both)
print(t, dist.get_global_rank(both, 1), dist.get_group_rank(both, 0))
dist.barrier()
dist.monitored_barrier(timeout=timedelta(seconds=30))


# -- what is refused
def refused(kind, call, shown=60):
    try:
        call()
    except kind as error:
        print(kind.__name__, str(error).split("\n")[0][:shown])


refused(ValueError, lambda: dist.init_process_group("gloo"))
refused(TypeError, lambda: dist.all_reduce([1.0]))
refused(TypeError, lambda: dist.all_gather(torch.ones(2), torch.ones(2)))
refused(ValueError, lambda: dist.all_gather([torch.ones(2), torch.ones(2)], torch.ones(2, dtype=torch.float64)))
refused(ValueError, lambda: dist.all_reduce(z, op=dist.ReduceOp.MAX))
refused(ValueError, lambda: dist.gather(t, None if rank == 0 else [t], dst=0))
refused(RuntimeError, lambda: dist.broadcast(t, 7), 0)
refused(ValueError, lambda: dist.send(t, rank))
refused(ValueError, lambda: dist.new_group([0, 5]))
refused(ValueError, lambda: dist.Backend(3))
dist.destroy_process_group()
print(dist.is_initialized())
refused(ValueError, lambda: dist.all_reduce(t))
refused(ValueError, lambda: dist.get_rank())
refused(ValueError, lambda: torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1)))
refused(ValueError, lambda: torch.utils.data.distributed.DistributedSampler(range(4)))
