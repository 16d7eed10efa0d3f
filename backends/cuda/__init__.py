"""NVIDIA GPUs: CUDA C++ to PTX and cubin without a driver, the files of a program, the check on a machine with a GPU."""
