#include "launch/commands/sampling_flags.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::StatusOr<GenerationOptions> ReadGenerationFlags(const CommandLine& line) {
  GenerationOptions options;
  Sampling& sampling = options.sampling;
  FT_ASSIGN_OR_RETURN(
      options.max_new_tokens,
      line.Number<int64_t>(
          "max_new_tokens",
          [](int64_t n) { return n >= 1 && n <= std::numeric_limits<int32_t>::max(); },
          "a whole number from 1 to 2^31 - 1"));
  FT_ASSIGN_OR_RETURN(sampling.temperature,
                      line.Number<double>(
                          "temperature", [](double t) { return t >= 0 && !std::isinf(t); },
                          "a number of at least 0 (0: greedy)"));
  FT_ASSIGN_OR_RETURN(sampling.top_k, line.Number<int64_t>(
                                          "top_k", [](int64_t k) { return k >= 0; },
                                          "a whole number of at least 0 (0: all)"));
  FT_ASSIGN_OR_RETURN(sampling.top_p, line.Number<double>(
                                          "top_p", [](double p) { return p > 0 && p <= 1; },
                                          "a number above 0, at most 1"));
  FT_ASSIGN_OR_RETURN(sampling.repetition_penalty,
                      line.Number<double>(
                          "repetition_penalty", [](double p) { return p > 0 && !std::isinf(p); },
                          "a number above 0 (1: none)"));
  FT_ASSIGN_OR_RETURN(const int64_t seed,
                      line.Number<int64_t>(
                          "seed", [](int64_t) { return true; }, "a whole number"));
  sampling.seed = static_cast<uint64_t>(seed);
  for (const char* flag : {"top_k", "top_p", "seed"}) {
    if (sampling.temperature > 0 || !line.Has(flag)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--", flag,
                     " is of draws, and without --temperature the likeliest token is taken: give "
                     "--temperature=1, say"));
  }
  return options;
}

}  // namespace fttrain
