// Whole NF4 matrices dequantised for the GEMM that follows, on CUDA one matrix ahead: while a GEMM
// reads one of two buffers, a side stream fills the other with the matrix that came next the last
// time. A wrong guess costs its bandwidth, never the result.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <map>
#include <optional>
#include <utility>

#include "model/nf4/nf4.h"

namespace fttrain {

class Nf4Ahead {
 public:
  // `dtype`: of the dequantised values. The buffers grow to the largest matrix seen and live as
  // long as this, booked as kWorkspace. On the CPU there are no streams: the guess is filled at
  // once. FTTRAIN_NF4_AHEAD=0 in the environment: no guesses, to measure what they bring.
  Nf4Ahead(c10::Device device, at::ScalarType dtype);
  ~Nf4Ahead();
  Nf4Ahead(const Nf4Ahead&) = delete;
  Nf4Ahead& operator=(const Nf4Ahead&) = delete;
  // The matrix [rows, columns]. On CUDA ordered on the current stream, which must be the same in
  // every call; valid for what is enqueued there before the next Get. `backward` tells the two uses
  // of a matrix apart, since other matrices follow it then.
  at::Tensor Get(const Nf4Matrix& matrix, bool backward);
  // Products between on and off are a forward that backward repeats: a third use of their matrices.
  void SetRecomputing(bool on) { recomputing_ = on; }
  int64_t hits() const { return hits_; }  // calls that found their matrix dequantised

 private:
  enum class Pass { kForward, kRecomputed, kBackward };
  using Use = std::pair<const void*, Pass>;  // the matrix's bytes
  struct Buffer {
    at::Tensor storage, values;  // values: a view of storage's beginning
    std::optional<Use> holds;    // dequantised by the side stream, not yet asked for
  };
  void Fill(Buffer& buffer, const Nf4Matrix& matrix) const;
  void FillAhead(Buffer& buffer, const Use& use);

  c10::Device device_;
  at::ScalarType dtype_;
  std::optional<c10::Stream> side_;  // CUDA only, as are the events
  std::optional<c10::Event> free_, filled_;
  Buffer buffers_[2];
  int current_ = 0;
  bool recomputing_ = false;
  bool looks_ahead_ = true;
  std::optional<Use> last_;
  std::map<Use, std::pair<Use, Nf4Matrix>> next_;  // what followed
  int64_t hits_ = 0;
};

}  // namespace fttrain
