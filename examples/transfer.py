"""Transfer learning: a small ResNet has learned the digits 0 to 4; with a new head, then layer by layer, it learns 5 to 9.

    lamina run examples/transfer.py         under lamina (needs lamina[vision] and scikit-learn)
    python examples/transfer.py             the same script under PyTorch and torchvision
"""

import argparse
import os

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, ResNet

MEAN, STD = [0.306] * 3, [0.376] * 3


class Digits(Dataset):
    """Some digits of scikit-learn's scans as RGB pictures; labels count from 0."""

    def __init__(self, digits, held_out, transform):
        bundle = load_digits()
        chosen = [i for i, label in enumerate(bundle.target) if label in digits]
        self.indices = [i for n, i in enumerate(chosen) if (n % 5 == 0) == held_out]
        self.images, self.labels, self.first = bundle.images, bundle.target, min(digits)
        self.transform = transform

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        at = self.indices[index]
        image = Image.fromarray((self.images[at] * 15.9).astype(np.uint8)).convert("RGB")
        return self.transform(image), int(self.labels[at]) - self.first


plain = transforms.Compose([transforms.Resize(32), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
augmented = transforms.Compose(
    [
        transforms.Resize(36),
        transforms.RandomCrop(32),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
        # Scans of 17 grey levels have plateaus, where only rounding decides which of equal values a max pool takes.
        transforms.Lambda(lambda x: x + 0.05 * torch.randn(x.shape)),
    ]
)


def make_model():
    """The network with its new head."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    model.fc = nn.Sequential(nn.Linear(model.fc.in_features, 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 5))
    return model


def progressive_unfreeze(model, epoch, total_epochs):
    """More layers learn in the second half, more again in the last quarter."""
    if epoch >= total_epochs * 0.5:
        for param in model.layer4.parameters():
            param.requires_grad = True
    if epoch >= total_epochs * 0.75:
        for param in model.layer3.parameters():
            param.requires_grad = True


def train_epoch(model, loader, criterion, optimizer, losses):
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())


@torch.no_grad()
def score(model, dataset):
    """Accuracy."""
    model.eval()
    correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in DataLoader(dataset, batch_size=64))
    return correct / len(dataset)


def evaluate(path):
    """The held-out accuracy of saved weights."""
    model = make_model()
    model.load_state_dict(torch.load(path))
    return score(model, Digits(range(5, 10), True, plain))


def learn_source(path, seed, criterion):
    """The network that knows 0 to 4, as a state dict in a file."""
    torch.manual_seed(seed)
    source = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    optimizer = optim.SGD(source.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(Digits(range(5), False, augmented), batch_size=32, shuffle=True, drop_last=True)
    for _ in range(2):
        train_epoch(source, loader, criterion, optimizer, [])
    torch.save(source.state_dict(), path)
    print(f"digits 0 to 4: {score(source, Digits(range(5), True, plain)):.2%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", metavar="FILE", default="transfer_source.pt", help="weights to start from, made when missing")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each step")
    parser.add_argument("--weights", metavar="FILE", default="transfer.pt")
    options = parser.parse_args()

    criterion, losses = nn.CrossEntropyLoss(label_smoothing=0.1), []
    if not os.path.exists(options.source):
        learn_source(options.source, options.seed, criterion)
    torch.manual_seed(options.seed)
    model = make_model()
    learned = {key: value for key, value in torch.load(options.source).items() if not key.startswith("fc.")}
    print(model.load_state_dict(learned, strict=False).missing_keys)
    for name, param in model.named_parameters():
        param.requires_grad = name.startswith("fc.")
    learning, every = (sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (True, False))
    print(f"{learning:,} of {every:,} parameters learn")
    optimizer = optim.SGD(
        [
            {"params": model.fc.parameters(), "lr": 0.02},
            {"params": model.layer4.parameters(), "lr": 0.002},
            {"params": model.layer3.parameters(), "lr": 0.001},
        ],
        momentum=0.9, weight_decay=1e-4,
    )  # fmt: skip
    loader = DataLoader(Digits(range(5, 10), False, augmented), batch_size=32, shuffle=True, drop_last=True)
    held_out = Digits(range(5, 10), True, plain)
    for epoch in range(options.epochs):
        progressive_unfreeze(model, epoch, options.epochs)
        train_epoch(model, loader, criterion, optimizer, losses)
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        mean_loss = np.mean(losses[-len(loader) :])
        print(f"epoch {epoch + 1}: {learning:,} parameters learn, loss {mean_loss:.4f}, held out {score(model, held_out):.2%}")
    torch.save(model.state_dict(), options.weights)
    if options.losses:
        np.savetxt(options.losses, losses)
    print(f"final score: {score(model, held_out):.4f}")


if __name__ == "__main__":
    main()
