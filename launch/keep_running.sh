#!/usr/bin/env bash
# launch/keep_running.sh [--limit N] [--wait SECONDS] [--output DIR] COMMAND [ARGUMENT ...]: runs a training and starts it
# again when it was preempted (exit code 75), hung (81), lost a rank (82) or was killed (137), N times at most (20) and
# after a pause (10 s); every other end is the end:
#   launch/keep_running.sh --output runs/mine launch/mpirun.sh -np 2 build/release/fttrain --config=run.yaml
# --output: the run's output_dir. mpirun may return a code that is not its ranks'; then run_status.json there tells, and a
# run that says there that it still runs was killed. A run that the file STOP ended is not started again either.
# SIGTERM, SIGINT and SIGUSR1 go to the command as SIGUSR1, SIGUSR2 as itself; once told to stop, nothing is started again.
set -uo pipefail
# shellcheck source=launch/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

say() { echo "keep_running: $*" >&2; }
usage() {
  say "$1"
  sed -n '2s/^# /usage: /p' "${BASH_SOURCE[0]}" >&2
  exit 64
}
limit=20 pause=10 output=
while [ $# -gt 0 ]; do
  case $1 in
    --limit | --wait | --output) [ $# -ge 2 ] || usage "$1 needs a value" ;;
    --*) usage "unknown flag $1" ;;
    *) break ;;
  esac
  case $1 in
    --limit) limit=$2 ;;
    --wait) pause=$2 ;;
    --output) output=$2 ;;
  esac
  shift 2
done
[[ $limit =~ ^[0-9]+$ ]] || usage "--limit '$limit' is no number"
[[ $pause =~ ^[0-9]+$ ]] || usage "--wait '$pause' is no number"
[ $# -gt 0 ] || usage "no command"

stopping=no
trap 'stopping=yes; [ -z "${!:-}" ] || kill -USR1 "$!" 2>/dev/null' TERM INT USR1
trap '[ -z "${!:-}" ] || kill -USR2 "$!" 2>/dev/null' USR2

# A process group of its own: Ctrl-C in a terminal reaches this script alone. Leaves the exit code in `code`.
run() {
  set -m
  exec "$@" </dev/null & # not a function of this script that has its name
  set +m
  fttrain_wait
}

restarts=0
while true; do
  before=$(fttrain_stamp "$output")
  run "$@"
  fttrain_true_code "$output" "$before"
  case $code in
    75 | 81 | 82 | 137) ;;
    *) exit "$code" ;;
  esac
  [ "$stopping" = no ] || exit "$code"
  if fttrain_ended_by_file "$output" "$before"; then
    say "the file STOP ended the run"
    exit "$code"
  fi
  if [ "$restarts" -ge "$limit" ]; then
    say "exit code $code after $restarts restarts: no more"
    exit "$code"
  fi
  restarts=$((restarts + 1))
  say "exit code $code: starting again in $pause s ($restarts of $limit)"
  sleep "$pause" &
  wait "$!"
  [ "$stopping" = no ] || exit "$code"
done
