#!/usr/bin/env bash
# Sets up, builds and runs every test this machine can run: labels unit and dist, and gpu where there is a GPU.
# Ends with ctest's summary and its exit code. Arguments go to ctest: launch/test.sh -R parity
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

launch/setup.sh --with-tests
launch/build.sh

labels='^(unit|dist)$'
if nvidia-smi -L >/dev/null 2>&1; then labels='^(unit|dist|gpu)$'; fi
. launch/env.sh
exec ctest --test-dir build/release -L "$labels" -j "$(nproc)" --output-on-failure --no-tests=error "$@"
