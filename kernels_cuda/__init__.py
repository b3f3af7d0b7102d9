"""CUDA kernels: prelude.cuh, one .cu a stem, and the .cuh files that these include."""
