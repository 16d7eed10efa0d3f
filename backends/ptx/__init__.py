"""PTX on the CPU: an interpreter of what NVRTC made, written from the PTX ISA manual, that holds kernels to its rules."""
