"""Ten seconds of sound at 16 kHz, always the same: chirps, a chord and noise."""

import numpy as np

_t = np.arange(160_000) / 16_000
_noise = np.random.default_rng(0).normal(size=_t.size)
_chord = sum(np.sin(2 * np.pi * f * _t) for f in (261.6, 329.6, 392.0))
SOUND = 0.3 * np.sin(2 * np.pi * (500 + 300 * _t) * _t) * (_t % 1 < 0.6) + 0.15 * _chord * (_t % 2 < 1) + 0.02 * _noise
