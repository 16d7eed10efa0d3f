"""Regression: a small MLP predicts how diabetes progresses, from scikit-learn's bundled study of 442 patients.

    lamina run examples/mlp_regression.py                  under lamina
    python examples/mlp_regression.py                      the same script under PyTorch
    lamina run examples/mlp_regression.py --plot FILE.png  with training curves (needs matplotlib)
"""

import argparse

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset


def patients():
    """Training and held-out sets; inputs [n, 10] and targets [n, 1] with mean 0 and deviation 1."""
    inputs, targets = load_diabetes(return_X_y=True)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    targets = ((targets - targets.mean()) / targets.std())[:, None]
    order = np.random.RandomState(0).permutation(len(inputs))
    parts = order[88:], order[:88]
    return [TensorDataset(*(torch.tensor(a[part], dtype=torch.float32) for a in (inputs, targets))) for part in parts]


def make_model():
    return nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 1))


def score(model, dataset):
    """R²: the share of the variance that is explained."""
    model.eval()
    with torch.no_grad():
        inputs, targets = dataset.tensors
        error = (model(inputs) - targets).square().sum()
        return 1 - (error / (targets - targets.mean()).square().sum()).item()


def evaluate(path):
    """The held-out score of saved weights."""
    model = make_model()
    model.load_state_dict(torch.load(path))
    return score(model, patients()[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each step")
    parser.add_argument("--weights", metavar="FILE", default="mlp_regression.pt")
    parser.add_argument("--plot", metavar="FILE", help="draw the training curves")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train, held_out = patients()
    model = make_model()
    criterion = nn.HuberLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    losses, scores = [], []
    for epoch in range(1, options.epochs + 1):
        model.train()
        for inputs, targets in DataLoader(train, batch_size=32, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        scores.append(score(model, held_out))
        if epoch % 10 == 0 or epoch == options.epochs:
            print(f"epoch {epoch}: training loss {np.mean(losses[-11:]):.4f}, held-out R² {scores[-1]:.4f}")
    torch.save(model.state_dict(), options.weights)
    if options.losses:
        np.savetxt(options.losses, losses)
    if options.plot:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
        left.plot(losses)
        left.set(xlabel="step", ylabel="Huber loss")
        right.plot(range(1, len(scores) + 1), scores)
        right.set(xlabel="epoch", ylabel="held-out R²")
        figure.tight_layout()
        figure.savefig(options.plot)
    print(f"final score: {score(model, held_out):.4f}")


if __name__ == "__main__":
    main()
