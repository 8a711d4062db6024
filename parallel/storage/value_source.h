// Where the values of a group of parameters are while nobody uses them, as flat bytes.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <memory>
#include <optional>

#include "runtime/comm/communicator.h"

namespace fttrain {

// Brings the bytes to a window on the device and takes them back. The window is kByte, on the
// device, as long as the values; it stays alive until Wait. One Start, then one Wait, and again.
class ValueSource {
 public:
  virtual ~ValueSource() = default;
  // Where Start fills the window, if not on the current stream.
  virtual std::optional<c10::Stream> stream() const { return std::nullopt; }
  virtual void Start(const at::Tensor& window) = 0;
  // Operations issued on the current stream afterwards are ordered after the arrival.
  virtual void Wait() = 0;
  // Whether Wait may hold up the host, as for a disk: it is called as late as can be.
  virtual bool waits_on_host() const { return false; }
  // The kept bytes in host memory, where they can be changed and handed to Store without a window;
  // undefined if they are kept elsewhere or in parts.
  virtual at::Tensor OnHost() { return {}; }
  // Keeps what `window` holds now.
  virtual void Store(const at::Tensor& window) = 0;
};

// A stream for copies to the device that others compute beside; none on a CPU.
std::optional<c10::Stream> MakeCopyStream(c10::Device device);

// `bytes` kByte, on the device, or in host memory, pinned if `stream` is a stream of its own
// (CUDA): Start copies on it, without one at once.
std::unique_ptr<ValueSource> MakeCopySource(at::Tensor bytes, std::optional<c10::Stream> stream);

// This rank's part of the bytes, equal over dp (ZeRO 3), comes from `shard` straight into its place
// in the window, the others' in one all_gather after it. Start is collective over dp, or Wait if
// the shard's waits on the host; the rest is not. Of two ranks or more: an all_gather of one is
// done before the shard has come. Store expects the same window on all dp ranks.
std::unique_ptr<ValueSource> MakeGatherSource(std::unique_ptr<ValueSource> shard, Communicator& dp);

}  // namespace fttrain
