#!/usr/bin/env bash
# Classifies the held-out digits with every model, on the CPU and on every delegate that is here.
exec "$(dirname "$0")/../run.sh" digits/classify.py "$@"
