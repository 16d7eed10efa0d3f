"""Several processes train one network: a CNN on scikit-learn's scanned digits, each process with its share of every batch.

    lamina run --nproc-per-node 2 examples/ddp.py      two processes under lamina
    torchrun --nproc-per-node 2 examples/ddp.py        the same script under PyTorch
    lamina run examples/ddp.py                         one process, with whole batches
"""

import argparse
import os

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def digits():
    """Training and held-out sets of 8 x 8 pictures."""
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    return [TensorDataset(images[part], labels[part]) for part in (order[261:], order[:261])]


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    )


def score(model, dataset):
    """The share of pictures that are recognised."""
    model.eval()
    with torch.no_grad():
        images, labels = dataset.tensors
        return (model(images).argmax(1) == labels).float().mean().item()


def evaluate(path):
    """The held-out score of saved weights."""
    model = make_model()
    model.load_state_dict(torch.load(path))
    return score(model, digits()[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64, help="pictures of all processes together")
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each step")
    parser.add_argument("--weights", metavar="FILE", default="ddp.pt")
    options = parser.parse_args()

    if "RANK" in os.environ:  # a launcher started this process
        dist.init_process_group("gloo")
    together = dist.is_initialized()
    rank, size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    torch.manual_seed(rank)  # other weights in each process: those of rank 0 are everybody's
    train, held_out = digits()
    network = make_model()
    model = DistributedDataParallel(network) if together else network
    sampler = DistributedSampler(train, num_replicas=size, rank=rank, seed=1)
    loader = DataLoader(train, batch_size=options.batch // size, sampler=sampler)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(1, options.epochs + 1):
        sampler.set_epoch(epoch)
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            mean = loss.detach() / size
            if together:
                dist.all_reduce(mean)  # of all processes
            losses.append(mean.item())
        if rank == 0:
            print(f"epoch {epoch}: training loss {np.mean(losses[-len(loader):]):.4f}, held-out accuracy {score(network, held_out):.4f}")
    if rank == 0:
        torch.save(network.state_dict(), options.weights)
        if options.losses:
            np.savetxt(options.losses, losses)
        print(f"final score: {score(network, held_out):.4f}")
    if together:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
