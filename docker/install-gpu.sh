#!/usr/bin/env bash
# Installs mien's wheel with onnxruntime-gpu as the only onnxruntime. Usage: install-gpu.sh WHEEL
#
# mien requires onnxruntime, and onnxruntime-gpu is a distribution of another name that writes the same files. With both
# installed the last one wins file by file, and uninstalling the CPU one afterwards takes files of the GPU one away: so it is
# uninstalled first, and then the GPU one is laid down whole.
set -euo pipefail

wheel=${1:?usage: install-gpu.sh WHEEL}
python=${PYTHON:-python}
pip=("$python" -m pip --disable-pip-version-check --no-input)

"${pip[@]}" install --no-cache-dir "$wheel"
"${pip[@]}" uninstall --yes onnxruntime
"${pip[@]}" install --no-cache-dir --no-deps "$("$python" - <<'CODE'
# The requirement as mien's own `gpu` extra states it.
from importlib.metadata import requires

found = [line.split(";")[0].strip() for line in requires("mien") or [] if line.startswith("onnxruntime-gpu")]
print(*found)
CODE
)"
