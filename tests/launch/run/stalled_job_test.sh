#!/bin/sh
# stalled_job_test.sh MPIEXEC PROGRAM: where the last rank stops, the job ends soon after its limit, and every rank that
# can speak says which rank is to blame, what that does and what it waits for itself; where one is slow, or all are
# suspended for a while, it does not end early. Takes about a minute. hang_trials.sh has all kinds.
mpiexec=$1 program=$2
. "$(dirname "$0")/stalled_job_kinds.sh"

fails() {
  echo "$1: $2. Output: $errors"
  exit 1
}

FTTRAIN_STALL_SECONDS=2
export FTTRAIN_STALL_SECONDS
for kind in InAPipeline Spins Reads Killed AtOdds BehindAnother; do
  run "$kind"
  wrong=$(complaint "$kind")
  [ -z "$wrong" ] || fails "$kind" "$wrong"
done

run NotButFailed
lines=$(printf '%s\n' "$errors" | grep -c '^fttrain: error')
if [ "$code" -ne 70 ] || [ "$lines" -ne 1 ]; then
  fails NotButFailed "exit code $code and $lines lines of errors, expected 70 and that of the rank itself"
fi

# All at once: mpirun's children.
output=$(mktemp)
timeout 90 "$mpiexec" -np 2 "$program" --gtest_filter=Stalled.NotButSuspended > "$output" 2>&1 &
job=$!
waits=0
while ! grep -q '^stalls at' "$output" && [ "$waits" -lt 300 ]; do
  sleep 0.1
  waits=$((waits + 1))
done
children() {
  awk -v parent="$1" '{ name = FILENAME; sub(/.*\) /, ""); if ($2 == parent) { gsub(/[^0-9]/, "", name); print name } }' \
    /proc/[0-9]*/stat 2>/dev/null
}
ranks=$(children "$(children "$job")")
kill -STOP $ranks
sleep 5
kill -CONT $ranks
wait "$job"
code=$?
errors=$(cat "$output")
rm -f "$output"
[ "$code" -eq 0 ] || fails NotButSuspended "exit code $code after all ranks were suspended and went on"

FTTRAIN_STALL_SECONDS=4
for kind in NotButSlow NotInManySteps; do
  errors=$(timeout 60 "$mpiexec" -np 2 "$program" --gtest_filter=Stalled.$kind 2>&1) || fails $kind 'it was ended'
done
