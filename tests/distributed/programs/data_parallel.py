"""DistributedDataParallel on two processes."""

import sys

import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

alone = "alone" in sys.argv  # the whole batches in one process
if not alone:
    dist.init_process_group("gloo")
rank, size = (0, 1) if alone else (dist.get_rank(), dist.get_world_size())


class Net(nn.Module):
    def __init__(self, norm=True):
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16) if norm else nn.LayerNorm(16)
        self.last = nn.Linear(16, 3)
        self.extra = nn.Linear(2, 2)

    def forward(self, x, extra=False):
        y = self.last(torch.relu(self.norm(self.first(x))))
        return y + self.extra(torch.ones(2)).sum() if extra else y


def train(model, steps, **options):
    """Losses of the whole batch: the mean of all ranks'."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        x, y = torch.randn(12, 8, generator=generator), torch.randint(0, 3, (12,), generator=generator)
        loss = F.cross_entropy(model(x[rank::size], **options), y[rank::size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = loss.detach() / size
        if not alone:
            dist.all_reduce(total)
        print(f"loss {total.item():.5f}")


torch.manual_seed(3 + 10 * rank)  # other weights on each rank: rank 0's are everybody's
net = Net(norm=False)
train(net if alone else DDP(net), 4, extra=True)
if alone:
    sys.exit()

model = DDP(Net(), find_unused_parameters=True)
print(list(model.state_dict())[:2], model.module.first.weight.sum())
train(model, 3)
print([p.grad is None for p in model.parameters()])
train(model, 2, extra=True)
print([p.grad is None for p in model.parameters()])
print(model.module.norm.num_batches_tracked, f"{model.module.norm.running_mean.sum().item():.5f}")
train(DDP(Net(), static_graph=True, bucket_cap_mb=0.0001), 3)

# -- accumulation
linear = nn.Linear(4, 2)
model = DDP(linear)
with model.no_sync():
    model(torch.ones(1, 4) * (rank + 1)).sum().backward()
print(linear.weight.grad[0])
model(torch.ones(1, 4) * 3).sum().backward()
print(linear.weight.grad[0])
kept = linear.weight.grad
model(torch.ones(1, 4) * (rank + 1)).sum().backward()
print(kept[0], kept is linear.weight.grad)

# -- parameters that were not used
model = DDP(Net())
try:
    for _ in range(2):
        model(torch.randn(4, 8)).sum().backward()
except RuntimeError as error:
    print(str(error)[:70])

# -- hooks
def bf16_hook(state, bucket):
    """Under a name of its own: builds of PyTorch without NCCL refuse this one by name."""
    return default_hooks.bf16_compress_hook(state, bucket)


for hook in (default_hooks.allreduce_hook, default_hooks.fp16_compress_hook, bf16_hook):
    linear = nn.Linear(4, 2)
    model = DDP(linear)
    model.register_comm_hook(None, hook)
    model(torch.ones(1, 4) * (rank + 1)).sum().backward()
    print(linear.weight.grad[0])


def signs(state, bucket):
    """Half of what the ranks say, by majority of signs."""
    state.append((bucket.index(), bucket.is_last(), len(bucket.parameters())))
    return dist.all_reduce(bucket.buffer().sign_(), async_op=True).get_future().then(lambda future: future.value()[0] / 2)


seen = []
linear = nn.Linear(4, 2, bias=False)
model = DDP(linear)
model.register_comm_hook(seen, signs)
model(torch.ones(1, 4) * (rank - 0.5)).sum().backward()
print(linear.weight.grad[0], seen)

# -- other numbers of batches
for by_all in (True, False):
    torch.manual_seed(0)
    model = DDP(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with model.join(divide_by_initial_world_size=by_all):
        for k in range(2 + 2 * rank):
            loss = model(torch.ones(2, 4) * torch.tensor([[k], [rank + 1.0]])).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"{sum(p.sum() for p in model.parameters()).item():.4f}")

# -- shares of a data set
data = TensorDataset(torch.arange(11))
sampler = DistributedSampler(data)
for epoch in range(2):
    sampler.set_epoch(epoch)
    print([batch.tolist() for (batch,) in DataLoader(data, 3, sampler=sampler)])
print(len(sampler), sampler.num_replicas, sampler.rank)


def refused(kind, call):
    try:
        call()
    except kind as error:
        print(kind.__name__, str(error)[:60])


refused(RuntimeError, lambda: DDP(nn.ReLU()))
refused(ValueError, lambda: DDP(nn.Linear(2, 2), device_ids=[0]))
refused(ValueError, lambda: DDP(nn.Linear(2, 2), device_ids=[0, 1]))
print(type(nn.DataParallel(nn.Linear(2, 2)).module).__name__)
dist.destroy_process_group()
