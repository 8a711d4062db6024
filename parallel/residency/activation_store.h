// What layers keep for backward, in host memory instead of the device's: each set is copied out
// after its forward and brought back ahead of its backward, while other layers compute (as L2L,
// arXiv:2002.05645, and SSDTrain, arXiv:2408.10013, do). Knows sets of named tensors alone.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fttrain {

// A tensor of a set, where its owner holds it; the name is for errors. May be undefined.
struct KeptTensor {
  std::string name;
  at::Tensor* tensor;
};

// On the device are at most: the last set put (leaving), one brought back and in use, and one on
// its way back, besides what layers are just making. On CUDA copies run on two streams, one each
// way, over pinned memory; the calls only enqueue, and results are ordered on the current stream,
// which must be the same in every call. On a CPU the same code copies at once.
// Host memory: one buffer for each set alive, kept for the next step, of the largest size seen;
// booked as kSaved at MemoryPlace::kHost. What comes back is booked as kSaved on the device.
class ActivationStore {
 public:
  using Key = std::pair<int, int>;  // layer, microbatch

  explicit ActivationStore(c10::Device device);
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;

  // Takes the tensors of `kept` away from their owner, which must not have views of them that are
  // written later. Throws c10::Error for a key that is there already.
  void Put(Key key, const std::vector<KeptTensor>& kept);
  // Starts to bring a set back: call after the Take of the set that is used before it, and before
  // the work that shall hide the copy is enqueued. Nothing if the set is not there, on its way or
  // still on the device.
  void Prefetch(Key key);
  // The set is handed to `kept` (the names of Put) with the same values, and is no longer here. A
  // set that was the last one put never left and costs no copy. Throws c10::Error for a key that is
  // not there.
  void Take(Key key, const std::vector<KeptTensor>& kept);
  // Forgets every set, as after a step that failed.
  void Clear();

  size_t size() const { return sets_.size(); }

 private:
  // A host buffer and the ends of the last copies that touched it (CUDA only).
  struct Slot {
    at::Tensor bytes;  // kByte
    std::optional<c10::Event> out, in;
  };
  using SlotIterator = std::list<Slot>::iterator;
  struct Part {
    std::string name;
    std::vector<int64_t> shape;
    at::ScalarType dtype;
    int64_t offset;     // in the slot's bytes
    at::Tensor device;  // undefined while the set is on the host alone
  };
  struct Set {
    std::vector<Part> parts;
    SlotIterator slot;
    bool on_device = false;
  };

  SlotIterator TakeSlot(int64_t bytes);
  void CopyOut(const Set& set);
  void CopyIn(Set& set);
  // The set that is leaving, if there is one, is given up on the device: at once if its copy is
  // done; else, with `wait`, the current stream waits for it, and without it stays for now.
  void ReleaseLeaving(bool wait);

  c10::Device device_;
  std::optional<c10::Stream> out_, in_;  // CUDA only
  std::optional<c10::Event> ready_;      // the current stream's work so far
  std::list<Slot> used_, free_;
  int64_t slot_bytes_ = 0;  // of the largest set so far
  std::map<Key, Set> sets_;
  std::optional<Key> leaving_;
};

}  // namespace fttrain
