#!/usr/bin/env bash
# benches_without_gpu_test.sh FOLDER: each bench there that is asked for a GPU where none is to be seen ends with an error and prints no result.
set -euo pipefail
export CUDA_VISIBLE_DEVICES=
for asked in "kernels_bench cuda" "nf4_bench cuda" "optimizer_step_bench 1 1 cuda"; do
  read -ra words <<<"$asked"
  if printed=$("$1/${words[0]}" "${words[@]:1}" 2>/dev/null) || [ -n "$printed" ]; then
    echo "'$asked' without a GPU passes, or prints: $printed"
    exit 1
  fi
done
