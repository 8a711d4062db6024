#include "model/blocks/expert_rows.h"

#include <ATen/ATen.h>

#include <numeric>
#include <utility>

namespace fttrain {

ExpertRows::ExpertRows(const Routes& routes, Communicator* ep)
    : routes_(routes), ep_(ep), tokens_(routes.Tokens()) {
  const size_t ranks = ep == nullptr ? 1 : static_cast<size_t>(ep->size());
  const int64_t most_rows = static_cast<int64_t>(ranks) * routes.experts.size(0);
  const size_t own = routes.ends.size() / ranks;
  if (ep == nullptr) {
    int64_t begin = 0;
    for (size_t e = 0; e < own; ++e) {
      AddPart(e, routes.ends[e] - begin, most_rows);
      begin = routes.ends[e];
    }
    return;
  }
  int64_t before = 0;
  for (size_t rank = 0; rank < ranks; ++rank) {
    const int64_t end = routes.ends[(rank + 1) * own - 1];
    sent_.push_back(end - before);
    before = end;
  }
  runs_.resize(own);
  int64_t arrives = 0;
  for (size_t rank = 0; rank < ranks; ++rank) {
    const int64_t first = arrives;
    for (size_t e = 0; e < own; ++e) {
      const int64_t count = routes.received[rank * own + e];
      runs_[e].push_back({arrives, count});
      arrives += count;
    }
    received_.push_back(arrives - first);
  }
  for (size_t e = 0; e < own; ++e) {
    int64_t count = 0;
    for (const Run& run : runs_[e]) count += run.count;
    AddPart(e, count, most_rows);
  }
}

void ExpertRows::AddPart(size_t expert, int64_t count, int64_t most_rows) {
  if (count == 0) return;
  if (batches_.empty() || batches_.back().count + count > most_rows) {
    batches_.push_back({{}, count_, 0});
  }
  batches_.back().parts.push_back({expert, count_, count});
  batches_.back().count += count;
  count_ += count;
}

at::Tensor ExpertRows::Exchange(const at::Tensor& rows, bool back) const {
  const std::vector<int64_t>& from = back ? received_ : sent_;
  const std::vector<int64_t>& to = back ? sent_ : received_;
  std::vector<int64_t> sizes = rows.sizes().vec();
  sizes[0] = std::accumulate(to.begin(), to.end(), int64_t{0});
  const at::Tensor arrived = at::empty(sizes, rows.options());
  ep_->AllToAll(rows, arrived, from, to);
  return arrived;
}

at::Tensor ExpertRows::SendTokens(const at::Tensor& tokens) const {
  return ep_ == nullptr ? tokens : Exchange(tokens.index_select(0, tokens_), /*back=*/false);
}

at::Tensor ExpertRows::SendPlaces(const at::Tensor& places) const {
  return ep_ == nullptr ? places : Exchange(places, /*back=*/false);
}

at::Tensor ExpertRows::Arrived(const Batch& batch, const at::Tensor& sent) const {
  std::vector<at::Tensor> runs;
  for (const Part& part : batch.parts) {
    for (const Run& run : runs_[part.expert]) {
      if (run.count > 0) runs.push_back(sent.narrow(0, run.begin, run.count));
    }
  }
  return runs.size() == 1 ? runs.front() : at::cat(runs);
}

void ExpertRows::PutBack(const Batch& batch, const at::Tensor& rows, at::Tensor& results) const {
  int64_t begin = 0;
  for (const Part& part : batch.parts) {
    for (const Run& run : runs_[part.expert]) {
      if (run.count == 0) continue;
      results.narrow(0, run.begin, run.count).copy_(rows.narrow(0, begin, run.count));
      begin += run.count;
    }
  }
}

at::Tensor ExpertRows::TokensOf(const Batch& batch, const at::Tensor& sent) const {
  return ep_ == nullptr ? sent.index_select(0, batch.In(tokens_)) : Arrived(batch, sent);
}

at::Tensor ExpertRows::PlacesOf(const Batch& batch, const at::Tensor& sent) const {
  return ep_ == nullptr ? batch.In(sent) : Arrived(batch, sent);
}

at::Tensor ExpertRows::NewResults(const at::Tensor& tokens) const {
  if (ep_ == nullptr) return tokens;
  std::vector<int64_t> sizes = tokens.sizes().vec();
  sizes[0] = count_;
  return at::empty(sizes, tokens.options());
}

void ExpertRows::AddTokens(const Batch& batch, const at::Tensor& rows, at::Tensor& results) const {
  if (ep_ != nullptr) return PutBack(batch, rows, results);
  // A token comes once among an expert's rows, so sums have one order.
  for (const Part& part : batch.parts) {
    results.index_add_(0, tokens_.narrow(0, part.begin, part.count), batch.Of(part, rows));
  }
}

void ExpertRows::ReturnTokens(at::Tensor results, at::Tensor& tokens) const {
  if (ep_ == nullptr) return;
  const at::Tensor returned = Exchange(results, /*back=*/true);
  results.reset();
  int64_t begin = 0;
  for (const int64_t end : routes_.ends) {  // in the order in which one rank would add
    if (end == begin) continue;
    const at::Tensor rows = returned.narrow(0, begin, end - begin);
    tokens.index_add_(0, tokens_.narrow(0, begin, end - begin), rows);
    begin = end;
  }
}

at::Tensor ExpertRows::NewPlaces(const at::TensorOptions& options) const {
  return at::empty({count_}, options);
}

void ExpertRows::AddPlaces(const Batch& batch, const at::Tensor& rows, at::Tensor& results) const {
  if (ep_ == nullptr) {
    batch.In(results).copy_(rows);
  } else {
    PutBack(batch, rows, results);
  }
}

at::Tensor ExpertRows::ReturnPlaces(at::Tensor results) const {
  return ep_ == nullptr ? results : Exchange(results, /*back=*/true);
}

}  // namespace fttrain
