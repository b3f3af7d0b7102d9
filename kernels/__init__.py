"""Kernels that OpenCL and CUDA both compile, one .h a stem; shared.h, which comes before every kernel."""
