#include "runtime/process/launcher.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// A variable that holds the number of processes, and who sets it.
struct SizeVariable {
  const char* name;
  const char* launcher;
};
constexpr SizeVariable kSizes[] = {
    {"WORLD_SIZE", "torchrun, accelerate or deepspeed"},
    {"OMPI_COMM_WORLD_SIZE", "the mpirun of another Open MPI"},
};
// The same of launchers that Open MPI may use for its daemons, whose variables the ranks inherit:
// under its mpirun they say nothing.
constexpr SizeVariable kSizesBesideOpenMpi[] = {
    {"PMI_SIZE", "the mpiexec of MPICH or Intel MPI, or srun,"},
    {"MV2_COMM_WORLD_SIZE", "the launcher of MVAPICH"},
};

// Slurm's names for what is no step of srun: the batch script and what stands around it.
constexpr int64_t kFirstStepOfNoTasks = 0xfffffff0;

// The variable as a number; -1 where it is not set or is none.
int64_t NumberIn(const Environment& environment, const char* name) {
  const char* text = environment(name);
  int64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) && number >= 0 ? number : -1;
}

// `processes` 0: that there are several is known, but not how many.
absl::Status Refuse(const Environment& environment, const char* name, const char* launcher,
                    int64_t processes) {
  return absl::FailedPreconditionError(absl::StrCat(
      name, " is ", Printable(environment(name)), ": ", launcher, " has started ",
      processes > 0 ? absl::StrCat(processes, " processes") : std::string("several processes"),
      ", but MPI has found none beside this one, so each would train alone and write over the "
      "others; start them with 'mpirun -np ",
      processes > 0 ? absl::StrCat(processes) : std::string("N"), " fttrain ...', or unset ", name,
      " if this process is meant to be alone"));
}

absl::Status CheckSizes(const Environment& environment, absl::Span<const SizeVariable> sizes) {
  for (const SizeVariable& size : sizes) {
    const int64_t processes = NumberIn(environment, size.name);
    if (processes > 1) return Refuse(environment, size.name, size.launcher, processes);
  }
  return absl::OkStatus();
}

// Processes of srun. In a batch script, and in a shell of salloc, what is started by hand is alone
// however many tasks the job may have: SLURM_NTASKS is the job's there.
absl::Status CheckSlurm(const Environment& environment) {
  const int64_t task = NumberIn(environment, "SLURM_PROCID");
  const int64_t step = NumberIn(environment, "SLURM_STEP_ID");
  if (task < 0 || step >= kFirstStepOfNoTasks) return absl::OkStatus();
  const char* name = "SLURM_STEP_NUM_TASKS";
  int64_t tasks = NumberIn(environment, name);
  // A task beyond the first belongs to a step, whatever else is set.
  if (tasks < 0 && (step >= 0 || task > 0)) {
    name = "SLURM_NTASKS";
    tasks = NumberIn(environment, name);
  }
  if (tasks > 1) return Refuse(environment, name, "srun", tasks);
  return task > 0 ? Refuse(environment, "SLURM_PROCID", "srun", 0) : absl::OkStatus();
}

}  // namespace

absl::Status CheckLauncher(const Environment& environment, int world_size) {
  if (world_size > 1) return absl::OkStatus();
  FT_RETURN_IF_ERROR(CheckSizes(environment, kSizes));
  // Started by our mpirun, as a world of one.
  if (environment("OMPI_COMM_WORLD_SIZE") != nullptr) return absl::OkStatus();
  FT_RETURN_IF_ERROR(CheckSizes(environment, kSizesBesideOpenMpi));
  FT_RETURN_IF_ERROR(CheckSlurm(environment));
  // Ranks count from 0; how many there are no variable says.
  if (NumberIn(environment, "PMIX_RANK") > 0) {
    return Refuse(environment, "PMIX_RANK", "a launcher that speaks PMIx", 0);
  }
  return absl::OkStatus();
}

}  // namespace fttrain
