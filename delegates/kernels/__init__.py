"""Kernels that OpenCL and CUDA both compile, one .h a stem, and the .inc files that they include.

Before them comes shared.h, and types.h where asked for.
"""
