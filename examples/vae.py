"""A variational autoencoder of handwritten digits: scikit-learn's 8 x 8 scans, a two-number code, new digits drawn from it.

    lamina run examples/vae.py         under lamina
    python examples/vae.py             the same script under PyTorch
"""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    """Images [n, 64] in [0, 1] to a normal distribution over codes [n, code], and back to logits [n, 64]."""

    def __init__(self, width=128, code=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.mean = nn.Linear(width, code)
        self.log_variance = nn.Linear(width, code)
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 64))

    def forward(self, x):
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance) if self.training else mean
        return self.decoder(code), mean, log_variance


def bound(logits, x, mean, log_variance):
    """Minus the evidence lower bound, per image: reconstruction plus divergence from the standard normal (Kingma and Welling)."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (reconstruction + divergence) / x.size(0)


def scans():
    """Training and held-out images."""
    images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    return TensorDataset(images[:1437]), TensorDataset(images[1437:])


def make_model():
    return VAE()


def score(model, dataset):
    """The bound over the held-out images, with codes at their means."""
    model.eval()
    with torch.no_grad():
        (x,) = dataset.tensors
        return bound(*(lambda out: (out[0], x, out[1], out[2]))(model(x))).item()


def evaluate(path):
    """The held-out bound of saved weights."""
    model = make_model()
    model.load_state_dict(torch.load(path))
    return score(model, scans()[1])


def drawn(image):
    """An image as two characters per pixel."""
    shades = " .:-=+*#%@"
    return "\n".join("".join(2 * shades[min(int(v * 10), 9)] for v in row) for row in image)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each step")
    parser.add_argument("--weights", metavar="FILE", default="vae.pt")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train, held_out = scans()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(1, options.epochs + 1):
        model.train()
        for (x,) in DataLoader(train, batch_size=64, shuffle=True, drop_last=True):
            logits, mean, log_variance = model(x)
            loss = bound(logits, x, mean, log_variance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch % 5 == 0 or epoch == options.epochs:
            print(f"epoch {epoch}: training bound {np.mean(losses[-22:]):.3f}, held out {score(model, held_out):.3f}")
    torch.save(model.state_dict(), options.weights)
    if options.losses:
        np.savetxt(options.losses, losses)
    model.eval()
    with torch.no_grad():
        code = held_out.tensors[0][:2]
        first, second = model.mean(model.encoder(code))
        between = torch.sigmoid(model.decoder(torch.stack([first, (first + second) / 2, second])))
    for image in between.reshape(3, 8, 8).tolist():
        print(drawn(image), end="\n\n")
    print(f"final score: {score(model, held_out):.4f}")


if __name__ == "__main__":
    main()
