// Attention of one new token of each of several documents over all that was before it: what
// generation asks of every layer for every token. CPU: a loop of our own; CUDA: ATen's products.
#pragma once

#include <c10/util/ArrayRef.h>

#include "model/kernels/attention.h"

namespace fttrain {

// What one layer knows of a document: the keys (rotated) and values of its last tokens.
struct KeysAndValues {
  at::Tensor keys, values;  // [room, K, D], contiguous; rows [0, tokens) are there
  int64_t tokens = 0;
};

// q [B, N, D]: the last token of each of the B documents, whose own key and value are the last
// rows. -> [B, N, D]: the row that AttentionForward gives it in the whole document. Rows further
// back than the window are not read.
at::Tensor DecodeAttention(const at::Tensor& q, c10::ArrayRef<KeysAndValues> documents,
                           const AttentionOptions& options);

// The same by ATen's operations, on every device: what CUDA does.
at::Tensor PlainDecodeAttention(const at::Tensor& q, c10::ArrayRef<KeysAndValues> documents,
                                const AttentionOptions& options);

}  // namespace fttrain
