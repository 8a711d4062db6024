// The two ends of the network, both split over the vocabulary: rank r owns rows EvenRange(V, tp,
// r).
#pragma once

#include <c10/util/ArrayRef.h>

#include <optional>

#include "model/blocks/parameters.h"
#include "model/ends/objective.h"
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
  // input_ids int64 [T], on the device, and the same for a table in host memory -> [T/tp, H].
  // Collective over tp.
  at::Tensor Forward(const at::Tensor& input_ids, c10::ArrayRef<int64_t> input_ids_host) const;
  // Adds to the table's gradient; nothing when frozen (then not collective).
  void Backward(const at::Tensor& dy, const at::Tensor& input_ids) const;

 private:
  // Forward without the model's factor.
  at::Tensor Lookup(const at::Tensor& input_ids, c10::ArrayRef<int64_t> input_ids_host) const;

  SequenceRegion region_;
  Range rows_;
  double scale_;
  Parameter* weight_;
};

// Final norm and output projection, sharded over the vocabulary: log-probabilities of the targets,
// and gradients from one coefficient a row. Logits exist only for positions that have a target, in
// chunks; where the coefficient is known beforehand, gradients are made in the pass that makes the
// log-probabilities.
class Head {
 public:
  // Of what DeclareHead declared (and DeclareEmbedding where tied); `set` must outlive this.
  Head(const ModelSpec& model, const ModelOptions& options, Communicator& tp,
       const ParameterSet& set);
  struct Saved {
    at::Tensor input;  // [T/tp, H] before the final norm
    // After one pass: gradient of the final norm's output, [T/tp, H].
    at::Tensor dnormed;
    // For a second one: as given to Forward, and the log-sum-exp, float32 (float64) [M].
    at::Tensor target_rows, targets, lse;
  };
  // x [T/tp, H]; target_rows int64 [M]: rows of [0, T) that have a target; targets int64 [M].
  // saved null: no gradient follows. coefficient: of every row, if known (Objective): adds to
  // lm_head's gradient if trainable. Collective over tp.
  Scores Forward(const at::Tensor& x, const at::Tensor& target_rows, const at::Tensor& targets,
                 std::optional<double> coefficient, Saved* saved) const;
  // coefficients float32 (float64) [M], equal on all tp ranks; undefined if Forward knew them.
  // -> dx [T/tp, H]; adds to the gradients of the norm and, if not yet done, of lm_head. Consumes
  // `saved`. Collective over tp.
  at::Tensor Backward(const at::Tensor& coefficients, Saved& saved) const;
  // As DecoderLayer's. A pass holds an NF4 head by itself where its products need all of it.
  void HoldWeights(bool hold);
  // Logits of `rows` (int64 [M]) over the whole vocabulary, [M, V] float32 (float64), on every
  // rank. Collective.
  at::Tensor Logits(const at::Tensor& x, const at::Tensor& rows) const;

 private:
  // Some rows of normed [T, H] and their logits on this rank.
  struct Chunk {
    at::Tensor rows, targets;  // int64 [C]
    at::Tensor x, logits;      // [C, H], [C, V/tp]
  };
  // Calls `work`(chunk, offset of its first row) for all of them in turn.
  template <typename Work>
  void ForChunks(const at::Tensor& normed, const at::Tensor& rows, const at::Tensor& targets,
                 const Work& work) const;
  // Of normed rows [C, H], this rank's [C, V/tp]: scaled and capped as the model has it.
  void MakeLogits(const at::Tensor& normed, const at::Tensor& logits) const;
  // Writes the gradient of the chunk's rows into dnormed and adds to the head's. Overwrites logits.
  void Gradients(const Chunk& chunk, const at::Tensor& lse, const at::Tensor& coefficients,
                 at::Tensor& dnormed) const;
  at::Tensor Normed(const at::Tensor& x) const;  // [T/tp, H] -> [T, H]

  // The head's gradient if it is trained, else undefined.
  at::Tensor WeightGradient() const;

  SequenceRegion region_;
  NormForm norm_form_;
  double logit_scale_, soft_cap_;
  int64_t chunk_rows_;
  int64_t vocab_size_;
  Range rows_;
  Parameter* norm_;
  mutable WeightMatrix table_;  // [V/tp, H]; held within a const pass
};

}  // namespace fttrain
