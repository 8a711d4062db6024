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
