#include "parallel/storage/gradient_reductions.h"

#include <ATen/ATen.h>

#include <utility>

#include "parallel/storage/gradient_sums.h"

namespace fttrain {
namespace {

int GroupOf(const FlatBuffer& flat) { return flat.entries.front().parameter->group; }

}  // namespace

FlatRange ShardOf(const FlatBuffer& flat, const Mesh& mesh) {
  const Communicator& replicas = mesh.Line(flat.replicas);
  return flat.Shard(replicas.size(), replicas.rank());
}

GradientReductions::GradientReductions(std::vector<FlatBuffer>& buffers, const Mesh& mesh,
                                       c10::Device device, int zero_stage)
    : buffers_(buffers), mesh_(mesh), device_(device), zero_stage_(zero_stage) {
  Reset();
}

// As it is before a step's first backward.
void GradientReductions::Reset() {
  unsummed_.assign(buffers_.size(), at::Tensor());
  if (sharded()) return;
  for (size_t i = 0; i < buffers_.size(); ++i) unsummed_[i] = buffers_[i].gradients;
}

void GradientReductions::Begin(const std::vector<size_t>& indices) {
  for (const size_t i : indices) {
    if (unsummed_[i].defined()) continue;
    TORCH_CHECK(sharded(), "gradients of group ", GroupOf(buffers_[i]),
                ", which were complete, are added to");
    unsummed_[i] = buffers_[i].ZeroGradients(device_);
    BindGradients(buffers_[i], unsummed_[i]);
  }
}

std::unique_ptr<Work> GradientReductions::StartSum(const Reduction& reduction) const {
  Communicator& replicas = mesh_.Line(reduction.flat->replicas);
  if (zero_stage_ == 0) return replicas.AllReduceAsync(reduction.gradients);
  const FlatRange shard = ShardOf(*reduction.flat, mesh_);
  return replicas.ReduceScatterAsync(reduction.gradients,
                                     reduction.gradients.narrow(0, shard.begin, shard.size()));
}

void GradientReductions::Reduce(const std::vector<size_t>& indices) {
  std::vector<Reduction> started;
  for (const size_t i : indices) {
    if (!unsummed_[i].defined()) continue;
    SumOverTp(buffers_[i], unsummed_[i], mesh_.tp());
    if (sharded()) BindGradients(buffers_[i], {});
    started.push_back({&buffers_[i], std::move(unsummed_[i]), nullptr});
    unsummed_[i].reset();
  }
  if (sharded() && !started.empty()) Await();
  for (Reduction& reduction : started) {
    reduction.work = StartSum(reduction);
    reductions_.push_back(std::move(reduction));
  }
}

void GradientReductions::Await() {
  for (const Reduction& reduction : reductions_) {
    reduction.work->Wait();
    if (!sharded()) continue;
    const FlatRange shard = ShardOf(*reduction.flat, mesh_);
    reduction.flat->gradients.add_(reduction.gradients.narrow(0, shard.begin, shard.size()));
  }
  reductions_.clear();
}

void GradientReductions::End(const std::vector<size_t>& indices) {
  if (sharded()) Reduce(indices);
}

void GradientReductions::Complete(const std::vector<size_t>& indices) {
  if (!sharded()) Reduce(indices);
}

void GradientReductions::Finish() {
  for (size_t i = 0; i < buffers_.size(); ++i) {
    if (!unsummed_[i].defined()) continue;
    TORCH_CHECK(!sharded(), "gradients of group ", GroupOf(buffers_[i]), " were not ended");
    SumOverTp(buffers_[i], unsummed_[i], mesh_.tp());
    Communicator& replicas = mesh_.Line(buffers_[i].replicas);
    if (zero_stage_ == 0) {
      replicas.AllReduce(unsummed_[i]);
    } else {
      const FlatRange shard = ShardOf(buffers_[i], mesh_);
      replicas.ReduceScatter(unsummed_[i], unsummed_[i].narrow(0, shard.begin, shard.size()));
    }
  }
  Await();
  Reset();
}

void GradientReductions::Drop() {
  if (sharded()) {
    for (size_t i = 0; i < buffers_.size(); ++i) {
      if (unsummed_[i].defined()) BindGradients(buffers_[i], {});
    }
  }
  reductions_.clear();
  Reset();
}

}  // namespace fttrain
