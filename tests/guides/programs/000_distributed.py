import os
import socket
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel as DDP


class SimpleNet(nn.Module):
    def __init__(self):
        super(SimpleNet, self).__init__()
        self.fc1 = nn.Linear(784, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x.view(-1, 784))))


def work(rank, folder):
    """What each process runs; the guide's snippet with gloo in place of nccl."""
    os.environ["RANK"] = str(rank)
    torch.manual_seed(rank)
    model = SimpleNet()

    # 初始化分布式环境
    dist.init_process_group(backend='gloo', init_method='env://')
    local_rank = torch.distributed.get_rank()
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)

    # 模型移至对应GPU并包裹DDP
    model = DDP(model)

    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    lines = [f"rank {local_rank} of {dist.get_world_size()} ({dist.get_backend()})"]
    generator = torch.Generator().manual_seed(local_rank)
    for step in range(5):
        data, target = torch.randn(16, 1, 28, 28, generator=generator), torch.randint(0, 10, (16,), generator=generator)
        optimizer.zero_grad()
        loss = criterion(model(data), target)
        loss.backward()
        optimizer.step()
        lines.append(f"  step {step}: loss {loss.item():.4f}")
    total = sum(p.double().sum() for p in model.module.parameters()).detach()
    both = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
    dist.all_gather(both, total)
    lines.append(f"  the same weights everywhere: {bool(both[0] == both[1])}")
    with open(os.path.join(folder, f"rank{rank}.txt"), "w") as file:
        file.write("\n".join(lines))
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(work, (folder,), nprocs=2, start_method="fork")
        for rank in range(2):
            with open(os.path.join(folder, f"rank{rank}.txt")) as file:
                print(file.read())

    # 数据并行(DataParallel): where there is no GPU it is the module itself
    torch.manual_seed(0)
    model = nn.DataParallel(SimpleNet())
    print(f"{model(torch.ones(2, 784)).sum().item():.4f}", len(model.state_dict()))
