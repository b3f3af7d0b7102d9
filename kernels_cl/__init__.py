"""Kernels that OpenCL alone compiles, one .cl a stem, and the headers before them."""
