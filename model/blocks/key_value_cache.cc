#include "model/blocks/key_value_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

constexpr int64_t kLeastRoom = 32;  // tokens

// The last `kept` tokens in tensors with room for `room`.
void Move(KeysAndValues& layer, const at::Tensor& like, int64_t kept, int64_t room) {
  const MemoryScope scope(MemoryCategory::kSaved);
  for (at::Tensor* each : {&layer.keys, &layer.values}) {
    const at::Tensor moved = at::empty({room, like.size(1), like.size(2)}, like.options());
    if (kept > 0) moved.narrow(0, 0, kept).copy_(each->narrow(0, layer.tokens - kept, kept));
    *each = moved;
  }
  layer.tokens = kept;
}

}  // namespace

const KeysAndValues& DocumentCache::Append(const std::string& name, const at::Tensor& keys,
                                           const at::Tensor& values, int64_t window) {
  Layer& layer = layers_[name];
  KeysAndValues& mine = layer.kept;
  const bool sees_all = window == 0 || layer.tokens > 0;
  const int64_t added = sees_all ? keys.size(0) : std::min(keys.size(0), window);
  const int64_t room = mine.keys.defined() ? mine.keys.size(0) : 0;
  if (mine.tokens + added > room) {
    // Of the tokens before, the first of the new ones sees window - 1.
    const int64_t kept = window == 0 ? mine.tokens : std::min(mine.tokens, window - 1);
    const int64_t needed = kept + added;
    Move(mine, keys, kept, std::max(kLeastRoom, needed + needed / 2));
  }
  const int64_t from = keys.size(0) - added;
  mine.keys.narrow(0, mine.tokens, added).copy_(keys.narrow(0, from, added));
  mine.values.narrow(0, mine.tokens, added).copy_(values.narrow(0, from, added));
  mine.tokens += added;
  layer.tokens += keys.size(0);
  layer.window = window;
  return mine;
}

bool DocumentCache::CutTo(int64_t tokens) {
  for (const auto& [name, layer] : layers_) {
    const int64_t left = layer.kept.tokens - (layer.tokens - tokens);
    const int64_t seen = layer.window == 0 ? tokens : std::min(tokens, layer.window - 1);
    if (tokens > layer.tokens || left < seen) return false;
  }
  for (auto& [name, layer] : layers_) {
    layer.kept.tokens -= layer.tokens - tokens;
    layer.tokens = tokens;
  }
  return true;
}

}  // namespace fttrain
