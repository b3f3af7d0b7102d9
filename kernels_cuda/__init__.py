"""CUDA kernels: prelude.cuh and one .cu a stem."""
