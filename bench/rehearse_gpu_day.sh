#!/usr/bin/env bash
# Rehearses a GPU day on this machine: packs the bundle, and runs both halves from it on the CPU where nothing else is to be seen. In a mount
# namespace of its own (as root), Debian's Open MPI, hwloc, libevent, Abseil, Protobuf, yaml-cpp, ICU and PCRE2, the CUDA toolkit, the sources and the
# build are hidden, and Python has torch with what torch needs and nothing else. Prints each step; lines and logs: build/rehearsal/.
#   bench/rehearse_gpu_day.sh [--as-built] [A|B]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PACKAGES='openmpi-bin libopenmpi3 openmpi-common libpmix2 libhwloc15 libevent-core-2.1-7 libevent-pthreads-2.1-7 libabsl20220623 libprotobuf32
  libyaml-cpp0.7 libicu72'
# What torch imports.
IMPORTED='torch torchgen functorch nvidia triton filelock fsspec jinja2 markupsafe mpmath networkx sympy typing_extensions.py'

# A Python with torch alone: $1/venv, with the wheel bound to $1/wheel.
make_python() {
  local folder=$1 site name
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  .venv/bin/python -m venv --without-pip "$folder/venv"
  mkdir "$folder/wheel"
  mount --bind "$site" "$folder/wheel"
  site=$(echo "$folder"/venv/lib/python3*/site-packages)
  for name in $IMPORTED; do ln -s "$folder/wheel/$name" "$site/$name"; done
}

# Coreutils need PCRE2 (through SELinux's library), and call none of it: one whose every function ends the program takes its place.
hide_pcre2() {
  local library
  library=$(readlink -f "/usr/lib/$(gcc -print-multiarch)/libpcre2-8.so.0")
  nm -D --defined-only "$library" | awk '$2 == "T" { sub("@.*", "", $3); print "void " $3 "(void) { __builtin_trap(); }" }' |
    gcc -w -x c -shared -Wl,-soname,libpcre2-8.so.0 -o "$1/libpcre2-8.so.0" -
  mount --bind "$1/libpcre2-8.so.0" "$library"
}

hide_machine() {
  local folder=$1 file
  hide_pcre2 "$folder"
  for package in $PACKAGES; do
    while read -r file; do
      if [ -f "$file" ]; then mount --bind /dev/null "$file"; fi
    done < <(dpkg -L "$package")
  done
  if [ -d /usr/local/cuda ]; then mount -t tmpfs none /usr/local/cuda; fi
  mount -t tmpfs none "$PWD"
}

# Nothing of the day may come from the machine but libc, libstdc++ and torch.
check_libraries() {
  local folder=$1 bundle=$2 foreign
  foreign=$(LD_TRACE_LOADED_OBJECTS=1 "$bundle/bin/run" "$bundle/libexec/fttrain" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' |
    grep -v "^$bundle/\|^$folder/" | grep -Ev '/lib(c|m|dl|pthread|rt|util|stdc\+\+|gcc_s|udev)\.so' || true)
  if [ -n "$foreign" ]; then
    echo "rehearse: from this machine: $foreign" >&2
    exit 1
  fi
}

# rehearse FOLDER HALF ...: in the namespace. The bundle is unpacked already.
rehearse() {
  local folder=$1 bundle half status=0
  shift
  bundle=$(echo "$folder"/unpacked/fttrain-*)
  make_python "$folder"
  hide_machine "$folder"
  cd /
  export PATH=$folder/venv/bin:/usr/local/bin:/usr/bin:/bin
  unset FTTRAIN_TORCH_ROOT LD_LIBRARY_PATH
  check_libraries "$folder" "$bundle"
  "$bundle/bin/check"
  for half in "$@"; do
    "$bundle/bench/gpu_day.sh" "$half" --device cpu --results "$folder/results" --seconds 7200 || status=1
  done
  return $status
}

if [ "${1:-}" = --in-namespace ]; then
  rehearse "${@:2}"
  exit
fi
packing=(--with-tests)
if [ "${1:-}" = --as-built ]; then
  packing+=(--as-built)
  shift
fi
packed=$(launch/bundle.sh "${packing[@]}")
echo "$packed"
folder=$(mktemp -d /tmp/gpu-day-rehearsal-XXXXXX)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/unpacked"
tar -C "$folder/unpacked" -xf "${packed%%: *}"
status=0
halves=("$@")
[ $# -gt 0 ] || halves=(A B)
unshare -m "bench/${BASH_SOURCE[0]##*/}" --in-namespace "$folder" "${halves[@]}" || status=$?
rm -rf build/rehearsal
mv "$folder/results" build/rehearsal
exit "$status"
