#include "model/network/batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "runtime/memory/upload.h"

namespace fttrain {
namespace {

constexpr int32_t kNoTarget = -100;

}  // namespace

ModelBatch MakeModelBatch(const std::vector<int32_t>& input_ids,
                          const std::vector<int32_t>& targets,
                          const std::vector<int32_t>& cu_seqlens,
                          const std::vector<int64_t>& token_index, uint64_t step_key,
                          int64_t pad_to_multiple_of, c10::Device device) {
  const int64_t tokens = static_cast<int64_t>(input_ids.size());
  TORCH_CHECK(targets.size() == input_ids.size() && token_index.size() == input_ids.size(), tokens,
              " input ids, ", targets.size(), " targets, ", token_index.size(), " token indices");
  TORCH_CHECK(pad_to_multiple_of > 0, "pad_to_multiple_of is ", pad_to_multiple_of);
  // At least one token, so that an empty share of a step still runs its collectives.
  const int64_t multiples =
      std::max<int64_t>(1, (tokens + pad_to_multiple_of - 1) / pad_to_multiple_of);
  const int64_t padded = multiples * pad_to_multiple_of;
  std::vector<int64_t> ids(input_ids.begin(), input_ids.end()), index = token_index;
  std::vector<int64_t> rows, row_targets;
  for (int64_t row = 0; row < tokens; ++row) {
    if (targets[row] == kNoTarget) continue;
    rows.push_back(row);
    row_targets.push_back(targets[row]);
  }
  std::vector<int32_t> bounds = cu_seqlens.empty() ? std::vector<int32_t>{0} : cu_seqlens;
  if (padded > tokens) bounds.push_back(static_cast<int32_t>(padded));
  ids.resize(padded, 0);
  index.resize(padded, 0);
  ModelBatch batch;
  batch.input_ids = Upload(ids, device);
  batch.input_ids_host = std::move(ids);
  batch.target_rows = Upload(rows, device);
  batch.targets = Upload(row_targets, device);
  batch.tokens = tokens;
  batch.context.layout = MakeSequenceLayout(std::move(bounds), device);
  batch.context.dropout = {step_key, Upload(index, device)};
  return batch;
}

ModelBatch MakeNextBatch(const std::vector<NextTokens>& documents, int64_t pad_to_multiple_of,
                         c10::Device device) {
  std::vector<int64_t> ids, positions, last;
  std::vector<int32_t> bounds = {0};
  int64_t longest = 0;
  ModelBatch batch;
  for (const NextTokens& document : documents) {
    int64_t position = document.position;
    for (const int32_t id : document.ids) {
      ids.push_back(id);
      positions.push_back(position++);
    }
    longest = std::max(longest, position);
    last.push_back(static_cast<int64_t>(ids.size()) - 1);
    bounds.push_back(static_cast<int32_t>(ids.size()));
    batch.context.caches.push_back(document.cache);
  }
  batch.tokens = static_cast<int64_t>(ids.size());
  while (static_cast<int64_t>(ids.size()) % pad_to_multiple_of != 0) {
    ids.push_back(0);
    positions.push_back(0);
    bounds.push_back(static_cast<int32_t>(ids.size()));
    batch.context.caches.push_back(nullptr);
  }
  batch.input_ids = Upload(ids, device);
  batch.input_ids_host = std::move(ids);
  batch.target_rows = Upload(last, device);
  batch.context.layout = MakeSequenceLayout(std::move(bounds), device);
  batch.context.layout.positions = Upload(positions, device);
  batch.context.layout.max_document_tokens = longest;
  return batch;
}

}  // namespace fttrain
