"""Forecasting: an LSTM predicts the next hours of a load curve with daily and weekly rhythm, trend and noise.

    lamina run examples/forecasting.py         under lamina
    python examples/forecasting.py             the same script under PyTorch
"""

import argparse

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

FEATURES, HISTORY, HORIZON = 3, 48, 6


class TimeSeriesDataset(Dataset):
    """Windows of a series [n, features]: seq_len steps to learn from, and the horizon's steps to predict."""

    def __init__(self, data, seq_len, horizon=1):
        self.data = torch.tensor(data, dtype=torch.float32)
        self.seq_len = seq_len
        self.horizon = horizon

    def __len__(self):
        return len(self.data) - self.seq_len - self.horizon + 1

    def __getitem__(self, idx):
        x = self.data[idx : idx + self.seq_len]
        y = self.data[idx + self.seq_len : idx + self.seq_len + self.horizon, 0]
        return x, y


class Forecaster(nn.Module):
    """Two LSTM layers over [n, steps, features]; the last state gives the horizon's values [n, horizon]."""

    def __init__(self, width=32):
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, HORIZON)

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.head(states[:, -1])


def load_curve(hours=1200):
    """Load, and the hour of the day as sine and cosine; training and held-out windows."""
    random = np.random.RandomState(0)
    hour = np.arange(hours)
    daily, weekly = 2 * np.pi * hour / 24, 2 * np.pi * hour / 168
    load = np.sin(daily) + 0.4 * np.sin(2 * daily + 1) + 0.3 * np.sin(weekly) + hour / hours + 0.1 * random.randn(hours)
    series = np.stack([(load - load.mean()) / load.std(), np.sin(daily), np.cos(daily)], 1)
    return (TimeSeriesDataset(part, HISTORY, HORIZON) for part in (series[:1000], series[1000 - HISTORY :]))


def make_model():
    return Forecaster()


def score(model, dataset):
    """Mean absolute error over the held-out windows."""
    model.eval()
    errors = []
    with torch.no_grad():
        for x, y in DataLoader(dataset, batch_size=len(dataset)):
            errors.append((model(x) - y).abs().mean().item())
    return float(np.mean(errors))


def evaluate(path):
    """The held-out error of saved weights."""
    model = make_model()
    model.load_state_dict(torch.load(path))
    _, held_out = load_curve()
    return score(model, held_out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each step")
    parser.add_argument("--weights", metavar="FILE", default="forecasting.pt")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train, held_out = load_curve()
    loader = DataLoader(train, batch_size=32, shuffle=True, drop_last=True)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = options.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps, cycle_momentum=False)
    losses = []
    for epoch in range(1, options.epochs + 1):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: training loss {np.mean(losses[-len(loader) :]):.4f}, held-out error {score(model, held_out):.4f}")
    torch.save(model.state_dict(), options.weights)
    if options.losses:
        np.savetxt(options.losses, losses)
    print(f"final score: {score(model, held_out):.4f}")


if __name__ == "__main__":
    main()
