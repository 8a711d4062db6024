#include "runtime/process/launcher.h"

#include <gmock/gmock.h>

#include <map>

#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

absl::Status Check(const Variables& variables, int world_size = 1) {
  const auto get = [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  return CheckLauncher(get, world_size);
}

TEST(Launcher, AProcessThatIsAloneIsFine) {
  const Variables cases[] = {
      {},
      {{"WORLD_SIZE", "1"}, {"RANK", "0"}, {"LOCAL_RANK", "0"}},
      {{"WORLD_SIZE", ""}},
      {{"WORLD_SIZE", "all"}},
      {{"PMI_SIZE", "1"}, {"PMI_RANK", "0"}},
      {{"PMIX_RANK", "0"}},
      {{"OMPI_COMM_WORLD_SIZE", "1"}, {"PMIX_RANK", "0"}},
      // By hand in a batch script of four tasks, and in a shell of salloc.
      {{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_JOB_ID", "7"}},
      {{"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}},
      {{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "4294967290"}},
      {{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "4294967291"}},
      // srun of one task in an allocation of four.
      {{"SLURM_NTASKS", "1"},
       {"SLURM_PROCID", "0"},
       {"SLURM_STEP_ID", "0"},
       {"SLURM_STEP_NUM_TASKS", "1"}},
      // One rank of mpirun, whose daemon is one of two tasks of srun.
      {{"OMPI_COMM_WORLD_SIZE", "1"},
       {"SLURM_PROCID", "1"},
       {"SLURM_STEP_ID", "2"},
       {"SLURM_STEP_NUM_TASKS", "2"},
       {"PMI_SIZE", "2"}},
  };
  for (const Variables& variables : cases) {
    EXPECT_EQ(ErrorText(Check(variables)), "") << testing::PrintToString(variables);
  }
}

TEST(Launcher, OneOfSeveralThatMpiDoesNotKnowOfIsRefusedByTheVariableThatSaysSo) {
  struct Case {
    Variables variables;
    const char* name;
    const char* value;
    const char* ranks;
  };
  const Case cases[] = {
      {{{"WORLD_SIZE", "2"}, {"RANK", "0"}}, "WORLD_SIZE", "2", "2"},
      {{{"WORLD_SIZE", "16"}, {"SLURM_NTASKS", "2"}}, "WORLD_SIZE", "16", "16"},
      {{{"WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_SIZE", "1"}}, "WORLD_SIZE", "2", "2"},
      {{{"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "3"}}, "OMPI_COMM_WORLD_SIZE", "4", "4"},
      {{{"PMI_SIZE", "3"}, {"PMI_RANK", "0"}}, "PMI_SIZE", "3", "3"},
      {{{"MV2_COMM_WORLD_SIZE", "2"}}, "MV2_COMM_WORLD_SIZE", "2", "2"},
      {{{"PMIX_RANK", "1"}}, "PMIX_RANK", "1", "N"},
      {{{"SLURM_NTASKS", "4"},
        {"SLURM_PROCID", "0"},
        {"SLURM_STEP_ID", "0"},
        {"SLURM_STEP_NUM_TASKS", "2"}},
       "SLURM_STEP_NUM_TASKS",
       "2",
       "2"},
      {{{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "1"}},
       "SLURM_NTASKS",
       "4",
       "4"},
      {{{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "1"}}, "SLURM_NTASKS", "4", "4"},
      {{{"SLURM_PROCID", "1"}}, "SLURM_PROCID", "1", "N"},
  };
  for (const Case& c : cases) {
    const absl::Status refused = Check(c.variables);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << c.name;
    EXPECT_THAT(ErrorText(refused), HasSubstr(std::string(c.name) + " is " + c.value + ": "));
    EXPECT_THAT(ErrorText(refused), HasSubstr(std::string("'mpirun -np ") + c.ranks + " fttrain"));
    EXPECT_TRUE(Check(c.variables, /*world_size=*/2).ok()) << "MPI has found them";
  }
}

}  // namespace
}  // namespace fttrain
