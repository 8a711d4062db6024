#!/usr/bin/env bash
# scripts_test.sh LAUNCH-FOLDER: mpirun.sh, slurm.sbatch and keep_running.sh. No MPI and no SLURM: mpirun, scontrol and the
# runs are stand-ins made here, found first in PATH, that write down what they are asked.
set -uo pipefail
launch=$(cd "$1" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
mkdir -p bin/toolkit out
export PATH=$work/bin:$PATH CALLS=$work/calls OUT=$work/out/run_status.json

fail() {
  echo "FAILED: $*"
  echo "calls:" && cat calls
  echo "output:" && cat log
  exit 1
}
stand_in() { # NAME, its text on stdin
  { echo '#!/usr/bin/env bash' && cat; } >"bin/$1"
  chmod +x "bin/$1"
}
# ends CODE COMMAND ...: that is its exit code.
ends() {
  local want=$1 got
  shift
  : >calls
  timeout 20 "$@" >log 2>&1
  got=$?
  [ "$got" -eq "$want" ] || fail "$* ended with $got, expected $want"
}
# Without job control the shell's children would ignore SIGINT, which a script cannot change.
in_background() {
  set -m
  "$@" >log 2>&1 &
  set +m
}
# begin COMMAND ...: in the background, until its stand-in runs (a line of $CALLS).
begin() {
  : >calls
  in_background "$@"
  wait_for begun 1
}
wait_for() { # WORD TIMES: in $CALLS
  for _ in $(seq 100); do
    [ "$(grep -c "$1" calls)" -lt "$2" ] || return 0
    sleep 0.05
  done
  fail "'$1' did not come $2 times"
}
ended() { # CODE: of what was begun
  local got
  wait "$!"
  got=$?
  [ "$got" -eq "$1" ] || fail "ended with $got, expected $1"
}
calls_are() { [ "$(cat calls)" = "$1" ] || fail "expected the calls '$1'"; }
log_has() { grep -q -- "$1" log || fail "no '$1' in the output"; }

# A run that lasts until it is told to stop, then saves a while; twice told it leaves.
stand_in run <<'END'
trap 'echo usr1 >>"$CALLS"; asked=$((${asked:-0} + 1))' USR1
trap 'echo usr2 >>"$CALLS"' USR2
trap 'echo term >>"$CALLS"' TERM INT
echo "begun $*" >>"$CALLS"
for _ in $(seq 200); do
  [ "${asked:-0}" -eq 0 ] || break
  sleep 0.05
done
[ "${asked:-0}" -ne 0 ] || exit 99
for _ in $(seq 10); do
  sleep 0.05
  [ "$asked" -eq 1 ] || exit 138
done
exit 75
END
stand_in mpirun <<'END'
echo "root $OMPI_ALLOW_RUN_AS_ROOT" >>"$CALLS"
exec run "$@"
END

test_mpirun() {
  local sent
  begin "$launch/mpirun.sh" -np 2 --hostfile hosts 'a program' --config=run.yaml
  kill -USR2 "$!"
  wait_for usr2 1
  kill -TERM "$!"
  ended 75
  calls_are "root 1
begun -np 2 --hostfile hosts a program --config=run.yaml
usr2
usr1"
  for sent in USR1 INT; do
    begin "$launch/mpirun.sh" -np 2 program
    kill "-$sent" "$!"
    ended 75
  done
  begin "$launch/mpirun.sh" -np 2 program
  kill -TERM "$!"
  wait_for usr1 1
  kill -TERM "$!"
  ended 138
  ends 64 "$launch/mpirun.sh"
  log_has 'mpirun.sh -np 4'
}

# build.sh in a folder of its own, with a cmake that writes down what it is asked.
stand_in cmake <<'END'
echo "cmake $*" >>"$CALLS"
echo "-- fttrain: CUDA and NCCL paths: $CUDA_PATHS"
END
stand_in toolkit/nvcc <<'END'
echo "Cuda compilation tools, release ${NVCC:-13.0}, V13.0.88"
END
test_build() {
  local build=$work/tree/launch/build.sh PATH=/usr/bin:/bin:$work/bin
  mkdir -p tree/launch tree/build/release torch
  cp "$launch/build.sh" tree/launch
  printf "cuda: Optional[str] = '13.0'\n" >torch/version.py
  printf 'FTTRAIN_TORCH_ROOT:PATH=%s\nCMAKE_CUDA_COMPILER:STRING=NOTFOUND\n' "$work/torch" >tree/build/release/CMakeCache.txt
  export CUDA_PATHS=OFF FTTRAIN_JOBS=3
  PATH=$work/bin:$PATH ends 0 "$build" --target x
  log_has 'for the CPU alone: no nvcc was found. For GPUs install the CUDA toolkit 13.0'
  calls_are 'cmake --preset release -B build/release
cmake --build build/release -j 3 --target x'

  PATH=$work/bin/toolkit:$work/bin:$PATH ends 0 "$build" --install="$work/here"
  calls_are "cmake --preset release -B build/release -U CMAKE_CUDA_COMPILER
cmake --build build/release -j 3 --target fttrain
cmake --install build/release --prefix $work/here"
  log_has "export PATH=$work/here/bin:"

  export CUDA_PATHS=ON
  printf 'FTTRAIN_TORCH_ROOT:PATH=%s\nCMAKE_CUDA_COMPILER:STRING=%s\n' "$work/torch" "$work/bin/toolkit/nvcc" \
    >tree/build/release/CMakeCache.txt
  PATH=$work/bin:$PATH ends 0 "$build"
  log_has 'with CUDA, by nvcc 13.0'
  NVCC=12.4 PATH=$work/bin:$PATH ends 1 "$build"
  log_has 'but .*/torch was made with CUDA 13.0'
}

# A command that ends with the codes of its arguments in turn, and with `status` beside one as run_status.json.
stand_in job <<'END'
echo job >>"$CALLS"
n=$(grep -c job "$CALLS")
word=${!n}
case $word in
  *:*) printf '{\n  "state": "x",\n  "exit_code": %s,\n  "stopped_by": %s,\n  "error": "\\"exit_code\\": 0"\n}\n' \
    "$(echo "$word" | cut -d: -f2)" "$(echo "$word" | cut -d: -f3)" >"$OUT.new" && mv "$OUT.new" "$OUT" ;;
