#!/usr/bin/env bash
# Every figure of a GPU, in at most six minutes. What is measured: benchmarks/gpu/gpu.py.
#
#   bash benchmarks/gpu.sh               on a machine with a CUDA device
#   bash benchmarks/gpu.sh --rehearse    every path, in small, on a CPU: under 90 s
#
# OUT=folder keeps the tables there, else in benchmarks/results. WHEELS=folder holds wheels of what
# is not installed, where no index can be reached. PYTHON=python3 is the Python that has torch.
set -euo pipefail
STARTED=$(date +%s)
export STARTED
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONPATH="$PWD:$PWD/benchmarks:$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
"$python" benchmarks/gpu/requirements.py "$site"
"$python" benchmarks/gpu/gpu.py "$@"
