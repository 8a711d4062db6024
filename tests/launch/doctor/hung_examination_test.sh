#!/bin/sh
# hung_examination_test.sh MPIEXEC PROGRAM: where a pair of ranks hangs, or one of it fails, the doctor ends by itself, has told what
# it found before, and names the pair and what to do, on 2 and 3 ranks.
# Stdout and stderr are read apart: mpirun puts one into the middle of a line of the other.
mpiexec=$1 program=$2
report=$(mktemp)
trap 'rm -f "$report"' EXIT

fails() {
  echo "$1. Report: $(cat "$report"). Errors: $errors"
  exit 1
}

reported() {
  grep -q "$1" "$report" || fails "$how on $ranks ranks: no '$1' in the report"
}

for how in hang throw; do
  for ranks in 2 3; do
    errors=$(timeout 60 "$mpiexec" -np "$ranks" "$program" "$how" 2>&1 >"$report")
    code=$?
    [ "$code" -eq 81 ] || fails "$how on $ranks ranks: exit code $code"
    reported "error *the pair of rank $((ranks - 2)) and rank $((ranks - 1)) hangs: .*nothing has moved for"
    reported 'fix: mpirun --mca btl_vader_single_copy_mechanism none'
    reported "ok *.*every\|ok *$ranks ranks over MPI"
    printf '%s\n' "$errors" | grep -q '^fttrain: error\[81\]: links: the pair of rank' || fails "$how on $ranks ranks: no error"
    [ "$how" = hang ] || printf '%s\n' "$errors" | grep -q 'fails: the wire is cut' || fails "$how on $ranks ranks: no reason"
  done
done
