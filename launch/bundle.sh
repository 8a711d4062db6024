#!/usr/bin/env bash
# Packs fttrain for machines where nothing can be installed: an archive that is unpacked anywhere and runs where glibc is 2.34 or newer and torch of
# the build's version lies (launch/bundle/entry.sh finds it). In it: the program, Open MPI with its plugins, and every other shared library but libc,
# libstdc++ and torch. Needs the packages that launch/setup.sh installs. Prints the archive's path and size.
#   launch/bundle.sh                 build/fttrain-VERSION-linux-x86_64.tar.xz
#   launch/bundle.sh --with-tests    build/fttrain-VERSION-linux-x86_64-tests.tar.xz: also bench programs, those of tests that need a GPU, golden files, bench/gpu_day.sh
#   --as-built                       packs what is built already (in build/release, or FTTRAIN_BUILD_DIR) instead of building it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BUILD=${FTTRAIN_BUILD_DIR:-build/release}
GLIBC=2.34 GLIBCXX=3.4.29 # of the oldest system that is promised
SYSTEM_LIBRARIES='^(linux-vdso|ld-linux-x86-64|lib(c|m|dl|pthread|rt|util|resolv|stdc\+\+|gcc_s))\.so'
TORCH_LIBRARIES='^(lib(torch|torch_cpu|torch_cuda|c10|c10_cuda|gomp|nccl|cudart)[-.0-9a-f]*\.so|libcublas|libcudnn|libcu|libnv)'
# Fabrics and languages that Open MPI has plugins for, and jobs of fttrain no use: tensors travel by NCCL or shared memory and TCP.
LEFT_OUT='lib(fabric|ucp|psm_infinipath|psm2|ibverbs|oshmem|nl-3|mca_common_monitoring)\.so'

fail() {
  echo "bundle: $*" >&2
  exit 1
}

# elf_needs FILE: the names of the libraries it links.
elf_needs() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# copy_elf FILE TARGET: stripped, without the folders of this machine that the linker wrote into it, and loadable on the oldest system.
copy_elf() {
  install -D -m 755 "$1" "$2"
  strip --strip-unneeded "$2"
  python3 launch/bundle/older_symbols.py "$2" $GLIBC $GLIBCXX
  cmake -DFILE="$2" -P launch/bundle/remove_runpath.cmake >/dev/null
}

# copy_libraries FILE: what it links and the bundle has not yet, from where this machine has it, into lib/.
copy_libraries() {
  local name path
  while read -r name path; do
    [ -e "$stage/lib/$name" ] || [ -e "$stage/mpi/$mpi_libraries/$name" ] || copy_elf "$path" "$stage/lib/$name"
  done < <(ldd "$1" | sed -n 's/^\t\([^ ]*\) => \(\/[^ ]*\) .*/\1 \2/p' | grep -Ev "$SYSTEM_LIBRARIES" | grep -Ev "$TORCH_LIBRARIES")
}

copy_open_mpi() {
  local plugin prefix=/usr source
  source=$prefix/$mpi_libraries
  copy_elf "$(readlink -f $prefix/bin/orterun)" "$stage/mpi/bin/mpirun"
  copy_elf $prefix/bin/orted "$stage/mpi/bin/orted"
  for library in libmpi.so.40 libmpi_cxx.so.40 libopen-rte.so.40 libopen-pal.so.40 libmca_common_ompio.so.41 libmca_common_sm.so.40; do
    copy_elf "$source/$library" "$stage/mpi/$mpi_libraries/$library"
  done
  copy_elf "$source/pmix2/lib/libpmix.so.2" "$stage/mpi/$mpi_libraries/pmix2/lib/libpmix.so.2"
  for plugin in "$source"/openmpi/lib/openmpi3/mca_*.so "$source"/pmix2/lib/pmix/*.so; do
    elf_needs "$plugin" | grep -Eq "$LEFT_OUT" || copy_elf "$plugin" "$stage/mpi/${plugin#"$prefix"/}"
  done
  mkdir -p "$stage/mpi/share"
  cp -r $prefix/share/openmpi "$stage/mpi/share/"
  cp -r "$source/pmix2/share" "$stage/mpi/$mpi_libraries/pmix2/"
  while read -r plugin; do copy_libraries "$plugin"; done < <(find "$stage/mpi" -type f -name '*.so*' -o -path '*/bin/*' -type f)
}

# The folder itself: scripts, and what they are to find.
copy_scripts() {
  gcc -O2 -shared -fPIC -o "$stage/lib/libarc4random.so" launch/bundle/arc4random.c
  strip --strip-unneeded "$stage/lib/libarc4random.so"
  install -D -m 755 launch/bundle/entry.sh "$stage/bin/entry.sh"
  for name in fttrain mpirun orted run check; do ln -s entry.sh "$stage/bin/$name"; done
  install -D -m 644 launch/env.sh "$stage/launch/env.sh"
  install -D -m 644 launch/bundle/README.md "$stage/README.md"
  install -D -m 644 -t "$stage/configs" configs/*.yaml
  cat >"$stage/lib/needs.sh" <<END
# What entry.sh has to find.
needs_torch=$torch_version needs_cuda=$cuda needs_glibc=$GLIBC mpi_libraries=$mpi_libraries
bundle_version=$version bundle_commit=$commit
END
}

copy_tests() {
  local program
  for program in "$BUILD"/bench/*_bench; do copy_elf "$program" "$stage/libexec/bench/${program##*/}"; done
  while read -r program; do
    copy_elf "$program" "$stage/libexec/tests/${program##*/}"
    copy_libraries "$program"
  done < <(python3 launch/bundle/list_tests.py "$BUILD" "$stage/tests/list.json")
  mkdir -p "$stage/tests" "$stage/bench"
  cp -r tests/golden tests/parity "$stage/tests/"
  cp -r bench/gpu_day.sh bench/gpu_day "$stage/bench/"
  find "$stage" -name __pycache__ -prune -exec rm -r {} +
}

