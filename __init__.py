"""lamina: PyTorch-style programs through a compiler you can read."""
