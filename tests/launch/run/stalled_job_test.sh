#!/bin/sh
# stalled_job_test.sh MPIEXEC PROGRAM: where one of two ranks stops, the job ends soon after its limit with one line of
# the other that says what it waits for; where one is slow, it does not end early.
mpiexec=$1 program=$2

# stalls CASE WHERE: the case ends with the exit code of a hang, and the waiting rank says where.
stalls() {
  errors=$(timeout 40 "$mpiexec" -np 2 "$program" --gtest_filter="Stalled.$1" 2>&1)
  code=$?
  if [ "$code" -ne 81 ]; then
    echo "$1: exit code $code, expected 81 (124: the job hung). Output: $errors"
    exit 1
  fi
  lines=$(printf '%s\n' "$errors" | grep -c "^fttrain: error: \[rank 0/2 [^]]*\] $2")
  if [ "$lines" -ne 1 ] || [ "$(printf '%s\n' "$errors" | grep -c '^fttrain: error')" -ne 1 ]; then
    echo "$1: expected one line of rank 0 that begins with '$2': $errors"
    exit 1
  fi
}

stalls InAPipeline 'step 2: nothing has moved for [0-9]* s; this rank waits in recv\[gradients between stages 0 and 1 of ranks 1, 0\] with rank 1, [0-9]* bytes\. '
stalls AmongReplicas 'step 3: nothing has moved for [0-9]* s; this rank waits in all_reduce\[dp of ranks 0, 1\], 8 bytes\. '
if ! errors=$(timeout 60 "$mpiexec" -np 2 "$program" --gtest_filter=Stalled.NotButSlow 2>&1); then
  echo "a slow run was ended: $errors"
  exit 1
fi
