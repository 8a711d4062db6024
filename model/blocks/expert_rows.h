// Which rows each of a rank's experts has, where they come from and where what it makes of them
// goes: its own tokens' alone or, where the ranks along ep divide the experts (Lepikhin et al.,
// GShard, arXiv:2006.16668, sec. 3), those of all their tokens that chose it. Each rank then sends
// the rows of its tokens to the experts' ranks and gets back what they made: two all_to_alls of T K
// rows, and their mirror images in a backward. Ranks take part that have nothing to send.
//
// "Sent" is what has arrived for this rank's experts: of their rows [R, ...], from rank after rank,
// of each expert after expert; where nothing is divided what was to be sent itself.
#pragma once

#include <vector>

#include "model/blocks/router.h"

namespace fttrain {

class ExpertRows {
 public:
  // `routes` must outlive it. `ep`: null where this rank has all experts.
  ExpertRows(const Routes& routes, Communicator* ep);

  // The rows [begin, begin + count) of what is sorted by expert, which are one expert's.
  struct Part {
    size_t expert;  // among this rank's
    int64_t begin, count;
  };
  // The rows of neighbouring experts, of each that has any, ascending: of one, or of as many as
  // have no more rows than this rank's tokens, times the ranks that divide the experts: an expert
  // alone may have them.
  struct Batch {
    std::vector<Part> parts;
    int64_t begin = 0, count = 0;
    at::Tensor In(const at::Tensor& sorted) const { return sorted.narrow(0, begin, count); }
    // A part of what is the batch's.
    at::Tensor Of(const Part& part, const at::Tensor& rows) const {
      return rows.narrow(0, part.begin - begin, part.count);
    }
  };
  const std::vector<Batch>& batches() const { return batches_; }
  int64_t count() const { return count_; }  // R, of all of them

  // All functions: collective along ep where they exchange, in the same order on all its ranks;
  // they enqueue, the host waits for nothing.

  // tokens [T, ...], of each its row, and places [T K], in the order of Routes::order -> sent.
  at::Tensor SendTokens(const at::Tensor& tokens) const;
  at::Tensor SendPlaces(const at::Tensor& places) const;
  // A batch's of what was sent so, [count, ...].
  at::Tensor TokensOf(const Batch& batch, const at::Tensor& sent) const;
  at::Tensor PlacesOf(const Batch& batch, const at::Tensor& sent) const;

  // Memory for what experts make of tokens, into which AddTokens puts a batch's rows; what comes
  // of it is added to `tokens` [T, ...], whose sums over experts have one order. Where nothing is
  // divided that is `tokens` itself, and AddTokens adds.
  at::Tensor NewResults(const at::Tensor& tokens) const;
  void AddTokens(const Batch& batch, const at::Tensor& rows, at::Tensor& results) const;
  void ReturnTokens(at::Tensor results, at::Tensor& tokens) const;
  // The same of places: AddPlaces puts, ReturnPlaces gives [T K] in the order of Routes::order.
  at::Tensor NewPlaces(const at::TensorOptions& options) const;
  void AddPlaces(const Batch& batch, const at::Tensor& rows, at::Tensor& results) const;
  at::Tensor ReturnPlaces(at::Tensor results) const;

 private:
  // A run of rows that one rank has sent for one expert.
  struct Run {
    int64_t begin, count;
  };
  at::Tensor Exchange(const at::Tensor& rows, bool back) const;
  void AddPart(size_t expert, int64_t count, int64_t most_rows);
  at::Tensor Arrived(const Batch& batch, const at::Tensor& sent) const;
  void PutBack(const Batch& batch, const at::Tensor& rows, at::Tensor& results) const;

  const Routes& routes_;
  Communicator* ep_;
  at::Tensor tokens_;  // Routes::Tokens
  std::vector<Batch> batches_;
  int64_t count_ = 0;
  std::vector<int64_t> sent_, received_;  // rows, by rank along ep
  std::vector<std::vector<Run>> runs_;    // of each of this rank's experts, by rank; empty ones too
};

}  // namespace fttrain
