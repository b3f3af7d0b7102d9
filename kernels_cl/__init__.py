"""What OpenCL alone compiles: prelude.clh and kernels, one .cl a stem."""
