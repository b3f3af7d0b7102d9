"""Kernels that OpenCL and CUDA both compile, one .h a stem; before them comes shared.h, and types.h where asked for."""
