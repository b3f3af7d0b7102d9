"""Two models of one origin, a float one and what was quantized of it, side by side."""
