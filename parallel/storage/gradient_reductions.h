// Sums of a rank's gradients over tp and dp, which run while the work that follows does: under
// ZeRO 0 and 1 in place and once a step, under ZeRO 2 and 3 into this rank's shard.
#pragma once

#include <memory>
#include <vector>

#include "parallel/layout/mesh.h"
#include "parallel/storage/flat_parameters.h"

namespace fttrain {

// The part of the buffer that this rank owns from ZeRO 1 on.
FlatRange ShardOf(const FlatBuffer& flat, const Mesh& mesh);

// Begin, End and Complete take indices of buffers. End, Complete and Finish are collective over tp
// and dp: same calls in the same order on all ranks of a stage.
class GradientReductions {
 public:
  // `buffers` are allocated, under ZeRO 2 and 3 with this rank's shard of the gradients; they and
  // `mesh` must outlive this.
  GradientReductions(std::vector<FlatBuffer>& buffers, const Mesh& mesh, c10::Device device,
                     int zero_stage);

  // The whole gradients are there from here on: zeros where they are sharded, and at the first of
  // nested calls. Throws c10::Error after Complete, until Finish or Drop.
  void Begin(const std::vector<size_t>& indices);
  // Where gradients are sharded, the sums begin and the parameters' `grad` become undefined. Only
  // one call's are on their way: each is as large as a group's whole gradients.
  void End(const std::vector<size_t>& indices);
  // Where gradients are whole, the sums begin: nothing is added to them in the rest of this step.
  void Complete(const std::vector<size_t>& indices);
  // At the end of a step: all sums are there, in the range that this rank owns. Throws c10::Error
  // where sharded gradients were begun and not ended.
  void Finish();
  // Forgets sums on their way, and sharded gradients that were begun. Not collective.
  void Drop();

 private:
  struct Reduction {
    FlatBuffer* flat;
    at::Tensor gradients;  // where the sum comes to: under ZeRO 0 all of it, else this rank's part
    std::unique_ptr<Work> work;
  };

  bool sharded() const { return zero_stage_ >= 2; }
  void Reduce(const std::vector<size_t>& indices);
  std::unique_ptr<Work> StartSum(const Reduction& reduction) const;
  void Await();
  void Reset();

  std::vector<FlatBuffer>& buffers_;
  const Mesh& mesh_;
  c10::Device device_;
  int zero_stage_;
  // By buffer: whole gradients that are not summed. Sharded ones between Begin and End; else the
  // buffer's own, until the step's sums begin.
  std::vector<at::Tensor> unsummed_;
  std::vector<Reduction> reductions_;  // on their way
};

}  // namespace fttrain
