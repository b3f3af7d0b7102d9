"""Model to model: a .tflite file's tables changed and written anew, and the result compared with the original."""
