#!/bin/sh
# abort_job_test.sh RANKS MPIEXEC PROGRAM HOW: when one rank aborts, the whole job ends within seconds, with that
# rank's exit code and one line that names the rank; its last words are said unless it is AbortJob that ends it.
# A peer that is lost has an exit code of its own. Errors are read apart from stdout: mpirun puts one stream into the middle of a
# line of the other.
ranks=$1 mpiexec=$2 program=$3 how=$4
expected=42
[ "$how" != lost ] || expected=82
errors=$(timeout 20 "$mpiexec" -np "$ranks" "$program" "$how" 2>&1 >/dev/null)
code=$?
if [ "$code" -ne "$expected" ]; then
  echo "exit code $code, expected $expected (124: the job hung). Output: $errors"
  exit 1
fi
lines=$(printf '%s\n' "$errors" | grep -c "^fttrain: error: \[rank $((ranks - 1))/$ranks .*\] the disk is full$")
if [ "$lines" -ne 1 ]; then
  echo "expected one line of rank $((ranks - 1)), got $lines: $errors"
  exit 1
fi
# AbortJob is for those who have said what they have to say.
said=0
[ "$how" = abort ] || said=1
lines=$(printf '%s\n' "$errors" | grep -c "^fttrain: error: \[rank $((ranks - 1))/$ranks .*\] last words $expected: the disk is full$")
if [ "$lines" -ne "$said" ]; then
  echo "expected last words $said times, got $lines: $errors"
  exit 1
fi
