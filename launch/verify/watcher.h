// A job's steps as rank 0 sees them whole: the one observer of every run of verification.
#pragma once

#include <optional>
#include <vector>

#include "launch/run/trainer.h"
#include "launch/verify/holders.h"
#include "launch/verify/report.h"
#include "launch/verify/step_record.h"

namespace fttrain {

enum class Seen { kValues, kGradients };

// Looks at a run, on its rank 0.
class Viewer {
 public:
  virtual ~Viewer() = default;
  // Before the gradients of a step are seen; `norm`: of the run's own.
  virtual void OnStep(int64_t step, double loss, double norm) = 0;
  // Each trainable parameter whole, [global_shape] in host memory: gradients of step `at`, from 0;
  // values after `at` steps, 0 as loaded.
  virtual void OnWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& whole) = 0;
  virtual void OnUpdated(const StepMetrics& metrics) = 0;  // after its values are seen
};

// Keeps what it sees.
class Recording : public Viewer {
 public:
  explicit Recording(StepRecord& record) : record_(&record) {}
  void OnStep(int64_t, double, double) override {}
  void OnWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& whole) override;
  void OnUpdated(const StepMetrics& metrics) override;

 private:
  StepRecord* record_;
};

// A run whose values and gradients a job takes, once its own are seen, to go on from them. Such a
// job has all that it trains on its ranks (ZeRO 0).
struct TakenRun {
  const StepRecord* record;  // on rank 0
};

// Collective over the job's ranks, as are all its calls.
class Watcher : public StepObserver {
 public:
  // `viewer`: null on ranks other than 0. All must outlive this.
  Watcher(Job& job, const Holders& holders, Viewer* viewer, std::optional<TakenRun> takes = {});
  ~Watcher() override { std::erase(job_->observers, this); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // Before the first step.
  void OnLoaded();
  void OnGradients(int64_t step, double loss) override;
  void OnUpdated(const StepMetrics& metrics) override;
  // What replicas do not have in common, of a run that takes nothing; with the frozen values as
  // loaded. The same on every rank.
  const std::vector<ReplicaDeviation>& replicas() const { return replicas_; }

 private:
  void See(Seen what, int64_t at);
  void SeeWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& local);
  const ParameterSet& declared() const { return job_->network->declared; }

  Job* job_;
  const Holders* holders_;
  Viewer* viewer_;
  std::optional<TakenRun> takes_;
  std::vector<ReplicaDeviation> replicas_;
};

}  // namespace fttrain
