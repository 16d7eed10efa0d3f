"""torchvision.datasets: the public names."""

from __future__ import annotations

from .cifar import CIFAR10, CIFAR100
from .dataset import FakeData, VisionDataset
from .folder import DatasetFolder, ImageFolder
from .mnist import EMNIST, KMNIST, MNIST, FashionMNIST

__all__ = [
    "CIFAR10", "CIFAR100", "DatasetFolder", "EMNIST", "FakeData", "FashionMNIST", "ImageFolder", "KMNIST", "MNIST",
    "VisionDataset",
]  # fmt: skip
