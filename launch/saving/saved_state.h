// Reads the pieces of a checkpoint, which a job in any layout has saved, into those of this layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/checkpoint/committed.h"
#include "launch/run/build.h"

namespace fttrain {

// Pieces that a job of another layout has saved. Both that it is made of must outlive it.
class SavedState {
 public:
  SavedState(FileSystem& files, const Committed& checkpoint);

  // The values of a piece. Bits are those that were saved, but for moments in 8 bits whose blocks
  // this layout cuts elsewhere: those are quantised again, and counted. DataLoss where what was
  // saved lacks some of it, naming the tensor.
  absl::Status ReadInto(const StatePiece& piece);

  int64_t requantised_blocks() const { return requantised_blocks_; }

 private:
  using Tensors = std::vector<const ManifestTensor*>;

  const Tensors& Of(const std::string& name, const std::string& kind) const;
  absl::Status Lacks(const ParamSlice& slice, const std::string& kind) const;
  absl::StatusOr<bool> ReadPart(const Tensors& saved, FlatRange range, int64_t unit,
                                at::Tensor& out) const;
  absl::Status ReadWhole(const ParamSlice& slice, const std::string& kind, at::ScalarType dtype,
                         at::Tensor& whole);
  absl::Status ReadMoments(const StatePiece& piece);

  FileSystem& files_;
  const Committed& checkpoint_;
  std::map<std::pair<std::string, std::string>, Tensors> tensors_;  // by name and kind
  int64_t requantised_blocks_ = 0;
  // Scales that came with codes that were read, until they are asked for, by name, kind and begin.
  std::map<std::tuple<std::string, StateKind, int64_t>, at::Tensor> scales_;
};

// All of the job's state from what was saved; parameters follow. Agrees on errors. Collective over
// the world of `process`.
absl::Status ReadState(Job& job, SavedState& saved, const Process& process);

}  // namespace fttrain
