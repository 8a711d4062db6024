#include "launch/run/phases.h"

#include <algorithm>
#include <utility>

#include "runtime/memory/current_stream.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

class TimedStage : public StageModule {
 public:
  TimedStage(StageModule& stage, PhaseClock& clock) : stage_(stage), clock_(clock) {}

  at::Tensor Forward(int chunk, int microbatch, at::Tensor input) override {
    clock_.Start(Phase::kForward);
    at::Tensor output = stage_.Forward(chunk, microbatch, std::move(input));
    clock_.Stop(Phase::kForward);
    return output;
  }
  at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) override {
    clock_.Start(Phase::kBackward);
    at::Tensor dinput = stage_.Backward(chunk, microbatch, std::move(doutput));
    clock_.Stop(Phase::kBackward);
    return dinput;
  }
  void BeginSchedule(const std::vector<PipelineStep>& steps) override {
    stage_.BeginSchedule(steps);
  }
  MessageSpec Boundary(int microbatch) const override { return stage_.Boundary(microbatch); }

 private:
  StageModule& stage_;
  PhaseClock& clock_;
};

}  // namespace

std::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kData:
      return "data";
    case Phase::kForward:
      return "forward";
    case Phase::kBackward:
      return "backward";
    case Phase::kWait:
      return "wait";
    case Phase::kGradients:
      return "gradients";
    case Phase::kOptimizer:
      return "optimizer";
    case Phase::kSave:
      return "save";
    case Phase::kCount:
      break;
  }
  FT_CHECK(false, "phase ", static_cast<int>(phase));
}

PhaseClock::Moment PhaseClock::Now() const {
  Moment moment;
  if (device_.is_cuda()) {
    // One that keeps the time, unlike ATen's own.
    moment.event.emplace(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    moment.event->record(CurrentStream(device_));
  } else {
    moment.time = std::chrono::steady_clock::now();
  }
  return moment;
}

void PhaseClock::Start(Phase phase) {
  if (phase == Phase::kWait) waits_ = stretches_.size();
  stretches_.push_back({phase, Now(), {}});
}

void PhaseClock::Stop(Phase phase) {
  Stretch& stretch = phase == Phase::kWait ? stretches_.at(waits_.value()) : stretches_.back();
  FT_CHECK(stretch.phase == phase, "phase ", static_cast<int>(phase), " was not begun");
  stretch.end = Now();
}

double PhaseClock::Seconds(const Stretch& stretch) const {
  if (!device_.is_cuda()) {
    return std::chrono::duration<double>(stretch.end.time - stretch.begin.time).count();
  }
  constexpr double kMilli = 1e-3;
  return kMilli * stretch.begin.event->elapsedTime(*stretch.end.event);
}

PhaseSeconds PhaseClock::Read() {
  PhaseSeconds sums;
  double within = 0;  // of kWait, other phases
  for (size_t i = 0; i < stretches_.size(); ++i) {
    const double seconds = Seconds(stretches_[i]);
    const Phase phase = stretches_[i].phase;
    sums[phase] += seconds;
    if (phase == Phase::kForward || phase == Phase::kBackward) within += seconds;
  }
  sums[Phase::kWait] = std::max(0.0, sums[Phase::kWait] - within);
  stretches_.clear();
  waits_.reset();
  return sums;
}

std::unique_ptr<StageModule> Timed(StageModule& stage, PhaseClock& clock) {
  return std::make_unique<TimedStage>(stage, clock);
}

}  // namespace fttrain
