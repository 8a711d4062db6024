#!/usr/bin/env bash
# Configures and builds build/release (after launch/setup.sh). Arguments go to the build: launch/build.sh --target fttrain
#   launch/build.sh --install            builds the program and puts it on PATH: /usr/local for root, ~/.local else
#   launch/build.sh --install=FOLDER     FOLDER/bin/fttrain, FOLDER/share/fttrain
# FTTRAIN_TORCH_ROOT=FOLDER links a LibTorch you already have. FTTRAIN_JOBS sets the compile jobs (default: cores).
# FTTRAIN_BUILD_DIR=FOLDER builds there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BUILD=${FTTRAIN_BUILD_DIR:-build/release}
prefix='' arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --install) prefix=$([ "$(id -u)" -eq 0 ] && echo /usr/local || echo "$HOME/.local") ;;
    --install=?*) prefix=${argument#--install=} ;;
    *) arguments+=("$argument") ;;
  esac
done
[ -z "$prefix" ] || arguments=(--target fttrain "${arguments[@]}")

configure=(cmake --preset release -B "$BUILD")
if [ -n "${FTTRAIN_TORCH_ROOT:-}" ]; then configure+=("-DFTTRAIN_TORCH_ROOT=$FTTRAIN_TORCH_ROOT"); fi
# CMake remembers that there was no nvcc.
if command -v nvcc >/dev/null && grep -qs '^CMAKE_CUDA_COMPILER:.*NOTFOUND' "$BUILD/CMakeCache.txt"; then
  configure+=(-U CMAKE_CUDA_COMPILER)
fi
if ! output=$("${configure[@]}" 2>&1); then
  echo "$output" >&2
  exit 1
fi

# What is being built, and what GPUs want: the toolkit that this torch was made with.
cached() { sed -n "s/^$1:[A-Z]*=//p" "$BUILD/CMakeCache.txt"; }
torch=$(cached FTTRAIN_TORCH_ROOT)
wanted=$(sed -n "s/^cuda\(: [^=]*\)\? = '\(.*\)'$/\2/p" "$torch/version.py" 2>/dev/null || true)
if grep -q 'CUDA and NCCL paths: ON' <<<"$output"; then
  found=$("$(cached CMAKE_CUDA_COMPILER)" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  echo "build: with CUDA, by nvcc $found"
  if [ -n "$wanted" ] && [ "${found%%.*}" != "${wanted%%.*}" ]; then
    echo "build: but $torch was made with CUDA $wanted: put that toolkit's bin first on PATH and build in a new folder" >&2
    exit 1
  fi
elif [ -n "$wanted" ]; then
  echo "build: for the CPU alone: no nvcc was found. For GPUs install the CUDA toolkit $wanted (torch's own), put its bin on PATH, run this again"
else
  echo "build: for the CPU alone: no nvcc was found, and $torch does not say which CUDA it was made with"
fi

cmake --build "$BUILD" -j "${FTTRAIN_JOBS:-$(nproc)}" "${arguments[@]}"
if [ -n "$prefix" ]; then
  cmake --install "$BUILD" --prefix "$prefix" >/dev/null
  echo "build: installed $prefix/bin/fttrain; recipes and scripts in $prefix/share/fttrain"
  case :$PATH: in
    *":$prefix/bin:"*) ;;
    *) echo "build: $prefix/bin is not on PATH: export PATH=$prefix/bin:\$PATH" ;;
  esac
fi
