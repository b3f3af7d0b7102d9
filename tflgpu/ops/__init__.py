"""What each operator means on the CPU: its shapes, its types, its arithmetic. Importing this registers them all."""

# One line a family.
from tflgpu.ops import elementwise as elementwise
