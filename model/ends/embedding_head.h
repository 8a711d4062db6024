// The two ends of the network, both split over the vocabulary: rank r owns rows EvenRange(V, tp,
// r).
#pragma once

#include "model/blocks/decoder_layer.h"

namespace fttrain {

// Token embedding (vocabulary-parallel, Megatron-LM sec. 3). Declares model.embed_tokens.weight.
// With embedding_on_host the table is in host memory, its rows are gathered there and copied.
class Embedding {
 public:
  // Throws c10::Error for a table on the host that is trained, or that a tied head reads.
  Embedding(const ModelSpec& model, const ModelOptions& options, Communicator& tp,
            ParameterSet& set);
  // input_ids int64 [T] -> [T/tp, H]. Collective over tp.
  at::Tensor Forward(const at::Tensor& input_ids) const;
  // Adds to the table's gradient; nothing when frozen (then not collective).
  void Backward(const at::Tensor& dy, const at::Tensor& input_ids) const;
  Parameter* weight() const { return weight_; }

 private:
  SequenceRegion region_;
  Range rows_;
  Parameter* weight_;
};

// Final norm, output projection and cross entropy in one: logits exist only for positions that have
// a target, in chunks, sharded over the vocabulary; the gradient of the input is made in the same
// pass.
class LmHeadLoss {
 public:
  // Declares model.norm.weight and, unless tied, lm_head.weight, which is NF4 if options.nf4 is and
  // nf4_dense does not name lm_head (a tied head never is). `tied`: the embedding's parameter or
  // null.
  LmHeadLoss(const ModelSpec& model, const ModelOptions& options, Communicator& tp, Parameter* tied,
             ParameterSet& set);
  struct Saved {
    at::Tensor input;    // [T/tp, H] before the final norm
    at::Tensor dnormed;  // [T/tp, H] gradient of the final norm's output; undefined in evaluation
  };
  // x [T/tp, H]; target_rows int64 [M]: rows of [0, T) that have a target; targets int64 [M].
  // Returns the sum of token losses (float64 host value; equal on all tp ranks). saved null:
  // evaluation, no gradient. scale: 1 / target tokens of the optimizer step. Adds to lm_head's
  // gradient if trainable. Collective over tp.
  double Forward(const at::Tensor& x, const at::Tensor& target_rows, const at::Tensor& targets,
                 double scale, Saved* saved) const;
  at::Tensor Backward(Saved& saved) const;  // -> dx [T/tp, H]; adds to the norm's gradient
  // As DecoderLayer's. Forward holds an NF4 head by itself where its products need all of it.
  void HoldWeights();
  void ReleaseWeights();
  // Logits of `rows` (int64 [M]) over the whole vocabulary, [M, V] float32 (float64), on every
  // rank. Collective.
  at::Tensor Logits(const at::Tensor& x, const at::Tensor& rows) const;

 private:
  // Loss sum (float64, on the device) of some rows of normed [T, H]; writes their gradient into
  // dnormed if that is defined, and adds to the head's.
  at::Tensor ChunkLoss(const at::Tensor& normed, const at::Tensor& rows, const at::Tensor& targets,
                       double scale, at::Tensor& dnormed) const;

  Operand Weight() const;  // [V/tp, H]
  // The head's gradient if it is trained, else undefined.
  at::Tensor WeightGradient() const;

  SequenceRegion region_;
  double eps_;
  int64_t chunk_rows_;
  int64_t vocab_size_;
  Range rows_;
  Parameter* norm_;
  Parameter* tied_;
  std::unique_ptr<WeightMatrix> own_;  // unless tied; held within a const Forward
};

}  // namespace fttrain