esac
exit "${word%%:*}"
END
# keeps CODE RUNS FLAGS... -- WORDS...: ends with the code after that many runs.
keeps() {
  local code=$1 runs=$2 flags=()
  shift 2
  while [ "$1" != -- ]; do flags+=("$1") && shift; done
  shift
  ends "$code" "$launch/keep_running.sh" --wait 0 ${flags[@]+"${flags[@]}"} job "$@"
  [ "$(grep -c job calls)" -eq "$runs" ] || fail "expected $runs runs of job $*"
}

test_keep_running() {
  local code
  keeps 0 1 -- 0
  keeps 0 5 -- 75 81 82 137 0
  for code in 64 65 66 70 73 74 76 77 80 83 1 143; do keeps "$code" 1 -- "$code" 0; done
  keeps 75 3 --limit 2 -- 75 75 75 0
  log_has '75 after 2 restarts'
  # What mpirun returns is not always what the ranks did.
  keeps 0 3 --output out -- 1:75:null 143:null:null 0:0:null
  keeps 65 1 --output out -- 137:65:null
  keeps 80 2 --output out -- 1:81:null 1:80:null
  # A file of an earlier run says nothing of this one.
  keeps 1 1 --output out -- 1
  keeps 0 2 --output out -- 75 0
  rm "$OUT"
  keeps 1 1 --output out -- 1
  keeps 75 1 --output out -- '75:75:"STOP"'
  keeps 0 2 --output out -- '75:75:"SIGTERM"' 0
  for flags in '--limit x job' '--limit' '--what job' '--limit 3'; do
    # shellcheck disable=SC2086 # words
    ends 64 "$launch/keep_running.sh" $flags
  done
}

test_keep_running_signals() {
  local sent
  for sent in TERM INT USR1; do
    begin "$launch/keep_running.sh" --wait 0 run x
    kill -USR2 "$!"
    wait_for usr2 1
    kill "-$sent" "$!"
    ended 75
    calls_are "begun x
usr2
usr1"
  done
  # In the pause as well.
  : >calls
  in_background "$launch/keep_running.sh" --wait 100 job 75
  wait_for job 1
  for _ in $(seq 100); do ! grep -q 'starting again' log || break; sleep 0.05; done
  kill -TERM "$!"
  ended 75
  # All three in a row: keep_running.sh, mpirun.sh, mpirun.
  begin "$launch/keep_running.sh" "$launch/mpirun.sh" -np 2 program
  kill -TERM "$!"
  ended 75
  [ "$(grep -c usr1 calls)" -eq 1 ] || fail "told more than once"
}

