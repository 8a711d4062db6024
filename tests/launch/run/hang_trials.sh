#!/bin/sh
# hang_trials.sh N MPIEXEC PROGRAM: each kind of hang of stalled_job N times; tells how often the right rank and operation
# were named, and how many seconds after the rank stopped the job was over, at most. Fails unless every trial was right
# and within the limit (FTTRAIN_STALL_SECONDS, 2 here) and five seconds. No test of every day: a trial takes its limit
# and the start of a job.
trials=$1 mpiexec=$2 program=$3
. "$(dirname "$0")/stalled_job_kinds.sh"
: "${FTTRAIN_STALL_SECONDS:=2}"
export FTTRAIN_STALL_SECONDS

printf '%-14s %6s %6s %9s\n' kind trials right 'slowest s'
all_right=0
for kind in ${KINDS:-$kinds}; do
  right=0 slowest=0 trial=0
  while [ "$trial" -lt "$trials" ]; do
    trial=$((trial + 1))
    run "$kind"
    now=$(date +%s.%N)
    wrong=$(complaint "$kind")
    began=$(printf '%s\n' "$errors" | sed -n 's/^stalls at //p' | head -n 1)
    took=$(awk "BEGIN { printf \"%.1f\", $now - ${began:-$now} }")  # nothing where it is not told
    slowest=$(awk "BEGIN { print ($took > $slowest) ? $took : $slowest }")
    if [ -z "$wrong" ] && [ "$(awk "BEGIN { print ($took <= $FTTRAIN_STALL_SECONDS + 5) }")" = 1 ]; then
      right=$((right + 1))
    else
      printf '%s: trial %d: %s (%s s)\n%s\n' "$kind" "$trial" "${wrong:-too late}" "$took" "$errors" >&2
    fi
  done
  [ "$right" -eq "$trials" ] || all_right=1
  printf '%-14s %6d %6d %9s\n' "$kind" "$trials" "$right" "$slowest"
done
exit $all_right
