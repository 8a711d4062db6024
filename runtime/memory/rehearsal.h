// A rehearsal: the code of a run, run for what it allocates. Every tensor is made and booked
// (ledger.h) as in the run, but its memory is imagined: zeros that take no room until they are
// written, and what would fill them is left out. So a plan of a run needs neither the memory that
// it plans nor the time nor the GPU, and cannot differ from the run in what it counts.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace fttrain {

// From its beginning to its end this process rehearses on `device`, a CPU or a GPU that need not be
// there. One at a time, on a process that computes nothing else meanwhile, after
// InstallMemoryLedger; tensors made meanwhile on a GPU end before it.
//
// On the calling thread, of ATen's operations only shapes are computed: in-place ones return at
// once, others allocate their result. But on a CPU those on at most `largest_computed` elements and
// all on integers, which steer what is allocated, are computed. Our own loops and kernels ask
// IsRehearsal and return. Events of the imagined GPU never have come: what waits for one without
// need waits as long as it can. c10::Error for an operation whose result's shape is not known.
class Rehearsal {
 public:
  explicit Rehearsal(c10::Device device, int64_t largest_computed = 4096);
  ~Rehearsal();
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

 private:
  c10::Device device_;
};

bool IsRehearsal() noexcept;

// Zeros, aligned to kAlignmentBytes; large ones take room page by page as they are written. Null
// where there is none. Freed by FreeImagined with the same bytes.
void* ImaginedZeros(int64_t bytes) noexcept;
void FreeImagined(void* data, int64_t bytes) noexcept;

}  // namespace fttrain