# newest_symbol PREFIX FILE ...: the newest version of libc's or libstdc++'s symbols that files ask for.
newest_symbol() {
  local prefix=$1
  shift
  readelf -V "$@" 2>/dev/null | grep -v 'Flags: WEAK' | grep -o "${prefix}_[0-9.]*" | sort -uV | tail -n 1
}

# Nothing may be missing where this machine's libraries are not, nor ask for a newer system than is promised.
verify_stage() {
  local files file name
  if [ "$cuda" != none ]; then
    tests/structure/cuda_backend_test.sh "$stage/libexec/fttrain" || fail "$BUILD was built without a CUDA backend: build it anew"
  fi
  mapfile -t files < <(find "$stage/libexec" "$stage/lib" "$stage/mpi" -type f \( -name '*.so*' -o -perm -u+x \))
  for file in "${files[@]}"; do
    if readelf -d "$file" | grep -Eq 'R(UN)?PATH'; then fail "$file still names folders of this machine"; fi
    while read -r name; do
      [[ $name =~ $SYSTEM_LIBRARIES || $name =~ $TORCH_LIBRARIES ]] && continue
      [ -e "$stage/lib/$name" ] || [ -e "$stage/mpi/$mpi_libraries/$name" ] || [ -e "$stage/mpi/$mpi_libraries/pmix2/lib/$name" ] ||
        fail "$file needs $name, which is not in the bundle"
    done < <(elf_needs "$file")
  done
  printf 'GLIBC_%s\n' $GLIBC "$(newest_symbol GLIBC "${files[@]}" | cut -d_ -f2)" | sort -V | tail -n 1 | grep -qx "GLIBC_$GLIBC" ||
    fail "asks for $(newest_symbol GLIBC "${files[@]}"), newer than $GLIBC"
  printf 'GLIBCXX_%s\n' $GLIBCXX "$(newest_symbol GLIBCXX "${files[@]}" | cut -d_ -f2)" | sort -V | tail -n 1 | grep -qx "GLIBCXX_$GLIBCXX" ||
    fail "asks for $(newest_symbol GLIBCXX "${files[@]}"), newer than $GLIBCXX"
}

# Writes the archive and holds it to its size.
pack() {
  local archive=$1 limit=$2 bytes
  tar -C build/bundle --owner=0 --group=0 --sort=name -cf - "${stage##*/}" | xz -6 -T0 >"$archive.part"
  mv "$archive.part" "$archive"
  bytes=$(stat -c %s "$archive")
  [ "$bytes" -le "$limit" ] || fail "$archive has $bytes bytes, more than $limit"
  echo "$archive: $bytes bytes, unpacked $(du -sh "$stage" | cut -f1)"
}

with_tests=no build=yes
for argument in "$@"; do
  case $argument in
    --with-tests) with_tests=yes ;;
    --as-built) build=no ;;
    -h | --help)
      sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) fail "unknown argument '$argument'; --help lists what there is" ;;
  esac
done

targets=(--target fttrain)
[ $with_tests = no ] || targets=()
[ $build = no ] || launch/build.sh "${targets[@]}" >build/bundle.log || fail "the build failed: $PWD/build/bundle.log"
[ -x "$BUILD/fttrain" ] || fail "$BUILD/fttrain is not built"

version=$(sed -n 's/^project(fttrain VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
# Results name it: what may not be of that commit says so.
commit=$(git describe --always --dirty --exclude='*' 2>/dev/null || echo unknown)
[ $build = yes ] || commit+=-as-built
mpi_libraries=lib/$(gcc -print-multiarch)
torch=$(sed -n 's/^FTTRAIN_TORCH_ROOT:PATH=//p' "$BUILD/CMakeCache.txt")
torch_version=$(sed -n "s/^__version__ = '\([0-9.]*\).*/\1/p" "$torch/version.py" 2>/dev/null || sed 's/+.*//' "$torch/build-version")
cuda=$(elf_needs "$BUILD/fttrain" | sed -n 's/^libcudart\.so\.//p')
cuda=${cuda:-none}
stage=build/bundle/fttrain-$version
rm -rf "$stage"
mkdir -p "$stage/lib" build

copy_elf "$BUILD/fttrain" "$stage/libexec/fttrain"
copy_open_mpi
copy_libraries "$BUILD/fttrain"
copy_scripts
if [ $with_tests = yes ]; then copy_tests; fi
verify_stage
if [ $with_tests = yes ]; then
  pack "build/fttrain-$version-linux-x86_64-tests.tar.xz" 60000000
else
  pack "build/fttrain-$version-linux-x86_64.tar.xz" 40000000
fi
