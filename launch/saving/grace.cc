#include "launch/saving/grace.h"

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fttrain {
namespace {

std::optional<double> SecondsIn(const char* variable) {
  const char* text = std::getenv(variable);
  double seconds = 0;
  if (text == nullptr || !absl::SimpleAtod(text, &seconds)) return std::nullopt;
  return seconds;
}

}  // namespace

std::optional<double> GraceSeconds() {
  if (std::getenv("FTTRAIN_GRACE") != nullptr) return SecondsIn("FTTRAIN_GRACE");
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return std::nullopt;
  constexpr double kMpirunsOwn = 1;
  return SecondsIn("OMPI_MCA_odls_base_sigkill_timeout").value_or(kMpirunsOwn);
}

std::string GraceWarning(double seconds) {
  const std::optional<double> grace = GraceSeconds();
  if (!grace || seconds <= *grace) return "";
  const bool of_mpirun = std::getenv("FTTRAIN_GRACE") == nullptr;
  return absl::StrFormat(
      "saving a checkpoint took %.1f s, and %s: what is learnt since the last one may be lost; %s",
      seconds,
      of_mpirun ? absl::StrFormat("mpirun kills its ranks %g s after a SIGTERM", *grace)
                : absl::StrFormat("a run that is asked to stop is killed after %g s", *grace),
      of_mpirun ? "start the run with launch/mpirun.sh, or stop it with SIGUSR1"
                : "ask for more time between the two (FTTRAIN_GRACE says how much there is)");
}

}  // namespace fttrain
