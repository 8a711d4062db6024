// A microbatch as the network reads it.
#pragma once

#include <cstdint>
#include <vector>

#include "model/blocks/context.h"

namespace fttrain {

// One microbatch on the device. With sequence parallelism T is a multiple of tp (MakeModelBatch
// pads with a document of its own that has no targets).
struct ModelBatch {
  at::Tensor input_ids;                 // int64 [T]
  std::vector<int64_t> input_ids_host;  // the same, for an embedding in host memory
  at::Tensor target_rows;               // int64 [M]
  at::Tensor targets;                   // int64 [M]
  int64_t tokens = 0;                   // of documents: those behind them pad
  MicrobatchContext context;
};
// Host vectors as data/ packs them (targets already shifted, -100 where there is none).
ModelBatch MakeModelBatch(const std::vector<int32_t>& input_ids,
                          const std::vector<int32_t>& targets,
                          const std::vector<int32_t>& cu_seqlens,
                          const std::vector<int64_t>& token_index, uint64_t step_key,
                          int64_t pad_to_multiple_of, c10::Device device);

// The next tokens of a document that is being written, the first of which has this position.
struct NextTokens {
  std::vector<int32_t> ids;
  int64_t position = 0;
  DocumentCache* cache = nullptr;  // of those before; takes these in
};
// A microbatch of them; its target_rows are the last token of each, whose logits choose what comes
// next. Either all documents begin (position 0) or all go on. What pads it to
// `pad_to_multiple_of` tokens are documents of one token without a cache.
ModelBatch MakeNextBatch(const std::vector<NextTokens>& documents, int64_t pad_to_multiple_of,
                         c10::Device device);

}  // namespace fttrain
