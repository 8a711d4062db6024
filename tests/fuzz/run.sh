#!/usr/bin/env bash
# run.sh TARGET [ARGUMENTS of libFuzzer]: builds one target with clang's libFuzzer, AddressSanitizer and UBSan into build/fuzz and runs it there,
# e.g. run.sh rows -runs=1000000. What it found of interest stays in build/fuzz/TARGET/corpus, what fails in build/fuzz/TARGET. Without its packages
# it says which are missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$here/../.." && pwd)/build/fuzz
target=${1:?which target? one of: $(cd "$here" && grep -l LLVMFuzzerTestOneInput ./*.cc | sed 's|./||; s|\.cc||; /driver/d' | tr '\n' ' ')}
shift
clang=
for name in clang++-14 clang++; do
  if clang=$(command -v $name); then break; fi
done
if [ -z "$clang" ] || [ ! -f "$("$clang" -print-resource-dir)/lib/linux/libclang_rt.fuzzer-$(uname -m).a" ]; then
  echo "libFuzzer is not here: apt-get install clang-14 libclang-rt-14-dev" >&2
  exit 1
fi
cmake -G Ninja -S "$here/libfuzzer" -B "$build" -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_C_COMPILER="${clang/clang++/clang}" >/dev/null
cmake --build "$build" --target "fuzz_$target"
mkdir -p "$build/$target/corpus" "$build/$target/seeds"
cd "$build/$target"
: >words
export FTTRAIN_FUZZ_FOLDER=$PWD
# Some libraries that are called are built without AddressSanitizer: their containers are not annotated.
export ASAN_OPTIONS=detect_container_overflow=0:${ASAN_OPTIONS-}
exec "$build/fuzz_$target" -dict=words -max_len=16384 -timeout=10 -malloc_limit_mb=256 -rss_limit_mb=2048 -print_final_stats=1 "$@" corpus seeds
