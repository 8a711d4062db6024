# shellcheck shell=bash
# Source this (`. launch/env.sh`) before mpirun: as root, in a container, with more ranks than cores, and wherever a rank
# is to have more than one core. Values already set are kept.
export OMPI_ALLOW_RUN_AS_ROOT=${OMPI_ALLOW_RUN_AS_ROOT:-1}
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-1}
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
# Two ranks would each be bound to one core, however many threads they run.
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
# Copying between processes through the kernel is refused in containers; shared memory always works.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
# In containers that hide the machine's topology hwloc says so on every start; nothing is amiss.
export HWLOC_HIDE_ERRORS=${HWLOC_HIDE_ERRORS:-2}

# fttrain_wait: waits for the newest background process to its end, whatever traps run meanwhile (a signal ends a wait,
# not the process), and leaves its exit code in `code`.
fttrain_wait() {
  local last
  while true; do
    wait "$!"
    code=$?
    kill -0 "$!" 2>/dev/null || break
  done
  # It may have ended between the two.
  wait "$!" 2>/dev/null
  last=$?
  [ "$last" -eq 127 ] || code=$last
}

# What run_status.json says of a run that ended just now. OUTPUT is its output_dir (empty: unknown, nothing is said), BEFORE
# the fttrain_stamp from before it began: a file that is still the same one is an earlier run's.
# fttrain_stamp OUTPUT: which file it is; each time it is written it is another.
fttrain_stamp() { [ -z "$1" ] || stat -c '%i %y' "$1/run_status.json" 2>/dev/null; }
# fttrain_status_of OUTPUT KEY: the value of one of its keys, which stand one a line; nothing where it is null.
fttrain_status_of() {
  sed -n "s/^  \"$2\": \"\{0,1\}\([A-Za-z0-9]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$1/run_status.json" | sed 's/^null$//'
}
# fttrain_true_code OUTPUT BEFORE: mpirun may return a code that is not its ranks'. Puts theirs in `code`.
fttrain_true_code() {
  local told
  case $code in
    0 | 64 | 65 | 66 | 70 | 73 | 74 | 75 | 76 | 77 | 80 | 81 | 82 | 83) return ;;
  esac
  [ -n "$1" ] && [ "$(fttrain_stamp "$1")" != "$2" ] || return 0
  told=$(fttrain_status_of "$1" exit_code)
  echo "exit code $code; run_status.json says ${told:-that the run goes on, so it was killed}" >&2
  code=${told:-137}
}
# fttrain_ended_by_file OUTPUT BEFORE: whether the file STOP ended it: it is to stay stopped.
fttrain_ended_by_file() {
  [ "$code" -eq 75 ] && [ -n "$1" ] && [ "$(fttrain_stamp "$1")" != "$2" ] &&
    [ "$(fttrain_status_of "$1" stopped_by)" = STOP ]
}

# fttrain_mpirun RANKS PROGRAM [ARGUMENT ...]: mpirun with each host's cores shared out among its ranks as threads, unless
# OMP_NUM_THREADS says how many.
fttrain_mpirun() {
  local ranks=$1
  shift
  # shellcheck disable=SC2016  # expanded by each rank, on its host
  mpirun -np "$ranks" sh -c '
    threads=$(($(nproc) / OMPI_COMM_WORLD_LOCAL_SIZE))
    [ "$threads" -ge 1 ] || threads=1
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads} exec "$@"' sh "$@"
}
