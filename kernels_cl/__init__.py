"""OpenCL kernels: prelude.clh and one .cl a stem."""
