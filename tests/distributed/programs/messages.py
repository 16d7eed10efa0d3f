"""Messages between two processes, objects, stores."""

from datetime import timedelta

import torch
import torch.distributed as dist

dist.init_process_group("gloo", timeout=timedelta(seconds=60))
rank, size = dist.get_rank(), dist.get_world_size()
other = 1 - rank

if rank == 0:
    dist.send(torch.arange(3.0), 1)
    works = [dist.isend(torch.arange(3.0) * k, 1, tag=k) for k in (7, 8)]
    print([work.wait() for work in works])
else:
    t = torch.zeros(3)
    print(dist.recv(t), t)
    for tag in (8, 7):  # in another order than they were sent
        print(dist.recv(t, 0, tag=tag), t)
t = torch.zeros(2, 2)
work = dist.irecv(t, other)
dist.isend(torch.ones(2, 2) * (rank + 5), other).wait()
work.wait()
print(t)
big = torch.zeros(500000)
work = dist.irecv(big, src=other)
dist.send(torch.ones(500000) * rank, other)  # both send before either has received
work.wait()
print(big.sum())
a, b = torch.zeros(2), torch.ones(2) * rank
for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, b, other), dist.P2POp(dist.irecv, a, other)]):
    work.wait()
print(a)

things = [None] * size
dist.all_gather_object(things, {"rank": rank, "x": [1, 2.5, "é", b"\x00", None], "t": (True, 10**30, 1j), "s": {3}, "tensor": torch.arange(rank + 1)})
print(things)
things = [rank, "a", {"b": rank}] if rank == 0 else [None] * 3
dist.broadcast_object_list(things, src=0)
print(things)
things = [None] * size if rank == 1 else None
dist.gather_object(("from", "x" * rank), things, dst=1)
print(things)
things = [None]
dist.scatter_object_list(things, ["first", {"second": [2]}] if rank == 0 else None, src=0)
print(things)
if rank == 0:
    dist.send_object_list([1, "two"], dst=1)
else:
    things = [None, None]
    print(dist.recv_object_list(things, src=0), things)

dist.barrier()
dist.destroy_process_group()
