"""Compares what a client found by two interpreters: compare.py OWN OURS TOLERANCE. Exits with 1 where they differ."""

import sys

import numpy as np

own, ours = (np.load(path, allow_pickle=False) for path in sys.argv[1:3])
tolerance = float(sys.argv[3])
if sorted(own.files) != sorted(ours.files):
    sys.exit(f"different results: {sorted(own.files)} and {sorted(ours.files)}")
worst = 0.0
for name in own.files:
    x, y = own[name], ours[name]
    if x.shape != y.shape:
        sys.exit(f"{name}: shapes {x.shape} and {y.shape}")
    if x.dtype.kind in "US":
        if not np.array_equal(x, y):
            sys.exit(f"{name}: {set(x) ^ set(y)}")
    elif not np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True):
        sys.exit(f"{name}: {np.abs(x - y).max()} apart")
    else:
        worst = max(worst, float(np.abs(x.astype(np.float64) - y).max(initial=0)))
values = sum(own[name].size for name in own.files)
print(f"equal: {values} values, at most {worst:.2g} apart")