# queues CODE yes|no COMMAND ...: ends with the code, and is queued again or not.
queues() {
  local code=$1 again=$2
  shift 2
  ends "$code" "$@"
  [ "$(sed -n 's/^scontrol requeue 17$/yes/p' calls)" = "${again/no/}" ] || fail "queued again by $*: expected $again"
}

test_slurm() {
  local code sent
  mkdir -p submit/launch
  cp "$launch/env.sh" submit/launch
  # The copy that SLURM runs lies elsewhere.
  cp "$launch/slurm.sbatch" spooled && chmod +x spooled
  export SLURM_SUBMIT_DIR=$work/submit SLURM_JOB_ID=17
  stand_in scontrol <<'END'
echo "scontrol $*" >>"$CALLS"
END
  # shellcheck disable=SC2016 # expanded by the stand-in
  printf '#!/bin/sh\necho "begun $*" >>"$CALLS"\nexit $CODE\n' >submit/launch/mpirun.sh
  chmod +x submit/launch/mpirun.sh
  for code in 75 81 82 137; do
    CODE=$code ends "$code" ./spooled --config=a.yaml
    calls_are "begun build/release/fttrain train --config=a.yaml
scontrol requeue 17"
  done
  # Killed by a signal that the job was not sent: an error.
  for code in 0 1 64 65 66 70 73 74 76 77 80 83 138 143; do CODE=$code queues "$code" no ./spooled; done
  for code in 81 82 137; do SLURM_RESTART_COUNT=20 CODE=$code queues "$code" no ./spooled; done
  SLURM_RESTART_COUNT=19 CODE=137 queues 137 yes ./spooled
  SLURM_RESTART_COUNT=20 CODE=75 queues 75 yes ./spooled

  # Its output_dir tells of a run that the file STOP ended, and what mpirun's code does not.
  # shellcheck disable=SC2016
  printf '#!/bin/sh\nshift 2\nexec job "$@"\n' >submit/launch/mpirun.sh
  sed "s|^output=|&$work/out|" spooled >of_output && chmod +x of_output
  rm -f "$OUT"
  queues 75 yes ./spooled '75:75:"STOP"'
  queues 75 no ./of_output '75:75:"STOP"'
  log_has 'the file STOP ended the run'
  queues 75 yes ./of_output 75 # that file is an earlier run's
  queues 75 yes ./of_output '75:75:"SIGUSR1"'
  queues 75 yes ./of_output 1:75:null
  queues 137 yes ./of_output 1:null:null
  queues 65 no ./of_output 137:65:null

  # Told to stop before the program could hear it.
  # shellcheck disable=SC2016
  printf '#!/usr/bin/env bash\ntrap "exit $CODE" USR1\necho begun >>"$CALLS"\nwhile true; do sleep 0.05; done\n' \
    >submit/launch/mpirun.sh
  for code in 138 143; do
    for sent in USR1 TERM; do
      CODE=$code SLURM_RESTART_COUNT=20 begin ./of_output
      kill "-$sent" "$!"
      ended "$code"
      calls_are "begun
scontrol requeue 17"
    done
  done
  # Told to stop, it waits for the save; with the true mpirun.sh.
  rm submit/launch/mpirun.sh
  cp "$launch/mpirun.sh" submit/launch
  for sent in USR1 TERM; do
    begin ./spooled --config=a.yaml
    kill "-$sent" "$!"
    ended 75
    calls_are "root 1
begun build/release/fttrain train --config=a.yaml
usr1
scontrol requeue 17"
  done
  unset SLURM_SUBMIT_DIR
  ends 64 ./spooled
  log_has 'start this with sbatch'
  grep -q '^#SBATCH --signal=B:USR1@300$' spooled || fail "no notice before the time is up"
}

: >calls
: >log
for script in build.sh mpirun.sh keep_running.sh slurm.sbatch; do bash -n "$launch/$script" || fail "$script"; done
test_mpirun
test_keep_running
test_keep_running_signals
test_slurm
test_build
echo "all as expected"
