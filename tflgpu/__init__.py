"""TensorFlow Lite models from Python, on the CPU and the GPU."""
