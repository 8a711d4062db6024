// Answers to prompts, token by token, in every layout that trains.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "launch/run/network.h"
#include "launch/run/sampling.h"
#include "model/blocks/key_value_cache.h"

namespace fttrain {

struct Answer {
  std::vector<int32_t> ids;  // without the token that ended it
  bool ended = false;        // by one of the stop ids; else by max_new_tokens
};

// A conversation between its answers, on the ranks that answer it.
struct Remembered {
  std::vector<int32_t> ids;              // whose keys and values are kept
  std::unique_ptr<DocumentCache> cache;  // null: nothing was said yet
  int64_t recalled = 0;                  // of the last prompt: its first tokens, not computed again
};

struct GenerationOptions {
  int64_t max_new_tokens = 64;
  int64_t batch_size = 8;  // prompts that one replica answers at a time, at least one a stage
  Sampling sampling = {};
  std::vector<int32_t> stop_ids = {};
  uint64_t first_prompt = 0;  // the number of the first prompt, by which draws are keyed
  bool rehearsed = false;     // logits have no values (RehearseRank): each token is 0
  // Of a single prompt, which may begin as an earlier one did with its answer; then what the next
  // may begin with. May be null.
  Remembered* remembered = nullptr;
  // Told of each token, on the ranks that answer its prompt. May be null.
  std::function<void(size_t prompt, const std::vector<int32_t>& answer)> on_token = nullptr;
};

// The answers, in order, on every rank. `network` was built for at least as many positions as the
// longest prompt (none is empty) and max_new_tokens have together; one that trains is as before.
// Replicas share the prompts. Each keeps keys and values of those that it answers (DocumentCache),
// booked as kSaved; what is answered makes room for the next. Without what the batches and rounding
// are, an answer does not depend on the layout or on other prompts. Collective over the mesh.
std::vector<Answer> Generate(Network& network, const std::vector<std::vector<int32_t>>& prompts,
                             const GenerationOptions& options);

}  // namespace fttrain
