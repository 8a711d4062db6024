#include "model/blocks/expert_rows.h"

#include <ATen/ATen.h>

#include <numeric>
#include <utility>

namespace fttrain {

ExpertRows::ExpertRows(const Routes& routes, Communicator* ep)
    : routes_(routes), ep_(ep), tokens_(routes.Tokens()) {
  const size_t ranks = ep == nullptr ? 1 : static_cast<size_t>(ep->size());
  const size_t own = routes.ends.size() / ranks;
  if (ep == nullptr) {
    int64_t begin = 0;
    for (size_t e = 0; e < own; ++e) {
      const int64_t end = routes.ends[e];
      if (end > begin) parts_.push_back({e, begin, end - begin});
      begin = end;
    }
    count_ = begin;
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
    if (count > 0) parts_.push_back({e, count_, count});
    count_ += count;
  }
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

at::Tensor ExpertRows::Arrived(const Part& part, const at::Tensor& sent) const {
  std::vector<at::Tensor> runs;
  for (const Run& run : runs_[part.expert]) {
    if (run.count > 0) runs.push_back(sent.narrow(0, run.begin, run.count));
  }
  return runs.size() == 1 ? runs.front() : at::cat(runs);
}

void ExpertRows::PutBack(const Part& part, const at::Tensor& rows, at::Tensor& results) const {
  int64_t begin = 0;
  for (const Run& run : runs_[part.expert]) {
    if (run.count == 0) continue;
    results.narrow(0, run.begin, run.count).copy_(rows.narrow(0, begin, run.count));
    begin += run.count;
  }
}

at::Tensor ExpertRows::TokensOf(const Part& part, const at::Tensor& sent) const {
  return ep_ == nullptr ? sent.index_select(0, part.In(tokens_)) : Arrived(part, sent);
}

at::Tensor ExpertRows::PlacesOf(const Part& part, const at::Tensor& sent) const {
  return ep_ == nullptr ? part.In(sent) : Arrived(part, sent);
}

at::Tensor ExpertRows::NewResults(const at::Tensor& tokens) const {
  if (ep_ == nullptr) return tokens;
  std::vector<int64_t> sizes = tokens.sizes().vec();
  sizes[0] = count_;
  return at::empty(sizes, tokens.options());
}

void ExpertRows::AddTokens(const Part& part, const at::Tensor& rows, at::Tensor& results) const {
  // A token comes once among an expert's rows, so sums have one order.
  if (ep_ == nullptr) {
    results.index_add_(0, part.In(tokens_), rows);
  } else {
    PutBack(part, rows, results);
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

void ExpertRows::AddPlaces(const Part& part, const at::Tensor& rows, at::Tensor& results) const {
  if (ep_ == nullptr) {
    part.In(results).copy_(rows);
  } else {
    PutBack(part, rows, results);
  }
}

at::Tensor ExpertRows::ReturnPlaces(at::Tensor results) const {
  return ep_ == nullptr ? results : Exchange(results, /*back=*/true);
}

}  // namespace fttrain
