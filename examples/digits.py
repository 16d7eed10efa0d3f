"""Handwritten digits: a small CNN trained on scanned images, in ordinary PyTorch.

    lamina run examples/digits.py                     scikit-learn's 1,797 scanned digits
    lamina run examples/digits.py --mnist DIR         MNIST's IDX files (plain or .gz)
    python examples/digits.py                         the same script under PyTorch

The trained weights are written to --weights, the loss of each step to --losses.
"""

import argparse
import gzip
import os
import struct

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

SIZE = 28


class CNN(nn.Module):
    """Three convolution blocks, dropout, two linear layers; images are float32 [n, 1, 28, 28]."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.bn3 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(2, 2)
        self.dropout = nn.Dropout(0.3)
        self.fc1 = nn.Linear(64 * 3 * 3, 128)
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        x = self.pool(F.relu(self.bn3(self.conv3(x))))
        x = x.view(x.size(0), -1)
        x = self.dropout(F.relu(self.fc1(x)))
        return self.fc2(x)


class Digits(Dataset):
    """Images float32 [1, 28, 28] around zero, and labels."""

    def __init__(self, images, labels):
        self.images = (images.astype(np.float32) - 0.1307) / 0.3081
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return torch.from_numpy(self.images[index][None]), int(self.labels[index])


def resize(images, size):
    """Bilinear resize of images [n, h, w] to [n, size, size], pixel centres aligned."""
    h, w = images.shape[1:]

    def weights(old):
        centre = (np.arange(size) + 0.5) * old / size - 0.5
        low = np.clip(np.floor(centre), 0, old - 2).astype(int)
        fraction = np.clip(centre - low, 0, 1)
        matrix = np.zeros((size, old))
        matrix[np.arange(size), low] = 1 - fraction
        matrix[np.arange(size), low + 1] += fraction
        return matrix

    return np.einsum("ih,nhw,jw->nij", weights(h), images, weights(w))


def scanned_digits():
    """scikit-learn's bundled digits, one in five held out."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    random = np.random.RandomState(0)
    images, labels = resize(bundle.images / 16.0, SIZE), bundle.target
    # The scans have 17 grey levels. Noise of one level takes the plateaus away, and with them the exact ties in max pooling
    # whose winner, and so whose gradient, only rounding decides.
    images += random.uniform(0, 1 / 16, images.shape)
    order = random.permutation(len(labels))
    held_out = len(labels) // 5
    test, train = order[:held_out], order[held_out:]
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])


def read_idx(folder, name):
    """One IDX file of bytes."""
    path = os.path.join(folder, name)
    opened = gzip.open(path + ".gz", "rb") if not os.path.exists(path) else open(path, "rb")
    with opened as file:
        _, _, kind, rank = struct.unpack(">BBBB", file.read(4))
        if kind != 8:
            raise ValueError(f"{path}: element type {kind:#x} is not bytes")
        shape = struct.unpack(f">{rank}I", file.read(4 * rank))
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def mnist(folder):
    """MNIST's training and test files."""

    def half(prefix):
        images = read_idx(folder, f"{prefix}-images-idx3-ubyte")
        return Digits(images / 255.0, read_idx(folder, f"{prefix}-labels-idx1-ubyte").astype(np.int64))

    return half("train"), half("t10k")


def train_epoch(model, loader, criterion, optimizer, losses):
    model.train()
    running_loss, correct, total = 0.0, 0, 0
    for images, labels in tqdm(loader, desc="training", leave=False):
        outputs = model(images)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        losses.append(loss.item())
        running_loss += losses[-1] * images.size(0)
        _, predicted = torch.max(outputs, 1)
        total += labels.size(0)
        correct += (predicted == labels).sum().item()
    return running_loss / total, correct / total


@torch.no_grad()
def evaluate(model, loader, criterion):
    model.eval()
    running_loss, correct, total = 0.0, 0, 0
    for images, labels in loader:
        outputs = model(images)
        running_loss += criterion(outputs, labels).item() * images.size(0)
        _, predicted = torch.max(outputs, 1)
        total += labels.size(0)
        correct += (predicted == labels).sum().item()
    return running_loss / total, correct / total


def main():
    parser = argparse.ArgumentParser(description="Train a small CNN on handwritten digits.")
    parser.add_argument("--mnist", metavar="DIR", help="a folder with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each training step")
    parser.add_argument("--weights", metavar="FILE", default="digits.pt", help="where the trained weights go")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train_set, test_set = mnist(options.mnist) if options.mnist else scanned_digits()
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=64)
    print(f"{len(train_set)} training images, {len(test_set)} held out")

    model = CNN()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)

    losses = []
    for epoch in range(1, options.epochs + 1):
        train_loss, train_accuracy = train_epoch(model, train_loader, criterion, optimizer, losses)
        test_loss, test_accuracy = evaluate(model, test_loader, criterion)
        scheduler.step()
        print(
            f"epoch {epoch}: training loss {train_loss:.4f}, accuracy {train_accuracy:.2%}; "
            f"held out {test_loss:.4f}, {test_accuracy:.2%}"
        )

    torch.save(model.state_dict(), options.weights)
    again = CNN()
    again.load_state_dict(torch.load(options.weights))
    print(f"held-out accuracy of the saved weights: {evaluate(again, test_loader, criterion)[1]:.2%}")
    if options.losses:
        with open(options.losses, "w") as file:
            file.writelines(f"{loss!r}\n" for loss in losses)


if __name__ == "__main__":
    main()
