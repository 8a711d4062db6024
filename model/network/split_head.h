// Final norm, output projection and cross entropy with the vocabulary split over pipeline stages
// too, after Yeung et al. (arXiv:2411.05288) but with one round trip in place of barriers: rank
// (pp, tp) holds the pp-th EvenRange within the tp-th EvenRange of the vocabulary. The head is
// frozen: its gradient would take another exchange.
//
// With u_s the probabilities of slice s, normalised within the slice and without the target, times
// its rows, and lse_s its log-sum-exp, the gradient of a row is
//   scale * (sum_s exp(lse_s - lse) u_s + (p(target) - 1) W[target]),
// so stages need not know lse. u_s is rounded to the compute dtype once, as a gradient of logits
// is; the sum is made in float32 (float64). Nothing cancels: p(target) - 1 is formed before
// rounding.
#pragma once

#include <memory>
#include <vector>

#include "model/ends/vocabulary.h"
#include "model/network/batch.h"
#include "parallel/layout/mesh.h"
#include "parallel/pipeline/head_links.h"

namespace fttrain {

class SplitHead {
 public:
  // Declares model.norm.weight on the last stage and this rank's slice of lm_head.weight, NF4 as in
  // LmHeadLoss; of model.embed_tokens.weight, in compute dtype, if the head is tied to it. `table`:
  // the embedding's parameter where this stage has it and the head is tied, which then is read.
  // Throws c10::Error for a trained head and a single stage.
  SplitHead(const ModelConfig& config, const ModelOptions& options, const Mesh& mesh,
            Parameter* table, ParameterSet& set);
  // Before the first step; must outlive this.
  void UseLinks(HeadLinks& links) { links_ = &links; }
  // Announces what will be taken for the step's microbatches, in their order.
  void BeginStep(const std::vector<ModelBatch>& batches);

  struct Saved {         // on the last stage, between its calls for a microbatch
    at::Tensor input;    // [T/tp, H] before the final norm
    at::Tensor rows;     // [M, H] what the head reads, until Part
    at::Tensor dnormed;  // [T/tp, H] gradient of the final norm's output, from then on
  };
  // Last stage: x [T/tp, H]; sends the normed rows that have a target to every stage. Collective
  // over tp.
  void Forward(const at::Tensor& x, const ModelBatch& batch, Saved& saved) const;
  // Every stage: this rank's part of the microbatch, sent to the last stage, which takes all of
  // them, adds the sum of token losses to `loss` and has their gradient. scale: as in LmHeadLoss.
  // Collective over pp as HeadLinks is, each stage calls for every microbatch in order; and over
  // tp.
  void Part(const ModelBatch& batch, double scale, Saved& saved, double& loss);
  at::Tensor Backward(Saved& saved) const;  // last stage: -> dx [T/tp, H]
  // As LmHeadLoss's.
  void HoldWeights();
  void ReleaseWeights();

 private:
  struct Incoming {
    std::vector<MessageSpec> specs;
    size_t posted = 0, taken = 0;
  };
  Range SliceOf(int stage) const;  // of the vocabulary, of that stage's rank with this one's tp
  int64_t MessageBytes(const ModelBatch& batch, int stage) const;
  Operand Weight() const;  // [V/(tp pp), H]
  at::Tensor Compute(const at::Tensor& rows, const ModelBatch& batch) const;
  // [M, H], float32 (float64): the gradient of the rows of `batch` but for scale.
  at::Tensor Combine(const ModelBatch& batch, const std::vector<at::Tensor>& messages,
                     double& loss) const;
  void PostAhead(int peer);
  at::Tensor Take(int peer);

  SequenceRegion region_;
  double eps_;
  int64_t chunk_rows_, vocab_size_, hidden_size_;
  at::ScalarType compute_;
  int stage_, num_stages_;
  Range slice_;
  Parameter* norm_ = nullptr;  // last stage
  Parameter* table_;           // of the first stage, with a tied head; else own_
  std::unique_ptr<WeightMatrix> own_;
  HeadLinks* links_ = nullptr;
  std::vector<Incoming> incoming_;  // by stage
};

}  // namespace fttrain
