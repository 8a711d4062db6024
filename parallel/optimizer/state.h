// AdamW's state for what a rank owns of a flat buffer, and its update.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "parallel/optimizer/adamw_int8.h"
#include "parallel/optimizer/adamw_math.h"
#include "parallel/storage/flat_parameters.h"

namespace fttrain {

enum class StatePlace { kDevice, kHost };

enum class StateKind {
  kMaster,  // gradients' dtype; where the values are their own master these are they
  kExpAvg,  // gradients' dtype
  kExpAvgSq,
  kExpAvgCodes,  // in place of both, of moments in 8 bits (Int8Moments): uint8
  kExpAvgSqCodes,
  kExpAvgAbsmax,  // float32, one a block of 256 elements, the last block may be shorter
  kExpAvgSqAbsmax,
};

// State of elements [begin, end) of a slice's flattened local values; `begin` begins a block.
struct StatePiece {
  const ParamSlice& slice;
  FlatRange of_slice;
  StateKind kind;
  at::Tensor values;  // [of_slice.size()], absmax [blocks of of_slice]; a view
};

// Where gradients and values of a GPU pass through, beside state in host memory: two parts in turn.
// Pinned memory costs milliseconds and the whole device's attention to get and give back, so all
// states of an optimizer share one.
struct HostStaging {
  at::Tensor gradients[2], rounded[2];
};

class OwnedState {
 public:
  // Zeros for `owned` of the buffer, which must outlive this, and whose values and gradients are
  // kept there: moments in the gradients' dtype or in 8 bits as its segments say, and a master
  // where values are bfloat16. Booked as kOptimizer. With kHost all of it is in host memory
  // (EmptyOnHost), and there is always a master.
  OwnedState(const FlatBuffer& flat, FlatRange owned, StatePlace place);

  const FlatBuffer& flat() const { return *flat_; }
  FlatRange owned() const { return owned_; }
  at::Tensor Values() const { return flat_->ValuesIn(owned_); }
  at::Tensor Gradients() const { return flat_->GradientsIn(owned_); }
  // Masters from the values, and back.
  void ReadMasters();
  void WriteMasters();
  // One AdamW step of all owned elements, each parameter's weight decay times `weight_decay`'s on
  // or off. `tables`: MakeInt8Tables where the state is; undefined without 8-bit moments. The same
  // bits wherever the state is. With kHost beside a GPU: gradients come and values go in pieces,
  // the one while the host updates the other.
  void Update(AdamWStep step, double weight_decay, const at::Tensor& tables, HostStaging& staging);
  // As Optimizer::VisitState.
  absl::Status Visit(absl::FunctionRef<absl::Status(const StatePiece&)> visit);

 private:
  // What is owned of a segment. Its moments begin at `moments` in the arrays of their storage.
  struct Segment {
    FlatRange range;
    bool weight_decay;
    bool int8;
    int64_t moments;
  };
  // The moments of `part` of the segment.
  std::vector<std::pair<StateKind, at::Tensor>> MomentsIn(const Segment& segment,
                                                          FlatRange part) const;
  at::Tensor Zeros(int64_t n, at::ScalarType dtype) const;
  at::Tensor MasterIn(FlatRange range) const;  // the values where they are their own
  // Elements [begin, begin + size) of the segment; the other operands are theirs.
  void UpdatePart(const Segment& segment, FlatRange part, const at::Tensor& param,
                  const at::Tensor& gradients, const at::Tensor& rounded, const at::Tensor& tables,
                  const AdamWStep& step);
  void UpdateThroughHost(const Segment& segment, const at::Tensor& tables, const AdamWStep& step,
                         HostStaging& staging);

  const FlatBuffer* flat_;
  FlatRange owned_;
  StatePlace place_;
  std::vector<Segment> segments_;
  at::Tensor master_;  // [owned], gradients' dtype; undefined where the values are their own
  at::Tensor exp_avg_, exp_avg_sq_;  // gradients' dtype: what is owned and not in 8 bits
  Int8Moments int8_;                 // of the owned elements of segments with 8-bit moments
};

}  // namespace fttrain
