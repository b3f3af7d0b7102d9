"""Basic Pitch over ten seconds of sound: the contours, onsets and notes of its model, and the notes that follow."""

import os
import sys
import tempfile

import numpy as np
import soundfile
from basic_pitch import FilenameSuffix, build_icassp_2022_model_path
from basic_pitch.inference import Model, predict
from sounds import SOUND

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "sound.wav")
    soundfile.write(path, SOUND, 16_000)
    outputs, _, notes = predict(path, Model(build_icassp_2022_model_path(FilenameSuffix.tflite)))
np.savez(sys.argv[1], notes=np.array(sorted(note[:3] for note in notes)), **outputs)
