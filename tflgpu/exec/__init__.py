"""What `tflgpu exec` does in the processes of a program that was written for TensorFlow Lite: runs it on tflgpu."""
