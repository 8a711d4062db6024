#!/usr/bin/env bash
# cuda_backend_test.sh PROGRAM ...: each loads libtorch_cuda.so when it starts. No symbol of ours is in it, so a linker that drops what resolves
# no symbol leaves programs without a single CUDA kernel of ATen, which shows on a GPU alone.
set -euo pipefail
[ $# -gt 0 ]
for program in "$@"; do
  readelf -d "$program" | grep -q 'NEEDED.*libtorch_cuda\.so' || { echo "$program does not need libtorch_cuda.so"; exit 1; }
done
