"""Delegates that come with tflgpu: CUDA, OpenCL, and the bridge to native ones."""
