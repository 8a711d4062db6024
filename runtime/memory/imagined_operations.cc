#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/strides.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/memory/imagined.h"
#include "runtime/memory/imagined_call.h"

namespace fttrain {
namespace {

using torch::jit::Stack;

int64_t g_largest_computed = 0;

// The key that goes before all others where a thread includes it; nothing else here uses it.
constexpr auto kMode = c10::DispatchKey::TESTING_ONLY_GenericMode;

at::Tensor EmptyOn(c10::Device device, bool pinned, at::IntArrayRef sizes, at::IntArrayRef strides,
                   at::ScalarType dtype) {
  if (device.is_cuda()) return EmptyImagined(sizes, strides, dtype);
  if (pinned) return EmptyPinned(sizes, strides, dtype);
  return at::empty_strided(sizes, strides, at::TensorOptions(dtype));
}

bool IsPinned(const Call& call) {
  const int i = call.traits().pin_memory;
  return i >= 0 && call[static_cast<size_t>(i)].isBool() && call[static_cast<size_t>(i)].toBool();
}

// Where the result is asked to be.
std::optional<c10::Device> AskedDevice(const Call& call) {
  const int i = call.traits().device;
  if (i < 0 || !call[static_cast<size_t>(i)].isDevice()) return std::nullopt;
  return call[static_cast<size_t>(i)].toDevice();
}

c10::Device DeviceOf(const Call& call) {
  if (const auto asked = AskedDevice(call)) return *asked;
  c10::Device device(at::kCPU);
  call.AnyTensor([&](const at::Tensor& first) {
    device = first.device();
    return true;
  });
  return device;
}

// aten::to of all kinds.
void Convert(const Call& call) {
  const at::Tensor self = call[0].toTensor();
  c10::Device device = self.device();
  at::ScalarType dtype = self.scalar_type();
  if (const c10::IValue* other = call.Find("other"); other != nullptr && other->isTensor()) {
    device = other->toTensor().device();
    dtype = other->toTensor().scalar_type();
  }
  if (const auto asked = AskedDevice(call)) device = *asked;
  if (const c10::IValue* asked = call.Find("dtype"); asked != nullptr && asked->isInt()) {
    dtype = asked->toScalarType();
  }
  const c10::IValue* copy = call.Find("copy");
  const bool same_device = device.type() == self.device().type();
  if (same_device && dtype == self.scalar_type() && !(copy != nullptr && copy->toBool())) {
    return call.Return({self});
  }
  const bool dense = self.is_non_overlapping_and_dense();
  const c10::DimVector strides =
      dense ? c10::DimVector(self.strides()) : c10::contiguous_strides(self.sizes());
  call.Return({EmptyOn(device, IsPinned(call), self.sizes(), strides, dtype)});
}

struct Known {
  std::vector<int64_t> sizes;
  at::ScalarType dtype;
};

// Of operations whose shapes ATen knows in Python alone.
std::optional<Known> KnownResult(const Call& call) {
  static const std::set<std::string_view> kLogical = {"aten::logical_or", "aten::logical_and",
                                                      "aten::logical_not"};
  if (call.name() == "aten::index_select") {
    const at::Tensor self = call[0].toTensor();
    std::vector<int64_t> sizes = self.sizes().vec();
    const int64_t dim = call[1].toInt();
    sizes[static_cast<size_t>(dim < 0 ? dim + self.dim() : dim)] = call[2].toTensor().numel();
    return Known{std::move(sizes), self.scalar_type()};
  }
  if (kLogical.count(call.name()) > 0) {
    std::vector<int64_t> sizes;
    call.AnyTensor([&](const at::Tensor& each) {
      sizes = at::infer_size(sizes, each.sizes());
      return false;
    });
    return Known{std::move(sizes), at::kBool};
  }
  return std::nullopt;
}

// ATen makes it of smaller operations: the largest along the dimension, and exponentials beside it.
void LogSumExp(const Call& call) {
  const at::Tensor self = call[0].toTensor();
  const bool keep = call[2].toBool();
  std::vector<int64_t> kept = self.sizes().vec();
  const int64_t dim = call[1].toIntVector().at(0), rank = self.dim();
  kept[static_cast<size_t>(dim < 0 ? dim + rank : dim)] = 1;
  const auto empty = [&](at::IntArrayRef sizes) {
    return EmptyOn(self.device(), false, sizes, c10::contiguous_strides(sizes), self.scalar_type());
  };
  const at::Tensor largest = empty(kept), exponentials = empty(self.sizes());
  at::Tensor sums = empty(kept);
  call.Return({keep ? sums : sums.squeeze(dim)});
}

// Runs the operation where there are shapes but no values, and gives what it returns memory.
void Imagine(const Call& call) {
  const c10::Device device = DeviceOf(call);
  const bool pinned = IsPinned(call);
  if (const auto known = KnownResult(call)) {
    return call.Return({EmptyOn(device, pinned, known->sizes, c10::contiguous_strides(known->sizes),
                                known->dtype)});
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> twins;  // without values, and with
  const auto shape_of = [&](const at::Tensor& t) {
    if (!t.defined()) return t;
    at::Tensor twin = at::empty_strided(t.sizes(), t.strides(), t.options().device(at::kMeta));
    twins.emplace_back(twin, t);
    return twin;
  };
  Stack shapes;
  for (size_t i = 0; i < call.size(); ++i) {
    const c10::IValue& value = call[i];
    if (value.isTensor()) {
      shapes.emplace_back(shape_of(value.toTensor()));
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> list;
      for (const at::Tensor& t : value.toTensorVector()) list.push_back(shape_of(t));
      shapes.emplace_back(list);
    } else if (call.argument(i).name() == "device") {
      shapes.emplace_back(c10::Device(at::kMeta));
    } else if (call.argument(i).name() == "pin_memory") {
      shapes.emplace_back();
    } else {
      shapes.push_back(value);
    }
  }
  try {
    call.op().callBoxed(&shapes);
  } catch (const c10::Error& error) {
    TORCH_CHECK(false, "no rehearsal of ", call.op().schema(), ": ",
                std::string_view(error.what_without_backtrace()).substr(0, 200));
  }
  std::vector<c10::IValue> results;
  for (const c10::IValue& value : shapes) {
    const at::Tensor shape = value.toTensor();
    const auto same = std::find_if(twins.begin(), twins.end(),
                                   [&](const auto& twin) { return shape.is_same(twin.first); });
    if (same != twins.end()) {
      results.emplace_back(same->second);
    } else if (!twins.empty() && shape.is_alias_of(twins.front().first)) {
      return call.Perform();  // a view after all
    } else {
      results.emplace_back(
          EmptyOn(device, pinned, shape.sizes(), shape.strides(), shape.scalar_type()));
    }
  }
  call.Return(std::move(results));
}

bool OnGpu(const Call& call) {
  const auto asked = AskedDevice(call);
  return IsPinned(call) || (asked && asked->is_cuda()) ||
         call.AnyTensor([](const at::Tensor& t) { return t.is_cuda(); });
}

// Of the operations that return no tensor, those that ask for no values.
bool IsOfShapes(std::string_view name) {
  static const std::set<std::string_view> kKnown = {
      "aten::size",      "aten::stride",         "aten::sym_size", "aten::sym_stride",
      "aten::numel",     "aten::storage_offset", "aten::dim",      "aten::sym_numel",
      "aten::is_pinned", "aten::is_same_size"};
  return kKnown.count(name) > 0;
}

void PerformOnGpu(const Call& call) {
  if (call.traits().is_view && !call.Written().defined()) return call.Perform();
  if (const at::Tensor written = call.Written(); written.defined()) return call.Return({written});
  if (call.name() == "aten::to") return Convert(call);
  if (call.name() == "aten::logsumexp") return LogSumExp(call);
  if (call.name() == "aten::item" || call.name() == "aten::_local_scalar_dense") {
    return call.Return({c10::Scalar(0.0)});
  }
  if (call.traits().returns_tensors) return Imagine(call);
  // Where a GPU is there, an operation that reads values would read what is not there.
  TORCH_CHECK(IsOfShapes(call.name()), "no rehearsal of ", call.op().schema());
  call.Perform();
}

bool IsLarge(const at::Tensor& t) {
  return t.numel() > g_largest_computed && (t.is_floating_point() || t.scalar_type() == at::kByte);
}

// Whether an argument is large or, of a factory's call, what it is to make.
bool TouchesLarge(const Call& call) {
  if (call.AnyTensor(IsLarge)) return true;
  const c10::IValue* size = call.Find("size");
  return size != nullptr && size->isIntList() &&
         c10::multiply_integers(size->toIntVector()) > g_largest_computed;
}

void PerformOnCpu(const Call& call) {
  if (!call.traits().large_on_cpu) return call.Perform();
  if (const at::Tensor written = call.Written(); written.defined()) {
    return IsLarge(written) ? call.Return({written}) : call.Perform();
  }
  if (!TouchesLarge(call)) return call.Perform();
  if (call.name() == "aten::to") return Convert(call);
  Imagine(call);
}

void Perform(const c10::OperatorHandle& op, Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard real(kMode);
  const Call call(op, stack);
  if (OnGpu(call)) {
    PerformOnGpu(call);
  } else {
    PerformOnCpu(call);
  }
}

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&Perform>());
}

}  // namespace

void BeginImaginedOperations(int64_t largest_computed) {
  g_largest_computed = largest_computed;
  c10::impl::tls_set_dispatch_key_included(kMode, true);
}

void EndImaginedOperations() { c10::impl::tls_set_dispatch_key_included(kMode, false); }

}  // namespace fttrain
