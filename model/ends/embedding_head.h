// The two ends of the network, both split over the vocabulary: rank r owns rows EvenRange(V, tp,
// r).
#pragma once

#include "model/blocks/parameters.h"
#include "model/matmul/weight_matrix.h"
#include "parallel/layout/tensor_parallel.h"

namespace fttrain {

// Declares the embedding's table; with embedding_on_host it is in host memory. Throws c10::Error
// for a table on the host that is trained, or that a tied head reads.
Parameter* DeclareEmbedding(const ModelSpec& model, const ModelOptions& options, TensorRank tp,
                            ParameterSet& set);
// Declares the final norm and, unless tied, the output table, which is NF4 if options say so of its
// module (a tied one never is).
void DeclareHead(const ModelSpec& model, const ModelOptions& options, TensorRank tp,
                 ParameterSet& set);

// Token embedding (vocabulary-parallel, Megatron-LM sec. 3). Rows of a table in host memory are
// gathered there and copied.
class Embedding {
 public:
  // Of what DeclareEmbedding declared; `set` must outlive this.
  Embedding(const ModelSpec& model, const ModelOptions& options, Communicator& tp,
            const ParameterSet& set);
  // input_ids int64 [T] -> [T/tp, H]. Collective over tp.
  at::Tensor Forward(const at::Tensor& input_ids) const;
  // Adds to the table's gradient; nothing when frozen (then not collective).
  void Backward(const at::Tensor& dy, const at::Tensor& input_ids) const;

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
  // Of what DeclareHead declared (and DeclareEmbedding where tied); `set` must outlive this.
  LmHeadLoss(const ModelSpec& model, const ModelOptions& options, Communicator& tp,
             const ParameterSet& set);
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

  // The head's gradient if it is trained, else undefined.
  at::Tensor WeightGradient() const;

  SequenceRegion region_;
  double eps_;
  int64_t chunk_rows_;
  int64_t vocab_size_;
  Range rows_;
  Parameter* norm_;
  mutable WeightMatrix table_;  // [V/tp, H]; held within a const Forward
};

}  // namespace fttrain
