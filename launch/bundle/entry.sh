#!/usr/bin/env bash
# Every program of a bundle, by the name it is called by: finds torch, sets what the folder needs wherever it was unpacked, and becomes the
# program. Prints nothing of its own unless something is missing.
#   bin/fttrain, bin/mpirun           the programs (bin/orted: what mpirun starts on other hosts)
#   bin/run PROGRAM [ARGUMENT ...]    any other program in this environment: tests, benches, a shell
#   bin/check                         one line: what was found
#   FTTRAIN_TORCH_ROOT=FOLDER         the torch to use (holds lib/); without it the one of the Python on PATH
# shellcheck disable=SC2154 # needs_* and mpi_libraries are of lib/needs.sh
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
root=${self%/*/*}
name=${0##*/}
# shellcheck source=/dev/null
. "$root/lib/needs.sh" # needs_torch, needs_cuda, needs_glibc, mpi_libraries

fail() {
  echo "fttrain: $*" >&2
  exit 3
}

# Nothing is imported: that takes seconds.
torch_folder() {
  if [ -n "${FTTRAIN_TORCH_ROOT:-}" ]; then
    echo "$FTTRAIN_TORCH_ROOT"
  else
    python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null || true
  fi
}

# A wheel says its version in version.py, a LibTorch archive in build-version.
torch_version() {
  sed -n "s/^__version__ = '\(.*\)'$/\1/p" "$1/version.py" 2>/dev/null || cat "$1/build-version" 2>/dev/null || true
}

# older A B: version A is older than B.
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

require_glibc() {
  local found
  found=$(getconf GNU_LIBC_VERSION 2>/dev/null) || fail "needs glibc $needs_glibc or newer; this system has another libc"
  found=${found#glibc }
  ! older "$found" "$needs_glibc" || fail "needs glibc $needs_glibc or newer; this system has $found"
  # Before 2.36 without the random numbers that libevent takes from it.
  ! older "$found" 2.36 || export LD_PRELOAD=$root/lib/libarc4random.so${LD_PRELOAD:+:$LD_PRELOAD}
}

# Sets torch, version and torch_libraries.
find_torch() {
  torch=$(torch_folder)
  [ -n "$torch" ] ||
    fail "no torch: set FTTRAIN_TORCH_ROOT to the folder of torch $needs_torch, or put a Python that has it on PATH"
  version=$(torch_version "$torch")
  case $version in
    "$needs_torch" | "$needs_torch"+*) ;;
    *) fail "needs torch $needs_torch; $torch holds ${version:-no torch}: set FTTRAIN_TORCH_ROOT, or install torch==$needs_torch" ;;
  esac
  torch_libraries=$torch/lib:$torch/../nvidia/nccl/lib:$torch/../nvidia/cu$needs_cuda/lib
  [ "$needs_cuda" = none ] || require_cuda_libraries
}

require_cuda_libraries() {
  local library folder found folders
  IFS=: read -ra folders <<<"$torch_libraries:${LD_LIBRARY_PATH:-}"
  for library in libtorch_cuda.so "libcudart.so.$needs_cuda" libnccl.so.2; do
    found=no
    for folder in "${folders[@]}"; do [ -e "$folder/$library" ] && found=yes; done
    [ $found = yes ] || fail "needs torch $needs_torch for CUDA $needs_cuda; beside $torch ($version) there is no $library"
  done
}

set_environment() {
  [ "${FTTRAIN_BUNDLE:-}" != "$root" ] || return 0 # a program of the bundle started this one
  require_glibc
  find_torch
  export FTTRAIN_BUNDLE=$root FTTRAIN_TORCH_ROOT=$torch
  export PATH=$root/bin:$PATH
  export LD_LIBRARY_PATH=$torch_libraries:$root/mpi/$mpi_libraries:$root/mpi/$mpi_libraries/pmix2/lib:$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export OPAL_PREFIX=$root/mpi PMIX_INSTALL_PREFIX=$root/mpi/$mpi_libraries/pmix2
  # Other hosts have the bundle at the same path, and no environment.
  export OMPI_MCA_orte_launch_agent=${OMPI_MCA_orte_launch_agent:-$root/bin/orted}
  # Without libfabric, UCX and verbs, which stay behind. Tensors travel by NCCL, which brings its own.
  export OMPI_MCA_pml=${OMPI_MCA_pml:-ob1} OMPI_MCA_btl=${OMPI_MCA_btl:-self,vader,tcp}
  # Started alone, a rank needs no daemon.
  export OMPI_MCA_ess_singleton_isolated=${OMPI_MCA_ess_singleton_isolated:-1}
  if ! command -v ssh >/dev/null && ! command -v rsh >/dev/null; then
    export OMPI_MCA_plm_rsh_agent=${OMPI_MCA_plm_rsh_agent:-/bin/false} # mpirun insists on one, even for one host
  fi
  [ ! -d "$root/tests/golden" ] || export FTTRAIN_GOLDEN_DIR=${FTTRAIN_GOLDEN_DIR:-$root/tests/golden}
  . "$root/launch/env.sh"
}

gpus() {
  local line
  if line=$(nvidia-smi --query-gpu=driver_version,name --format=csv,noheader 2>/dev/null); then
    echo "GPU driver ${line//$'\n'/; }"
  else
    echo "GPU driver none"
  fi
}

check() {
  local program mpi
  program=$("$root/libexec/fttrain" --version) || fail "libexec/fttrain does not start"
  mpi=$("$root/mpi/bin/mpirun" --version | head -n 1) || fail "mpi/bin/mpirun does not start"
  version=$(torch_version "$FTTRAIN_TORCH_ROOT")
  echo "$program: torch $version in $FTTRAIN_TORCH_ROOT, Open MPI ${mpi##* }, $(getconf GNU_LIBC_VERSION), $(gpus)"
}

set_environment
case $name in
  fttrain) exec -a "$0" "$root/libexec/fttrain" "$@" ;; # which says commands as they were started
  mpirun | orted) exec "$root/mpi/bin/$name" "$@" ;;
  run) exec "$@" ;;
  check) check ;;
  *) fail "entry.sh is called by one of its names: fttrain, mpirun, run, check" ;;
esac
