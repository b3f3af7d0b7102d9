"""Kernels that CUDA alone compiles, one .cu a stem, and the .cuh files that they include."""
