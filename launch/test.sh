#!/usr/bin/env bash
# Sets up, builds and runs every test this machine can run: labels unit and dist, gpu where there is a GPU, gpus where there are two.
# Ends with ctest's summary and its exit code. Arguments go to ctest: launch/test.sh -R parity
# launch/test.sh --matrix: instead, every layout in every combination on 1, 2, 4 and 8 ranks (tests/launch/run/layout_matrix.h).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

launch/setup.sh --with-tests
launch/build.sh

labels='^(unit|dist)$'
case $(nvidia-smi -L 2>/dev/null | grep -c '^GPU') in
  0) ;;
  1) labels='^(unit|dist|gpu)$' ;;
  *) labels='^(unit|dist|gpu|gpus)$' ;;
esac
. launch/env.sh
if [ "${1:-}" = --matrix ]; then
  exec ctest --test-dir build/release -C matrix -L '^matrix$' --verbose --no-tests=error "${@:2}"
fi
exec ctest --test-dir build/release -L "$labels" -j "$(nproc)" --output-on-failure --no-tests=error "$@"
