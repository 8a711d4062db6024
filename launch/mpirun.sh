#!/usr/bin/env bash
# launch/mpirun.sh [OPTION OF MPIRUN ...] PROGRAM [ARGUMENT ...]: mpirun with the settings of env.sh, for runs that are to
# save when they are told to stop:
#   launch/mpirun.sh -np 4 --hostfile hosts build/release/fttrain --config=run.yaml
# A SIGTERM, SIGINT (Ctrl-C) or SIGUSR1 sent to this script goes to the ranks as SIGUSR1: they end their step, save and
# leave with exit code 75. A second makes them leave without saving, a third kills mpirun. SIGUSR2: save and go on.
# mpirun itself kills its ranks a second or two after a SIGTERM: send it none.
set -uo pipefail
if [ $# -eq 0 ]; then
  sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 64
fi
# shellcheck source=launch/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

export FTTRAIN_GRACE=${FTTRAIN_GRACE:-unlimited} # seconds that ranks have once they are asked to stop
asked=0
trap '
  [ -n "${!:-}" ] || exit 143 # nothing has begun
  asked=$((asked + 1))
  if [ "$asked" -le 2 ]; then kill -USR1 "$!"; else kill -KILL "$!"; fi' TERM INT USR1
trap '[ -z "${!:-}" ] || kill -USR2 "$!"' USR2

# A process group of its own: Ctrl-C in a terminal reaches this script alone.
set -m
mpirun "$@" </dev/null &
fttrain_wait
exit "$code"
