#!/usr/bin/env bash
# Serves two models, asks them both for the held-out digits, and ends.
#   pip install 'tflgpu[serve,examples]' 'tritonclient[http]'
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
models=$(mktemp -d)
for kind in float32 int8; do
  mkdir -p "$models/digits_$kind/1"
  cp "$here/../digits/digits_$kind.tflite" "$models/digits_$kind/1/model.tflite"
done
echo '{"batch": 32, "max_delay_ms": 2}' > "$models/digits_int8/config.json"
port=${PORT:-8080}
"$python" -m tflgpu serve "$models" --batch 8 --http-port "$port" --grpc-port 0 &
server=$!
trap 'kill $server; wait $server; rm -r "$models"' EXIT
until curl --silent --fail "http://127.0.0.1:$port/v2/health/ready" > /dev/null; do
  kill -0 $server # it has not failed to start
  sleep 0.2
done
"$python" "$here/client.py" "127.0.0.1:$port"
