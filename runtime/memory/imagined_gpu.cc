#include <ATen/EmptyTensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/book.h"
#include "runtime/memory/imagined.h"
#include "runtime/memory/rehearsal.h"

namespace fttrain {
namespace {

constexpr c10::DeviceType kCuda = c10::DeviceType::CUDA;
const c10::Device kGpu(kCuda, 0);

// Streams and events without a device.
struct ImaginedGuard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kCuda; }
  c10::Device exchangeDevice(c10::Device) const override { return kGpu; }
  c10::Device getDevice() const override { return kGpu; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kGpu);
  }
  c10::Stream getDefaultStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kGpu);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override {
    return c10::Stream(c10::Stream::UNSAFE, kGpu, 1);
  }
  c10::Stream exchangeStream(c10::Stream) const override {
    return c10::Stream(c10::Stream::DEFAULT, kGpu);
  }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    static char recorded;
    *event = &recorded;
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return false; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  void synchronizeEvent(void*) const override {}
  bool queryStream(const c10::Stream&) const override { return false; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};

// What stands behind an address: what is booked, but no memory.
struct Booked {
  int64_t bytes;
  MemoryCategory category;
};

class ImaginedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &Free, kGpu};
    auto* booked = new Booked{static_cast<int64_t>(bytes), CurrentMemoryCategory()};
    UseDeviceBook().Add(booked->category, booked->bytes);
    void* const data = reinterpret_cast<void*>(next_);  // NOLINT: nobody reads there
    next_ += RoundUp(booked->bytes, kAlignmentBytes);
    return {data, booked, &Free, kGpu};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void*, const void*, std::size_t) const override {}

 private:
  static void Free(void* context) {
    auto* booked = static_cast<Booked*>(context);
    if (booked == nullptr) return;
    UseDeviceBook().Remove(booked->category, booked->bytes);
    delete booked;
  }

  // Where no process has memory, so that a mistake is not silent. Addresses name tensors: each has
  // its own for ever.
  int64_t next_ = int64_t{1} << 56;
};

std::atomic<const c10::impl::DeviceGuardImplInterface*>& Registered() {
  return c10::impl::device_guard_impl_registry[static_cast<size_t>(kCuda)];
}

const c10::impl::DeviceGuardImplInterface* g_real_guard = nullptr;
bool g_counted_device = false;

}  // namespace

void BeginImaginedGpu() {
  static const auto* const guard = new ImaginedGuard();  // as the registry wants it
  g_real_guard = Registered().exchange(guard);
  g_counted_device = CountsDevice();
  UseDeviceBook();
}

void EndImaginedGpu() {
  Registered() = g_real_guard;
  if (!g_counted_device) LeaveDeviceBook();
}

at::Tensor EmptyImagined(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype) {
  static auto* const allocator = new ImaginedAllocator();
  return at::Tensor(at::detail::empty_strided_generic(
      sizes, strides, allocator, c10::DispatchKeySet(c10::DispatchKey::CUDA), dtype));
}

at::Tensor EmptyPinned(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype) {
  const auto bytes = static_cast<int64_t>(
      at::detail::computeStorageNbytes(sizes, strides, c10::elementSize(dtype)));
  if (bytes == 0) return at::from_blob(nullptr, sizes, strides, at::TensorOptions(dtype));
  void* const data = ImaginedZeros(bytes);
  TORCH_CHECK(data != nullptr, "cannot imagine ", bytes, " bytes of pinned memory");
  return at::from_blob(
      data, sizes, strides, [bytes](void* freed) { FreeImagined(freed, bytes); },
      at::TensorOptions(dtype));
}

}  // namespace fttrain
