# For stalled_job_test.sh and hang_trials.sh: the ways in which the last rank of stalled_job stops, and what must be
# said of each. Sets nothing but functions; mpiexec and program are the caller's.

kinds='InAPipeline AmongReplicas Stopped Spins Reads BetweenSteps Killed AtOdds BehindAnother'

ranks_of() {
  case $1 in BehindAnother) echo 4 ;; *) echo 2 ;; esac
}

code_of() {
  case $1 in Killed) echo 137 ;; *) echo 81 ;; esac
}

# said_of KIND: a pattern of the verdict. The rank and, where it is in one, the operation.
said_of() {
  one='rank 1 (host [^,]*, pid [0-9]*) is to blame: '
  case $1 in
    InAPipeline | AmongReplicas | Stopped) echo "${one}process stopped (signal or debugger)" ;;
    Spins) echo "${one}heartbeat alive, but in no operation for [0-9.]* s while rank 0 waits for it: in step [23] it computes, reads or writes (its main thread runs)" ;;
    Reads) echo "${one}heartbeat alive, but in no operation for [0-9.]* s while rank 0 waits for it: in step [23] it computes, reads or writes (its main thread sleeps)" ;;
    BetweenSteps) echo "${one}heartbeat alive, but in no operation for [0-9.]* s while rank 0 waits for it: after a part of step 3 it computes, reads or writes" ;;
    Killed) echo "${one}its process is gone" ;;
    AtOdds) echo 'rank 0 (host [^,]*, pid [0-9]*) and rank 1 (host [^,]*, pid [0-9]*) are to blame: they wait for each other in different operations: rank 0 in all_reduce of float[0-9]*\[dp of ranks 0, 1\], call [0-9]*, [0-9]* bytes, rank 1 in agreement\[all ranks\]' ;;
    BehindAnother) echo 'rank 3 (host [^,]*, pid [0-9]*) is to blame: heartbeat alive, but in no operation for' ;;
  esac
}

# waits_of KIND: a pattern of what rank 0 says that it waits in.
waits_of() {
  case $1 in
    InAPipeline) echo 'recv\( of float[0-9]*\)\?\[gradients between stages 0 and 1 of ranks 1, 0\] with rank 1, [0-9]* bytes' ;;
    Stopped | Reads) echo '[a-z_]*\( of [a-z0-9]*\)\?\[[^]]*of ranks [01], [01]\]' ;;
    BehindAnother) echo '[a-z_]*\( of [a-z0-9]*\)\?\[[^]]*ranks 0, [123]' ;;
    *) echo 'all_reduce of float[0-9]*\[dp of ranks 0, 1\], call [0-9]*, [0-9]* bytes' ;;
  esac
}

# run KIND: what one such job says on stderr, and its exit code, in $errors and $code. What it says on stdout is dropped: mpirun
# puts one stream into the middle of a line of the other.
run() {
  errors=$(timeout 60 "$mpiexec" -np "$(ranks_of "$1")" "$program" --gtest_filter="Stalled.$1" 2>&1 >/dev/null)
  code=$?
}

# complaint KIND: what is wrong with $errors and $code; nothing if all is right.
complaint() {
  if [ "$code" -ne "$(code_of "$1")" ]; then
    echo "exit code $code, expected $(code_of "$1") (124: the job hung)"
    return
  fi
  what="step [0-9]*: \(nothing has moved for [0-9]* s: \)\?$(said_of "$1")"
  if [ "$(printf '%s\n' "$errors" | grep -c "^fttrain: error: \[rank 0/[24] [^]]*\] $what.*; this rank waits in $(waits_of "$1")")" -ne 1 ]; then
    echo "expected one line of rank 0: $what ... this rank waits in $(waits_of "$1")"
    return
  fi
  if printf '%s\n' "$errors" | grep '^fttrain: error' | grep -qv "$what"; then
    echo 'a rank blames another'
  fi
}
