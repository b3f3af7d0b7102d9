"""What CUDA alone compiles: prelude.cuh, kernels, one .cu a stem, and the .cuh files that these include."""
