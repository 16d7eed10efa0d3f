"""Collectives with a derivative."""

from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import nn as dist_nn

dist.init_process_group("gloo", timeout=timedelta(seconds=60))
rank = dist.get_rank()
weights = torch.arange(1.0, 4.0) * (rank + 1)


def report(name, result, x):
    (result * weights).sum().backward()
    print(name, result.tolist(), x.grad.tolist())


def value():
    return (torch.arange(3.0) + 10 * rank).requires_grad_()


x = value()
report("all_reduce", dist_nn.all_reduce(x * x), x)
x = value()
first, second = dist_nn.all_gather(x * x)
report("all_gather", first + 2 * second, x)
x = value()
report("broadcast", dist_nn.broadcast(x * x, 1), x)
x = value()
result = dist_nn.reduce(x * x, 0)
(result * weights).sum().backward()
print("reduce", result.tolist() if rank == 0 else "", x.grad.tolist())
x = value()
report("reduce_scatter", dist_nn.reduce_scatter(torch.zeros(3), [x * x, x * 2]), x)
if rank == 0:
    print(torch.distributed.nn.functional.all_reduce is dist_nn.all_reduce)
dist.destroy_process_group()
