// Where a step's time goes on one rank, as its device passes through it: on a CPU by the clock, on
// a GPU by events that the step does not wait for.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "parallel/pipeline/executor.h"

namespace fttrain {

enum class Phase {
  kData,       // rows into tensors
  kForward,    // with the collectives of its layers
  kBackward,   // likewise, and what is computed again
  kWait,       // of the schedule, neither; and for the numbers that ranks have in common
  kGradients,  // sums over ranks that had not come by then
  kOptimizer,  // clipping and the update
  kSave,       // copies for a checkpoint, and its commit, since the step before
  kCount,
};
std::string_view PhaseName(Phase phase);  // "forward"

// Seconds of each.
struct PhaseSeconds {
  std::array<double, static_cast<size_t>(Phase::kCount)> of = {};
  double& operator[](Phase phase) { return of[static_cast<size_t>(phase)]; }
  double operator[](Phase phase) const { return of[static_cast<size_t>(phase)]; }
};

class PhaseClock {
 public:
  explicit PhaseClock(c10::Device device) : device_(device) {}

  // From here to Stop the current stream's time is this phase's. Phases do not nest, but forwards
  // and backwards in kWait, of which they do not count.
  void Start(Phase phase);
  void Stop(Phase phase);
  // The sums since the last call. The device has done all that was stopped.
  PhaseSeconds Read();

 private:
  struct Moment {
    std::chrono::steady_clock::time_point time;
    std::optional<c10::Event> event;  // of a GPU
  };
  struct Stretch {
    Phase phase;
    Moment begin, end;
  };
  Moment Now() const;
  double Seconds(const Stretch& stretch) const;

  c10::Device device_;
  std::vector<Stretch> stretches_;
  std::optional<size_t> waits_;  // the open stretch of kWait
};

// The same stage, whose forwards and backwards the clock sees. Both must outlive it.
std::unique_ptr<StageModule> Timed(StageModule& stage, PhaseClock& clock);

}  // namespace fttrain
