"""Node -> kernel launches, one file a family, named as in tflgpu/ops."""
