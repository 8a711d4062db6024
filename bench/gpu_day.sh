#!/usr/bin/env bash
# What there is to do on a day with one GPU, from an unpacked bundle (launch/bundle.sh --with-tests): Python with torch, and nothing else.
#   bench/gpu_day.sh A               is everything right? at most 5 minutes
#   bench/gpu_day.sh B               how fast is it? at most 6 minutes
#   --device cpu                     a rehearsal: steps that need a GPU are skipped, and say so
#   --only WORDS                     the steps whose name holds one of the words
#   --results FOLDER                 where the lines go (results/)
# Each step has a time limit, and none stops the next. A JSON line a step goes to results/; exit code 1 if any failed.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=${here%/*}
if [ $# -eq 0 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
fi
if [ ! -x "$root/bin/run" ]; then
  echo "gpu_day: $root is no unpacked bundle: launch/bundle.sh --with-tests makes one" >&2
  exit 2
fi
exec "$root/bin/run" python3 "$here/gpu_day/main.py" "$@"
