"""`python -m tflgpu`: the command line."""

from tflgpu.cli import main

main()
