"""How near a result must be to what it should be, by its dtype. Integers, booleans and strings are equal."""

from __future__ import annotations

# (relative, absolute). A test that must be wider passes its own, with the reason beside it.
TOLERANCES = {
    "float16": (2e-3, 1e-3),
    "bfloat16": (2e-2, 1e-2),
    "float32": (2e-6, 1e-6),
    "float64": (1e-12, 1e-12),
    "complex64": (2e-6, 1e-6),
    "complex128": (1e-12, 1e-12),
}
