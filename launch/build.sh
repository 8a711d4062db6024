#!/usr/bin/env bash
# Configures and builds build/release (after launch/setup.sh). Arguments go to the build: launch/build.sh --target fttrain
# FTTRAIN_TORCH_ROOT=FOLDER links a LibTorch you already have. FTTRAIN_JOBS sets the compile jobs (default: cores).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

configure=(cmake --preset release)
if [ -n "${FTTRAIN_TORCH_ROOT:-}" ]; then configure+=("-DFTTRAIN_TORCH_ROOT=$FTTRAIN_TORCH_ROOT"); fi
if ! output=$("${configure[@]}" 2>&1); then
  echo "$output" >&2
  exit 1
fi
cmake --build --preset release -j "${FTTRAIN_JOBS:-$(nproc)}" "$@"
