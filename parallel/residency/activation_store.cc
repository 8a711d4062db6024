#include "parallel/residency/activation_store.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/current_stream.h"
#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

std::string NameOf(const std::pair<int, int>& key) {
  return "what layer " + std::to_string(key.first) + " keeps of microbatch " +
         std::to_string(key.second);
}

at::Tensor OnHost(const at::Tensor& bytes, int64_t offset, const at::Tensor& like) {
  return bytes.narrow(0, offset, static_cast<int64_t>(like.nbytes()))
      .view(like.scalar_type())
      .view(like.sizes());
}

void Wait(const std::optional<c10::Event>& event, const std::optional<c10::Stream>& stream) {
  if (event) event->block(*stream);
}

void Synchronize(const std::optional<c10::Event>& event) noexcept {
  if (!event) return;
  try {
    event->synchronize();
  } catch (const c10::Error&) {  // the device has failed: nothing copies any more
  }
}

}  // namespace

ActivationStore::ActivationStore(c10::Device device) : device_(device) {
  if (!device.is_cuda()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  out_ = guard.getStreamFromGlobalPool(device);
  in_ = guard.getStreamFromGlobalPool(device);
  ready_.emplace(device.type());
}

ActivationStore::~ActivationStore() {
  // No copy may touch memory that is given away.
  for (const std::list<Slot>* slots : {&used_, &free_}) {
    for (const Slot& slot : *slots) {
      Synchronize(slot.out);
      Synchronize(slot.in);
    }
  }
}

ActivationStore::SlotIterator ActivationStore::TakeSlot(int64_t bytes) {
  slot_bytes_ = std::max(slot_bytes_, bytes);
  const auto fits = std::find_if(free_.begin(), free_.end(),
                                 [&](const Slot& slot) { return slot.bytes.numel() >= bytes; });
  if (fits != free_.end()) {
    used_.splice(used_.end(), free_, fits);
    return std::prev(used_.end());
  }
  if (!free_.empty()) {  // too small: replaced, so that there are never more than sets
    Synchronize(free_.front().out);
    Synchronize(free_.front().in);
    free_.pop_front();
  }
  Slot slot;
  const MemoryScope scope(MemoryCategory::kSaved);
  slot.bytes = EmptyOnHost({slot_bytes_}, at::kByte, device_);
  if (out_) {
    slot.out.emplace(device_.type());
    slot.in.emplace(device_.type());
  }
  used_.push_back(std::move(slot));
  return std::prev(used_.end());
}

// Orders against every earlier use of the buffer: a copy in from it may still run.
void ActivationStore::CopyOut(const Set& set) {
  Slot& slot = *set.slot;
  std::optional<c10::StreamGuard> guard;
  if (out_) {
    ready_->record(CurrentStream(device_));
    ready_->block(*out_);
    Wait(slot.in, out_);
    guard.emplace(*out_);
  }
  for (const Part& part : set.parts) {
    OnHost(slot.bytes, part.offset, part.device).copy_(part.device, /*non_blocking=*/true);
  }
  if (out_) slot.out->record(*out_);
}

// The memory comes from the current stream's pool, where earlier owners may still use it; it is
// freed there by whoever takes the set, after the copy.
void ActivationStore::CopyIn(Set& set) {
  ReleaseLeaving(/*wait=*/false);
  Slot& slot = *set.slot;
  for (Part& part : set.parts) {
    const MemoryScope scope(MemoryCategory::kSaved);
    part.device = at::empty(part.shape, at::TensorOptions(part.dtype).device(device_));
  }
  std::optional<c10::StreamGuard> guard;
  if (in_) {
    ready_->record(CurrentStream(device_));
    ready_->block(*in_);
    Wait(slot.out, in_);
    guard.emplace(*in_);
  }
  for (const Part& part : set.parts) {
    at::Tensor(part.device)
        .copy_(OnHost(slot.bytes, part.offset, part.device),
               /*non_blocking=*/true);
  }
  if (in_) slot.in->record(*in_);
  set.on_device = true;
}

void ActivationStore::ReleaseLeaving(bool wait) {
  if (!leaving_) return;
  Set& set = sets_.at(*leaving_);
  const std::optional<c10::Event>& out = set.slot->out;
  if (out && !out->query()) {
    if (!wait) return;
    out->block(CurrentStream(device_));
  }
  for (Part& part : set.parts) part.device.reset();
  set.on_device = false;
  leaving_.reset();
}

void ActivationStore::Put(Key key, const std::vector<KeptTensor>& kept) {
  TORCH_CHECK(sets_.count(key) == 0, NameOf(key), " is stored already");
  ReleaseLeaving(/*wait=*/true);
  Set set;
  int64_t bytes = 0;
  for (const KeptTensor& each : kept) {
    if (!each.tensor->defined()) continue;
    const at::Tensor tensor = each.tensor->contiguous();
    each.tensor->reset();
    set.parts.push_back({each.name, tensor.sizes().vec(), tensor.scalar_type(), bytes, tensor});
    bytes += RoundUp(static_cast<int64_t>(tensor.nbytes()), kAlignmentBytes);
  }
  set.slot = TakeSlot(bytes);
  CopyOut(set);
  set.on_device = true;
  sets_.emplace(key, std::move(set));
  leaving_ = key;
}

void ActivationStore::Prefetch(Key key) {
  const auto found = sets_.find(key);
  if (found != sets_.end() && !found->second.on_device) CopyIn(found->second);
}

void ActivationStore::Take(Key key, const std::vector<KeptTensor>& kept) {
  const auto found = sets_.find(key);
  TORCH_CHECK(found != sets_.end(), NameOf(key), " is not stored");
  Set& set = found->second;
  if (!set.on_device) CopyIn(set);
  if (leaving_ == key) {
    leaving_.reset();  // its copy ends in a buffer that nobody reads,
    if (out_) set.slot->out->block(CurrentStream(device_));  // but its memory may be unmapped
  } else if (in_) {
    set.slot->in->block(CurrentStream(device_));
  }
  for (Part& part : set.parts) {
    const auto owner = std::find_if(kept.begin(), kept.end(),
                                    [&](const KeptTensor& each) { return each.name == part.name; });
    TORCH_CHECK(owner != kept.end(), NameOf(key), ": nobody takes ", part.name);
    *owner->tensor = std::move(part.device);
  }
  free_.splice(free_.end(), used_, set.slot);
  sets_.erase(found);
}

void ActivationStore::Clear() {
  for (auto& [key, set] : sets_) {
    if (set.on_device && out_) {
      // Memory goes back to the current stream's pool.
      set.slot->out->block(CurrentStream(device_));
      set.slot->in->block(CurrentStream(device_));
    }
    free_.splice(free_.end(), used_, set.slot);
  }
  sets_.clear();
  leaving_.reset();
}

}  // namespace fttrain
