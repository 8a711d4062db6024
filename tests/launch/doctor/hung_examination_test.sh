#!/bin/sh
# hung_examination_test.sh MPIEXEC PROGRAM: where a pair of ranks hangs, or one of it fails, the doctor ends by itself, has told what
# it found before, and names the pair and what to do, on 2 and 3 ranks.
mpiexec=$1 program=$2

fails() {
  echo "$1. Output: $output"
  exit 1
}

said() {
  printf '%s\n' "$output" | grep -q "$1" || fails "$how on $ranks ranks: no '$1'"
}

for how in hang throw; do
  for ranks in 2 3; do
    output=$(timeout 60 "$mpiexec" -np "$ranks" "$program" "$how" 2>&1)
    code=$?
    [ "$code" -eq 81 ] || fails "$how on $ranks ranks: exit code $code"
    said "error *the pair of rank $((ranks - 2)) and rank $((ranks - 1)) hangs: .*nothing has moved for"
    said 'fix: mpirun --mca btl_vader_single_copy_mechanism none'
    said "ok *.*every\|ok *$ranks ranks over MPI"
    said '^fttrain: error\[81\]: links: the pair of rank'
    [ "$how" = hang ] || said 'fails: the wire is cut'
  done
done
