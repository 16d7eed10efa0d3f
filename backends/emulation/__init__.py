"""CUDA kernels on the CPU: the same source, its threads run as fibers, for checks without a GPU."""
