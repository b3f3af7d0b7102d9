"""openWakeWord over ten seconds of sound, with the models that pyopen-wakeword's wheel brings."""

import os
import sys

import numpy as np
import pyopen_wakeword
from openwakeword.model import Model
from sounds import SOUND

folder = os.path.join(os.path.dirname(pyopen_wakeword.__file__), "models")
names = ["alexa", "hey_jarvis", "hey_mycroft", "hey_rhasspy"]
model = Model(
    wakeword_models=[os.path.join(folder, f"{name}.tflite") for name in names],
    inference_framework="tflite",
    melspec_model_path=os.path.join(folder, "melspectrogram.tflite"),
    embedding_model_path=os.path.join(folder, "embedding_model.tflite"),
)
sound = (SOUND * 20000).astype(np.int16)
scores = [model.predict(sound[start : start + 1280]) for start in range(0, sound.size - 1279, 1280)]
found = {name: np.array([score[name] for score in scores]) for name in scores[0]}
np.savez(sys.argv[1], features=model.preprocessor.feature_buffer, **found)
